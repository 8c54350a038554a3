use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::render::rbac::COMPONENTS;

fn install() -> Install {
    Install { namespace: "metallb-system".into(), image: "example.com/metallb:1.2.3".into(), version: "1.2.3".into() }
}

fn all() -> Vec<Value> {
    objects(&install()).unwrap()
}

fn find(kind: &str, name: &str) -> Value {
    all().into_iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn strings(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// Whether one of `held` allows all that `wanted` allows.
fn covers(held: &[Value], wanted: &Value) -> bool {
    strings(&wanted["resources"]).iter().all(|resource| {
        strings(&wanted["verbs"]).iter().all(|verb| {
            held.iter().any(|rule| {
                rule["apiGroups"] == wanted["apiGroups"]
                    && strings(&rule["resources"]).contains(resource)
                    && strings(&rule["verbs"]).contains(verb)
                    && (rule["resourceNames"].is_null()
                        || !wanted["resourceNames"].is_null()
                            && strings(&rule["resourceNames"]).is_superset(&strings(&wanted["resourceNames"])))
            })
        })
    })
}

#[test]
fn the_operator_holds_everything_it_grants() {
    let name = "metallb-operator-controller-manager";
    let cluster = find("ClusterRole", name)["rules"].as_array().unwrap().clone();
    let mut local = find("Role", name)["rules"].as_array().unwrap().clone();
    local.extend(cluster.clone());
    let json = |rules: Vec<_>| rules.into_iter().map(|rule| serde_json::to_value(rule).unwrap()).collect::<Vec<_>>();
    for component in COMPONENTS {
        for rule in json(component.cluster_rules()) {
            assert!(covers(&cluster, &rule), "ClusterRole lacks {rule}");
        }
        for rule in json(component.namespace_rules()) {
            assert!(covers(&local, &rule), "Role lacks {rule}");
        }
    }
}

#[test]
fn no_rule_has_a_wildcard_or_a_way_around_rights() {
    for object in all().iter().filter(|object| ["Role", "ClusterRole"].contains(&text(&object["kind"]).as_str())) {
        for rule in object["rules"].as_array().unwrap() {
            for field in ["apiGroups", "resources", "verbs"] {
                let words = strings(&rule[field]);
                for word in ["*", "escalate", "bind", "impersonate"] {
                    assert!(!words.contains(word), "{}: {rule}", object["metadata"]["name"]);
                }
            }
        }
    }
}

#[test]
fn secrets_are_never_read_cluster_wide() {
    for object in all().iter().filter(|object| object["kind"] == "ClusterRole") {
        assert!(!object["rules"].to_string().contains("\"secrets\""), "{}", object["metadata"]["name"]);
    }
}

#[test]
fn definitions_come_first_then_the_namespace_and_webhooks_last() {
    let kinds: Vec<String> = all().iter().map(|object| text(&object["kind"])).collect();
    let first_other = kinds.iter().position(|kind| kind != "CustomResourceDefinition").unwrap();
    assert_eq!(kinds[first_other], "Namespace");
    assert!(!kinds[first_other..].contains(&"CustomResourceDefinition".to_owned()));
    assert_eq!(kinds[kinds.len() - 2..], ["ValidatingWebhookConfiguration", "ValidatingWebhookConfiguration"]);
}

#[test]
fn another_namespace_changes_every_mention_of_the_default_one() {
    let elsewhere = objects(&Install { namespace: "elsewhere".into(), ..install() }).unwrap();
    let operator = elsewhere.iter().filter(|object| object["kind"] != "CustomResourceDefinition");
    for object in operator {
        assert!(!object.to_string().contains("metallb-system"), "{object}");
    }
    // sed over the text gives the same manifest: no name is made of the namespace.
    let sed = serde_json::to_string(&all()).unwrap().replace("metallb-system", "elsewhere");
    assert_eq!(sed, serde_json::to_string(&elsewhere).unwrap());
}

#[test]
fn webhooks_have_metallbs_names_paths_and_rules() {
    let rows = |configuration: &str| -> Vec<Value> {
        let object = find("ValidatingWebhookConfiguration", configuration);
        object["webhooks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|webhook| {
                assert_eq!(webhook["failurePolicy"], "Fail");
                assert_eq!(webhook["sideEffects"], "None");
                assert_eq!(webhook["matchPolicy"], "Equivalent");
                assert_eq!(webhook["timeoutSeconds"], 10);
                let (service, rule) = (&webhook["clientConfig"]["service"], &webhook["rules"][0]);
                json!([
                    webhook["name"],
                    service["name"],
                    service["path"],
                    rule["resources"][0],
                    rule["apiVersions"],
                    rule["operations"]
                ])
            })
            .collect()
    };
    let row = |name: &str, service: &str, path: &str, kind: &str, versions: &[&str], operations: &[&str]| {
        json!([format!("{name}.metallb.io"), service, format!("/validate-{path}"), kind, versions, operations])
    };
    let change = ["CREATE", "UPDATE"].as_slice();
    let service = "metallb-webhook-service";
    assert_eq!(
        rows("metallb-webhook-configuration"),
        [
            row(
                "addresspoolvalidationwebhook",
                service,
                "metallb-io-v1beta1-addresspool",
                "addresspools",
                &["v1beta1"],
                change
            ),
            row(
                "bfdprofilevalidationwebhook",
                service,
                "metallb-io-v1beta1-bfdprofile",
                "bfdprofiles",
                &["v1beta1"],
                &["CREATE", "DELETE"]
            ),
            row(
                "bgpadvertisementvalidationwebhook",
                service,
                "metallb-io-v1beta1-bgpadvertisement",
                "bgpadvertisements",
                &["v1beta1"],
                change
            ),
            row(
                "bgppeersvalidationwebhook",
                service,
                "metallb-io-v1beta2-bgppeer",
                "bgppeers",
                &["v1beta1", "v1beta2"],
                change
            ),
            row(
                "communityvalidationwebhook",
                service,
                "metallb-io-v1beta1-community",
                "communities",
                &["v1beta1"],
                change
            ),
            row(
                "frrconfigurationsvalidationwebhook",
                service,
                "frrk8s-metallb-io-v1beta1-frrconfiguration",
                "frrconfigurations",
                &["v1beta1"],
                change,
            ),
            row(
                "ipaddresspoolvalidationwebhook",
                service,
                "metallb-io-v1beta1-ipaddresspool",
                "ipaddresspools",
                &["v1beta1"],
                change
            ),
            row(
                "l2advertisementvalidationwebhook",
                service,
                "metallb-io-v1beta1-l2advertisement",
                "l2advertisements",
                &["v1beta1"],
                change
            ),
        ]
    );
    assert_eq!(
        rows("metallb-operator-webhook-configuration"),
        [row(
            "metallbvalidationwebhook",
            "metallb-operator-webhook-service",
            "metallb-io-v1beta1-metallb",
            "metallbs",
            &["v1beta1"],
            change
        )]
    );
}

#[test]
fn both_services_lead_to_the_webhook_pods() {
    let pods = &find("Deployment", "metallb-operator-webhook-server")["spec"]["template"];
    assert_eq!(
        pods["spec"]["containers"][0]["ports"][0],
        json!({"containerPort": 9443, "name": "webhook-server", "protocol": "TCP"})
    );
    for name in ["metallb-webhook-service", "metallb-operator-webhook-service"] {
        let service = find("Service", name);
        assert_eq!(service["spec"]["selector"], pods["metadata"]["labels"]);
        assert_eq!(service["spec"]["ports"][0]["port"], 443);
        assert_eq!(service["spec"]["ports"][0]["targetPort"], "webhook-server");
        assert_eq!(service["spec"]["sessionAffinity"], "ClientIP", "who has just admitted something remembers it");
    }
}

#[test]
fn two_webhook_replicas_stay_apart_and_one_of_them_stays_up() {
    let name = "metallb-operator-webhook-server";
    let deployment = &find("Deployment", name)["spec"];
    assert_eq!(deployment["replicas"], 2);
    assert_eq!(deployment["strategy"]["rollingUpdate"], json!({"maxSurge": 1, "maxUnavailable": 0}));
    let affinity = &deployment["template"]["spec"]["affinity"]["podAntiAffinity"];
    let term = &affinity["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
    assert_eq!(term["topologyKey"], "kubernetes.io/hostname");
    assert_eq!(term["labelSelector"], deployment["selector"]);
    let budget = &find("PodDisruptionBudget", name)["spec"];
    assert_eq!((&budget["maxUnavailable"], &budget["selector"]), (&json!(1), &deployment["selector"]));
}

#[test]
fn objects_of_a_foreign_frr_k8s_do_not_need_our_webhook() {
    let configuration = find("ValidatingWebhookConfiguration", "metallb-webhook-configuration");
    for webhook in configuration["webhooks"].as_array().unwrap() {
        let only_here = json!({"matchLabels": {"kubernetes.io/metadata.name": "metallb-system"}});
        let expected = if webhook["rules"][0]["resources"][0] == "frrconfigurations" { only_here } else { json!(null) };
        assert_eq!(webhook["namespaceSelector"], expected, "{}", webhook["name"]);
    }
}

#[test]
fn the_operator_deployment_keeps_its_name_selector_and_strategy() {
    let deployment = find("Deployment", "metallb-operator-controller-manager");
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], json!({"control-plane": "controller-manager"}));
    assert_eq!(deployment["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(deployment["spec"]["replicas"], 1);
}

#[test]
fn every_pod_is_unprivileged() {
    for object in all().iter().filter(|object| object["kind"] == "Deployment") {
        let spec = &object["spec"]["template"]["spec"];
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        assert_eq!(spec["securityContext"]["runAsUser"], 65534);
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let context = &spec["containers"][0]["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    }
}

#[test]
fn the_namespace_admits_speakers() {
    let labels = &find("Namespace", "metallb-system")["metadata"]["labels"];
    for mode in ["enforce", "audit", "warn"] {
        assert_eq!(labels[format!("pod-security.kubernetes.io/{mode}")], "privileged");
    }
}
