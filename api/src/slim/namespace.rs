//! Namespace: its labels.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// A core/v1 Namespace.
#[derive(kube::Resource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[resource(inherit = k8s_openapi::api::core::v1::Namespace)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespace {
    /// Metadata without `managedFields` and the last-applied annotation.
    #[serde(deserialize_with = "super::metadata::deserialize")]
    pub metadata: ObjectMeta,
}
