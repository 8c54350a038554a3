//! Rules of the MetalLB resource itself, with the texts of MetalLB's operator.

use api::v1beta1::{ComponentConfig, MetalLB};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Toleration;

use crate::finding::{Class, Finding, ObjectId};
use crate::quote::quoted;
use crate::resources::Backend;
use crate::source::Stored;

/// The one name the operator acts on.
pub const NAME: &str = "metallb";

/// Everything that is wrong with one MetalLB resource. `external_namespace` is the namespace of a foreign frr-k8s that the
/// installation provides by default, if any.
pub fn check(resource: &MetalLB, external_namespace: Option<&str>) -> Vec<Finding> {
    let (id, spec) = (resource.id(), &resource.spec);
    let mut findings = Vec::new();
    if id.name != NAME {
        let text = format!("MetalLB resource must be named {NAME}, got {}", quoted(&id.name));
        findings
            .push(Finding::new(Class::Policy, &id, "metadata.name", text).detail("there is one MetalLB per cluster"));
    }
    let mut wrong = |field: &str, text: String| findings.push(Finding::new(Class::Error, &id, field, text));
    for (who, field, tolerations) in [
        ("ControllerToleration", "spec.controllerTolerations", &spec.controller_tolerations),
        ("SpeakerToleration", "spec.speakerTolerations", &spec.speaker_tolerations),
    ] {
        if tolerations.iter().any(bad_toleration) {
            wrong(field, format!("{who} effect must be NoExecute when tolerationSeconds is set"));
        }
    }
    for (who, field, config) in [
        ("ControllerConfig", "spec.controllerConfig", &spec.controller_config.clone().map(|config| config.component)),
        ("SpeakerConfig", "spec.speakerConfig", &spec.speaker_config.clone().map(|config| config.component)),
    ] {
        for kind in config.iter().flat_map(bad_affinities) {
            let field = format!("{field}.affinity");
            wrong(&field, format!("{who} {kind} set with invalid weight for preferred scheduling term"));
        }
    }
    let backend = spec.bgp_backend.as_deref().filter(|backend| !backend.is_empty());
    let given_namespace = spec.frrk8s_config.as_ref().and_then(|config| config.namespace.as_deref());
    let namespace = given_namespace.or(external_namespace).filter(|namespace| !namespace.is_empty());
    match backend.map(str::parse::<Backend>) {
        Some(Err(error)) => wrong("spec.bgpBackend", error.to_string()),
        Some(Ok(Backend::FrrK8sExternal)) if namespace.is_none() => wrong(
            "spec.frrk8sConfig.namespace",
            "bgp backend: frrk8s external and no default or user provided namespace".to_owned(),
        ),
        Some(Ok(Backend::Native)) | None => {}
        Some(Ok(other)) => {
            let text = format!("BGP backend {other} is not available yet, must be native");
            let remedy = "leave bgpBackend out; layer 2 works, and BGP sessions come with a later release";
            findings.push(Finding::new(Class::Policy, &id, "spec.bgpBackend", text).detail(remedy));
        }
    }
    let blocked = spec.frrk8s_config.iter().flat_map(|config| &config.always_block);
    for (index, cidr) in blocked.enumerate().filter(|(_, cidr)| cidr.trim().parse::<IpNet>().is_err()) {
        let (field, text) =
            (format!("spec.frrk8sConfig.alwaysBlock[{index}]"), format!("invalid CIDR {cidr} in AlwaysBlock"));
        findings.push(Finding::new(Class::Error, &id, field, text));
    }
    findings
}

/// The rule that there is one MetalLB: whether `id`, a new or changed one, may be stored beside those that `exist` (it may be
/// among them) by an operator that lives in `namespace`. What is wrong with its name is told by [`check`].
pub fn only_one(id: &ObjectId, namespace: &str, exist: &[ObjectId]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if id.namespace != namespace {
        let text = format!("resource must be created in {namespace} namespace");
        let remedy = format!("the operator looks at that namespace only, {id} is in {}", quoted(&id.namespace));
        findings.push(Finding::new(Class::Policy, id, "metadata.namespace", text).detail(remedy));
    }
    if let Some(other) = exist.iter().filter(|other| *other != id).min() {
        let text =
            format!("there is a MetalLB already: {} in namespace {}", quoted(&other.name), quoted(&other.namespace));
        let remedy = "there is one MetalLB per cluster: change that one, or delete it first";
        findings.push(Finding::new(Class::Policy, id, "metadata.name", text).with(other).detail(remedy));
    }
    findings
}

fn bad_toleration(toleration: &Toleration) -> bool {
    toleration.toleration_seconds.is_some_and(|seconds| seconds > 0)
        && toleration.effect.as_deref() != Some("NoExecute")
}

/// The kinds of affinity whose weights are outside 1 to 100.
fn bad_affinities(config: &ComponentConfig) -> Vec<&'static str> {
    let Some(affinity) = &config.affinity else { return Vec::new() };
    let node =
        affinity.node_affinity.iter().flat_map(|node| &node.preferred_during_scheduling_ignored_during_execution);
    let pod = affinity.pod_affinity.iter().flat_map(|pod| &pod.preferred_during_scheduling_ignored_during_execution);
    let bad = |weight: i32| !(1..=100).contains(&weight);
    let mut kinds = Vec::new();
    if node.flatten().any(|term| bad(term.weight)) {
        kinds.push("NodeAffinity");
    }
    if pod.flatten().any(|term| bad(term.weight)) {
        kinds.push("PodAffinity");
    }
    kinds
}
