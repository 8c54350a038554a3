//! L2Advertisement: announce pools by ARP and NDP.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which pools to announce on layer 2, and from where.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "L2Advertisement",
    plural = "l2advertisements",
    singular = "l2advertisement",
    namespaced,
    status = "L2AdvertisementStatus",
    attr = "cfg_attr(all(), serde(default))",
    derive = "PartialEq",
    derive = "Default",
    doc = "Announces the addresses of pools on the local network: one node answers ARP (IPv4) and NDP (IPv6) requests for each address.",
    printcolumn = r#"{"name": "IPAddressPools", "type": "string", "jsonPath": ".spec.ipAddressPools"}"#,
    printcolumn = r#"{"name": "IPAddressPool Selectors", "type": "string", "jsonPath": ".spec.ipAddressPoolSelectors"}"#,
    printcolumn = r#"{"name": "Interfaces", "type": "string", "jsonPath": ".spec.interfaces"}"#,
    printcolumn = r#"{"name": "Node Selectors", "type": "string", "jsonPath": ".spec.nodeSelectors", "priority": 10}"#
)]
#[serde(rename_all = "camelCase")]
pub struct L2AdvertisementSpec {
    /// Names of the IPAddressPools to announce. When this list and `ipAddressPoolSelectors` are both empty, every pool
    /// is announced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pools: Vec<String>,

    /// Label selectors over IPAddressPools; the pools that match any of them are announced too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_address_pool_selectors: Vec<LabelSelector>,

    /// Label selectors over Nodes; only nodes that match one of them may announce. An empty list allows every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,

    /// Deprecated: old spelling of `nodeSelectors`. Its entries are added to that list; please move them there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selector: Vec<LabelSelector>,

    /// Names of the network interfaces to answer on. An empty list means every interface. The choice of the announcing
    /// node does not take this list into account: a chosen node without any of these interfaces stays silent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,

    /// Label selectors over Services; only Services that match one of them are announced. An empty list means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_selectors: Vec<LabelSelector>,

    /// Preferences among the nodes that may announce. The weights of all entries a node matches add up, and the nodes
    /// with the highest sum are tried first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_node_selectors: Vec<PreferredNodeSelector>,
}

/// A soft preference for some nodes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PreferredNodeSelector {
    /// How much this preference counts, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,

    /// The nodes that are preferred.
    pub preference: LabelSelector,
}

/// Nothing is reported here; ServiceL2Status objects tell which node announces a Service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct L2AdvertisementStatus {}
