//! AddressPool: the form pools had before advertisements became objects of their own. Deprecated, but it works.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults;

/// A pool together with the way it is announced.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "AddressPool",
    plural = "addresspools",
    singular = "addresspool",
    namespaced,
    deprecated = "AddressPool is deprecated, please use IPAddressPool with an L2Advertisement or a BGPAdvertisement",
    status = "AddressPoolStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Deprecated: a pool of IP addresses and how they are announced. Use IPAddressPool with L2Advertisement or BGPAdvertisement."
)]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolSpec {
    /// How the addresses are announced: `layer2` or `bgp`.
    pub protocol: AddressPoolProtocol,

    /// Addresses of the pool: CIDRs (`192.0.2.0/24`) or ranges from a first to a last address, both included
    /// (`192.0.2.10-192.0.2.20`), of IPv4, IPv6 or both.
    pub addresses: Vec<String>,

    /// Whether Services that name neither a pool nor an address may get an address of this pool.
    #[serde(default = "defaults::yes")]
    pub auto_assign: bool,

    /// With `bgp`: the routes to announce for each address. Without any, the address itself is announced, with no
    /// attributes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bgp_advertisements: Vec<LegacyBgpAdvertisement>,
}

impl Default for AddressPoolSpec {
    fn default() -> Self {
        Self {
            protocol: AddressPoolProtocol::Layer2,
            addresses: Vec::new(),
            auto_assign: true,
            bgp_advertisements: Vec::new(),
        }
    }
}

/// How an AddressPool is announced.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AddressPoolProtocol {
    /// By ARP and NDP.
    Layer2,
    /// To every BGP peer.
    Bgp,
}

/// A route announced for an address of an AddressPool.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LegacyBgpAdvertisement {
    /// Prefix length of the IPv4 routes announced, 1 to 32.
    #[serde(default = "defaults::aggregation_length")]
    #[schemars(range(min = 1))]
    pub aggregation_length: i32,

    /// Prefix length of the IPv6 routes announced, 1 to 128.
    #[serde(default = "defaults::aggregation_length_v6", rename = "aggregationLengthV6")]
    pub aggregation_length_v6: i32,

    /// LOCAL_PREF of the routes, 0 to 4294967295. Sent to peers in our own autonomous system only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4294967295_u32))]
    pub local_pref: Option<u32>,

    /// BGP communities of the routes, such as `"65535:65282"`, or names of aliases. Put the numbers in quotes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<String>,
}

impl Default for LegacyBgpAdvertisement {
    fn default() -> Self {
        Self {
            aggregation_length: defaults::aggregation_length(),
            aggregation_length_v6: defaults::aggregation_length_v6(),
            local_pref: None,
            communities: Vec::new(),
        }
    }
}

/// Nothing is reported here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPoolStatus {}
