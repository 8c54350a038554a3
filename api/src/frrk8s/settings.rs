//! FRRK8sConfiguration: settings of the FRR daemon itself that can change while it runs.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::v1beta1::LogLevel;

/// Settings of the FRR daemon.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "frrk8s.metallb.io",
    version = "v1beta1",
    kind = "FRRK8sConfiguration",
    plural = "frrk8sconfigurations",
    singular = "frrk8sconfiguration",
    namespaced,
    status = "FRRK8sConfigurationStatus",
    attr = "cfg_attr(all(), serde(default))",
    derive = "PartialEq",
    derive = "Default",
    doc = "Settings of the FRR daemon on every node. Only the object named `config` in the daemon's namespace counts."
)]
#[serde(rename_all = "camelCase")]
pub struct FRRK8sConfigurationSpec {
    /// How much the daemon and FRR log: `all`, `debug`, `info`, `warn`, `error` or `none`. Takes the place of the
    /// `--log-level` flag while it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LogLevel")]
    pub log_level: Option<LogLevel>,
}

/// Nothing is reported here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct FRRK8sConfigurationStatus {}
