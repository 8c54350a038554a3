//! What this node answers for. One writer (the announcer), many readers (the responders).
//!
//! ```text
//! announcer --set/remove--> Table { address -> interfaces } <--answers?-- ARP and NDP responders, one per interface
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::announce::Interfaces;

type Entries = BTreeMap<IpAddr, Interfaces>;

/// The addresses this node answers for and the interfaces it does so on. Clones share the entries.
#[derive(Debug, Clone, Default)]
pub struct Table {
    entries: Arc<RwLock<Entries>>,
}

impl Table {
    /// Whether a question for `ip` that came in on `interface` is to be answered.
    pub fn answers(&self, ip: IpAddr, interface: &str) -> bool {
        self.read().get(&ip).is_some_and(|interfaces| interfaces.allows(interface))
    }

    /// Whether `ip` is answered anywhere.
    pub fn holds(&self, ip: IpAddr) -> bool {
        self.read().contains_key(&ip)
    }

    /// Answers for `ip` from now on, on these interfaces only; returns what was in force before.
    pub fn set(&self, ip: IpAddr, interfaces: Interfaces) -> Option<Interfaces> {
        self.write().insert(ip, interfaces)
    }

    /// Stops answering for `ip`; returns whether it was answered before.
    pub fn remove(&self, ip: IpAddr) -> bool {
        self.write().remove(&ip).is_some()
    }

    /// The addresses answered on `interface`, ascending.
    pub fn on(&self, interface: &str) -> Vec<IpAddr> {
        self.read().iter().filter(|(_, allowed)| allowed.allows(interface)).map(|(ip, _)| *ip).collect()
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
        table.set(ip("192.0.2.1"), Interfaces::All);
        table.set(ip("192.0.2.2"), Interfaces::named(["eth1"]));
        assert!(table.answers(ip("192.0.2.1"), "eth0"));
        assert!(!table.answers(ip("192.0.2.2"), "eth0"));
        assert!(table.answers(ip("192.0.2.2"), "eth1"));
        assert!(!table.answers(ip("192.0.2.3"), "eth1"));
        assert_eq!(table.on("eth0"), [ip("192.0.2.1")]);
    }

    #[test]
    fn setting_again_replaces_the_interfaces() {
        let table = Table::default();
        table.set(ip("192.0.2.1"), Interfaces::named(["eth0"]));
        assert_eq!(table.set(ip("192.0.2.1"), Interfaces::named(["eth1"])), Some(Interfaces::named(["eth0"])));
        assert!(!table.answers(ip("192.0.2.1"), "eth0"));
        assert!(table.remove(ip("192.0.2.1")));
        assert!(!table.remove(ip("192.0.2.1")));
    }
}
