//! BGPPeer in its deprecated version.
//!
//! v1beta1 has the schema of v1beta2, so that reading or writing either version loses nothing and no conversion webhook
//! is needed (`conversion.strategy: None`). The newtype exists because a derive makes one version of a kind only.

use std::ops::Deref;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::v1beta2;
pub use crate::v1beta2::BGPPeerStatus;

/// How to reach a router and how to talk to it.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BGPPeer",
    plural = "bgppeers",
    singular = "bgppeer",
    namespaced,
    storage = false,
    deprecated = "v1beta1 is deprecated, please use v1beta2",
    status = "BGPPeerStatus",
    attr = "cfg_attr(all(), serde(default))",
    derive = "PartialEq",
    derive = "Default",
    doc = "A router that the speakers keep BGP sessions with.",
    printcolumn = r#"{"name": "Address", "type": "string", "jsonPath": ".spec.peerAddress"}"#,
    printcolumn = r#"{"name": "ASN", "type": "string", "jsonPath": ".spec.peerASN"}"#,
    printcolumn = r#"{"name": "BFD Profile", "type": "string", "jsonPath": ".spec.bfdProfile"}"#,
    printcolumn = r#"{"name": "Multi Hops", "type": "string", "jsonPath": ".spec.ebgpMultiHop"}"#
)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct BGPPeerSpec(pub v1beta2::BGPPeerSpec);

impl Deref for BGPPeerSpec {
    type Target = v1beta2::BGPPeerSpec;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<BGPPeer> for v1beta2::BGPPeer {
    fn from(old: BGPPeer) -> Self {
        Self { metadata: old.metadata, spec: old.spec.0, status: old.status }
    }
}

impl From<v1beta2::BGPPeer> for BGPPeer {
    fn from(new: v1beta2::BGPPeer) -> Self {
        Self { metadata: new.metadata, spec: BGPPeerSpec(new.spec), status: new.status }
    }
}
