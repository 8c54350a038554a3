//! Reading object metadata without the parts nobody reads.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::names;

/// Reads an [`ObjectMeta`] but skips `managedFields` and the last-applied annotation without building them.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let slim = Metadata::deserialize(deserializer)?;
    Ok(ObjectMeta {
        annotations: slim.annotations.map(|Annotations(kept)| kept),
        creation_timestamp: slim.creation_timestamp,
        deletion_timestamp: slim.deletion_timestamp,
        finalizers: slim.finalizers,
        generation: slim.generation,
        labels: slim.labels,
        name: slim.name,
        namespace: slim.namespace,
        owner_references: slim.owner_references,
        resource_version: slim.resource_version,
        uid: slim.uid,
        ..ObjectMeta::default()
    })
}

/// The parts of [`ObjectMeta`] that are kept; serde skips the others.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    annotations: Option<Annotations>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

/// Annotations without kubectl's copy of the manifest.
struct Annotations(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnnotationsVisitor)
    }
}

struct AnnotationsVisitor;

impl<'de> Visitor<'de> for AnnotationsVisitor {
    type Value = Annotations;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of annotations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == names::ANNOTATION_LAST_APPLIED {
                map.next_value::<IgnoredAny>()?;
            } else {
                kept.insert(key, map.next_value()?);
            }
        }
        Ok(Annotations(kept))
    }
}
