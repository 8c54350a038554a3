//! The flat manifest: everything a cluster needs before the first MetalLB resource. Pure.
//!
//! ```text
//!  CRDs ─▶ Namespace ─▶ accounts and rights ─▶ Services ─▶ operator, webhook ─▶ ValidatingWebhookConfigurations
//! ```
//! One `kubectl apply -f` works from top to bottom. The namespace appears only as the namespace of objects and in
//! subjects and webhook references, so `sed` and kustomize can change it.

use k8s_openapi_ext::{NamespaceExt as _, ResourceBuilder as _, corev1, metav1};
use serde::Serialize;
use serde_json::Value;

use super::{RenderError, labels, to_json};

mod admission;
mod operator;
mod rights;
mod webhook;

/// What the manifest is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// Namespace of everything.
    pub namespace: String,
    /// The one image of all programs.
    pub image: String,
    /// Version of the product.
    pub version: String,
}

/// All objects in the order they are to be applied.
///
/// # Errors
/// An object that cannot be written as JSON.
pub fn objects(install: &Install) -> Result<Vec<Value>, RenderError> {
    let mut objects = Vec::new();
    for crd in api::crds() {
        objects.push(to_json(&format!("CRD {}", crd.metadata.name.as_deref().unwrap_or_default()), &crd)?);
    }
    objects.push(namespace(install)?);
    objects.extend(rights::objects(install)?);
    objects.extend(webhook::objects(install)?);
    objects.extend(operator::objects(install)?);
    objects.extend(admission::objects(install)?);
    Ok(objects)
}

/// Speakers need the node's network and raw sockets, which the other pod security levels forbid.
fn namespace(install: &Install) -> Result<Value, RenderError> {
    let modes = ["enforce", "audit", "warn"].map(|mode| (format!("pod-security.kubernetes.io/{mode}"), "privileged"));
    install.finish(false, None, corev1::Namespace::new(&install.namespace).labels(modes))
}

impl Install {
    /// Finishes an object: labels, namespace, JSON.
    fn finish<T>(&self, namespaced: bool, component: Option<&str>, mut object: T) -> Result<Value, RenderError>
    where
        T: k8s_openapi_ext::Metadata<Ty = metav1::ObjectMeta> + Serialize,
    {
        let metadata = object.metadata_mut();
        metadata.labels.get_or_insert_default().extend(labels::installed(component, &self.version));
        if namespaced {
            metadata.namespace = Some(self.namespace.clone());
        }
        let name = format!("{} {}", T::KIND, metadata.name.clone().unwrap_or_default());
        to_json(&name, &object)
    }
}

#[cfg(test)]
mod tests;
