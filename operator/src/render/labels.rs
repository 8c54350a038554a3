//! Labels and owner marks. `app` and `component` are selectors and therefore an upgrade contract.

use std::collections::BTreeMap;

use api::names;
use k8s_openapi_ext::{label, metav1};

use crate::facts::Facts;
use crate::object::{ANNOTATION_OWNER, Kind, MANAGED_BY, METALLB, Owner};

/// What selects a component's pods. Equal to MetalLB's, so that a Deployment made by it can be taken over in place.
pub(super) fn selector(component: &str) -> BTreeMap<String, String> {
    owned([(names::LABEL_APP, names::APP), (names::LABEL_COMPONENT, component)])
}

/// Labels of an operand object.
pub(super) fn object(component: &str, version: &str) -> BTreeMap<String, String> {
    let mut labels = selector(component);
    labels.extend(owned([(label::APP_MANAGED_BY, MANAGED_BY), (label::APP_VERSION, version)]));
    labels
}

/// Labels of an object of the flat manifest, which the operator does not manage.
pub(super) fn installed(component: Option<&str>, version: &str) -> BTreeMap<String, String> {
    let mut labels = owned([(names::LABEL_APP, names::APP), (label::APP_VERSION, version)]);
    labels.extend(component.map(|component| (names::LABEL_COMPONENT.to_owned(), component.to_owned())));
    labels
}

/// Says whose object this is. The garbage collector takes namespaced operands away with the MetalLB resource; cluster-scoped
/// ones may not name it as owner, so they bear a mark that the operator reads, and go with the namespace at the latest.
pub(super) fn mark_owner(metadata: &mut metav1::ObjectMeta, kind: Kind, owner: &Owner, facts: &Facts) {
    if owner.uid.is_empty() {
        return;
    }
    if kind.is_namespaced() {
        metadata.owner_references = Some(vec![metav1::OwnerReference {
            api_version: format!("{}/v1beta1", names::GROUP),
            kind: METALLB.to_owned(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]);
        return;
    }
    metadata.annotations.get_or_insert_default().insert(ANNOTATION_OWNER.to_owned(), owner.to_string());
    if !facts.namespace_uid.is_empty() {
        metadata.owner_references = Some(vec![metav1::OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
            name: facts.namespace.clone(),
            uid: facts.namespace_uid.clone(),
            controller: None,
            block_owner_deletion: None,
        }]);
    }
}

fn owned<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
