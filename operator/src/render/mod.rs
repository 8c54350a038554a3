//! The MetalLB resource to the objects that run it. Pure and typed.
//!
//! ```text
//!  MetalLB ──Settings──┐
//!                      ├──▶ rbac, config_map, controller, speaker ──▶ Vec<Rendered>  (bodies for server-side apply)
//!  Facts ──────────────┘                                  install ──▶ the flat manifest
//! ```
//! Only this folder uses k8s-openapi-ext, whose types belong to an older k8s-openapi than kube's: what leaves is JSON.

use api::v1beta1::MetalLB;
use k8s_openapi_ext::metav1;
use kube::ResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::facts::Facts;
use crate::object::{Kind, ObjectId, Owner, Rendered};

mod config_map;
mod controller;
pub mod install;
mod labels;
mod pod;
mod rbac;
mod settings;
mod speaker;

pub use settings::Backend;

use settings::Settings;

/// Secret with the key that seals the speakers' membership traffic.
const MEMBERLIST_SECRET: &str = "metallb-memberlist";

/// Why a MetalLB resource cannot be rendered. The texts reach the user in the Degraded condition.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RenderError {
    /// The backend is known but this version does not run it.
    #[error(
        "spec.bgpBackend: backend {0} is not available in this version, the running operands stay as they are: \
         use native, or remove the field"
    )]
    BackendUnavailable(Backend),
    /// No such backend.
    #[error("spec.bgpBackend: unsupported bgp backend {0}: use native, or remove the field")]
    BackendUnknown(String),
    /// A field has a form that no object can carry.
    #[error("spec.{field}: {text}: correct or remove the field")]
    Field {
        /// Path below `spec`.
        field: &'static str,
        /// What the conversion says.
        text: String,
    },
    /// An object cannot be written as JSON.
    #[error("cannot render {object}: {text}")]
    Object {
        /// Kind and name.
        object: String,
        /// What the conversion says.
        text: String,
    },
}

impl RenderError {
    /// The reason of the condition that reports it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BackendUnavailable(_) | Self::BackendUnknown(_) => "UnsupportedBGPBackend",
            Self::Field { .. } | Self::Object { .. } => "InvalidSpec",
        }
    }
}

/// The owner that rendered objects name.
pub fn owner(metallb: &MetalLB) -> Owner {
    Owner {
        namespace: metallb.namespace().unwrap_or_default(),
        name: metallb.name_any(),
        uid: metallb.uid().unwrap_or_default(),
    }
}

/// Renders every operand, in no particular order. The same input gives the same bytes.
///
/// # Errors
/// A backend this version does not run, or a field that no object can carry.
pub fn render(metallb: &MetalLB, facts: &Facts) -> Result<Vec<Rendered>, RenderError> {
    let settings = Settings::read(&metallb.spec)?;
    let scope = Scope { facts, owner: owner(metallb) };
    let mut objects = rbac::operands(&scope)?;
    objects.push(config_map::exclude_l2(&scope)?);
    objects.push(controller::deployment(&scope, &settings)?);
    objects.push(speaker::daemon_set(&scope, &settings)?);
    Ok(objects)
}

/// What every object family needs.
struct Scope<'a> {
    facts: &'a Facts,
    owner: Owner,
}

impl Scope<'_> {
    /// Finishes an object: labels, namespace, owner, JSON.
    fn finish<T>(&self, kind: Kind, component: &str, mut object: T) -> Result<Rendered, RenderError>
    where
        T: k8s_openapi_ext::Metadata<Ty = metav1::ObjectMeta> + Serialize,
    {
        let metadata = object.metadata_mut();
        metadata.labels.get_or_insert_default().extend(labels::object(component, &self.facts.version));
        if kind.is_namespaced() {
            metadata.namespace = Some(self.facts.namespace.clone());
        }
        labels::mark_owner(metadata, kind, &self.owner, self.facts);
        let id = ObjectId {
            kind,
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        };
        let object = to_json(&id.to_string(), &object)?;
        Ok(Rendered { id, object })
    }
}

fn to_json<T: Serialize>(name: &str, object: &T) -> Result<Value, RenderError> {
    serde_json::to_value(object)
        .map_err(|error| RenderError::Object { object: name.to_owned(), text: error.to_string() })
}

/// Carries a value of kube's k8s-openapi over to the renderer's, through the JSON both speak.
fn recast<From: Serialize, To: DeserializeOwned>(field: &'static str, from: &From) -> Result<To, RenderError> {
    serde_json::to_value(from)
        .and_then(serde_json::from_value)
        .map_err(|error| RenderError::Field { field, text: error.to_string() })
}

#[cfg(test)]
mod tests;
