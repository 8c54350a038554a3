//! Who operator and webhook are and what they may do.

use api::names;
use k8s_openapi_ext::{
    ClusterRoleBindingExt as _, ClusterRoleExt as _, PolicyRuleExt as _, RoleBindingExt as _, RoleExt as _,
    ServiceAccountExt as _, SubjectExt as _, corev1, rbacv1,
};
use rbacv1::PolicyRule;
use serde_json::Value;

use super::Install;
use crate::object::Kind;
use crate::render::RenderError;
use crate::render::rbac::{COMPONENTS, CONFIGURATION, Component, READ, rule};

/// Objects are applied, read back and deleted; `update` belongs to clients without server-side apply.
const MANAGE: [&str; 6] = ["create", "delete", "get", "list", "patch", "watch"];

pub(super) fn objects(install: &Install) -> Result<Vec<Value>, RenderError> {
    let programs = [
        (names::OPERATOR_DEPLOYMENT, None, operator_cluster_rules(), operator_namespace_rules()),
        (names::WEBHOOK_DEPLOYMENT, Some(names::WEBHOOK_SERVER), webhook_cluster_rules(), webhook_namespace_rules()),
    ];
    let mut objects = Vec::new();
    for (name, component, cluster_rules, namespace_rules) in programs {
        let account = corev1::ServiceAccount::new(name);
        let subject = rbacv1::Subject::service_account(&account).namespace(&install.namespace);
        let cluster_role = rbacv1::ClusterRole::new(name).rules(cluster_rules);
        let role = rbacv1::Role::new(name).rules(namespace_rules);
        let cluster_binding = rbacv1::ClusterRoleBinding::new(name, &cluster_role).subjects([subject.clone()]);
        let binding = rbacv1::RoleBinding::new(name, &role).subjects([subject]);
        objects.extend([
            install.finish(true, component, account)?,
            install.finish(false, component, cluster_role)?,
            install.finish(false, component, cluster_binding)?,
            install.finish(true, component, role)?,
            install.finish(true, component, binding)?,
        ]);
    }
    Ok(objects)
}

/// The operator's rights in the cluster: to manage the two roles it makes, and everything those roles grant.
pub(super) fn operator_cluster_rules() -> Vec<PolicyRule> {
    let kinds = [Kind::ClusterRole, Kind::ClusterRoleBinding];
    let made = COMPONENTS.map(Component::cluster_role);
    let mut rules = vec![
        rule(Kind::ClusterRole.group(), kinds.map(Kind::plural), ["list", "watch"]),
        rule(Kind::ClusterRole.group(), kinds.map(Kind::plural), ["create", "delete", "get", "patch"])
            .resource_names(made),
    ];
    add_new(&mut rules, COMPONENTS.into_iter().flat_map(Component::cluster_rules));
    rules
}

/// The operator's rights in its namespace: MetalLB, the operands, and everything the operands' roles grant.
pub(super) fn operator_namespace_rules() -> Vec<PolicyRule> {
    let mut rules = vec![
        rule(names::GROUP, ["metallbs"], READ),
        rule(names::GROUP, ["metallbs/status"], ["patch"]),
        // Demanded of whoever makes an object whose owner may not be deleted before it.
        rule(names::GROUP, ["metallbs/finalizers"], ["update"]),
    ];
    for group in ["", "apps", "rbac.authorization.k8s.io"] {
        let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_namespaced() && kind.group() == group);
        rules.push(rule(group, kinds.map(Kind::plural), MANAGE));
    }
    add_new(&mut rules, COMPONENTS.into_iter().flat_map(Component::namespace_rules));
    rules
}

/// The webhook puts its certificate authority into its two configurations, and nodes and namespaces into selectors.
fn webhook_cluster_rules() -> Vec<PolicyRule> {
    const GROUP: &str = "admissionregistration.k8s.io";
    const KIND: [&str; 1] = ["validatingwebhookconfigurations"];
    vec![
        rule("", ["namespaces", "nodes"], READ),
        rule("", ["events"], ["create", "patch"]),
        rule(GROUP, KIND, ["list", "watch"]),
        rule(GROUP, KIND, ["get", "patch", "update"])
            .resource_names([names::WEBHOOK_CONFIGURATION, names::OPERATOR_WEBHOOK_CONFIGURATION]),
        rule("authentication.k8s.io", ["tokenreviews"], ["create"]),
        rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
    ]
}

fn webhook_namespace_rules() -> Vec<PolicyRule> {
    vec![
        rule(names::GROUP, CONFIGURATION.into_iter().chain(["metallbs"]), READ),
        rule(names::GROUP_FRRK8S, ["frrconfigurations"], READ),
        rule("", ["secrets"], ["create"]),
        // Lists and watches by this name only.
        rule("", ["secrets"], ["get", "list", "patch", "update", "watch"]).resource_names([names::WEBHOOK_SECRET]),
    ]
}

fn add_new(rules: &mut Vec<PolicyRule>, more: impl Iterator<Item = PolicyRule>) {
    for rule in more {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
}
