//! Which Services share addresses, directly or through others. Pure.
//!
//! ```text
//!  a: 10.0.0.1 ──┐
//!  b: 10.0.0.1 ──┴─ 2001:db8::1 ── c        group(a) = group(b) = group(c) = {a, b, c}
//!  d: 10.0.0.2                               group(d) = {d}
//! ```
//! An address is answered from one node, so what is decided for one Service of a group depends on the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::state::ServiceKey;

/// Services by address.
#[derive(Debug, Default)]
pub struct Sharing {
    addresses: BTreeMap<ServiceKey, Vec<IpAddr>>,
    services: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
}

impl Sharing {
    /// Puts the addresses of a Service in force, none for one that is gone; returns those that shared or share one with it.
    pub fn set(&mut self, service: &ServiceKey, addresses: &[IpAddr]) -> BTreeSet<ServiceKey> {
        if self.addresses.get(service).map_or(&[][..], Vec::as_slice) == addresses {
            return BTreeSet::new();
        }
        let mut touched = self.group(service);
        for ip in self.addresses.remove(service).unwrap_or_default() {
            if let Some(holders) = self.services.get_mut(&ip) {
                holders.remove(service);
                if holders.is_empty() {
                    self.services.remove(&ip);
                }
            }
        }
        for ip in addresses {
            self.services.entry(*ip).or_default().insert(service.clone());
        }
        if !addresses.is_empty() {
            self.addresses.insert(service.clone(), addresses.to_vec());
        }
        touched.extend(self.group(service));
        touched.remove(service);
        touched
    }

    /// Whether a Service has this address.
    pub fn holds(&self, ip: IpAddr) -> bool {
        self.services.contains_key(&ip)
    }

    /// The Services that share addresses with this one, itself included.
    pub fn group(&self, service: &ServiceKey) -> BTreeSet<ServiceKey> {
        let mut found = BTreeSet::from([service.clone()]);
        let mut waiting = vec![service];
        while let Some(next) = waiting.pop() {
            for ip in self.addresses.get(next).into_iter().flatten() {
                for other in self.services.get(ip).into_iter().flatten() {
                    if !found.contains(other) {
                        found.insert(other.clone());
                        waiting.push(other);
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ServiceKey {
        ServiceKey { namespace: String::from("default"), name: name.to_owned() }
    }

    fn keys(names: &[&str]) -> BTreeSet<ServiceKey> {
        names.iter().map(|name| key(name)).collect()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_group_holds_who_shares_directly_or_through_others() {
        let mut sharing = Sharing::default();
        assert_eq!(sharing.set(&key("a"), &ips(&["10.0.0.1"])), keys(&[]));
        assert_eq!(sharing.set(&key("c"), &ips(&["2001:db8::1"])), keys(&[]));
        assert_eq!(sharing.set(&key("d"), &ips(&["10.0.0.2"])), keys(&[]));
        assert_eq!(sharing.set(&key("b"), &ips(&["10.0.0.1", "2001:db8::1"])), keys(&["a", "c"]));
        assert_eq!(sharing.group(&key("c")), keys(&["a", "b", "c"]));
        assert_eq!(sharing.group(&key("d")), keys(&["d"]));
        assert_eq!(sharing.set(&key("b"), &ips(&["10.0.0.1", "2001:db8::1"])), keys(&[]), "nothing changed");
        assert_eq!(sharing.set(&key("b"), &[]), keys(&["a", "c"]));
        assert_eq!(sharing.group(&key("a")), keys(&["a"]));
        for name in ["a", "c", "d"] {
            sharing.set(&key(name), &[]);
        }
        assert!(sharing.addresses.is_empty() && sharing.services.is_empty());
    }
}
