//! BFDProfile: timers and modes of BFD sessions.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Timers and modes of the BFD sessions that use this profile. A field that is not set keeps the backend's default.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "BFDProfile",
    plural = "bfdprofiles",
    singular = "bfdprofile",
    namespaced,
    status = "BFDProfileStatus",
    attr = "cfg_attr(all(), serde(default))",
    derive = "PartialEq",
    derive = "Default",
    doc = "Settings of the BFD sessions that watch over BGP peers, so that a dead path is noticed in a fraction of a second.",
    printcolumn = r#"{"name": "Passive Mode", "type": "boolean", "jsonPath": ".spec.passiveMode"}"#,
    printcolumn = r#"{"name": "Transmit Interval", "type": "integer", "jsonPath": ".spec.transmitInterval"}"#,
    printcolumn = r#"{"name": "Receive Interval", "type": "integer", "jsonPath": ".spec.receiveInterval"}"#,
    printcolumn = r#"{"name": "Multiplier", "type": "integer", "jsonPath": ".spec.detectMultiplier"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct BFDProfileSpec {
    /// Shortest time between two control packets that this system can receive, in milliseconds, 10 to 60000.
    /// Default 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 10, max = 60000))]
    pub receive_interval: Option<u32>,

    /// Shortest time between two control packets that this system sends, before jitter, in milliseconds, 10 to 60000.
    /// Default 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 10, max = 60000))]
    pub transmit_interval: Option<u32>,

    /// Number of control packets in a row that must be lost before the session is declared down, 2 to 255. With 3 and
    /// a transmit interval of 300 at the peer, a failure is noticed after 900 milliseconds. Default 3.
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

/// Nothing is reported here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct BFDProfileStatus {}
