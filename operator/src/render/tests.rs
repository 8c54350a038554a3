//! Golden files per situation, and laws that hold in all of them.

use std::collections::BTreeSet;

use api::names;
use serde_json::{Value, json};

use super::*;

fn facts() -> Facts {
    Facts {
        namespace: "metallb-system".into(),
        namespace_uid: "99999999-0000-0000-0000-000000000000".into(),
        controller_image: "example.com/metallb:1.2.3".into(),
        speaker_image: "example.com/metallb:1.2.3".into(),
        memberlist_port: 7946,
        metrics_port: 9120,
        liveness_port: 17472,
        version: "1.2.3".into(),
    }
}

fn metallb(spec: Value) -> MetalLB {
    serde_json::from_value(json!({
        "apiVersion": "metallb.io/v1beta1",
        "kind": "MetalLB",
        "metadata": {"name": "metallb", "namespace": "metallb-system", "uid": "11111111-2222-3333-4444-555555555555"},
        "spec": spec,
    }))
    .unwrap()
}

fn everything() -> Value {
    json!({
        "nodeSelector": {"node-role.kubernetes.io/worker": ""},
        "speakerTolerations": [{"key": "Example", "operator": "Exists", "effect": "NoExecute"}],
        "logLevel": "debug",
        "loadBalancerClass": "example.com/metallb",
        "controllerNodeSelector": {"zone": "a"},
        "controllerTolerations": [{"key": "c", "operator": "Equal", "value": "v", "effect": "NoExecute", "tolerationSeconds": 30}],
        "controllerConfig": {
            "replicas": 2,
            "priorityClassName": "high",
            "runtimeClassName": "kata",
            "annotations": {"note": "controller"},
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {"matchLabels": {"component": "controller"}}},
            ]}},
            "resources": {"limits": {"cpu": "200m"}, "requests": {"memory": "50Mi"}},
        },
        "speakerConfig": {
            "l2Ownership": "quorum",
            "priorityClassName": "system-node-critical",
            "runtimeClassName": "runc",
            "annotations": {"note": "speaker"},
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}},
            ]}},
            "resources": {"limits": {"memory": "100Mi"}},
        },
    })
}

fn yaml(objects: &[Rendered]) -> String {
    let mut objects: Vec<&Rendered> = objects.iter().collect();
    objects.sort_by(|a, b| a.id.cmp(&b.id));
    objects.iter().map(|rendered| format!("---\n{}", serde_saphyr::to_string(&rendered.object).unwrap())).collect()
}

fn find(objects: &[Rendered], kind: Kind) -> &Value {
    &objects.iter().find(|rendered| rendered.id.kind == kind).unwrap().object
}

#[test]
fn a_resource_without_a_spec_gives_the_defaults() {
    insta::assert_snapshot!("minimal", yaml(&render(&metallb(json!({})), &facts()).unwrap()));
}

#[test]
fn every_field_of_the_spec_has_its_effect() {
    let objects = render(&metallb(everything()), &facts()).unwrap();
    let workloads: Vec<Rendered> = objects.into_iter().filter(|rendered| rendered.id.kind.is_workload()).collect();
    insta::assert_snapshot!("everything", yaml(&workloads));
}

#[test]
fn ports_and_namespace_come_from_the_environment() {
    let facts = Facts {
        namespace: "elsewhere".into(),
        memberlist_port: 9122,
        metrics_port: 29150,
        liveness_port: 7472,
        ..facts()
    };
    let mut metallb = metallb(json!({}));
    metallb.metadata.namespace = Some("elsewhere".into());
    let objects = render(&metallb, &facts).unwrap();
    let text = yaml(&objects);
    assert!(!text.contains("metallb-system"), "the namespace is nowhere fixed");
    assert!(!text.contains("9120") && !text.contains("17472") && !text.contains("7946"), "no port is fixed");
    assert!(
        objects.iter().all(|rendered| {
            rendered.id.namespace == if rendered.id.kind.is_namespaced() { "elsewhere" } else { "" }
        })
    );
}

#[test]
fn controllers_are_replaced_never_rolled_and_several_of_them_avoid_each_other() {
    for (replicas, apart) in [(1, 0), (2, 1), (5, 1)] {
        let objects = render(&metallb(json!({"controllerConfig": {"replicas": replicas}})), &facts()).unwrap();
        let spec = &find(&objects, Kind::Deployment)["spec"];
        assert_eq!((&spec["replicas"], &spec["strategy"]), (&json!(replicas), &json!({"type": "Recreate"})));
        let affinity = &spec["template"]["spec"]["affinity"]["podAntiAffinity"];
        let terms = affinity["preferredDuringSchedulingIgnoredDuringExecution"].as_array().map_or(0, Vec::len);
        assert_eq!(terms, apart, "{replicas} replicas");
    }
}

#[test]
fn the_ownership_mode_is_a_flag_of_the_speaker_and_only_when_it_is_set() {
    for (config, flag) in [
        (json!({}), None),
        (json!({"l2Ownership": "fast"}), Some("--l2-ownership=fast")),
        (json!({"l2Ownership": "quorum"}), Some("--l2-ownership=quorum")),
    ] {
        let objects = render(&metallb(json!({"speakerConfig": config})), &facts()).unwrap();
        let args = |kind| &find(&objects, kind)["spec"]["template"]["spec"]["containers"][0]["args"];
        let given =
            |kind| args(kind).as_array().unwrap().iter().filter_map(Value::as_str).find(|arg| arg.contains("l2-"));
        assert_eq!((given(Kind::DaemonSet), given(Kind::Deployment)), (flag, None), "{config}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let once = || yaml(&render(&metallb(everything()), &facts()).unwrap());
    assert_eq!(once(), once());
}

#[test]
fn what_is_rendered_names_its_owner_in_the_way_its_scope_allows() {
    let metallb = metallb(json!({}));
    let owner = owner(&metallb);
    for rendered in render(&metallb, &facts()).unwrap() {
        assert_eq!(Owner::of(&rendered.object).as_ref(), Some(&owner), "{}", rendered.id);
        let reference = &rendered.object["metadata"]["ownerReferences"][0]["kind"];
        let kind = if rendered.id.kind.is_namespaced() { "MetalLB" } else { "Namespace" };
        assert_eq!(reference, kind, "{}", rendered.id);
    }
}

#[test]
fn selectors_are_those_an_upstream_installation_has() {
    let objects = render(&metallb(everything()), &facts()).unwrap();
    for (kind, component) in [(Kind::Deployment, "controller"), (Kind::DaemonSet, "speaker")] {
        let object = find(&objects, kind);
        let labels = json!({"app": "metallb", "component": component});
        assert_eq!(object["metadata"]["name"], component);
        assert_eq!(object["spec"]["selector"], json!({ "matchLabels": labels }));
        assert_eq!(object["spec"]["template"]["metadata"]["labels"], labels);
    }
}

#[test]
fn no_container_has_more_than_it_uses() {
    let objects = render(&metallb(json!({})), &facts()).unwrap();
    for (kind, added) in [(Kind::Deployment, Value::Null), (Kind::DaemonSet, json!(["NET_RAW"]))] {
        let spec = &find(&objects, kind)["spec"]["template"]["spec"];
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let context = &spec["containers"][0]["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(context["capabilities"]["add"], added);
    }
}

#[test]
fn every_service_account_that_is_used_is_rendered_and_bound() {
    let objects = render(&metallb(json!({})), &facts()).unwrap();
    let named =
        |kind| -> BTreeSet<&str> { objects.iter().filter(|o| o.id.kind == kind).map(|o| o.id.name.as_str()).collect() };
    assert_eq!(named(Kind::ServiceAccount), BTreeSet::from([names::CONTROLLER, names::SPEAKER]));
    for kind in [Kind::RoleBinding, Kind::ClusterRoleBinding] {
        for binding in objects.iter().filter(|o| o.id.kind == kind) {
            let role = binding.object["roleRef"]["name"].as_str().unwrap();
            let of = if kind == Kind::RoleBinding { Kind::Role } else { Kind::ClusterRole };
            assert!(named(of).contains(role), "{}", binding.id);
        }
    }
}

#[test]
fn a_backend_that_cannot_run_is_refused_in_one_sentence() {
    for backend in ["frr", "frr-k8s", "frr-k8s-external"] {
        let error = render(&metallb(json!({ "bgpBackend": backend })), &facts()).unwrap_err();
        assert_eq!(error.reason(), "UnsupportedBGPBackend");
        assert_eq!(
            error.to_string(),
            format!(
                "spec.bgpBackend: backend {backend} is not available in this version, the running operands stay as \
                 they are: use native, or remove the field"
            )
        );
    }
    let error = render(&metallb(json!({ "bgpBackend": "bird" })), &facts()).unwrap_err();
    assert_eq!(error.to_string(), "spec.bgpBackend: unsupported bgp backend bird: use native, or remove the field");
    assert!(render(&metallb(json!({ "bgpBackend": "native" })), &facts()).is_ok());
}

#[test]
fn an_empty_selector_value_is_kept_and_the_users_value_wins_over_the_built_in_one() {
    let spec = json!({"nodeSelector": {"node-role.kubernetes.io/worker": "", "kubernetes.io/os": "plan9"}});
    let objects = render(&metallb(spec), &facts()).unwrap();
    let selector = &find(&objects, Kind::DaemonSet)["spec"]["template"]["spec"]["nodeSelector"];
    assert_eq!(*selector, json!({"kubernetes.io/os": "plan9", "node-role.kubernetes.io/worker": ""}));
}
