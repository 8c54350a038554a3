//! BGPAdvertisement: announce pools to BGP peers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults;

/// Which pools to announce over BGP, to whom, from where and with which attributes.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BGPAdvertisement",
    plural = "bgpadvertisements",
    singular = "bgpadvertisement",
    namespaced,
    status = "BGPAdvertisementStatus",
    attr = "cfg_attr(all(), serde(default))",
    derive = "PartialEq",
    derive = "Default",
    doc = "Announces the addresses of pools to BGP peers, with the attributes given here.",
    printcolumn = r#"{"name": "IPAddressPools", "type": "string", "jsonPath": ".spec.ipAddressPools"}"#,
    printcolumn = r#"{"name": "IPAddressPool Selectors", "type": "string", "jsonPath": ".spec.ipAddressPoolSelectors"}"#,
    printcolumn = r#"{"name": "Peers", "type": "string", "jsonPath": ".spec.peers"}"#,
    printcolumn = r#"{"name": "Node Selectors", "type": "string", "jsonPath": ".spec.nodeSelectors", "priority": 10}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.serviceSelectors) || size(self.serviceSelectors) == 0 || (self.aggregationLength == 32 && self.aggregationLengthV6 == 128)",
    "message": "serviceSelectors and aggregationLength are mutually exclusive, can only be used together with default aggregationLength (32) and aggregationLengthV6 (128)",
}]))]
pub struct BGPAdvertisementSpec {
    /// Prefix length of the IPv4 routes announced, 1 to 32. 32 announces every address by itself; 24, for example,
    /// announces the /24 around it once for all addresses in it.
    #[serde(default = "defaults::aggregation_length")]
    #[schemars(range(min = 1), extend("x-kubernetes-validations" = crate::schema::aggregation_rules("IPv4", 32)))]
    pub aggregation_length: i32,

    /// Prefix length of the IPv6 routes announced, 1 to 128. 128 announces every address by itself.
    #[serde(default = "defaults::aggregation_length_v6", rename = "aggregationLengthV6")]
    #[schemars(extend("x-kubernetes-validations" = crate::schema::aggregation_rules("IPv6", 128)))]
    pub aggregation_length_v6: i32,

    /// LOCAL_PREF of the routes, 0 to 4294967295; among several paths routers prefer the highest. Sent to peers in our
    /// own autonomous system only. None or 0 leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4294967295_u32))]
    pub local_pref: Option<u32>,

    /// BGP communities of the routes: numbers such as `"65535:65282"`, large communities such as
    /// `"large:64500:1:2"`, or the names of aliases defined by Community objects. Put the numbers in quotes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<String>,

    /// Names of the IPAddressPools to announce. When this list and `ipAddressPoolSelectors` are both empty, every pool
    /// is announced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pools: Vec<String>,

    /// Label selectors over IPAddressPools; the pools that match any of them are announced too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pool_selectors: Vec<LabelSelector>,

    /// Label selectors over Nodes; only nodes that match one of them announce. An empty list means every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,

    /// Deprecated: old spelling of `nodeSelectors`. Its entries are added to that list; please move them there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selector: Vec<LabelSelector>,

    /// Names of the BGPPeers to announce to. An empty list means every peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,

    /// Label selectors over Services; only Services that match one of them are announced. An empty list means all.
    /// Cannot be combined with aggregation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_selectors: Vec<LabelSelector>,
}

impl Default for BGPAdvertisementSpec {
    fn default() -> Self {
        Self {
            aggregation_length: defaults::aggregation_length(),
            aggregation_length_v6: defaults::aggregation_length_v6(),
            local_pref: None,
            communities: Vec::new(),
            ip_address_pools: Vec::new(),
            ip_address_pool_selectors: Vec::new(),
            node_selectors: Vec::new(),
            node_selector: Vec::new(),
            peers: Vec::new(),
            service_selectors: Vec::new(),
        }
    }
}

/// Nothing is reported here; ServiceBGPStatus objects tell which nodes announce a Service to which peers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct BGPAdvertisementStatus {}
