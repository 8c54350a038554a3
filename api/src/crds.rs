//! All CustomResourceDefinitions, in the form they are installed in.
//!
//! ```text
//! Rust types --derive--> schema as kube makes it --tidy--> schema as Kubernetes people know it
//! ```
//! The derives describe what serde accepts; users and upgrade checkers expect what Kubernetes' own generator writes. The
//! differences are mended here, in one place:
//! - `nullable` is dropped: in a CRD it means that the apiserver stores a null, which an absent field is not;
//! - lines of a description are joined to paragraphs;
//! - formats such as `uint16` are dropped or widened: the apiserver knows `int32` and `int64` only, and a 4-byte ASN
//!   does not fit into `int32`;
//! - selectors are marked atomic, so that two owners never mix their requirements;
//! - resource quantities get the pattern that makes the apiserver refuse a misspelt one.
//!
//! Always use [`crds`]; `CustomResourceExt::crd` of a single type skips all this.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition,
};
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::{frrk8s, v1beta1, v1beta2};

/// Text forms of a Kubernetes resource quantity: a decimal number with an optional binary, decimal or power-of-ten
/// suffix.
const QUANTITY_PATTERN: &str =
    r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?([0-9]+[.]?[0-9]*|[.][0-9]+))?$";

/// Every CustomResourceDefinition of the product, sorted by name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        v1beta1::AddressPool::crd(),
        v1beta1::BFDProfile::crd(),
        v1beta1::BGPAdvertisement::crd(),
        bgp_peers(),
        v1beta1::Community::crd(),
        v1beta1::ConfigurationState::crd(),
        v1beta1::IPAddressPool::crd(),
        v1beta1::L2Advertisement::crd(),
        v1beta1::MetalLB::crd(),
        v1beta1::ServiceBGPStatus::crd(),
        v1beta1::ServiceL2Status::crd(),
        frrk8s::BGPSessionState::crd(),
        frrk8s::FRRConfiguration::crd(),
        frrk8s::FRRK8sConfiguration::crd(),
        frrk8s::FRRNodeState::crd(),
    ];
    for crd in &mut all {
        tidy(crd);
    }
    all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    all
}

/// Both versions of BGPPeer in one definition. Their schemas are equal, so objects need no conversion.
fn bgp_peers() -> CustomResourceDefinition {
    let mut crd = v1beta2::BGPPeer::crd();
    let mut versions = v1beta1::BGPPeer::crd().spec.versions;
    versions.append(&mut crd.spec.versions);
    crd.spec.versions = versions;
    // Explicit, because a MetalLB that is being replaced asked for a webhook here.
    crd.spec.conversion = Some(CustomResourceConversion { strategy: "None".to_owned(), webhook: None });
    crd
}

fn tidy(crd: &mut CustomResourceDefinition) {
    crd.spec.names.list_kind = Some(format!("{}List", crd.spec.names.kind));
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|validation| validation.open_api_v3_schema.as_mut()) else {
            continue;
        };
        // Both conversions are between a type and its own JSON form.
        let Ok(Value::Object(mut root)) = serde_json::to_value(&*schema) else { continue };
        tidy_root(&mut root);
        if crd.spec.names.kind == "MetalLB" {
            root.insert("x-kubernetes-validations".to_owned(), crate::schema::metallb_rules());
        }
        if let Ok(tidied) = serde_json::from_value(Value::Object(root)) {
            *schema = tidied;
        }
    }
}

fn tidy_root(root: &mut Map<String, Value>) {
    tidy_schema(root);
    // A kind whose spec may be absent gets an empty one in Rust; the stored object stays as the user wrote it.
    if let Some(Value::Object(properties)) = root.get_mut("properties") {
        for property in properties.values_mut() {
            if let Value::Object(property) = property {
                property.remove("default");
            }
        }
    }
    // ConfigurationState has no spec; flattening an empty struct leaves this mark.
    root.remove("x-kubernetes-preserve-unknown-fields");
    root.remove("additionalProperties");
}

fn tidy_schema(schema: &mut Map<String, Value>) {
    schema.remove("nullable");
    schema.remove("title");
    tidy_description(schema);
    tidy_format(schema);
    if is_label_selector(schema) {
        schema.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
    }
    if schema.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
        // Kubernetes' own text explains the number format over three pages.
        schema.remove("description");
        schema.insert("anyOf".to_owned(), json!([{ "type": "integer" }, { "type": "string" }]));
        schema.insert("pattern".to_owned(), json!(QUANTITY_PATTERN));
        return;
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(tidy_value);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key) {
            tidy_value(inner);
        }
    }
}

fn tidy_value(value: &mut Value) {
    if let Value::Object(schema) = value {
        tidy_schema(schema);
    }
}

/// Joins the lines of a paragraph: where the source code breaks them means nothing to `kubectl explain`.
fn tidy_description(schema: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
}

fn tidy_format(schema: &mut Map<String, Value>) {
    let Some(Value::String(format)) = schema.get("format") else { return };
    let known = match format.as_str() {
        "int8" | "int16" | "uint8" | "uint16" => "int32",
        "uint32" | "uint64" => "int64",
        _ => return,
    };
    schema.insert("format".to_owned(), json!(known));
}

fn is_label_selector(schema: &Map<String, Value>) -> bool {
    let Some(Value::Object(properties)) = schema.get("properties") else { return false };
    properties.len() == 2 && properties.contains_key("matchExpressions") && properties.contains_key("matchLabels")
}
