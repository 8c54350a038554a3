//! Names and addresses of everything in the test network. Pure.
//!
//! ```text
//!            hub 172.30.0.1  fc00:f853:ccd:e793::1     (etcd, API server, controller manager, scheduler; router)
//!  ──┬──────────┬──────────┬──────────┬──────────┬──  bridge lab0, one layer-2 segment, 172.30.0.0/16 and a /64
//!  node1      node2      node3      client     light1
//!  .0.11      .0.12      .0.13      .0.200     .1.1
//!  pods 10.244.0.0/24, fd00:244:0:0::/64 behind node1, and so on
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Name of the namespace in which the control plane runs.
pub const HUB: &str = "hub";
/// Name of the host outside the cluster.
pub const CLIENT: &str = "client";
/// The bridge that joins all hosts.
pub const BRIDGE: &str = "lab0";
/// Every host's interface on the bridge.
pub const INTERFACE: &str = "eth0";
/// Prefix lengths of the segment.
pub const PREFIX_V4: u8 = 16;
/// Prefix lengths of the segment.
pub const PREFIX_V6: u8 = 64;
/// Port of the API server.
pub const API_PORT: u16 = 6443;
/// Cluster addresses of Services, both families.
pub const SERVICE_CIDR: &str = "10.96.0.0/16,fd00:96::/112";
/// Addresses of all pods, both families.
pub const POD_CIDR: &str = "10.244.0.0/16,fd00:244::/56";
/// Addresses on the segment that no host has: for pools of load balancer addresses.
pub const POOL_V4: &str = "172.30.100.1-172.30.100.250";
/// Addresses on the segment that no host has: for pools of load balancer addresses.
pub const POOL_V6: &str = "fc00:f853:ccd:e793:100::1-fc00:f853:ccd:e793:100::fa";
/// Most full nodes a cluster can have.
pub const MAX_NODES: usize = 50;
/// Most light nodes a cluster can have.
pub const MAX_LIGHT_NODES: usize = 4000;

const SEGMENT_V6: [u16; 4] = [0xfc00, 0xf853, 0x0ccd, 0xe793];

/// A host on the segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Host name, and name of its network namespace.
    pub name: String,
    /// Its address on the segment.
    pub v4: Ipv4Addr,
    /// Its address on the segment.
    pub v6: Ipv6Addr,
}

impl Place {
    fn new(name: String, third: u8, fourth: u8) -> Self {
        let [a, b, c, d] = SEGMENT_V6;
        // The IPv6 suffix shows the IPv4 one: 172.30.0.11 and ::11.
        let suffix = format!("{third}{fourth:03}").parse::<u32>().map_or(0, decimal_as_hex);
        let v6 = Ipv6Addr::new(a, b, c, d, 0, 0, (suffix >> 16) as u16, (suffix & 0xffff) as u16);
        Self { name, v4: Ipv4Addr::new(172, 30, third, fourth), v6 }
    }

    /// Both addresses, IPv4 first.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [IpAddr::V4(self.v4), IpAddr::V6(self.v6)]
    }
}

/// 1200 becomes 0x1200.
fn decimal_as_hex(number: u32) -> u32 {
    let (mut rest, mut hex, mut shift) = (number, 0, 0);
    while rest > 0 {
        hex |= (rest % 10) << shift;
        rest /= 10;
        shift += 4;
    }
    hex
}

/// Where the control plane runs; also the router of the segment.
pub fn hub() -> Place {
    Place::new(HUB.to_owned(), 0, 1)
}

/// The host outside the cluster.
pub fn client() -> Place {
    Place::new(CLIENT.to_owned(), 0, 200)
}

/// Full node `number`, from 1.
pub fn node(number: usize) -> Place {
    Place::new(format!("node{number}"), 0, u8::try_from(10 + number).unwrap_or(u8::MAX))
}

/// Light node `number`, from 1.
pub fn light(number: usize) -> Place {
    let (third, fourth) = (1 + (number - 1) / 250, 1 + (number - 1) % 250);
    Place::new(format!("light{number}"), u8::try_from(third).unwrap_or(99), u8::try_from(fourth).unwrap_or(u8::MAX))
}

/// IPv4 pods of full node `number`.
pub fn pods_v4(number: usize) -> String {
    format!("10.244.{}.0/24", number - 1)
}

/// IPv6 pods of full node `number`.
pub fn pods_v6(number: usize) -> String {
    format!("fd00:244:0:{:x}::/64", number - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn addresses_of_node_and_client_look_alike_in_both_families() {
        assert_eq!(node(1).v4.to_string(), "172.30.0.11");
        assert_eq!(node(1).v6.to_string(), "fc00:f853:ccd:e793::11");
        assert_eq!(client().v6.to_string(), "fc00:f853:ccd:e793::200");
        assert_eq!(hub().v6.to_string(), "fc00:f853:ccd:e793::1");
        assert_eq!(light(251).v4.to_string(), "172.30.2.1");
        assert_eq!(light(251).v6.to_string(), "fc00:f853:ccd:e793::2001");
    }

    #[test]
    fn no_two_hosts_share_an_address() {
        let mut places: Vec<Place> = (1..=MAX_NODES).map(node).chain((1..=MAX_LIGHT_NODES).map(light)).collect();
        places.extend([hub(), client()]);
        let v4: BTreeSet<_> = places.iter().map(|place| place.v4).collect();
        let v6: BTreeSet<_> = places.iter().map(|place| place.v6).collect();
        assert_eq!((v4.len(), v6.len()), (places.len(), places.len()));
    }
}
