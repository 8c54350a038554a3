//! A BGP neighbor of an FRRConfiguration and the filters towards it.

use k8s_openapi::api::core::v1::SecretReference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults;
pub use crate::v1beta2::DynamicAsn;

/// A peer to keep a session with.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Neighbor {
    /// Autonomous system number of the peer, 1 to 4294967295. Set either this or `dynamicASN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4294967295_u32))]
    pub asn: Option<u32>,

    /// Accept the number the peer shows: `internal` demands the router's own, `external` any other. Set either this or
    /// `asn`.
    #[serde(default, rename = "dynamicASN", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DynamicAsn")]
    pub dynamic_asn: Option<DynamicAsn>,

    /// Show this autonomous system number to the peer in place of the router's own. External peers only.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295_u32))]
    pub local_asn: Option<u32>,

    /// IP address or interface name the session is opened from.
    #[serde(default, rename = "sourceaddress", skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,

    /// IP address of the peer. Set either this or `interface`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,

    /// Interface behind which the peer is found by its link-local address. Set either this or `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,

    /// TCP port of the peer, up to 16384. Default 179.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0, max = 16384))]
    pub port: Option<u16>,

    /// Password of the session (TCP MD5) in plain text. Set either this or `passwordSecret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,

    /// Secret of type `kubernetes.io/basic-auth` in the daemon's own namespace; the password is its entry `password`.
    /// Set either this or `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::SecretReferenceSchema>")]
    pub password_secret: Option<SecretReference>,

    /// Hold time to propose, as a duration such as `90s`; set together with `keepaliveTime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_time: Option<String>,

    /// Time between keepalive messages, as a duration such as `30s`; set together with `holdTime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive_time: Option<String>,

    /// Time between attempts to open the session, as a duration in whole seconds, `1s` to `65535s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = crate::schema::connect_time_rules()))]
    pub connect_time: Option<String>,

    /// The peer is more than one hop away. External peers only.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub ebgp_multi_hop: bool,

    /// BFD profile of the same object that watches this peer. Without it there is no BFD session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,

    /// Keep routes in place while the session restarts (RFC 4724).
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub enable_graceful_restart: bool,

    /// What the peer is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_advertise: Option<Advertise>,

    /// What is accepted from the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_receive: Option<Receive>,

    /// Deprecated: has no effect.
    #[serde(default, rename = "disableMP")]
    pub disable_mp: bool,

    /// Exchange IPv4 and IPv6 routes over this one session.
    #[serde(default)]
    pub dual_stack_address_family: bool,

    /// Families of routes to exchange: `unicast`, `evpn` or both.
    #[serde(default = "unicast")]
    #[schemars(length(max = 2))]
    pub address_families: Vec<AddressFamily>,
}

impl Default for Neighbor {
    fn default() -> Self {
        Self {
            asn: None,
            dynamic_asn: None,
            local_asn: None,
            source_address: None,
            address: None,
            interface: None,
            port: None,
            password: None,
            password_secret: None,
            hold_time: None,
            keepalive_time: None,
            connect_time: None,
            ebgp_multi_hop: false,
            bfd_profile: None,
            enable_graceful_restart: false,
            to_advertise: None,
            to_receive: None,
            disable_mp: false,
            dual_stack_address_family: false,
            address_families: unicast(),
        }
    }
}

fn unicast() -> Vec<AddressFamily> {
    vec![AddressFamily::Unicast]
}

/// A family of routes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum AddressFamily {
    /// IPv4 and IPv6 unicast.
    Unicast,
    /// L2VPN EVPN.
    Evpn,
}

/// What a neighbor is told.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Advertise {
    /// Which of the router's prefixes it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<AllowedOutPrefixes>,

    /// Next hop to write into the routes in place of our own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<NextHop>,

    /// Prefixes that carry a local preference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with_local_pref: Vec<LocalPrefPrefixes>,

    /// Prefixes that carry a community.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with_community: Vec<CommunityPrefixes>,
}

/// Prefixes a neighbor is told.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AllowedOutPrefixes {
    /// The prefixes, as CIDRs; each must be among the router's prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,

    /// `all` ignores the list and tells every prefix; `filtered` tells those of the list.
    #[serde(default)]
    pub mode: AllowMode,
}

/// Whether a list of prefixes counts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AllowMode {
    /// Everything passes.
    All,
    /// Only the list passes.
    #[default]
    Filtered,
}

/// Next hops of announced routes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NextHop {
    /// Next hop of IPv4 routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "ipv4"))]
    pub ipv4: Option<String>,

    /// Next hop of IPv6 routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "ipv6"))]
    pub ipv6: Option<String>,
}

/// Prefixes with a local preference.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LocalPrefPrefixes {
    /// The prefixes, as CIDRs; each must be allowed towards the neighbor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub prefixes: Vec<String>,

    /// The local preference, 0 to 4294967295.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4294967295_u32))]
    pub local_pref: Option<u32>,
}

/// Prefixes with a community.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CommunityPrefixes {
    /// The prefixes, as CIDRs; each must be allowed towards the neighbor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub prefixes: Vec<String>,

    /// The community, such as `"65535:65282"` or `"large:64500:1:2"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub community: Option<String>,
}

/// What is accepted from a neighbor.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Receive {
    /// Which prefixes are accepted. Without it, none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<AllowedInPrefixes>,
}

/// Prefixes accepted from a neighbor.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AllowedInPrefixes {
    /// The prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<PrefixSelector>,

    /// `all` ignores the list and accepts every prefix; `filtered` accepts those of the list.
    #[serde(default)]
    pub mode: AllowMode,
}

/// A prefix and how long the accepted prefixes inside it may be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PrefixSelector {
    /// The prefix, as a CIDR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "cidr"))]
    pub prefix: Option<String>,

    /// Longest prefix length accepted inside the prefix, 1 to 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 128))]
    pub le: Option<u32>,

    /// Shortest prefix length accepted inside the prefix, 1 to 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 128))]
    pub ge: Option<u32>,
}
