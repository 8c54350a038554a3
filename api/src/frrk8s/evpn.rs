//! EVPN settings of a router.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::schema::{Administrator, administrator_rules};

/// EVPN settings of a router.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EvpnConfig {
    /// Whether the node's VXLAN networks are announced: `All` or `Disabled`. Default `Disabled`.
    #[serde(default, rename = "advertiseVNIs", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AdvertiseVnis")]
    pub advertise_vnis: Option<AdvertiseVnis>,

    /// Announce the addresses of the node's own interfaces in those networks.
    #[serde(default, rename = "advertiseSVI", skip_serializing_if = "Option::is_none")]
    pub advertise_svi: Option<bool>,

    /// Settings of single layer 2 networks.
    #[serde(default, rename = "l2vnis", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub l2_vnis: Vec<L2Vni>,

    /// The layer 3 network of the router's VRF.
    #[serde(default, rename = "l3vni", skip_serializing_if = "Option::is_none")]
    pub l3_vni: Option<L3Vni>,
}

/// Which VXLAN networks are announced.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvertiseVnis {
    /// None.
    Disabled,
    /// All the node has.
    All,
}

/// A layer 2 network.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct L2Vni {
    /// VXLAN network identifier, 1 to 16777215.
    #[schemars(with = "i32", range(min = 1, max = 16777215))]
    pub vni: u32,

    /// Route distinguisher, such as `64500:100` or `192.0.2.1:100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), extend("x-kubernetes-validations" = administrator_rules(Administrator::RouteDistinguisher)))]
    pub rd: Option<String>,

    /// Route targets to accept, such as `64500:100`; `*:100` accepts any global administrator.
    #[serde(default, rename = "importRTs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "import_route_targets")]
    pub import_rts: Vec<String>,

    /// Route targets to attach, such as `64500:100`.
    #[serde(default, rename = "exportRTs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "export_route_targets")]
    pub export_rts: Vec<String>,
}

/// A layer 3 network.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct L3Vni {
    /// VXLAN network identifier, 1 to 16777215.
    #[schemars(with = "i32", range(min = 1, max = 16777215))]
    pub vni: u32,

    /// Route distinguisher, such as `64500:100` or `192.0.2.1:100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), extend("x-kubernetes-validations" = administrator_rules(Administrator::RouteDistinguisher)))]
    pub rd: Option<String>,

    /// Route targets to accept, such as `64500:100`; `*:100` accepts any global administrator.
    #[serde(default, rename = "importRTs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "import_route_targets")]
    pub import_rts: Vec<String>,

    /// Route targets to attach, such as `64500:100`.
    #[serde(default, rename = "exportRTs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "export_route_targets")]
    pub export_rts: Vec<String>,

    /// Families of routes announced into the network; `unicast` is the only one.
    #[schemars(length(min = 1, max = 1))]
    pub advertise_prefixes: Vec<AdvertisedFamily>,
}

/// A family announced into a layer 3 network.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AdvertisedFamily {
    /// IPv4 and IPv6 unicast.
    Unicast,
}

fn import_route_targets(_: &mut SchemaGenerator) -> Schema {
    route_targets(Administrator::ImportRouteTarget)
}

fn export_route_targets(_: &mut SchemaGenerator) -> Schema {
    route_targets(Administrator::ExportRouteTarget)
}

fn route_targets(usage: Administrator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 100,
        "items": {
            "type": "string",
            "maxLength": 21,
            "x-kubernetes-validations": administrator_rules(usage),
        },
    })
}
