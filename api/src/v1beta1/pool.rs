//! IPAddressPool: addresses the controller may hand out.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults;

/// What a user asks of a pool.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "IPAddressPool",
    plural = "ipaddresspools",
    singular = "ipaddresspool",
    namespaced,
    status = "IPAddressPoolStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A pool of IP addresses that the controller hands out to Services of type LoadBalancer.",
    printcolumn = r#"{"name": "Auto Assign", "type": "boolean", "jsonPath": ".spec.autoAssign"}"#,
    printcolumn = r#"{"name": "Avoid Buggy IPs", "type": "boolean", "jsonPath": ".spec.avoidBuggyIPs"}"#,
    printcolumn = r#"{"name": "Addresses", "type": "string", "jsonPath": ".spec.addresses"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolSpec {
    /// Addresses of the pool. Each entry is a CIDR (`192.0.2.0/24`, `2001:db8::/120`) or a range from a first to a last
    /// address, both included (`192.0.2.10-192.0.2.20`). Addresses are handed out in the order of this list, lowest
    /// first. A single address is written with its full mask, such as `192.0.2.1/32`.
    #[schemars(extend("x-kubernetes-validations" = crate::schema::addresses_rules()))]
    pub addresses: Vec<String>,

    /// Whether Services that name neither a pool nor an address may get an address of this pool. With `false` the pool
    /// is used on request only.
    #[serde(default = "defaults::yes")]
    pub auto_assign: bool,

    /// Skip IPv4 addresses that end in .0 or .255, which some old network equipment refuses. IPv6 is not affected.
    #[serde(default, rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: bool,

    /// Reserves the pool for some Services. As soon as this object is present, even empty, the pool is no longer free
    /// for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_allocation: Option<ServiceAllocation>,
}

impl Default for IPAddressPoolSpec {
    fn default() -> Self {
        Self { addresses: Vec::new(), auto_assign: true, avoid_buggy_ips: false, service_allocation: None }
    }
}

/// Which Services may use a pool. Namespaces and Services conditions must both hold.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAllocation {
    /// Order among the pools that fit a Service: the lowest positive number wins, 0 or none comes last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,

    /// Names of namespaces whose Services may use the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,

    /// Label selectors over namespaces; the namespaces that match any of them are added to `namespaces`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_selectors: Vec<LabelSelector>,

    /// Label selectors over Services; a Service must match one of them. An empty list admits every Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_selectors: Vec<LabelSelector>,
}

/// How full the pool is. Written by the controller only; all counters are present even when they are 0.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IPAddressPoolStatus {
    /// Number of IPv4 addresses of this pool that Services hold.
    #[serde(rename = "assignedIPv4")]
    pub assigned_ipv4: i64,

    /// Number of IPv6 addresses of this pool that Services hold.
    #[serde(rename = "assignedIPv6")]
    pub assigned_ipv6: i64,

    /// Number of IPv4 addresses of this pool that are still free.
    #[serde(rename = "availableIPv4")]
    pub available_ipv4: i64,

    /// Number of IPv6 addresses of this pool that are still free; stops at 9223372036854775807 for very large ranges.
    #[serde(rename = "availableIPv6")]
    pub available_ipv6: i64,
}
