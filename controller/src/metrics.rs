//! MetalLB's metrics of allocation and of the work done.
//!
//! ```text
//! allocator ──observe_pools──▶ metallb_allocator_*{pool}      (a pool that is gone takes its series with it)
//! owner loop ─────────────────▶ metallb_k8s_client_*, metallb_controller_leader_bool
//! ```
//! Only the leader shows pools; with two replicas each number is there once.

use std::collections::{BTreeMap, BTreeSet};

use config::PoolName;
use runtime::metrics::{ConfigurationMetrics, Family, Gauge, Registry};

use crate::allocator::counters::Counters;

type ByPool = Family<Vec<(&'static str, String)>, Gauge>;

/// Handles to the metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Services and configurations looked at, writes that failed, and whether the configuration is in force.
    pub configuration: ConfigurationMetrics,
    leader: Gauge,
    services: ByPool,
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
        let services = by_pool("services_allocated_total", "Number of services with an address, per pool");
        let in_use = by_pool("addresses_in_use_total", "Number of IP addresses in use, per pool");
        let total = by_pool("addresses_total", "Number of usable IP addresses, per pool");
        let in_use_v4 = by_pool("ipv4_addresses_in_use_total", "Number of IPv4 addresses in use, per pool");
        let total_v4 = by_pool("ipv4_addresses_total", "Number of usable IPv4 addresses, per pool");
        let in_use_v6 = by_pool("ipv6_addresses_in_use_total", "Number of IPv6 addresses in use, per pool");
        let total_v6 = by_pool("ipv6_addresses_total", "Number of usable IPv6 addresses, per pool");
        Self {
            configuration: ConfigurationMetrics::register(registry),
            leader: registry.gauge("metallb_controller_leader_bool", "1 if this controller gives out addresses"),
            services,
            in_use,
            total,
            in_use_v4,
            total_v4,
            in_use_v6,
            total_v6,
            pools: BTreeSet::new(),
        }
    }

    /// Shows whether this controller leads.
    pub fn observe_leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Shows the numbers of all pools, and no others; `holders` is the pool of each Service that has addresses.
    pub fn observe_pools<'a>(
        &mut self,
        pools: impl Iterator<Item = (&'a PoolName, Counters)>,
        holders: impl Iterator<Item = &'a PoolName>,
    ) {
        let mut seen = BTreeSet::new();
        let mut services = BTreeMap::<&PoolName, u64>::new();
        for pool in holders {
            *services.entry(pool).or_default() += 1;
        }
        for (name, counters) in pools {
            let shown = [
                (&self.services, services.get(name).copied().unwrap_or_default()),
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
            for family in self.families() {
                family.remove(&labels(gone));
            }
        }
        self.pools = seen;
    }

    fn families(&self) -> [&ByPool; 7] {
        let Self { services, in_use, total, in_use_v4, total_v4, in_use_v6, total_v6, .. } = self;
        [services, in_use, total, in_use_v4, total_v4, in_use_v6, total_v6]
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
        metrics.observe_pools([(&pool, counters)].into_iter(), [&pool, &pool].into_iter());
        let text = registry.encode();
        for line in [
            "metallb_allocator_addresses_in_use_total{pool=\"p\"} 3",
            "metallb_allocator_addresses_total{pool=\"p\"} 9223372036854775807",
            "metallb_allocator_ipv4_addresses_in_use_total{pool=\"p\"} 1",
            "metallb_allocator_ipv6_addresses_in_use_total{pool=\"p\"} 2",
            "metallb_allocator_ipv4_addresses_total{pool=\"p\"} 4",
            "metallb_allocator_services_allocated_total{pool=\"p\"} 2",
            "metallb_controller_leader_bool 0",
            "metallb_k8s_client_updates_total 0",
            "metallb_k8s_client_config_stale_bool 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in:\n{text}");
        }
        metrics.observe_pools(std::iter::empty(), std::iter::empty());
        assert!(!registry.encode().contains("pool=\"p\""));
    }
}
