//! What this node answers for. One writer (the announcer), many readers (the responders).
//!
//! ```text
//! announcer --set/remove--> Table { address -> interfaces, standing } <--standing?-- ARP and NDP responders, one per interface
//! ```

use std::collections::{BTreeMap, btree_map};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::announce::Interfaces;

/// What is done about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Questions are answered.
    Answering,
    /// Nothing is said: it is being found out whether somebody else has the address, or somebody has.
    Unsure,
}

#[derive(Debug)]
struct Entry {
    interfaces: Interfaces,
    standing: Standing,
}

type Entries = BTreeMap<IpAddr, Entry>;

/// The addresses this node is in charge of and the interfaces they are answered on. Clones share the entries.
#[derive(Debug, Clone, Default)]
pub struct Table {
    entries: Arc<RwLock<Entries>>,
}

impl Table {
    /// What is done about `ip` on `interface`; `None` when it is not ours there.
    pub fn standing(&self, ip: IpAddr, interface: &str) -> Option<Standing> {
        self.read().get(&ip).filter(|entry| entry.interfaces.allows(interface)).map(|entry| entry.standing)
    }

    /// Whether a question for `ip` that came in on `interface` is to be answered.
    pub fn answers(&self, ip: IpAddr, interface: &str) -> bool {
        self.standing(ip, interface) == Some(Standing::Answering)
    }

    /// Is in charge of `ip` from now on, on these interfaces only; returns those that were in force before. `standing` holds for
    /// an address that is new here, others keep theirs.
    pub fn set(&self, ip: IpAddr, interfaces: Interfaces, standing: Standing) -> Option<Interfaces> {
        match self.write().entry(ip) {
            btree_map::Entry::Occupied(mut known) => {
                Some(std::mem::replace(&mut known.get_mut().interfaces, interfaces))
            }
            btree_map::Entry::Vacant(new) => {
                new.insert(Entry { interfaces, standing });
                None
            }
        }
    }

    /// Answers for `ip` from now on, if it is still in the table.
    pub fn answer(&self, ip: IpAddr) {
        if let Some(entry) = self.write().get_mut(&ip) {
            entry.standing = Standing::Answering;
        }
    }

    /// Has no part in `ip` any more; returns whether it was in the table.
    pub fn remove(&self, ip: IpAddr) -> bool {
        self.write().remove(&ip).is_some()
    }

    /// The number of addresses.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether this node is in charge of no address.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// The addresses that are ours on `interface`, ascending.
    pub fn on(&self, interface: &str) -> Vec<IpAddr> {
        self.read().iter().filter(|(_, entry)| entry.interfaces.allows(interface)).map(|(ip, _)| *ip).collect()
    }

    // A panic elsewhere cannot leave a BTreeMap half written here: insert and remove are the only writes.
    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_answered_on_its_interfaces_only() {
        let table = Table::default();
        table.set(ip("192.0.2.1"), Interfaces::All, Standing::Answering);
        table.set(ip("192.0.2.2"), Interfaces::named(["eth1"]), Standing::Answering);
        assert!(table.answers(ip("192.0.2.1"), "eth0"));
        assert!(!table.answers(ip("192.0.2.2"), "eth0"));
        assert!(table.answers(ip("192.0.2.2"), "eth1"));
        assert!(!table.answers(ip("192.0.2.3"), "eth1"));
        assert_eq!(table.on("eth0"), [ip("192.0.2.1")]);
    }

    #[test]
    fn setting_again_replaces_the_interfaces() {
        let table = Table::default();
        table.set(ip("192.0.2.1"), Interfaces::named(["eth0"]), Standing::Answering);
        assert_eq!(
            table.set(ip("192.0.2.1"), Interfaces::named(["eth1"]), Standing::Answering),
            Some(Interfaces::named(["eth0"]))
        );
        assert!(!table.answers(ip("192.0.2.1"), "eth0"));
        assert!(table.remove(ip("192.0.2.1")));
        assert!(!table.remove(ip("192.0.2.1")));
    }

    #[test]
    fn an_unsure_address_is_ours_but_not_answered_until_it_is_said_so() {
        let table = Table::default();
        table.set(ip("192.0.2.1"), Interfaces::All, Standing::Unsure);
        assert_eq!(table.standing(ip("192.0.2.1"), "eth0"), Some(Standing::Unsure));
        table.set(ip("192.0.2.1"), Interfaces::named(["eth0"]), Standing::Answering);
        assert!(!table.answers(ip("192.0.2.1"), "eth0"), "known addresses keep their standing");
        table.answer(ip("192.0.2.1"));
        assert!(table.answers(ip("192.0.2.1"), "eth0"));
        assert!(table.remove(ip("192.0.2.1")));
        table.answer(ip("192.0.2.1"));
        assert!(table.is_empty(), "an answer to a probe brings no address back");
    }
}
