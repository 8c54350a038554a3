//! FRRNodeState and BGPSessionState: what the FRR daemons report.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nothing can be asked for.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "frrk8s.metallb.io",
    version = "v1beta1",
    kind = "FRRNodeState",
    plural = "frrnodestates",
    singular = "frrnodestate",
    status = "FRRNodeStateStatus",
    attr = "cfg_attr(all(), serde(default))",
    derive = "PartialEq",
    derive = "Default",
    doc = "Tells what BGP runs with on one node. There is one object per node, with the node's name."
)]
pub struct FRRNodeStateSpec {}

/// What runs on a node.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FRRNodeStateStatus {
    /// The running configuration in FRR's syntax, without passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_config: Option<String>,

    /// Whether the objects could be turned into a configuration: `success`, or `failed: ` and the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_conversion_result: Option<String>,

    /// Whether the last configuration could be loaded: `success`, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reload_result: Option<String>,
}

/// Nothing can be asked for.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "frrk8s.metallb.io",
    version = "v1beta1",
    kind = "BGPSessionState",
    plural = "bgpsessionstates",
    singular = "bgpsessionstate",
    shortname = "bgpsessionstatus",
    namespaced,
    status = "BGPSessionStateStatus",
    attr = "cfg_attr(all(), serde(default))",
    derive = "PartialEq",
    derive = "Default",
    doc = "Tells how the BGP session, and the BFD session beside it, between a node and a peer are doing.",
    printcolumn = r#"{"name": "Node", "type": "string", "jsonPath": ".status.node"}"#,
    printcolumn = r#"{"name": "Peer", "type": "string", "jsonPath": ".status.peer"}"#,
    printcolumn = r#"{"name": "VRF", "type": "string", "jsonPath": ".status.vrf"}"#,
    printcolumn = r#"{"name": "BGP", "type": "string", "jsonPath": ".status.bgpStatus"}"#,
    printcolumn = r#"{"name": "BFD", "type": "string", "jsonPath": ".status.bfdStatus"}"#
)]
pub struct BGPSessionStateSpec {}

/// One session.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BGPSessionStateStatus {
    /// Name of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,

    /// The peer: its IPv4 address or interface as written, or its IPv6 address in eight full groups with `-` between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,

    /// The VRF; absent or empty for the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,

    /// State of the BGP session, such as `Established` or `Active`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp_status: Option<String>,

    /// State of the BFD session, such as `Up` or `Down`; `N/A` when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_status: Option<String>,
}
