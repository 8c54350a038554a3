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
//! **Frozen pools.** A pool object that exists but cannot be used (malformed, or refused by the configuration rules) gives
//! out nothing; what was given out of it stays where it is.

pub mod counters;
pub mod family;
pub mod pick;
mod pools;
pub mod sharing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use config::{Family, Pool, PoolName};

use counters::Counters;
use family::{Stack, Wanted, other};
use pools::Pools;
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
    pub labels: &'a BTreeMap<String, String>,
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

/// Why a Service gets no address. The texts are MetalLB's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// No single pool holds all the addresses.
    #[error("{0} is not allowed in config")]
    NotInConfig(String),
    /// The pool is reserved for other namespaces or Services.
    #[error("pool {0} not compatible for ip assignment")]
    Incompatible(PoolName),
    /// Three or more addresses.
    #[error("more than two addresses {0}")]
    TooMany(String),
    /// Two addresses of one family.
    #[error("\"{0}\" \"{1}\" has the same family")]
    SameFamily(IpAddr, IpAddr),
    /// Somebody else's address.
    #[error(transparent)]
    Sharing(#[from] SharingError),
    /// The pool that was asked for does not exist.
    #[error("unknown pool \"{0}\"")]
    UnknownPool(PoolName),
    /// The pool that was asked for has an invalid configuration.
    #[error("pool \"{0}\" has an invalid configuration and gives out no addresses until it is corrected")]
    FrozenPool(PoolName),
    /// The pool that was asked for is full or lacks the family.
    #[error("no available IPs in pool {0} for {1} IPFamily")]
    PoolExhausted(PoolName, Stack),
    /// No pool has anything.
    #[error("no available IPs")]
    Exhausted,
}

/// All pools and everything taken from them.
#[derive(Debug, Clone, Default)]
pub struct Allocator {
    pools: Pools,
    usage: BTreeMap<IpAddr, Usage>,
    /// Addresses in use by sharing key, for keys that allow sharing.
    shared: BTreeMap<SharingKey, BTreeSet<IpAddr>>,
    allocations: BTreeMap<ServiceKey, Allocation>,
    leaving: BTreeMap<ServiceKey, BTreeSet<IpAddr>>,
    freed: bool,
    generation: u64,
}

impl Allocator {
    /// An allocator without pools.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts new pools in force. `frozen` names pool objects that exist but are not usable.
    ///
    /// Nothing moves: addresses that are now in another pool count there, and addresses in no pool stay with their
    /// Services until these are looked at again.
    pub fn set_pools(&mut self, pools: &BTreeMap<PoolName, Pool>, frozen: BTreeSet<PoolName>) {
        self.pools = Pools::new(pools, frozen);
        for address in self.usage.keys() {
            self.pools.occupy(*address);
        }
        for allocation in self.allocations.values_mut() {
            if let Some(pool) = self.pools.of(&allocation.addresses) {
                allocation.pool = pool.clone();
            }
        }
        self.freed = true;
        self.generation += 1;
    }

    /// Whether there is no pool at all, not even a frozen one.
    pub fn has_no_pools(&self) -> bool {
        self.pools.is_empty()
    }

    /// Whether the object of this pool exists but cannot be used.
    pub fn is_frozen(&self, pool: &PoolName) -> bool {
        self.pools.is_frozen(pool)
    }

    /// The pool that holds all the addresses.
    pub fn pool_of(&self, addresses: &[IpAddr]) -> Option<&PoolName> {
        self.pools.of(addresses)
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

    /// The numbers of each usable pool, by name.
    pub fn counters(&self) -> impl Iterator<Item = (&PoolName, Counters)> {
        self.pools.counters()
    }

    /// Grows whenever pools or addresses in use change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether something became available since the last call: then waiting Services are worth another look.
    pub fn take_freed(&mut self) -> bool {
        std::mem::take(&mut self.freed)
    }

    /// Gives exactly these addresses to the Service, in place of what it has.
    ///
    /// # Errors
    /// The addresses are not of one pool, the pool is not for this Service, or others use them. Then nothing changes.
    pub fn assign(&mut self, client: &Client<'_>, addresses: &[IpAddr]) -> Result<PoolName, AllocateError> {
        let Some(pool) = self.pools.of(addresses).cloned() else {
            return Err(AllocateError::NotInConfig(quoted_list(addresses)));
        };
        if !self.pools.allows(&pool, client.key.namespace(), client.labels) {
            return Err(AllocateError::Incompatible(pool));
        }
        self.take(client, addresses, pool.clone())?;
        Ok(pool)
    }

    /// Keeps addresses of a frozen pool with the Service that shows them: no rule of the pool is known, so none is checked
    /// but that nobody else has them.
    ///
    /// # Errors
    /// Others use the addresses.
    pub fn hold(&mut self, client: &Client<'_>, addresses: &[IpAddr], pool: &PoolName) -> Result<(), AllocateError> {
        self.take(client, addresses, pool.clone())
    }

    /// Finds addresses for a Service that named neither addresses nor pool.
    ///
    /// First the pools reserved for it (by priority, then name), then those free for all (by name).
    ///
    /// # Errors
    /// No pool has what is wanted.
    pub fn allocate(&mut self, client: &Client<'_>, wanted: &Wanted) -> Result<Vec<IpAddr>, AllocateError> {
        let pinned = self.pools.pinned_for(client.key.namespace(), client.labels);
        self.first_fit(client, wanted, &pinned)
            .or_else(|| self.first_fit(client, wanted, self.pools.free_for_all()))
            .ok_or(AllocateError::Exhausted)
            .and_then(|addresses| self.assign(client, &addresses).map(|_| addresses))
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
    ) -> Result<Vec<IpAddr>, AllocateError> {
        if self.pools.is_frozen(pool) {
            return Err(AllocateError::FrozenPool(pool.clone()));
        }
        if !self.pools.contains(pool) {
            return Err(AllocateError::UnknownPool(pool.clone()));
        }
        let addresses = self
            .first_fit(client, wanted, std::slice::from_ref(pool))
            .ok_or_else(|| AllocateError::PoolExhausted(pool.clone(), wanted.stack))?;
        self.assign(client, &addresses).map(|_| addresses)
    }

    /// Adds an address of the missing family, from the same pool, behind the one the Service has.
    ///
    /// # Errors
    /// The pool has none, or the Service does not have exactly one address.
    pub fn add_family(&mut self, client: &Client<'_>) -> Result<IpAddr, AllocateError> {
        let Some(Allocation { pool, addresses }) = self.allocations.get(client.key).cloned() else {
            return Err(AllocateError::Exhausted);
        };
        let [first] = addresses[..] else { return Err(AllocateError::TooMany(quoted_list(&addresses))) };
        let missing = other(Family::of(first));
        let second =
            self.pick(client, &pool, missing).ok_or(AllocateError::PoolExhausted(pool, Stack::Single(missing)))?;
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

    fn take(&mut self, client: &Client<'_>, addresses: &[IpAddr], pool: PoolName) -> Result<(), AllocateError> {
        match addresses {
            [] | [_] => {}
            [one, two] if Family::of(*one) == Family::of(*two) => return Err(AllocateError::SameFamily(*one, *two)),
            [_, _] => {}
            _ => return Err(AllocateError::TooMany(quoted_list(addresses))),
        }
        for address in addresses {
            if let Some(usage) = self.usage.get(address) {
                usage.admits(*address, client.key, client.sharing, client.ports)?;
            }
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
        }
        Ok(())
    }

    fn enter(&mut self, client: &Client<'_>, address: IpAddr) {
        let usage = self.usage.entry(address).or_default();
        let new = usage.users.is_empty();
        let old_key = usage.key.clone();
        self.freed |= usage.enter(client.key, client.sharing, client.ports);
        if old_key != *client.sharing {
            unlist(&mut self.shared, &old_key, address);
        }
        if !client.sharing.sharing.is_empty() {
            self.shared.entry(client.sharing.clone()).or_default().insert(address);
        }
        if new {
            self.pools.occupy(address);
            self.generation += 1;
        }
    }

    fn free(&mut self, service: &ServiceKey, address: IpAddr) {
        let Some(usage) = self.usage.get_mut(&address) else { return };
        if !usage.leave(service) {
            return;
        }
        self.freed = true;
        if usage.users.is_empty() {
            let key = std::mem::take(&mut usage.key);
            self.usage.remove(&address);
            unlist(&mut self.shared, &key, address);
            self.pools.vacate(address);
            self.generation += 1;
        }
    }

    /// The addresses the first pool that fits would give. A dual-stack Service that prefers both families takes a pool
    /// with both before any that comes earlier with one.
    fn first_fit(&self, client: &Client<'_>, wanted: &Wanted, pools: &[PoolName]) -> Option<Vec<IpAddr>> {
        let mut fallback: [Option<IpAddr>; 2] = [None, None];
        for pool in pools {
            match wanted.stack {
                Stack::Single(family) => {
                    if let Some(address) = self.pick(client, pool, family) {
                        return Some(vec![address]);
                    }
                }
                Stack::Dual => {
                    let (v4, v6) = (self.pick(client, pool, Family::V4), self.pick(client, pool, Family::V6));
                    if let (Some(v4), Some(v6)) = (v4, v6) {
                        return Some(vec![v4, v6]);
                    }
                    let [primary, secondary] = &mut fallback;
                    let (first, second) = if wanted.primary == Family::V4 { (v4, v6) } else { (v6, v4) };
                    *primary = primary.or(first);
                    *secondary = secondary.or(second);
                }
            }
        }
        let [primary, secondary] = fallback;
        primary.or(secondary).filter(|_| wanted.accepts_one()).map(|address| vec![address])
    }

    /// The lowest address of a pool that this Service may use: a free one, one it shares, or one it is just leaving.
    fn pick(&self, client: &Client<'_>, pool: &PoolName, family: Family) -> Option<IpAddr> {
        let space = self.pools.space(pool)?;
        let shared = self.shared.get(client.sharing).into_iter().flatten();
        let own = self.leaving.get(client.key).into_iter().flatten();
        shared
            .chain(own)
            .filter(|address| Family::of(**address) == family)
            .filter_map(|address| Some((space.position(*address)?, *address)))
            .filter(|(_, address)| {
                self.usage
                    .get(address)
                    .is_none_or(|usage| usage.admits(*address, client.key, client.sharing, client.ports).is_ok())
            })
            .chain(space.lowest_free(family))
            .min()
            .map(|(_, address)| address)
    }
}

fn unlist(shared: &mut BTreeMap<SharingKey, BTreeSet<IpAddr>>, key: &SharingKey, address: IpAddr) {
    if let Some(addresses) = shared.get_mut(key) {
        addresses.remove(&address);
        if addresses.is_empty() {
            shared.remove(key);
        }
    }
}

/// A list as Go prints it with `%q`: `["192.0.2.1" "2001:db8::1"]`.
pub fn quoted_list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("{:?}", item.to_string())).collect();
    format!("[{}]", items.join(" "))
}
