//! Who has which address. No Kubernetes types, no clock, no IO.
//!
//! ```text
//!                      assign(addresses) ─┐
//!  Client (a Service) ─ allocate(wanted) ─┼─▶ usage: address ─▶ users, ports, sharing key
//!                      release            ─┘   spaces: pool ─▶ taken runs (pick.rs) ─▶ counters
//!                                              leaving: Service ─▶ addresses given up but still visible
//! ```
//! **Leaving.** An address that a Service gave up stays taken until the apiserver shows that Service without it. Otherwise
//! it could be given to another Service whose status is written first, and for a moment, or for as long as a crashed
//! controller is away, two Services would own it.
//!
//! **Ghosts.** An address that a Service shows without having it (its pool is not for it any more, or another Service has it)
//! is given to nobody else until it is not shown any more; who has it, or shows it too, is not disturbed.
//!
//! **Held and frozen pools.** A pool that is refused by the configuration rules gives out nothing; what was given out of it
//! stays where it is. The same goes for an object that cannot even be read, of which nothing is known but the name.

pub mod counters;
pub mod family;
mod find;
mod ghosts;
pub mod pick;
mod pools;
pub mod reason;
mod shared;
pub mod sharing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use config::{Family, Pool, PoolName};

use crate::text_map::TextMap;
use counters::Counters;
use family::{Stack, Wanted, other};
use pools::{PoolId, Pools};
pub use reason::{AllocateError, Refusal};
use reason::{Reason, Reasons};
use shared::Shared;
use sharing::{Port, SharingError, SharingKey, Usage};

/// `namespace/name` of a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey(Arc<str>);

impl ServiceKey {
    /// The key of a Service.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    /// `namespace/name`
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the slash.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(_, name)| name)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The Service that asks, as far as the allocator needs to know it.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its name.
    pub key: &'a ServiceKey,
    /// Its labels, for pools with service selectors.
    pub labels: &'a TextMap,
    /// Its ports.
    pub ports: &'a [Port],
    /// With whom it shares.
    pub sharing: &'a SharingKey,
    /// Addresses that the apiserver shows, or may come to show, for this Service: given up, they stay taken for now.
    pub visible: &'a [IpAddr],
}

/// What a Service has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// The pool all addresses come from.
    pub pool: PoolName,
    /// One or two addresses in the order of the Service's status.
    pub addresses: Vec<IpAddr>,
}

/// Something became available. Services that wait for it are worth another look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opportunity {
    /// A pool in force has a free address of this family.
    Pool(PoolName, Family),
    /// Something about the users of this address changed.
    Address(IpAddr),
    /// Services with this sharing key may find an address with room for their ports.
    Key(SharingKey),
}

/// All pools and everything taken from them.
#[derive(Debug, Clone, Default)]
pub struct Allocator {
    pools: Pools,
    usage: BTreeMap<IpAddr, Usage>,
    shared: Shared,
    allocations: BTreeMap<ServiceKey, Allocation>,
    leaving: BTreeMap<ServiceKey, BTreeSet<IpAddr>>,
    /// Ascending; at a start every Service has some, so they are kept small.
    ghosts: BTreeMap<ServiceKey, Box<[IpAddr]>>,
    /// Whose ghosts are on an address.
    haunted: BTreeMap<IpAddr, Box<[ServiceKey]>>,
    opportunities: BTreeSet<Opportunity>,
    generation: u64,
}

impl Allocator {
    /// An allocator without pools.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts new pools in force. `held` pools keep what they gave and give out nothing; `frozen` names pool objects of which
    /// nothing else is known.
    ///
    /// Nothing moves: addresses that are now in another pool count there, and addresses in no pool stay with their
    /// Services until these are looked at again. Whoever waits should be looked at again too.
    pub fn set_pools(
        &mut self,
        pools: &BTreeMap<PoolName, Pool>,
        held: &BTreeMap<PoolName, Pool>,
        frozen: BTreeSet<PoolName>,
    ) {
        self.pools = Pools::new(pools, held, frozen);
        self.shared = Shared::default();
        for (address, usage) in &self.usage {
            self.pools.occupy(*address);
            if let Some(place) = self.pools.place(*address) {
                self.shared.insert(&usage.key, place);
            }
        }
        for address in self.haunted.keys() {
            self.pools.occupy(*address);
        }
        for allocation in self.allocations.values_mut() {
            let owner = self.pools.of(&allocation.addresses).and_then(|id| self.pools.name(id));
            if let Some(pool) = owner.filter(|pool| **pool != allocation.pool) {
                allocation.pool = pool.clone();
            }
        }
        self.opportunities.clear();
        self.generation += 1;
    }

    /// Whether there is no pool at all, not even a held or frozen one.
    pub fn has_no_pools(&self) -> bool {
        self.pools.is_empty()
    }

    /// Whether the object of this pool exists but cannot be used as it is.
    pub fn is_frozen(&self, pool: &PoolName) -> bool {
        self.pools.is_frozen(pool)
    }

    /// The pool in force that holds all the addresses.
    pub fn pool_of(&self, addresses: &[IpAddr]) -> Option<&PoolName> {
        self.pools.of(addresses).and_then(|id| self.pools.name(id))
    }

    /// The held pool that has all the addresses.
    pub fn held_pool_of(&self, addresses: &[IpAddr]) -> Option<&PoolName> {
        self.pools.held_of(addresses)
    }

    /// Whether a pool is in force, automatic, and reserved for nobody.
    pub fn is_free_for_all(&self, pool: &PoolName) -> bool {
        self.pools.in_force(pool).is_some_and(|id| self.pools.is_free_for_all(id))
    }

    /// Automatic pools that are reserved for this Service by its namespace or its labels, in the order in which they are
    /// tried.
    pub fn pinned_for(&self, namespace: &str, labels: &TextMap) -> Vec<PoolName> {
        let ids = self.pools.pinned_for(namespace, labels);
        ids.into_iter().filter_map(|id| self.pools.name(id)).cloned().collect()
    }

    /// What a Service has.
    pub fn allocation(&self, service: &ServiceKey) -> Option<&Allocation> {
        self.allocations.get(service)
    }

    /// All allocations, by Service.
    pub fn allocations(&self) -> impl Iterator<Item = (&ServiceKey, &Allocation)> {
        self.allocations.iter()
    }

    /// Whether a Service has or still shows any address of ours.
    pub fn knows(&self, service: &ServiceKey) -> bool {
        self.allocations.contains_key(service) || self.leaving.contains_key(service)
    }

    /// The numbers of each pool in force or held, by name.
    pub fn counters(&self) -> impl Iterator<Item = (&PoolName, Counters)> {
        self.pools.counters()
    }

    /// Grows whenever pools or addresses in use change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What became available since the last call.
    pub fn take_opportunities(&mut self) -> BTreeSet<Opportunity> {
        std::mem::take(&mut self.opportunities)
    }

    /// Gives exactly these addresses to the Service, in place of what it has.
    ///
    /// # Errors
    /// The addresses are not of one pool, the pool is not for this Service, or others use them. Then nothing changes.
    pub fn assign(&mut self, client: &Client<'_>, addresses: &[IpAddr]) -> Result<PoolName, Refusal> {
        let Some((id, pool)) = self.pools.of(addresses).and_then(|id| Some((id, self.pools.name(id)?.clone()))) else {
            let error = AllocateError::NotInConfig(quoted_list(addresses));
            let held = self.pools.held_of(addresses).map(|pool| Reasons::one(pool, Reason::Invalid));
            return Err(Refusal { error, reasons: held.unwrap_or_default() });
        };
        self.is_for(client, id, &pool)?;
        self.take(client, addresses, pool.clone())?;
        Ok(pool)
    }

    /// Keeps addresses of a held or frozen pool with the Service that shows them: no rule of the pool is known, so none is
    /// checked but that nobody else has them.
    ///
    /// # Errors
    /// Others use the addresses.
    pub fn hold(&mut self, client: &Client<'_>, addresses: &[IpAddr], pool: &PoolName) -> Result<(), Refusal> {
        Ok(self.take(client, addresses, pool.clone())?)
    }

    /// Finds addresses for a Service that named neither addresses nor pool.
    ///
    /// First the pools reserved for it (by priority, then name), then those free for all (by name).
    ///
    /// # Errors
    /// No pool has what is wanted.
    pub fn allocate(&mut self, client: &Client<'_>, wanted: &Wanted) -> Result<Vec<IpAddr>, Refusal> {
        let pinned = self.pools.pinned_for(client.key.namespace(), client.labels);
        match self.first_fit(client, wanted, &pinned).or_else(|| self.free_fit(client, wanted)) {
            Some(addresses) => self.assign(client, &addresses).map(|_| addresses),
            None => {
                let full = |id| self.pools.lack(id, wanted);
                let reasons = self.pools.judge(client.key.namespace(), client.labels, full);
                Err(Refusal { error: AllocateError::Exhausted, reasons })
            }
        }
    }

    /// Finds addresses in the pool that the Service named; it need not be automatic.
    ///
    /// # Errors
    /// There is no such pool, it is full or of another family, or it is not for this Service.
    pub fn allocate_from(
        &mut self,
        client: &Client<'_>,
        wanted: &Wanted,
        pool: &PoolName,
    ) -> Result<Vec<IpAddr>, Refusal> {
        if self.pools.is_frozen(pool) {
            return Err(AllocateError::FrozenPool(pool.clone()).into());
        }
        let Some(id) = self.pools.in_force(pool) else {
            return Err(AllocateError::UnknownPool(pool.clone()).into());
        };
        // Before what is free: a refusal that waits for a change of the pool must read the same however full that is.
        self.is_for(client, id, pool)?;
        match self.first_fit(client, wanted, &[id]) {
            Some(addresses) => self.assign(client, &addresses).map(|_| addresses),
            None => {
                let reason = self.pools.lack(id, wanted);
                let error = AllocateError::PoolExhausted(pool.clone(), wanted.stack);
                Err(Refusal { error, reasons: Reasons::one(pool, reason) })
            }
        }
    }

    /// Whether the pool is for this Service at all.
    fn is_for(&self, client: &Client<'_>, id: PoolId, pool: &PoolName) -> Result<(), Refusal> {
        self.pools.allows(id, client.key.namespace(), client.labels).map_err(|reason| Refusal {
            error: AllocateError::Incompatible(pool.clone()),
            reasons: Reasons::one(pool, reason),
        })
    }

    /// Adds an address of the missing family, from the same pool, behind the one the Service has.
    ///
    /// # Errors
    /// The pool has none, or the Service does not have exactly one address.
    pub fn add_family(&mut self, client: &Client<'_>) -> Result<IpAddr, Refusal> {
        let Some(Allocation { pool, addresses }) = self.allocations.get(client.key).cloned() else {
            return Err(AllocateError::Exhausted.into());
        };
        let [first] = addresses[..] else { return Err(AllocateError::TooMany(quoted_list(&addresses)).into()) };
        let missing = other(Family::of(first));
        let second = self.pools.in_force(&pool).and_then(|id| self.pick(client, id, missing));
        let second = second.ok_or(AllocateError::PoolExhausted(pool, Stack::Single(missing)))?;
        self.assign(client, &[first, second]).map(|_| second)
    }

    /// Takes everything from a Service. Addresses among `visible` stay taken until [`Allocator::observe`] misses them.
    pub fn release(&mut self, service: &ServiceKey, visible: &[IpAddr]) {
        if let Some(allocation) = self.allocations.remove(service) {
            self.leaving.entry(service.clone()).or_default().extend(allocation.addresses);
        }
        self.observe(service, visible);
    }

    /// Frees what the Service gave up and does not show any more. A Service that is gone shows nothing.
    pub fn observe(&mut self, service: &ServiceKey, visible: &[IpAddr]) {
        let Some(leaving) = self.leaving.get_mut(service) else { return };
        let gone: Vec<IpAddr> = leaving.iter().filter(|address| !visible.contains(address)).copied().collect();
        leaving.retain(|address| visible.contains(address));
        if leaving.is_empty() {
            self.leaving.remove(service);
        }
        for address in gone {
            self.free(service, address);
        }
    }

    /// Nobody uses the address or shows it.
    fn vacate(&mut self, address: IpAddr) {
        let pool = self.pools.vacate(address).and_then(|id| self.pools.name(id)).cloned();
        self.opportunities.insert(Opportunity::Address(address));
        self.opportunities.extend(pool.map(|pool| Opportunity::Pool(pool, Family::of(address))));
        self.generation += 1;
    }

    /// Whether a Service may use an address.
    fn admits(&self, client: &Client<'_>, address: IpAddr) -> Result<(), SharingError> {
        let usage = self.usage.get(&address);
        if let Some(usage) = usage {
            usage.admits(address, client.key, client.sharing, client.ports)?;
        }
        let uses = usage.is_some_and(|usage| usage.users().binary_search(client.key).is_ok());
        let others = || self.haunted.get(&address).into_iter().flatten().filter(|service| *service != client.key);
        if uses || client.visible.contains(&address) || others().next().is_none() {
            return Ok(());
        }
        let others = others().map(ServiceKey::as_str).collect::<Vec<_>>().join(",");
        Err(SharingError::Key { service: client.key.clone(), others })
    }

    fn take(&mut self, client: &Client<'_>, addresses: &[IpAddr], pool: PoolName) -> Result<(), AllocateError> {
        match addresses {
            [] | [_] => {}
            [one, two] if Family::of(*one) == Family::of(*two) => return Err(AllocateError::SameFamily(*one, *two)),
            [_, _] => {}
            _ => return Err(AllocateError::TooMany(quoted_list(addresses))),
        }
        for address in addresses {
            self.admits(client, *address)?;
        }
        let before = self.allocations.insert(client.key.clone(), Allocation { pool, addresses: addresses.to_vec() });
        let mut leaving = self.leaving.remove(client.key).unwrap_or_default();
        leaving.extend(before.iter().flat_map(|before| &before.addresses));
        leaving.retain(|address| !addresses.contains(address));
        if !leaving.is_empty() {
            self.leaving.insert(client.key.clone(), leaving);
            self.observe(client.key, client.visible);
        }
        for address in addresses {
            self.enter(client, *address);
            self.lay_ghost(client.key, *address);
        }
        Ok(())
    }

    fn enter(&mut self, client: &Client<'_>, address: IpAddr) {
        let usage = self.usage.entry(address).or_default();
        let new = usage.users().is_empty();
        let place = self.pools.place(address);
        if usage.key != *client.sharing
            && let Some(place) = place
        {
            self.shared.remove(&usage.key, place);
        }
        let entered = usage.enter(client.key, client.sharing, client.ports);
        if new {
            self.pools.occupy(address);
            self.generation += 1;
        }
        if entered.rekeyed || entered.port_freed {
            self.opportunities.insert(Opportunity::Address(address));
        }
        if let Some(place) = place.filter(|_| !client.sharing.sharing.is_empty()) {
            self.shared.insert(client.sharing, place);
            if entered.port_freed {
                self.shared.port_freed(client.sharing, place);
            }
            if entered.rekeyed || entered.port_freed {
                self.opportunities.insert(Opportunity::Key(client.sharing.clone()));
            }
        }
    }

    fn free(&mut self, service: &ServiceKey, address: IpAddr) {
        let Some(usage) = self.usage.get_mut(&address) else { return };
        if !usage.leave(service) {
            return;
        }
        let place = self.pools.place(address);
        if !usage.users().is_empty() {
            if let Some(place) = place {
                self.shared.port_freed(&usage.key, place);
            }
            self.opportunities.extend([Opportunity::Key(usage.key.clone()), Opportunity::Address(address)]);
            return;
        }
        if let Some(place) = place {
            self.shared.remove(&usage.key, place);
        }
        self.usage.remove(&address);
        if !self.haunted.contains_key(&address) {
            self.vacate(address);
        }
    }
}

/// A list as Go prints it with `%q`: `["192.0.2.1" "2001:db8::1"]`.
pub fn quoted_list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("{:?}", item.to_string())).collect();
    format!("[{}]", items.join(" "))
}
