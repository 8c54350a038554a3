//! The pools in force and held: whose an address is, who may use a pool, and in which order pools are tried.
//!
//! ```text
//! name ──▶ Known { space, reservation, standing }     standing: in force | held (gives out nothing, keeps its addresses)
//! address ──▶ owner: the pool in force, else the held pool that has it
//! ```
//! A pool object that cannot even be read is *frozen*: known by its name only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use config::selector::any_matches;
use config::{Family, Pool, PoolName, ServiceAllocation};

use super::counters::Counters;
use super::family::{Stack, Wanted, other};
use super::pick::{PoolSpace, Position, number};
use super::reason::{Reason, Reasons};
use crate::text_map::TextMap;

/// Number of a pool, in the order of the names; good until the next [`Pools::new`].
pub type PoolId = usize;

/// All pools, indexed by name and by address.
#[derive(Debug, Clone, Default)]
pub struct Pools {
    known: Vec<Known>,
    ids: BTreeMap<PoolName, PoolId>,
    /// Start of each interval to its end and owner. Pools in force do not overlap, so the nearest start decides.
    owners: BTreeMap<(Family, u128), (u128, PoolId)>,
    held: Vec<PoolId>,
    frozen: BTreeSet<PoolName>,
    /// Automatic pools without reservation that have a free address, of IPv4 and of IPv6.
    open: [BTreeSet<PoolId>; 2],
    /// Automatic pools with a reservation, by priority and name.
    reserved: Vec<PoolId>,
}

#[derive(Debug, Clone)]
struct Known {
    name: PoolName,
    space: PoolSpace,
    totals: Counters,
    reservation: Option<ServiceAllocation>,
    auto_assign: bool,
    held: bool,
}

impl Known {
    fn is_free_for_all(&self) -> bool {
        self.auto_assign && self.reservation.is_none() && !self.held
    }

    fn allows(&self, namespace: &str, labels: &TextMap) -> Result<(), Reason> {
        let Some(reservation) = &self.reservation else { return Ok(()) };
        if reservation.restricts_namespaces && !reservation.namespaces.contains(namespace) {
            return Err(Reason::Namespace(namespace.to_owned()));
        }
        let selectors = &reservation.service_selectors;
        if selectors.is_empty() || any_matches(selectors, &labels.to_tree()) { Ok(()) } else { Err(Reason::Labels) }
    }
}

impl Pools {
    /// Indexes the pools, with nothing taken.
    pub fn new(pools: &BTreeMap<PoolName, Pool>, held: &BTreeMap<PoolName, Pool>, frozen: BTreeSet<PoolName>) -> Self {
        let mut out = Self::default();
        let held = held.iter().filter(|(name, _)| !pools.contains_key(*name)).map(|(name, pool)| (name, (pool, true)));
        let all: BTreeMap<_, _> = pools.iter().map(|(name, pool)| (name, (pool, false))).chain(held).collect();
        for (id, (name, (pool, held))) in all.into_iter().enumerate() {
            let space = PoolSpace::new(pool);
            if held {
                out.held.push(id);
            } else {
                for family in [Family::V4, Family::V6] {
                    for (first, last) in space.intervals(family) {
                        out.owners.entry((family, first)).or_insert_with(|| (last, id));
                    }
                }
            }
            let reservation = pool.service_allocation.clone();
            if reservation.is_some() && pool.auto_assign && !held {
                out.reserved.push(id);
            }
            out.ids.insert(name.clone(), id);
            let totals = Counters::totals(pool);
            let auto_assign = pool.auto_assign;
            out.known.push(Known { name: name.clone(), space, totals, reservation, auto_assign, held });
        }
        out.frozen = frozen.into_iter().filter(|name| !out.ids.contains_key(name)).collect();
        let known = &out.known;
        let priority = |id: &PoolId| {
            let reservation = known.get(*id).and_then(|pool| pool.reservation.as_ref());
            // Zero, the value of an absent field, is the lowest priority.
            reservation.map(|reservation| reservation.priority).filter(|priority| *priority > 0).unwrap_or(i64::MAX)
        };
        out.reserved.sort_by_key(|id| (priority(id), *id));
        for id in 0..out.known.len() {
            for family in [Family::V4, Family::V6] {
                out.note_open(id, family);
            }
        }
        out
    }

    /// Whether there is neither a usable nor a held or frozen pool.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.frozen.is_empty()
    }

    /// The pool in force of this name.
    pub fn in_force(&self, pool: &PoolName) -> Option<PoolId> {
        self.ids.get(pool).copied().filter(|id| self.known.get(*id).is_some_and(|known| !known.held))
    }

    /// Whether the pool object exists but cannot be used as it is.
    pub fn is_frozen(&self, pool: &PoolName) -> bool {
        self.frozen.contains(pool) || (self.ids.contains_key(pool) && self.in_force(pool).is_none())
    }

    /// The addresses of a pool.
    pub fn space(&self, pool: PoolId) -> Option<&PoolSpace> {
        self.known.get(pool).map(|known| &known.space)
    }

    /// The name of a pool.
    pub fn name(&self, pool: PoolId) -> Option<&PoolName> {
        self.known.get(pool).map(|known| &known.name)
    }

    /// The pool in force that gives out all of these addresses.
    pub fn of(&self, addresses: &[IpAddr]) -> Option<PoolId> {
        let (first, rest) = addresses.split_first()?;
        let pool = self.owner(*first)?;
        rest.iter().all(|address| self.owner(*address) == Some(pool)).then_some(pool)
    }

    /// The held pool that has all of these addresses.
    pub fn held_of(&self, addresses: &[IpAddr]) -> Option<&PoolName> {
        let has = |id: &PoolId| addresses.iter().all(|one| self.space(*id).is_some_and(|s| s.position(*one).is_some()));
        if addresses.is_empty() {
            return None;
        }
        self.held.iter().find(|id| has(id)).and_then(|id| self.name(*id))
    }

    fn owner(&self, address: IpAddr) -> Option<PoolId> {
        let (family, value) = (Family::of(address), number(address));
        let ((owner_family, _), (last, id)) = self.owners.range(..=(family, value)).next_back()?;
        let inside = *owner_family == family && value <= *last;
        (inside && self.space(*id)?.position(address).is_some()).then_some(*id)
    }

    fn owner_or_holder(&self, address: IpAddr) -> Option<PoolId> {
        let has = |id: &&PoolId| self.space(**id).is_some_and(|space| space.position(address).is_some());
        self.owner(address).or_else(|| self.held.iter().find(has).copied())
    }

    /// Where an address stands in the pool in force that it belongs to.
    pub fn place(&self, address: IpAddr) -> Option<(PoolId, Family, Position)> {
        let id = self.owner(address)?;
        Some((id, Family::of(address), self.space(id)?.position(address)?))
    }

    /// Marks an address taken in whichever pool it is.
    pub fn occupy(&mut self, address: IpAddr) {
        let Some(id) = self.owner_or_holder(address) else { return };
        if let Some(known) = self.known.get_mut(id) {
            known.space.occupy(address);
        }
        self.note_open(id, Family::of(address));
    }

    /// Marks an address free in whichever pool it is, and returns that pool when it gives out addresses.
    pub fn vacate(&mut self, address: IpAddr) -> Option<PoolId> {
        let id = self.owner_or_holder(address)?;
        let known = self.known.get_mut(id)?;
        known.space.vacate(address);
        let gives = !known.held;
        self.note_open(id, Family::of(address));
        gives.then_some(id)
    }

    fn note_open(&mut self, id: PoolId, family: Family) {
        let Some(known) = self.known.get(id) else { return };
        let is_open = known.is_free_for_all() && known.space.lowest_free(family).is_some();
        let [v4, v6] = &mut self.open;
        let open = if family == Family::V4 { v4 } else { v6 };
        if is_open {
            open.insert(id);
        } else {
            open.remove(&id);
        }
    }

    /// Whether the pool's reservation, if it has one, lets this Service in.
    ///
    /// # Errors
    /// It does not, for this reason.
    pub fn allows(&self, pool: PoolId, namespace: &str, labels: &TextMap) -> Result<(), Reason> {
        self.known.get(pool).map_or(Err(Reason::Invalid), |known| known.allows(namespace, labels))
    }

    /// Pools reserved for this Service by namespace or by its labels, in the order to try them. A reservation that names
    /// neither is for everybody: it is there for its priority.
    pub fn pinned_for(&self, namespace: &str, labels: &TextMap) -> Vec<PoolId> {
        let pins = |id: &&PoolId| self.known.get(**id).is_some_and(|known| known.allows(namespace, labels).is_ok());
        self.reserved.iter().filter(pins).copied().collect()
    }

    /// Whether a pool is for Services that nobody reserved a pool for.
    pub fn is_free_for_all(&self, pool: PoolId) -> bool {
        self.known.get(pool).is_some_and(Known::is_free_for_all)
    }

    /// Pools for Services that nobody reserved a pool for that have a free address of a family, in the order to try them.
    pub fn open(&self, family: Family) -> &BTreeSet<PoolId> {
        let [v4, v6] = &self.open;
        if family == Family::V4 { v4 } else { v6 }
    }

    /// What keeps each pool from serving a Service that asks for none; `full` says what a pool that would serve it lacks.
    pub fn judge(&self, namespace: &str, labels: &TextMap, full: impl Fn(PoolId) -> Reason) -> Reasons {
        let reason = |id: PoolId, known: &Known| match known.allows(namespace, labels) {
            _ if known.held => Reason::Invalid,
            _ if !known.auto_assign => Reason::AutoAssignOff,
            Err(reason) => reason,
            Ok(()) => full(id),
        };
        let mut all: Vec<_> = self.known.iter().enumerate().map(|(id, pool)| (&pool.name, reason(id, pool))).collect();
        if !self.frozen.is_empty() {
            all.extend(self.frozen.iter().map(|name| (name, Reason::Invalid)));
            all.sort();
        }
        let mut out = Reasons::default();
        for (name, reason) in all {
            out.add(name, reason);
        }
        out
    }

    /// What a pool that would serve a Service lacks.
    pub fn lack(&self, pool: PoolId, wanted: &Wanted) -> Reason {
        let totals = self.known.get(pool).map(|known| known.totals).unwrap_or_default();
        let wants = |family| wanted.stack != Stack::Single(other(family));
        match (totals.total_v4, totals.total_v6) {
            (0, _) if wants(Family::V4) && !wanted.accepts_one() => Reason::NoAddresses(Family::V4),
            (_, 0) if wants(Family::V6) && !wanted.accepts_one() => Reason::NoAddresses(Family::V6),
            _ => Reason::Full(wanted.stack),
        }
    }

    /// The numbers of each pool in force or held.
    pub fn counters(&self) -> impl Iterator<Item = (&PoolName, Counters)> {
        self.known.iter().map(|known| (&known.name, known.totals.with_usage(&known.space)))
    }
}
