//! The pools in force: whose an address is, who may use a pool, and in which order pools are tried.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use config::selector::any_matches;
use config::{Family, Pool, PoolName, ServiceAllocation};

use super::counters::Counters;
use super::pick::{PoolSpace, number};

/// All pools, indexed by name and by address.
#[derive(Debug, Clone, Default)]
pub struct Pools {
    known: BTreeMap<PoolName, Known>,
    /// Start of each interval to its end and owner. Pools do not overlap, so the nearest start decides.
    owners: BTreeMap<(Family, u128), (u128, PoolName)>,
    frozen: BTreeSet<PoolName>,
    /// Automatic pools without reservation, by name.
    free_for_all: Vec<PoolName>,
    /// Automatic pools with a reservation, by priority and name.
    reserved: Vec<PoolName>,
}

#[derive(Debug, Clone)]
struct Known {
    space: PoolSpace,
    totals: Counters,
    reservation: Option<ServiceAllocation>,
}

impl Pools {
    /// Indexes the pools, with nothing taken.
    pub fn new(pools: &BTreeMap<PoolName, Pool>, frozen: BTreeSet<PoolName>) -> Self {
        let mut out = Self { frozen, ..Self::default() };
        for (name, pool) in pools {
            let space = PoolSpace::new(pool);
            for family in [Family::V4, Family::V6] {
                for (first, last) in space.intervals(family) {
                    out.owners.entry((family, first)).or_insert_with(|| (last, name.clone()));
                }
            }
            match (&pool.service_allocation, pool.auto_assign) {
                (None, true) => out.free_for_all.push(name.clone()),
                (Some(_), true) => out.reserved.push(name.clone()),
                (_, false) => {}
            }
            let reservation = pool.service_allocation.clone();
            out.known.insert(name.clone(), Known { space, totals: Counters::totals(pool), reservation });
        }
        let priority = |name: &PoolName| {
            let reservation = pools.get(name).and_then(|pool| pool.service_allocation.as_ref());
            // Zero, the value of an absent field, is the lowest priority.
            reservation.map(|reservation| reservation.priority).filter(|priority| *priority > 0).unwrap_or(i64::MAX)
        };
        out.reserved.sort_by_key(|name| (priority(name), name.clone()));
        out
    }

    /// Whether there is neither a usable nor a frozen pool.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.frozen.is_empty()
    }

    /// Whether the pool is usable.
    pub fn contains(&self, pool: &PoolName) -> bool {
        self.known.contains_key(pool)
    }

    /// Whether the pool object exists but cannot be used.
    pub fn is_frozen(&self, pool: &PoolName) -> bool {
        self.frozen.contains(pool)
    }

    /// The addresses of a pool.
    pub fn space(&self, pool: &PoolName) -> Option<&PoolSpace> {
        self.known.get(pool).map(|known| &known.space)
    }

    /// The pool that gives out all of these addresses.
    pub fn of(&self, addresses: &[IpAddr]) -> Option<&PoolName> {
        let (first, rest) = addresses.split_first()?;
        let pool = self.owner(*first)?;
        rest.iter().all(|address| self.owner(*address) == Some(pool)).then_some(pool)
    }

    fn owner(&self, address: IpAddr) -> Option<&PoolName> {
        let (family, value) = (Family::of(address), number(address));
        let ((owner_family, _), (last, name)) = self.owners.range(..=(family, value)).next_back()?;
        let inside = *owner_family == family && value <= *last;
        (inside && self.space(name)?.position(address).is_some()).then_some(name)
    }

    /// Marks an address taken in whichever pool it is.
    pub fn occupy(&mut self, address: IpAddr) {
        if let Some(name) = self.owner(address).cloned()
            && let Some(known) = self.known.get_mut(&name)
        {
            known.space.occupy(address);
        }
    }

    /// Marks an address free in whichever pool it is.
    pub fn vacate(&mut self, address: IpAddr) {
        if let Some(name) = self.owner(address).cloned()
            && let Some(known) = self.known.get_mut(&name)
        {
            known.space.vacate(address);
        }
    }

    /// Whether the pool's reservation, if it has one, lets this Service in.
    pub fn allows(&self, pool: &PoolName, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.known.get(pool).is_some_and(|known| match &known.reservation {
            None => true,
            Some(reservation) => {
                (!reservation.restricts_namespaces || reservation.namespaces.contains(namespace))
                    && any_matches(&reservation.service_selectors, labels)
            }
        })
    }

    /// Pools reserved for this Service by namespace or by its labels, in the order to try them. A reservation that names
    /// neither reserves the pool for nobody: it can only be asked for.
    pub fn pinned_for(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<PoolName> {
        let names_someone = |name: &PoolName| {
            self.known.get(name).and_then(|known| known.reservation.as_ref()).is_some_and(|reservation| {
                reservation.restricts_namespaces || !reservation.service_selectors.is_empty()
            })
        };
        let pinned = self.reserved.iter().filter(|name| names_someone(name) && self.allows(name, namespace, labels));
        pinned.cloned().collect()
    }

    /// Pools for Services that nobody reserved a pool for, in the order to try them.
    pub fn free_for_all(&self) -> &[PoolName] {
        &self.free_for_all
    }

    /// The numbers of each usable pool.
    pub fn counters(&self) -> impl Iterator<Item = (&PoolName, Counters)> {
        self.known.iter().map(|(name, known)| (name, known.totals.with_usage(&known.space)))
    }
}
