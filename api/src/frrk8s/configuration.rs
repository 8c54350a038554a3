//! FRRConfiguration: routers, neighbors and BFD profiles for the nodes it selects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evpn::EvpnConfig;
use super::neighbor::Neighbor;

/// What FRR should do on the selected nodes.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "frrk8s.metallb.io",
    version = "v1beta1",
    kind = "FRRConfiguration",
    plural = "frrconfigurations",
    singular = "frrconfiguration",
    namespaced,
    status = "FRRConfigurationStatus",
    attr = "cfg_attr(all(), serde(default))",
    derive = "PartialEq",
    derive = "Default",
    doc = "A piece of FRR configuration. All pieces that select a node are merged; a piece can add to others but never take away."
)]
#[serde(rename_all = "camelCase")]
pub struct FRRConfigurationSpec {
    /// Routers and BFD profiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp: Option<BGPConfig>,

    /// Text added to FRR's configuration as it is. Meant for experiments; nothing checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<RawConfig>,

    /// The nodes this applies to. An empty selector means every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
}

/// Routers and BFD profiles.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BGPConfig {
    /// Routers, one per VRF; entries for the same VRF are merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub routers: Vec<Router>,

    /// BFD profiles the neighbors can name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bfd_profiles: Vec<BFDProfile>,
}

/// A BGP router in one VRF.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Router {
    /// Autonomous system number of the router, 1 to 4294967295.
    #[schemars(range(min = 0, max = 4294967295_u32))]
    pub asn: u32,

    /// BGP router id, written as an IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,

    /// VRF of the router. Without it, the default VRF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,

    /// Peers to keep sessions with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbors: Vec<Neighbor>,

    /// Networks the router originates, as CIDRs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,

    /// VRFs to take routes over from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,

    /// EVPN settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evpn: Option<EvpnConfig>,
}

/// A VRF to take routes over from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Import {
    /// Name of the VRF; `default` means the default VRF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
}

/// Text for FRR's configuration.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RawConfig {
    /// Order among the raw texts of several objects; lower numbers come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,

    /// Lines to add to the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_config: Option<String>,
}

/// Timers and modes of BFD sessions. A field that is not set keeps FRR's default.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BFDProfile {
    /// Name that neighbors of the same object refer to.
    pub name: String,

    /// Shortest time between two control packets that can be received, in milliseconds, 10 to 60000. Default 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 10, max = 60000))]
    pub receive_interval: Option<u32>,

    /// Shortest time between two control packets that are sent, in milliseconds, 10 to 60000. Default 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 10, max = 60000))]
    pub transmit_interval: Option<u32>,

    /// Number of control packets in a row that must be lost before the session is down, 2 to 255. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 2, max = 255))]
    pub detect_multiplier: Option<u32>,

    /// Shortest time between two echo packets, in milliseconds, 10 to 60000. Default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 10, max = 60000))]
    pub echo_interval: Option<u32>,

    /// Use echo packets. Not available on multi-hop sessions. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo_mode: Option<bool>,

    /// Do not start sessions; wait for the peer's first control packet. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive_mode: Option<bool>,

    /// For multi-hop sessions: smallest TTL a control packet may arrive with, 1 to 254. Default 254.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 254))]
    pub minimum_ttl: Option<u32>,
}

/// Nothing is reported here; FRRNodeState objects tell how each node is doing.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct FRRConfigurationStatus {}
