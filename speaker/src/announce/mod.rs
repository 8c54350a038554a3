//! Who announces what. Pure: the cluster as this node sees it goes in, a decision with its reason comes out.
//!
//! ```text
//! Service, endpoints, pools and advertisements, candidate nodes, interfaces
//!      |
//!      v  l2::decide        (one call per Service; every speaker computes the same owner)
//! Ok(Announcement { addresses -> interfaces })   or   Err(Reason)      why this node does not
//!         l2::silence  -->  Option<Silence>                            why no node does
//! ```

pub mod endpoints;
pub mod l2;
pub mod silence;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// The protocol name in events, metrics and logs.
pub const LAYER2: &str = "layer2";

/// The interfaces an address is answered on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// Every port.
    All,
    /// Only these.
    Named(BTreeSet<String>),
}

impl Interfaces {
    /// Only these interfaces.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Named(names.into_iter().map(str::to_owned).collect())
    }

    /// Whether the interface called `name` is among them.
    pub fn allows(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }

    /// The interfaces that are in one or the other.
    pub fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Named(mine), Self::Named(theirs)) => Self::Named(mine.union(theirs).cloned().collect()),
            (Self::All, _) | (_, Self::All) => Self::All,
        }
    }
}

/// What this node announces for one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The addresses answered, with the interfaces they are answered on.
    pub addresses: BTreeMap<IpAddr, Interfaces>,
    /// Addresses this node owns but cannot answer: the advertisements name only interfaces the node does not have.
    pub unreachable: BTreeSet<IpAddr>,
}

impl Announcement {
    /// No address at all.
    pub fn nothing() -> Self {
        Self { addresses: BTreeMap::new(), unreachable: BTreeSet::new() }
    }
}

/// Why this node does not announce a Service. The text is MetalLB's, as its logs show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The Service is gone, or of a load balancer class that is not ours.
    ServiceDeleted,
    /// The Service is of another type.
    NotLoadBalancer,
    /// The Service has no address yet.
    NoIpAllocated,
    /// An entry of the Service's status holds no IP address.
    InvalidIp,
    /// No single pool holds all addresses.
    IpNotAllowed,
    /// The Service shares its address, and an L2Advertisement picks Services by label: two Services with one address could
    /// end up on two nodes.
    SharedIpWithServiceSelector,
    /// No L2Advertisement of the pool matches both the Service and this node.
    NoMatchingAdvertisement,
    /// Another node announces, or none can.
    NotOwner(Owner),
    /// The Service goes on with other addresses.
    AddressChanged,
    /// This node has none of the interfaces that the advertisements name.
    NoInterface,
}

/// The first two in the order of election: who announces, and who would if that one were gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leaders<'a> {
    /// Announces.
    pub owner: Option<&'a str>,
    /// Stands behind the owner.
    pub next: Option<&'a str>,
}

/// Who announces instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This node.
    Node(String),
    /// Nobody: no endpoint of the Service can serve.
    NoEndpoints,
    /// Nobody: no node is alive, allowed and, with external traffic policy Local, has a serving endpoint.
    NoCandidate,
    /// This node answers for the address, but for another Service: this one cannot be served here.
    Sharing,
}

impl Reason {
    /// One more detail than MetalLB's word gives, for logs.
    pub fn detail(&self) -> &str {
        match self {
            Self::NotOwner(Owner::Node(name)) => name,
            Self::NotOwner(Owner::NoEndpoints) => "no serving endpoint",
            Self::NotOwner(Owner::NoCandidate) => "no eligible node",
            Self::NotOwner(Owner::Sharing) => "only another service with the same address can be served here",
            Self::SharedIpWithServiceSelector => {
                "allow-shared-ip is incompatible with serviceSelectors on L2 advertisements"
            }
            Self::ServiceDeleted
            | Self::NotLoadBalancer
            | Self::NoIpAllocated
            | Self::InvalidIp
            | Self::IpNotAllowed
            | Self::AddressChanged
            | Self::NoInterface
            | Self::NoMatchingAdvertisement => "",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceDeleted => "serviceDeleted",
            Self::NotLoadBalancer => "notLoadBalancer",
            Self::NoIpAllocated => "noIPAllocated",
            Self::InvalidIp => "invalidIP",
            Self::IpNotAllowed => "ipNotAllowed",
            Self::SharedIpWithServiceSelector => "sharedIPWithServiceSelector",
            Self::NoMatchingAdvertisement => "noMatchingAdvertisement",
            Self::NotOwner(_) => "notOwner",
            Self::AddressChanged => "loadBalancerIPChanged",
            Self::NoInterface => "noInterface",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_interfaces_swallow_a_list_and_lists_add_up() {
        let (a, b) = (Interfaces::named(["eth0"]), Interfaces::named(["eth1"]));
        assert_eq!(a.union(&b), Interfaces::named(["eth0", "eth1"]));
        assert_eq!(a.union(&Interfaces::All), Interfaces::All);
        assert_eq!(Interfaces::All.union(&b), Interfaces::All);
    }

    #[test]
    fn reasons_read_as_metallb_logs_them() {
        assert_eq!(Reason::NoIpAllocated.to_string(), "noIPAllocated");
        assert_eq!(Reason::NotOwner(Owner::Node("b".to_owned())).to_string(), "notOwner");
        assert_eq!(Reason::NotOwner(Owner::Node("b".to_owned())).detail(), "b");
    }
}
