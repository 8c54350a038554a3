//! Community: names for BGP communities.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names for BGP communities.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "Community",
    plural = "communities",
    singular = "community",
    namespaced,
    status = "CommunityStatus",
    attr = "cfg_attr(all(), serde(default))",
    derive = "PartialEq",
    derive = "Default",
    doc = "Gives names to BGP communities, for use in BGPAdvertisements. Names are shared by all Community objects."
)]
#[serde(rename_all = "camelCase")]
pub struct CommunitySpec {
    /// The names and what they stand for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<CommunityAlias>,
}

/// One name and the community it stands for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CommunityAlias {
    /// The name to use in BGPAdvertisements.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,

    /// The community: two 16-bit numbers such as `"65535:65282"`, or a large community such as `"large:64500:1:2"`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// Nothing is reported here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct CommunityStatus {}
