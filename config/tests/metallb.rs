//! The MetalLB resource: each rule with its text.

use config::metallb::check;
use serde_json::{Value, json};

fn texts(name: &str, spec: &Value, external: Option<&str>) -> Vec<String> {
    let document = json!({"apiVersion": "metallb.io/v1beta1", "kind": "MetalLB",
        "metadata": {"name": name, "namespace": "metallb-system"}, "spec": spec});
    let resource = serde_json::from_value(document).expect("a MetalLB");
    check(&resource, external).into_iter().map(|finding| finding.text).collect()
}

#[test]
fn a_metallb_resource_is_refused_in_the_words_of_metallbs_operator() {
    let pod_term = |weight: i32| json!({"weight": weight, "podAffinityTerm": {"topologyKey": "a"}});
    let node_term = |weight: i32| json!({"weight": weight, "preference": {}});
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let node = |weight| json!({"affinity": {"nodeAffinity": {preferred: [node_term(weight)]}}});
    let pod = |weight| json!({"affinity": {"podAffinity": {preferred: [pod_term(weight)]}}});
    let seconds = json!([{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}]);
    let cases: &[(Value, &str)] = &[
        (
            json!({"controllerTolerations": seconds}),
            "ControllerToleration effect must be NoExecute when tolerationSeconds is set",
        ),
        (
            json!({"speakerTolerations": seconds}),
            "SpeakerToleration effect must be NoExecute when tolerationSeconds is set",
        ),
        (
            json!({"controllerConfig": node(0)}),
            "ControllerConfig NodeAffinity set with invalid weight for preferred scheduling term",
        ),
        (
            json!({"controllerConfig": pod(101)}),
            "ControllerConfig PodAffinity set with invalid weight for preferred scheduling term",
        ),
        (
            json!({"speakerConfig": node(-1)}),
            "SpeakerConfig NodeAffinity set with invalid weight for preferred scheduling term",
        ),
        (
            json!({"speakerConfig": pod(0)}),
            "SpeakerConfig PodAffinity set with invalid weight for preferred scheduling term",
        ),
        (json!({"bgpBackend": "bird"}), "invalid BGP Backend, must be one of native, frr, frr-k8s, frr-k8s-external"),
        (
            json!({"bgpBackend": "frr-k8s-external"}),
            "bgp backend: frrk8s external and no default or user provided namespace",
        ),
        (json!({"frrk8sConfig": {"alwaysBlock": ["10.0.0.0/8", "10"]}}), "invalid CIDR 10 in AlwaysBlock"),
    ];
    for (spec, text) in cases {
        assert_eq!(texts("metallb", spec, None), [*text], "{spec}");
    }
    assert_eq!(texts("other", &json!({}), None), ["MetalLB resource must be named metallb, got \"other\""]);
}

#[test]
fn good_metallb_resources_pass() {
    let good = [
        json!({}),
        json!({"bgpBackend": "native", "frrk8sConfig": {"namespace": "frr", "alwaysBlock": [" 10.0.0.0/8 "]}}),
        json!({"speakerTolerations": [{"key": "a", "effect": "NoExecute", "tolerationSeconds": 5}]}),
    ];
    for spec in good {
        assert_eq!(texts("metallb", &spec, None), Vec::<String>::new(), "{spec}");
    }
}

#[test]
fn backends_that_are_not_there_yet_are_refused_in_one_sentence() {
    for backend in ["frr", "frr-k8s", "frr-k8s-external"] {
        let text = format!("BGP backend {backend} is not available yet, must be native");
        assert_eq!(texts("metallb", &json!({"bgpBackend": backend}), Some("frr")), [text]);
    }
}
