//! EndpointSlice: where the pods behind a Service are and whether they can serve.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

/// A discovery.k8s.io/v1 EndpointSlice. Its Service is named by the label `kubernetes.io/service-name`.
#[derive(kube::Resource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[resource(inherit = k8s_openapi::api::discovery::v1::EndpointSlice)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// Metadata without `managedFields` and the last-applied annotation.
    #[serde(deserialize_with = "super::metadata::deserialize")]
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_type: Option<String>,
    /// The endpoints. An apiserver writes an empty list as `null` here.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint, normally a pod.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// How many addresses it has. The addresses themselves are not kept: nothing here sends packets to pods.
    #[serde(rename = "addresses", deserialize_with = "count", serialize_with = "placeholders")]
    pub address_count: usize,
    /// Whether it can serve.
    pub conditions: EndpointConditions,
    /// Node it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
}

/// Whether an endpoint can serve. An absent value has the meaning the Kubernetes API gives it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointConditions {
    /// Should get traffic; absent means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Answers, even while terminating; absent means as `ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// Is on its way out; absent means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

impl EndpointConditions {
    /// Whether the endpoint should get traffic.
    pub fn is_ready(&self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// Whether the endpoint answers, even if it is about to end.
    pub fn is_serving(&self) -> bool {
        self.serving.unwrap_or_else(|| self.is_ready())
    }

    /// Whether the endpoint is about to end.
    pub fn is_terminating(&self) -> bool {
        self.terminating.unwrap_or(false)
    }
}

fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Endpoint>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Counts the items of a list without keeping them.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    struct Counter;

    impl<'de> Visitor<'de> for Counter {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of addresses")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<usize, A::Error> {
            let mut items = 0;
            while seq.next_element::<IgnoredAny>()?.is_some() {
                items += 1;
            }
            Ok(items)
        }

        fn visit_unit<E>(self) -> Result<usize, E> {
            Ok(0)
        }
    }

    deserializer.deserialize_any(Counter)
}

/// Writes a list of as many empty texts, so that a written slice reads back equal.
fn placeholders<S: Serializer>(items: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(*items))?;
    for _ in 0..*items {
        list.serialize_element("")?;
    }
    list.end()
}
