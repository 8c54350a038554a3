//! The checked configuration. Only valid values exist here: what the rest of the product sees has passed every rule.
//!
//! ```text
//! Resources (as stored) --compile--> Compiled { config: Config, findings: Vec<Finding> }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::family::Family;
use crate::range::Addresses;
use crate::selector::Selector;

/// Everything that is in force. Equal configurations compare equal, so a consumer can skip reloads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Usable pools by name.
    pub pools: BTreeMap<PoolName, Pool>,
    /// Pools that broke or lost a clash, with what of them is good: Services keep the addresses they have from them and go
    /// on being announced, but nothing new is given out.
    pub held: BTreeMap<PoolName, Pool>,
    /// Usable BGP peers by object name.
    pub peers: BTreeMap<String, Peer>,
    /// Usable BFD profiles by object name.
    pub bfd_profiles: BTreeMap<String, BfdProfile>,
}

/// Name of an address pool (the name of its IPAddressPool or AddressPool object).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolName(pub String);

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for PoolName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// One address pool with the advertisements that select it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pool {
    /// The address entries in declared order (addresses are handed out in this order, lowest first).
    pub entries: Vec<PoolEntry>,
    /// Whether Services that name neither pool nor address may get an address of this pool.
    pub auto_assign: bool,
    /// Skip IPv4 addresses whose last octet is 0 or 255.
    pub avoid_buggy_ips: bool,
    /// Restriction to namespaces or Services; its presence removes the pool from the pools free for all.
    pub service_allocation: Option<ServiceAllocation>,
    /// L2 advertisements that select this pool, by name. Shared between pools: one advertisement often selects them all.
    pub l2_advertisements: Vec<Arc<L2Advertisement>>,
    /// BGP advertisements that select this pool, by name.
    pub bgp_advertisements: Vec<Arc<BgpAdvertisement>>,
}

/// One item of `spec.addresses`: the text as written and the CIDRs it stands for, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolEntry {
    /// The item as the user wrote it.
    pub text: String,
    /// The minimal list of CIDRs that covers exactly this item, ascending.
    pub cidrs: Vec<IpNet>,
}

/// Who may use a pool (MetalLB behaviour of `spec.serviceAllocation`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAllocation {
    /// Lower positive numbers win; 0 is the lowest priority.
    pub priority: i64,
    /// Namespace names, those of `namespaceSelectors` resolved and included.
    pub namespaces: BTreeSet<String>,
    /// Whether the object restricts namespaces at all: with `true` and an empty set no namespace may use the pool.
    pub restricts_namespaces: bool,
    /// OR list over Service labels; empty means every Service.
    pub service_selectors: Vec<Selector>,
}

/// An L2Advertisement, attached to a pool. Node selectors are resolved to the names of the nodes known at compile time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L2Advertisement {
    /// Name of the L2Advertisement object.
    pub name: String,
    /// Nodes that may announce. Shared: advertisements often select the same nodes.
    pub nodes: Arc<BTreeSet<String>>,
    /// Interfaces to answer on; `None` means all.
    pub interfaces: Option<BTreeSet<String>>,
    /// OR list over Service labels; empty means every Service.
    pub service_selectors: Vec<Selector>,
    /// Preference score per eligible node; nodes with score 0 are absent.
    pub preferences: BTreeMap<String, i64>,
}

/// A BGPAdvertisement, attached to a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpAdvertisement {
    /// Name of the BGPAdvertisement object.
    pub name: String,
    /// Nodes that may announce. Shared: advertisements often select the same nodes.
    pub nodes: Arc<BTreeSet<String>>,
    /// IPv4 prefix length announced, 1 to 32.
    pub aggregation_length: u8,
    /// IPv6 prefix length announced, 1 to 128.
    pub aggregation_length_v6: u8,
    /// LOCAL_PREF, only sent to internal peers; 0 means unset.
    pub local_pref: u32,
    /// Communities, sorted and unique.
    pub communities: BTreeSet<Community>,
    /// Names of the BGPPeer objects announced to; empty means all.
    pub peers: BTreeSet<String>,
    /// OR list over Service labels; empty means every Service.
    pub service_selectors: Vec<Selector>,
}

/// A BGP community value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// RFC 1997: two 16-bit halves.
    Standard(u16, u16),
    /// RFC 8092: three 32-bit parts.
    Large(u32, u32, u32),
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(a, b) => write!(f, "{a}:{b}"),
            Self::Large(a, b, c) => write!(f, "{a}:{b}:{c}"),
        }
    }
}

/// The remote end's autonomous system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAsn {
    /// A fixed number, 1 to 4294967295.
    Number(u32),
    /// Any number equal to ours.
    Internal,
    /// Any number other than ours.
    External,
}

/// Where the remote end is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerEndpoint {
    /// A numbered peer.
    Address(IpAddr),
    /// Unnumbered BGP over this interface.
    Interface(String),
}

/// A BGP peer. Passwords are not part of the model; they stay with the Secret that holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Name of the BGPPeer object.
    pub name: String,
    /// Our autonomous system number.
    pub my_asn: u32,
    /// The peer's autonomous system.
    pub peer_asn: PeerAsn,
    /// The peer's address or our interface towards it.
    pub endpoint: PeerEndpoint,
    /// TCP port.
    pub port: u16,
    /// Source address of the session.
    pub source_address: Option<IpAddr>,
    /// Hold time in whole seconds, 0 or at least 3; `None` leaves the backend's default.
    pub hold_time_seconds: Option<u32>,
    /// Keepalive interval in whole seconds.
    pub keepalive_seconds: Option<u32>,
    /// Router id.
    pub router_id: Option<IpAddr>,
    /// OR list over Node labels; empty means every node.
    pub node_selectors: Vec<Selector>,
    /// BFD profile by name.
    pub bfd_profile: Option<String>,
    /// TTL larger than one.
    pub ebgp_multi_hop: bool,
    /// VRF the session lives in.
    pub vrf: Option<String>,
    /// The AS number shown to this peer instead of `my_asn`.
    pub local_asn: Option<u32>,
    /// Seconds between connection attempts, 1 to 65535; `None` leaves the backend's default.
    pub connect_time_seconds: Option<u32>,
    /// BGP graceful restart (RFC 4724).
    pub graceful_restart: bool,
    /// Activate both address families on the session.
    pub dual_stack_address_family: bool,
    /// Announce only the family of the session's own address; deprecated, passed through to frr-k8s.
    pub disable_mp: bool,
}

/// A BFD profile; absent values leave the backend's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BfdProfile {
    /// Name of the BFDProfile object.
    pub name: String,
    /// Milliseconds, 10 to 60000.
    pub receive_interval: Option<u32>,
    /// Milliseconds, 10 to 60000.
    pub transmit_interval: Option<u32>,
    /// 2 to 255.
    pub detect_multiplier: Option<u32>,
    /// Milliseconds, 10 to 60000.
    pub echo_interval: Option<u32>,
    /// Use the echo function.
    pub echo_mode: bool,
    /// Wait for the peer to start.
    pub passive_mode: bool,
    /// Smallest TTL accepted from a multi-hop peer, 1 to 254.
    pub minimum_ttl: Option<u32>,
}

impl Pool {
    /// Whether the pool holds an address that it may hand out; honours `avoid_buggy_ips`.
    pub fn contains(&self, address: IpAddr) -> bool {
        if self.avoid_buggy_ips && is_buggy(address) {
            return false;
        }
        self.cidrs().any(|cidr| cidr.contains(&address))
    }

    /// All CIDRs in declared order.
    pub fn cidrs(&self) -> impl Iterator<Item = &IpNet> {
        self.entries.iter().flat_map(|entry| &entry.cidrs)
    }

    /// The addresses of one family in the order they are handed out: entries as declared, lowest address first. Lazy.
    pub fn addresses(&self, family: Family) -> impl Iterator<Item = IpAddr> + '_ {
        self.cidrs()
            .filter(move |cidr| Family::of_net(cidr) == family)
            .flat_map(Addresses::of)
            .filter(|address| !(self.avoid_buggy_ips && is_buggy(*address)))
    }

    /// How many addresses of one family the pool can hand out; at most `i64::MAX`, the largest number its status can show.
    pub fn capacity(&self, family: Family) -> u64 {
        let most = i64::MAX.unsigned_abs();
        let cidrs = self.cidrs().filter(|cidr| Family::of_net(cidr) == family);
        cidrs.fold(0, |sum: u64, cidr| sum.saturating_add(usable(cidr, self.avoid_buggy_ips)).min(most))
    }
}

impl Config {
    /// The pool that contains all of these addresses; `None` when there is none or no address is given. Pools in force never
    /// overlap; a held pool counts only where no pool in force does.
    pub fn pool_holding(&self, addresses: &[IpAddr]) -> Option<&Pool> {
        if addresses.is_empty() {
            return None;
        }
        let mut pools = self.pools.values().chain(self.held.values());
        pools.find(|pool| addresses.iter().all(|address| pool.contains(*address)))
    }
}

/// IPv4 addresses ending in .0 or .255, which some old equipment takes for network or broadcast addresses.
fn is_buggy(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets()[3], 0 | 255),
        IpAddr::V6(_) => false,
    }
}

/// Number of addresses of a CIDR, saturating, without the buggy ones if so wished.
fn usable(cidr: &IpNet, avoid_buggy: bool) -> u64 {
    let host_bits = Family::of_net(cidr).bits() - cidr.prefix_len();
    let all = 1u64.checked_shl(host_bits.into()).unwrap_or(u64::MAX);
    let buggy = match cidr {
        IpNet::V4(net) if avoid_buggy && host_bits >= 8 => 2u64 << (24 - net.prefix_len()),
        // Less than a /24: only its own first and last address can be buggy, and in a /32 they are the same one.
        IpNet::V4(net) if avoid_buggy => {
            u64::from(net.network().octets()[3] == 0) + u64::from(net.broadcast().octets()[3] == 255)
        }
        IpNet::V4(_) | IpNet::V6(_) => 0,
    };
    all - buggy
}
