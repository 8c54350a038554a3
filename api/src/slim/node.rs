//! Node: labels, whether it is fit to announce, and its addresses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// A core/v1 Node.
#[derive(kube::Resource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[resource(inherit = k8s_openapi::api::core::v1::Node)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Metadata without `managedFields` and the last-applied annotation.
    #[serde(deserialize_with = "super::metadata::deserialize")]
    pub metadata: ObjectMeta,
    /// What the cluster wants of it.
    pub spec: NodeSpec,
    /// How it is.
    pub status: NodeStatus,
}

/// What the cluster wants of a node.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Whether it is cordoned.
    #[serde(skip_serializing_if = "crate::defaults::is_false")]
    pub unschedulable: bool,
}

/// How a node is.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Conditions such as `Ready` and `NetworkUnavailable`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<NodeCondition>,
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
}

/// One condition of a node.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCondition {
    /// Which condition.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

/// One address of a node.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP` or `Hostname`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The address.
    pub address: String,
}
