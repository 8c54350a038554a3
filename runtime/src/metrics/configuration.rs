//! MetalLB's metrics about the work of a program that follows a configuration.

use super::{Gauge, GoCounter, Registry};

/// The families `metallb_k8s_client_*`. Clones share the values.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationMetrics {
    updates: GoCounter,
    update_errors: GoCounter,
    loaded: Gauge,
    stale: Gauge,
}

impl ConfigurationMetrics {
    /// Metrics that `registry` shows.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            updates: registry.counter("metallb_k8s_client_updates_total", "Number of k8s object updates processed"),
            update_errors: registry
                .counter("metallb_k8s_client_update_errors_total", "Number of k8s object updates that failed"),
            loaded: registry.gauge(
                "metallb_k8s_client_config_loaded_bool",
                "1 if the configuration was successfully loaded at least once",
            ),
            stale: registry.gauge(
                "metallb_k8s_client_config_stale_bool",
                "1 if a part of the latest configuration is invalid and therefore not in force",
            ),
        }
    }

    /// Counts processed changes.
    pub fn updated(&self, count: u64) {
        self.updates.inc_by(count);
    }

    /// Counts changes that could not be carried out.
    pub fn failed(&self, count: u64) {
        self.update_errors.inc_by(count);
    }

    /// Shows whether a configuration is in force and whether it differs from what is stored.
    pub fn observe(&self, loaded: bool, stale: bool) {
        self.loaded.set(loaded.into());
        self.stale.set(stale.into());
    }
}
