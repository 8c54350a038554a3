//! The two ValidatingWebhookConfigurations. Their names, the names of their webhooks and the paths are MetalLB's.

use api::names;
use k8s_openapi_ext::{admissionregistrationv1, metav1};
use serde_json::Value;

use admissionregistrationv1::{
    MatchCondition, RuleWithOperations, ServiceReference, ValidatingWebhook, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};

use super::Install;
use super::webhook::SERVICE_PORT;
use crate::render::RenderError;

/// Longest time the apiserver waits for an answer.
const TIMEOUT_SECONDS: i32 = 10;

/// One webhook: its name, the path it calls, the plural of the kind, versions and operations that call it.
struct Rule {
    name: &'static str,
    group: &'static str,
    path: &'static str,
    resource: &'static str,
    versions: &'static [&'static str],
    operations: &'static [&'static str],
}

const CHANGES: &[&str] = &["CREATE", "UPDATE"];

const CONFIGURATION: [Rule; 8] = [
    Rule {
        name: "addresspoolvalidationwebhook.metallb.io",
        group: names::GROUP,
        path: "/validate-metallb-io-v1beta1-addresspool",
        resource: "addresspools",
        versions: &["v1beta1"],
        operations: CHANGES,
    },
    Rule {
        name: "bfdprofilevalidationwebhook.metallb.io",
        group: names::GROUP,
        path: "/validate-metallb-io-v1beta1-bfdprofile",
        resource: "bfdprofiles",
        versions: &["v1beta1"],
        operations: &["CREATE", "DELETE"],
    },
    Rule {
        name: "bgpadvertisementvalidationwebhook.metallb.io",
        group: names::GROUP,
        path: "/validate-metallb-io-v1beta1-bgpadvertisement",
        resource: "bgpadvertisements",
        versions: &["v1beta1"],
        operations: CHANGES,
    },
    Rule {
        name: "bgppeersvalidationwebhook.metallb.io",
        group: names::GROUP,
        path: "/validate-metallb-io-v1beta2-bgppeer",
        resource: "bgppeers",
        versions: &["v1beta1", "v1beta2"],
        operations: CHANGES,
    },
    Rule {
        name: "communityvalidationwebhook.metallb.io",
        group: names::GROUP,
        path: "/validate-metallb-io-v1beta1-community",
        resource: "communities",
        versions: &["v1beta1"],
        operations: CHANGES,
    },
    Rule {
        name: "frrconfigurationsvalidationwebhook.metallb.io",
        group: names::GROUP_FRRK8S,
        path: "/validate-frrk8s-metallb-io-v1beta1-frrconfiguration",
        resource: "frrconfigurations",
        versions: &["v1beta1"],
        operations: CHANGES,
    },
    Rule {
        name: "ipaddresspoolvalidationwebhook.metallb.io",
        group: names::GROUP,
        path: "/validate-metallb-io-v1beta1-ipaddresspool",
        resource: "ipaddresspools",
        versions: &["v1beta1"],
        operations: CHANGES,
    },
    Rule {
        name: "l2advertisementvalidationwebhook.metallb.io",
        group: names::GROUP,
        path: "/validate-metallb-io-v1beta1-l2advertisement",
        resource: "l2advertisements",
        versions: &["v1beta1"],
        operations: CHANGES,
    },
];

const METALLB: [Rule; 1] = [Rule {
    name: "metallbvalidationwebhook.metallb.io",
    group: names::GROUP,
    path: "/validate-metallb-io-v1beta1-metallb",
    resource: "metallbs",
    versions: &["v1beta1"],
    operations: CHANGES,
}];

pub(super) fn objects(install: &Install) -> Result<Vec<Value>, RenderError> {
    let configurations = [
        (names::WEBHOOK_CONFIGURATION, names::WEBHOOK_SERVICE, CONFIGURATION.as_slice()),
        (names::OPERATOR_WEBHOOK_CONFIGURATION, names::OPERATOR_WEBHOOK_SERVICE, METALLB.as_slice()),
    ];
    configurations.into_iter().map(|(name, service, rules)| configuration(install, name, service, rules)).collect()
}

fn configuration(install: &Install, name: &str, service: &str, rules: &[Rule]) -> Result<Value, RenderError> {
    let object = ValidatingWebhookConfiguration {
        metadata: <ValidatingWebhookConfiguration as k8s_openapi_ext::ResourceBuilder>::metadata(name),
        webhooks: Some(rules.iter().map(|rule| webhook(install, service, rule)).collect()),
    };
    install.finish(false, Some(names::WEBHOOK_SERVER), object)
}

fn webhook(install: &Install, service: &str, rule: &Rule) -> ValidatingWebhook {
    ValidatingWebhook {
        name: rule.name.to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        side_effects: "None".to_owned(),
        failure_policy: Some("Fail".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        timeout_seconds: Some(TIMEOUT_SECONDS),
        // An object on its way out only loses finalizers: that must work also when the webhook is already gone.
        match_conditions: Some(vec![MatchCondition {
            name: "not-being-deleted".to_owned(),
            expression: "request.operation == 'DELETE' || !has(object.metadata.deletionTimestamp)".to_owned(),
        }]),
        client_config: WebhookClientConfig {
            service: Some(ServiceReference {
                name: service.to_owned(),
                namespace: install.namespace.clone(),
                path: Some(rule.path.to_owned()),
                port: Some(i32::from(SERVICE_PORT)),
            }),
            ..WebhookClientConfig::default()
        },
        // A foreign frr-k8s elsewhere looks after its own objects, and must not need us for it.
        namespace_selector: (rule.group == names::GROUP_FRRK8S).then(|| metav1::LabelSelector {
            match_labels: Some([("kubernetes.io/metadata.name".to_owned(), install.namespace.clone())].into()),
            ..metav1::LabelSelector::default()
        }),
        rules: Some(vec![RuleWithOperations {
            api_groups: Some(vec![rule.group.to_owned()]),
            api_versions: Some(owned(rule.versions)),
            operations: Some(owned(rule.operations)),
            resources: Some(vec![rule.resource.to_owned()]),
            scope: Some("Namespaced".to_owned()),
        }]),
        ..ValidatingWebhook::default()
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}
