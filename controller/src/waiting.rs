//! Who waits for what, oldest first.
//!
//! ```text
//!  Opportunity::Pool(p, IPv4) ──▶ queues (p, IPv4) (p, both) (p, either), and those of "any pool" if p is free for all
//!  Opportunity::Address(a)    ──▶ queues of the requests that name a
//!  Opportunity::Key(k)        ──▶ queues of k, one for each set of ports and place
//! ```
//! Everybody in a queue has the same chances: where the first one is refused, the others would be too. So what becomes
//! available costs one attempt per queue and not one per Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use config::{Family, PoolName};

use crate::allocator::family::{Stack, Wanted};
use crate::allocator::sharing::{Port, SharingKey};
use crate::allocator::{Opportunity, ServiceKey};

/// What would help a Service that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// Only a change of the Service or of the pools.
    Change,
    /// A free address in one of these pools or, with `any`, in a pool that is free for all.
    Pools {
        /// Pools by name.
        pools: Vec<PoolName>,
        /// Whether pools free for all will do.
        any: bool,
        /// What it needs of them.
        need: Need,
    },
    /// Exactly these addresses.
    Addresses(Vec<IpAddr>),
}

/// Which free addresses a Service needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// One of this family.
    One(Family),
    /// One of each family, from one pool.
    Both,
    /// Both if possible, else one.
    Either,
}

impl Need {
    /// What a Service needs that has nothing.
    pub fn of(wanted: &Wanted) -> Self {
        match wanted.stack {
            Stack::Single(family) => Self::One(family),
            Stack::Dual if wanted.accepts_one() => Self::Either,
            Stack::Dual => Self::Both,
        }
    }
}

/// Number of a queue.
pub type QueueId = u64;

/// Age first, then name.
pub type Turn = (i64, ServiceKey);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Any(Need),
    Pool(PoolName, Need),
    Addresses(Vec<IpAddr>),
}

type Sharers = (SharingKey, Vec<Port>);

#[derive(Debug)]
struct Queue {
    place: Place,
    sharers: Option<Sharers>,
    members: BTreeSet<Turn>,
}

/// All Services that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    members: BTreeMap<ServiceKey, (i64, Vec<QueueId>)>,
    queues: BTreeMap<QueueId, Queue>,
    ids: BTreeMap<(Place, Option<Sharers>), QueueId>,
    by_address: BTreeMap<IpAddr, BTreeSet<QueueId>>,
    by_key: BTreeMap<SharingKey, BTreeSet<QueueId>>,
    next: QueueId,
}

impl Waiting {
    /// A Service waits, in place of whatever it waited for before.
    pub fn insert(&mut self, turn: Turn, wait: &Wait, sharing: &SharingKey, ports: &[Port]) {
        let (created, key) = turn;
        self.remove(&key);
        let mut places = Vec::new();
        match wait {
            Wait::Change => {}
            Wait::Pools { pools, any, need } => {
                places.extend(any.then_some(Place::Any(*need)));
                places.extend(pools.iter().map(|pool| Place::Pool(pool.clone(), *need)));
            }
            Wait::Addresses(addresses) => places.push(Place::Addresses(addresses.clone())),
        }
        let mut queues = Vec::new();
        for place in places {
            if !sharing.sharing.is_empty() {
                queues.push(self.queue(place.clone(), Some((sharing.clone(), ports.to_vec()))));
            }
            queues.push(self.queue(place, None));
        }
        for id in &queues {
            if let Some(queue) = self.queues.get_mut(id) {
                queue.members.insert((created, key.clone()));
            }
        }
        self.members.insert(key, (created, queues));
    }

    fn queue(&mut self, place: Place, sharers: Option<Sharers>) -> QueueId {
        let name = (place, sharers);
        if let Some(id) = self.ids.get(&name) {
            return *id;
        }
        self.next += 1;
        let id = self.next;
        if let Some((key, _)) = &name.1 {
            self.by_key.entry(key.clone()).or_default().insert(id);
        } else if let Place::Addresses(addresses) = &name.0 {
            for address in addresses {
                self.by_address.entry(*address).or_default().insert(id);
            }
        }
        let (place, sharers) = name.clone();
        self.ids.insert(name, id);
        self.queues.insert(id, Queue { place, sharers, members: BTreeSet::new() });
        id
    }

    /// A Service does not wait any more.
    pub fn remove(&mut self, key: &ServiceKey) {
        let Some((created, queues)) = self.members.remove(key) else { return };
        let turn = (created, key.clone());
        for id in queues {
            let Some(queue) = self.queues.get_mut(&id) else { continue };
            queue.members.remove(&turn);
            if queue.members.is_empty() {
                self.close(id);
            }
        }
    }

    fn close(&mut self, id: QueueId) {
        let Some(Queue { place, sharers, .. }) = self.queues.remove(&id) else { return };
        if let Some((key, _)) = &sharers {
            discard(&mut self.by_key, key, id);
        } else if let Place::Addresses(addresses) = &place {
            for address in addresses {
                discard(&mut self.by_address, address, id);
            }
        }
        self.ids.remove(&(place, sharers));
    }

    /// Everybody stops waiting.
    pub fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::default() };
    }

    /// Whether a Service waits.
    pub fn contains(&self, key: &ServiceKey) -> bool {
        self.members.contains_key(key)
    }

    /// All Services that wait, by name.
    pub fn keys(&self) -> impl Iterator<Item = &ServiceKey> {
        self.members.keys()
    }

    /// How many Services wait.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The queues in which an opportunity may help the first one. `any` tells whether the pool is free for all.
    pub fn queues(&self, opportunity: &Opportunity, any: bool) -> Vec<QueueId> {
        match opportunity {
            Opportunity::Pool(pool, family) => {
                let needs = [Need::One(*family), Need::Both, Need::Either];
                let here = needs.iter().map(|need| Place::Pool(pool.clone(), *need));
                let anywhere = needs.iter().filter(|_| any).map(|need| Place::Any(*need));
                here.chain(anywhere).filter_map(|place| self.ids.get(&(place, None)).copied()).collect()
            }
            Opportunity::Address(address) => self.by_address.get(address).into_iter().flatten().copied().collect(),
            Opportunity::Key(key) => self.by_key.get(key).into_iter().flatten().copied().collect(),
        }
    }

    /// Whether the members of a queue ask for certain addresses. The reason why they do not get them names others, so
    /// every one of them is asked when something about these addresses changes.
    pub fn names_addresses(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(|queue| matches!(queue.place, Place::Addresses(_)))
    }

    /// Who comes first in a queue.
    pub fn first(&self, queue: QueueId) -> Option<&Turn> {
        self.queues.get(&queue).and_then(|queue| queue.members.first())
    }

    /// Who comes behind a member, or behind where it was.
    pub fn behind(&self, queue: QueueId, turn: &Turn) -> Option<&Turn> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.queues.get(&queue).and_then(|queue| queue.members.range((Excluded(turn), Unbounded)).next())
    }

    /// Whether a Service is in a queue.
    pub fn is_in(&self, queue: QueueId, turn: &Turn) -> bool {
        self.queues.get(&queue).is_some_and(|queue| queue.members.contains(turn))
    }
}

fn discard<K: Ord>(index: &mut BTreeMap<K, BTreeSet<QueueId>>, key: &K, id: QueueId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(created: i64, name: &str) -> Turn {
        (created, ServiceKey::new("ns", name))
    }

    fn firsts(waiting: &Waiting, opportunity: &Opportunity, any: bool) -> Vec<String> {
        let queues = waiting.queues(opportunity, any);
        queues.into_iter().filter_map(|id| waiting.first(id)).map(|(_, key)| key.name().to_owned()).collect()
    }

    #[test]
    fn an_opportunity_names_the_oldest_of_each_queue_it_concerns() {
        let mut waiting = Waiting::default();
        let none = SharingKey::default();
        let pools = |pools: &[&str], any: bool, need: Need| Wait::Pools {
            pools: pools.iter().map(|name| PoolName::from(*name)).collect(),
            any,
            need,
        };
        waiting.insert(turn(3, "young"), &pools(&[], true, Need::One(Family::V4)), &none, &[]);
        waiting.insert(turn(2, "old"), &pools(&["r"], true, Need::One(Family::V4)), &none, &[]);
        waiting.insert(turn(1, "six"), &pools(&["p"], false, Need::One(Family::V6)), &none, &[]);
        waiting.insert(turn(9, "both"), &pools(&["p"], false, Need::Both), &none, &[]);
        waiting.insert(turn(0, "stuck"), &Wait::Change, &none, &[]);
        let address: IpAddr = "192.0.2.1".parse().expect("address");
        let key = SharingKey { sharing: "k".into(), backend: String::new() };
        waiting.insert(turn(5, "named"), &Wait::Addresses(vec![address]), &key, &[]);
        let v4 = |pool: &str| Opportunity::Pool(PoolName::from(pool), Family::V4);
        assert_eq!(firsts(&waiting, &v4("p"), true), ["both", "old"]);
        assert_eq!(firsts(&waiting, &v4("p"), false), ["both"]);
        assert_eq!(firsts(&waiting, &v4("r"), false), ["old"]);
        assert_eq!(firsts(&waiting, &Opportunity::Address(address), false), ["named"]);
        assert_eq!(firsts(&waiting, &Opportunity::Key(key), false), ["named"]);
        waiting.remove(&ServiceKey::new("ns", "old"));
        assert_eq!(firsts(&waiting, &v4("p"), true), ["both", "young"]);
        for name in ["young", "six", "both", "stuck", "named"] {
            waiting.remove(&ServiceKey::new("ns", name));
        }
        let empty = waiting.queues.is_empty() && waiting.ids.is_empty() && waiting.by_address.is_empty();
        assert!(empty && waiting.by_key.is_empty() && waiting.is_empty());
    }
}
