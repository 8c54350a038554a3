//! metallb.io/v1beta2: BGPPeer.

use k8s_openapi::api::core::v1::SecretReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults;

/// How to reach a router and how to talk to it.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "metallb.io",
    version = "v1beta2",
    kind = "BGPPeer",
    plural = "bgppeers",
    singular = "bgppeer",
    namespaced,
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
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::schema::peer_rules()))]
pub struct BGPPeerSpec {
    /// Autonomous system number of our end of the session, 1 to 4294967295.
    #[serde(rename = "myASN")]
    #[schemars(range(min = 0, max = 4294967295_u32))]
    pub my_asn: u32,

    /// Autonomous system number of the peer, 1 to 4294967295. Set either this or `dynamicASN`.
    #[serde(default, rename = "peerASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4294967295_u32))]
    pub peer_asn: Option<u32>,

    /// Accept the number the peer shows instead of naming it: `internal` demands our own number, `external` any other.
    /// Set either this or `peerASN`.
    #[serde(default, rename = "dynamicASN", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DynamicAsn")]
    pub dynamic_asn: Option<DynamicAsn>,

    /// Show this autonomous system number to the peer in place of `myASN`, 1 to 4294967295. External peers only.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295_u32))]
    pub local_asn: Option<u32>,

    /// IP address of the peer. Set either this or `interface`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<String>,

    /// Name of the network interface behind which the peer is found by its IPv6 link-local address (unnumbered BGP).
    /// Set either this or `peerAddress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = crate::schema::device_rules("interface")))]
    pub interface: Option<String>,

    /// IP address the session is opened from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,

    /// TCP port of the peer, up to 16384. 0, which old manifests may contain, means 179.
    #[serde(default = "defaults::peer_port")]
    #[schemars(with = "i32", range(min = 0, max = 16384))]
    pub peer_port: u16,

    /// Hold time to propose, as a duration such as `90s` or `3m`: whole seconds, 0 or at least 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = crate::schema::hold_time_rules()))]
    pub hold_time: Option<String>,

    /// Time between keepalive messages, as a duration such as `30s`; less than the hold time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = crate::schema::keepalive_time_rules()))]
    pub keepalive_time: Option<String>,

    /// Time between attempts to open the session, as a duration in whole seconds, `1s` to `65535s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = crate::schema::connect_time_rules()))]
    pub connect_time: Option<String>,

    /// BGP router id, written as an IPv4 address. Without it each node uses its own.
    #[serde(default, rename = "routerID", skip_serializing_if = "Option::is_none")]
    pub router_id: Option<String>,

    /// Label selectors over Nodes; only nodes that match one of them open a session. An empty list means every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_selectors: Vec<LabelSelector>,

    /// Password of the session (TCP MD5, RFC 2385) in plain text. Prefer `passwordSecret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,

    /// Secret of type `kubernetes.io/basic-auth` in MetalLB's own namespace; the password of the session is its entry
    /// `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::SecretReferenceSchema>")]
    pub password_secret: Option<SecretReference>,

    /// Name of the BFDProfile of the BFD session that watches this peer. Without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd_profile: Option<String>,

    /// Keep routes in place while the session restarts (RFC 4724). Cannot be changed later.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "EnableGracefulRestart cannot be changed after creation",
    }]))]
    pub enable_graceful_restart: bool,

    /// The peer is more than one hop away. External peers only.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub ebgp_multi_hop: bool,

    /// Name of the VRF the session lives in. Without it, the default VRF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = crate::schema::device_rules("vrf")))]
    pub vrf: Option<String>,

    /// Deprecated: IPv4 and IPv6 routes always use what the session negotiated.
    #[serde(default, rename = "disableMP")]
    pub disable_mp: bool,

    /// Exchange IPv4 and IPv6 routes over this one session, whatever family its address is of.
    #[serde(default)]
    pub dual_stack_address_family: bool,
}

impl Default for BGPPeerSpec {
    fn default() -> Self {
        Self {
            my_asn: 0,
            peer_asn: None,
            dynamic_asn: None,
            local_asn: None,
            peer_address: None,
            interface: None,
            source_address: None,
            peer_port: defaults::peer_port(),
            hold_time: None,
            keepalive_time: None,
            connect_time: None,
            router_id: None,
            node_selectors: Vec::new(),
            password: None,
            password_secret: None,
            bfd_profile: None,
            enable_graceful_restart: false,
            ebgp_multi_hop: false,
            vrf: None,
            disable_mp: false,
            dual_stack_address_family: false,
        }
    }
}

/// How a peer's autonomous system number is accepted when it is not named.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum DynamicAsn {
    /// The peer must have our number.
    Internal,
    /// The peer must have another number.
    External,
}

/// Nothing is reported here; BGPSessionState objects tell how sessions are.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct BGPPeerStatus {}
