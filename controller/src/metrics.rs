//! MetalLB's metrics of allocation and of the work done.
//!
//! ```text
//! allocator.counters() ──observe──▶ metallb_allocator_*{pool}      (a pool that is gone takes its series with it)
//! owner loop ──────────────────────▶ metallb_k8s_client_*
//! ```

use std::collections::BTreeSet;

use config::PoolName;
use runtime::metrics::{Family, Gauge, GoCounter, Registry};

use crate::allocator::counters::Counters;

type ByPool = Family<Vec<(&'static str, String)>, Gauge>;

/// Handles to the metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Services and configurations looked at.
    pub updates: GoCounter,
    /// Of these, how many failed to be written.
    pub update_errors: GoCounter,
    config_loaded: Gauge,
    config_stale: Gauge,
    in_use: ByPool,
    total: ByPool,
    in_use_v4: ByPool,
    total_v4: ByPool,
    in_use_v6: ByPool,
    total_v6: ByPool,
    pools: BTreeSet<PoolName>,
}

impl Metrics {
    /// Adds the metrics to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let mut by_pool = |name: &str, help: &str| {
            let family = ByPool::default();
            registry.register(&format!("metallb_allocator_{name}"), help, family.clone());
            family
        };
        // Go's MetalLB registers this one and never sets it; whoever lists the names finds it here too.
        by_pool("services_allocated_total", "Number of services allocated, by pool");
        let in_use = by_pool("addresses_in_use_total", "Number of IP addresses in use, per pool");
        let total = by_pool("addresses_total", "Number of usable IP addresses, per pool");
        let in_use_v4 = by_pool("ipv4_addresses_in_use_total", "Number of IPv4 addresses in use, per pool");
        let total_v4 = by_pool("ipv4_addresses_total", "Number of usable IPv4 addresses, per pool");
        let in_use_v6 = by_pool("ipv6_addresses_in_use_total", "Number of IPv6 addresses in use, per pool");
        let total_v6 = by_pool("ipv6_addresses_total", "Number of usable IPv6 addresses, per pool");
        Self {
            updates: registry.counter("metallb_k8s_client_updates_total", "Number of k8s object updates processed"),
            update_errors: registry
                .counter("metallb_k8s_client_update_errors_total", "Number of k8s object updates that failed"),
            config_loaded: registry.gauge(
                "metallb_k8s_client_config_loaded_bool",
                "1 if the configuration was successfully loaded at least once",
            ),
            config_stale: registry.gauge(
                "metallb_k8s_client_config_stale_bool",
                "1 if running on a stale configuration, because the latest config failed to load",
            ),
            in_use,
            total,
            in_use_v4,
            total_v4,
            in_use_v6,
            total_v6,
            pools: BTreeSet::new(),
        }
    }

    /// Shows whether a configuration is in force and whether it differs from what is stored.
    pub fn observe_config(&self, loaded: bool, stale: bool) {
        self.config_loaded.set(loaded.into());
        self.config_stale.set(stale.into());
    }

    /// Shows the numbers of all pools, and no others.
    pub fn observe_pools<'a>(&mut self, pools: impl Iterator<Item = (&'a PoolName, Counters)>) {
        let mut seen = BTreeSet::new();
        for (name, counters) in pools {
            let shown = [
                (&self.in_use, counters.assigned()),
                (&self.total, counters.total()),
                (&self.in_use_v4, counters.assigned_v4),
                (&self.total_v4, counters.total_v4),
                (&self.in_use_v6, counters.assigned_v6),
                (&self.total_v6, counters.total_v6),
            ];
            for (family, number) in shown {
                family.get_or_create(&labels(name)).set(i64::try_from(number).unwrap_or(i64::MAX));
            }
            seen.insert(name.clone());
        }
        for gone in self.pools.difference(&seen) {
            for family in [&self.in_use, &self.total, &self.in_use_v4, &self.total_v4, &self.in_use_v6, &self.total_v6]
            {
                family.remove(&labels(gone));
            }
        }
        self.pools = seen;
    }
}

fn labels(pool: &PoolName) -> Vec<(&'static str, String)> {
    vec![("pool", pool.0.clone())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_shows_its_numbers_and_takes_its_series_with_it() {
        let mut registry = Registry::new();
        let mut metrics = Metrics::register(&mut registry);
        let counters = Counters { assigned_v4: 1, assigned_v6: 2, total_v4: 4, total_v6: u64::MAX };
        let pool = PoolName::from("p");
        metrics.observe_pools([(&pool, counters)].into_iter());
        let text = registry.encode();
        for line in [
            "metallb_allocator_addresses_in_use_total{pool=\"p\"} 3",
            "metallb_allocator_addresses_total{pool=\"p\"} 9223372036854775807",
            "metallb_allocator_ipv4_addresses_in_use_total{pool=\"p\"} 1",
            "metallb_allocator_ipv6_addresses_in_use_total{pool=\"p\"} 2",
            "metallb_allocator_ipv4_addresses_total{pool=\"p\"} 4",
            "metallb_k8s_client_updates_total 0",
            "metallb_k8s_client_config_stale_bool 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in:\n{text}");
        }
        metrics.observe_pools(std::iter::empty());
        assert!(!registry.encode().contains("pool=\"p\""));
    }
}
