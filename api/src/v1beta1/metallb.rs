//! MetalLB: the one resource that brings everything up.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults;

/// What MetalLB should look like. Everything is optional.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "MetalLB",
    plural = "metallbs",
    singular = "metallb",
    namespaced,
    status = "MetalLBStatus",
    attr = "cfg_attr(all(), serde(default))",
    derive = "PartialEq",
    derive = "Default",
    doc = "Brings up MetalLB. Create one, named `metallb`, in the namespace of the operator; deleting it removes MetalLB.",
    printcolumn = r#"{"name": "Available", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Available')].status", "description": "Whether MetalLB works"}"#,
    printcolumn = r#"{"name": "Degraded", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Degraded')].status", "description": "Whether something keeps MetalLB from working fully"}"#,
    printcolumn = r#"{"name": "Progressing", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Progressing')].status", "description": "Whether a change is being rolled out"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MetalLBSpec {
    /// Deprecated: has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// Labels a node must have to run a speaker, in addition to `kubernetes.io/os: linux`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,

    /// Taints the speaker pods tolerate, in addition to those of control plane nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub speaker_tolerations: Vec<Toleration>,

    /// How much the programs log: `all`, `debug`, `info`, `warn`, `error` or `none`. Default `info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LogLevel")]
    pub log_level: Option<LogLevel>,

    /// Serve only Services with this `spec.loadBalancerClass`, such as `internal-vip` or `example.com/internal-vip`.
    /// Without it, only Services that name no class are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(
        pattern = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
    ))]
    pub load_balancer_class: Option<String>,

    /// Labels a node must have to run the controller, in addition to `kubernetes.io/os: linux`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub controller_node_selector: BTreeMap<String, String>,

    /// Taints the controller pod tolerates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controller_tolerations: Vec<Toleration>,

    /// Further settings of the controller Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_config: Option<ControllerConfig>,

    /// Further settings of the speaker DaemonSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker_config: Option<SpeakerConfig>,

    /// What speaks BGP: `native`, `frr`, `frr-k8s` or `frr-k8s-external`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp_backend: Option<String>,

    /// Settings of the frr-k8s backends.
    #[serde(default, rename = "frrk8sConfig", skip_serializing_if = "Option::is_none")]
    pub frrk8s_config: Option<FrrK8sConfig>,
}

/// Settings of the controller Deployment.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ControllerConfig {
    /// How many controllers run. One gives out addresses, the others stand by and take over within seconds. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: Option<i32>,

    /// What all programs have.
    #[serde(flatten)]
    pub component: ComponentConfig,
}

/// Settings of the speaker DaemonSet.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SpeakerConfig {
    /// How sure a speaker must be that no other one answers for an address, in layer 2. `fast`: a dead speaker is replaced within
    /// a second, and while the network is split each side may have one. `quorum`: only speakers that hear more than half of all
    /// speakers answer. Default `fast`.
    #[serde(default, rename = "l2Ownership", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "L2Ownership")]
    pub l2_ownership: Option<L2Ownership>,

    /// What all programs have.
    #[serde(flatten)]
    pub component: ComponentConfig,
}

/// How sure a speaker must be that no other one answers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum L2Ownership {
    /// Replaced within a second; two while the network is split.
    #[default]
    Fast,
    /// Silent without the majority.
    Quorum,
}

impl L2Ownership {
    /// The mode as flags spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Quorum => "quorum",
        }
    }
}

/// Settings of the pods of one program.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ComponentConfig {
    /// Priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,

    /// Runtime class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,

    /// Affinity of the pods; replaces the built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// Annotations put on the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,

    /// Resource requests and limits of the main container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// Settings of the frr-k8s backends.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FrrK8sConfig {
    /// CIDRs no route is ever accepted for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub always_block: Vec<String>,

    /// With `frr-k8s-external`: the namespace frr-k8s runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,

    /// With `frr-k8s-external`: pass references to password Secrets on instead of the passwords themselves.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub secret_passthrough: bool,
}

/// How much a program logs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum LogLevel {
    /// Everything.
    All,
    /// What helps to find a fault.
    Debug,
    /// What an operator wants to know.
    #[default]
    Info,
    /// What may need attention.
    Warn,
    /// What went wrong.
    Error,
    /// Nothing.
    None,
}

impl LogLevel {
    /// The level as flags spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::None => "none",
        }
    }
}

/// How MetalLB is doing. Written by the operator only.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MetalLBStatus {
    /// The conditions `Available`, `Progressing` and `Degraded`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
