//! Who may use an address together.
//!
//! ```text
//! address ── Usage { key, users, port ─▶ user }
//!            a newcomer needs: the same non-empty sharing key, the same backend key, ports nobody has
//!            the only user of an address may change its key in place
//! ```

use std::collections::BTreeMap;
use std::fmt;

use super::ServiceKey;

/// What must be equal for two Services to share an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharingKey {
    /// Value of the `allow-shared-ip` annotation; empty means no sharing.
    pub sharing: String,
    /// The pod selector when external traffic policy is Local, else empty: traffic kept on the node can only be shared
    /// by Services with the same endpoints.
    pub backend: String,
}

impl SharingKey {
    /// Whether the two allow one address for both.
    pub fn allows(&self, other: &Self) -> bool {
        !self.sharing.is_empty() && self == other
    }
}

/// One port of a Service. Displayed as `TCP/80`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port clients connect to.
    pub number: i32,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.number)
    }
}

/// A transport protocol. Displayed in capitals, as Kubernetes spells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `SCTP`
    Sctp,
    /// `TCP`
    Tcp,
    /// `UDP`
    Udp,
    /// Anything that Kubernetes may come to know.
    Other(Box<str>),
}

impl From<&str> for Protocol {
    fn from(name: &str) -> Self {
        match name {
            "SCTP" => Self::Sctp,
            "TCP" => Self::Tcp,
            "UDP" => Self::Udp,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sctp => "SCTP",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Other(name) => name,
        })
    }
}

/// Why a Service cannot join the users of an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SharingError {
    /// The others do not share with this Service.
    #[error("can't change sharing key for \"{service}\", address also in use by {others}")]
    Key {
        /// The Service that asks.
        service: ServiceKey,
        /// The others, joined by commas.
        others: String,
    },
    /// A port is taken.
    #[error("port {port} is already in use on \"{address}\"")]
    Port {
        /// The port both want.
        port: Port,
        /// The address.
        address: std::net::IpAddr,
    },
}

/// The users of one address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// The key all users agree on.
    pub key: SharingKey,
    /// Users, ordered.
    users: Vec<ServiceKey>,
    /// Whose each port is; empty while the key allows no sharing, because then nobody can ask.
    ports: BTreeMap<Port, ServiceKey>,
}

/// What the entry of a user changed for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entered {
    /// The address is used under this key since now.
    pub rekeyed: bool,
    /// A port that was taken is free.
    pub port_freed: bool,
}

impl Usage {
    /// Users, ordered.
    pub fn users(&self) -> &[ServiceKey] {
        &self.users
    }

    /// Whether `service` may use the address with this key and these ports.
    ///
    /// # Errors
    /// Others use it under a key that does not allow sharing, or have one of the ports.
    pub fn admits(
        &self,
        address: std::net::IpAddr,
        service: &ServiceKey,
        key: &SharingKey,
        ports: &[Port],
    ) -> Result<(), SharingError> {
        let others = || self.users.iter().filter(|user| *user != service);
        if !self.key.allows(key) && others().next().is_some() {
            let others = others().map(ServiceKey::as_str).collect::<Vec<_>>().join(",");
            return Err(SharingError::Key { service: service.clone(), others });
        }
        for port in ports {
            if self.ports.get(port).is_some_and(|owner| owner != service) {
                return Err(SharingError::Port { port: port.clone(), address });
            }
        }
        Ok(())
    }

    /// Adds or updates a user that is admitted.
    pub fn enter(&mut self, service: &ServiceKey, key: &SharingKey, ports: &[Port]) -> Entered {
        let mut entered = Entered { rekeyed: self.key != *key || self.users.is_empty(), port_freed: false };
        if self.key != *key {
            self.key = key.clone();
        }
        match self.users.binary_search(service) {
            Ok(_) => entered.port_freed = self.drop_ports(service, ports),
            Err(index) => self.users.insert(index, service.clone()),
        }
        if !key.sharing.is_empty() {
            self.ports.extend(ports.iter().map(|port| (port.clone(), service.clone())));
        }
        entered
    }

    /// Removes a user. Returns whether it was one.
    pub fn leave(&mut self, service: &ServiceKey) -> bool {
        match self.users.binary_search(service) {
            Ok(index) => {
                self.users.remove(index);
                self.drop_ports(service, &[]);
                true
            }
            Err(_) => false,
        }
    }

    /// Takes from a user all ports but these. Returns whether it had others.
    fn drop_ports(&mut self, service: &ServiceKey, keep: &[Port]) -> bool {
        let before = self.ports.len();
        self.ports.retain(|port, owner| owner != service || keep.contains(port));
        self.ports.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(sharing: &str, backend: &str) -> SharingKey {
        SharingKey { sharing: sharing.into(), backend: backend.into() }
    }

    fn tcp(number: i32) -> Port {
        Port { protocol: "TCP".into(), number }
    }

    #[test]
    fn an_address_is_shared_only_with_equal_keys_and_distinct_ports() {
        let service = ServiceKey::new("ns", "new");
        let mut usage = Usage::default();
        usage.enter(&ServiceKey::new("ns", "old"), &key("k", ""), &[tcp(80)]);
        let address = "192.0.2.1".parse().unwrap();
        let in_use = "can't change sharing key for \"ns/new\", address also in use by ns/old";
        let cases = [
            ("same key, other port", key("k", ""), tcp(81), Ok(())),
            (
                "same key, same number, other protocol",
                key("k", ""),
                Port { protocol: "UDP".into(), number: 80 },
                Ok(()),
            ),
            ("same key, same port", key("k", ""), tcp(80), Err("port TCP/80 is already in use on \"192.0.2.1\"")),
            ("other key", key("other", ""), tcp(81), Err(in_use)),
            ("no key", key("", ""), tcp(81), Err(in_use)),
            ("local against cluster", key("k", "app=web"), tcp(81), Err(in_use)),
        ];
        for (name, key, port, expected) in cases {
            let got = usage.admits(address, &service, &key, &[port]).map_err(|error| error.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{name}");
        }
    }

    #[test]
    fn the_only_user_may_change_its_key_and_ports() {
        let service = ServiceKey::new("ns", "a");
        let mut usage = Usage::default();
        assert!(usage.enter(&service, &key("k", ""), &[tcp(80)]).rekeyed);
        usage.admits("192.0.2.1".parse().unwrap(), &service, &key("", ""), &[tcp(81)]).expect("nobody else is there");
        let entered = usage.enter(&service, &key("", ""), &[tcp(81)]);
        assert!(entered.rekeyed && entered.port_freed, "key and port 80 are free for others now");
        assert!(usage.leave(&service) && !usage.leave(&service));
    }
}
