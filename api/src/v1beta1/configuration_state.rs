//! ConfigurationState: whether a program could use the configuration. Written by controller and speakers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nothing can be asked for; the field itself is not in the schema.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "metallb.io",
    version = "v1beta1",
    kind = "ConfigurationState",
    plural = "configurationstates",
    singular = "configurationstate",
    namespaced,
    no_spec,
    status = "ConfigurationStateStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Tells whether the controller, or the speaker of a node, could use the whole configuration, and what was wrong with it.",
    printcolumn = r#"{"name": "Result", "type": "string", "jsonPath": ".status.result"}"#,
    printcolumn = r#"{"name": "ErrorSummary", "type": "string", "jsonPath": ".status.errorSummary"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
pub struct ConfigurationStateSpec {}

/// The verdict of one program.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStateStatus {
    /// `Valid` when everything is in use, `Invalid` when some of it is not, `Unknown` before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ConfigurationResult")]
    pub result: Option<ConfigurationResult>,

    /// All errors in one line; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_summary: Option<String>,

    /// The verdicts of the program's parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions_by_type")]
    pub conditions: Vec<Condition>,
}

/// Whether the configuration is usable.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationResult {
    /// All of it is in use.
    Valid,
    /// Some of it is not in use.
    Invalid,
    /// Nobody has looked yet.
    Unknown,
}
