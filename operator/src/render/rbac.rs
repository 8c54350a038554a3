//! Who controller and speaker are and what they may do: nothing more than they do.
//!
//! ```text
//!  cluster_rules(c) ─▶ ClusterRole metallb:c ─▶ ClusterRoleBinding ─┐
//!                                                                   ├─▶ ServiceAccount c     c = controller, speaker
//!  namespace_rules(c) ─▶ Role c ─▶ RoleBinding c ───────────────────┘
//! ```
//! The operator may only grant what it holds: the flat manifest builds its own roles from the same rules.

use api::names;
use k8s_openapi_ext::{
    ClusterRoleBindingExt as _, ClusterRoleExt as _, PolicyRuleExt as _, RoleBindingExt as _, RoleExt as _,
    ServiceAccountExt as _, SubjectExt as _, corev1, rbacv1,
};
use rbacv1::PolicyRule;

use super::{RenderError, Scope};
use crate::object::{Kind, Rendered};

pub(super) const READ: [&str; 3] = ["get", "list", "watch"];
pub(super) const WRITE: [&str; 4] = ["create", "delete", "patch", "update"];
/// The kinds a user writes, apart from MetalLB itself.
pub(super) const CONFIGURATION: [&str; 7] = [
    "addresspools",
    "bfdprofiles",
    "bgpadvertisements",
    "bgppeers",
    "communities",
    "ipaddresspools",
    "l2advertisements",
];
pub(super) const COMPONENTS: [Component; 2] = [Component::Controller, Component::Speaker];

/// A program with rights of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Component {
    Controller,
    Speaker,
}

impl Component {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Controller => names::CONTROLLER,
            Self::Speaker => names::SPEAKER,
        }
    }

    /// Name of the ClusterRole and its binding. It holds no namespace, so that renaming the namespace in a manifest,
    /// by hand or by kustomize, never breaks a rule that names it.
    pub(super) fn cluster_role(self) -> String {
        format!("metallb:{}", self.name())
    }

    /// Rights in all namespaces.
    pub(super) fn cluster_rules(self) -> Vec<PolicyRule> {
        let mut rules = vec![
            rule("", ["namespaces", "nodes", "services"], READ),
            rule("", ["events"], ["create", "patch"]),
            // Metrics are handed only to those who may read them.
            rule("authentication.k8s.io", ["tokenreviews"], ["create"]),
            rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
        ];
        match self {
            // The status subresource also carries the annotation that names the pool: no right on Services themselves.
            Self::Controller => rules.push(rule("", ["services/status"], ["patch", "update"])),
            Self::Speaker => rules.push(rule("discovery.k8s.io", ["endpointslices"], READ)),
        }
        rules
    }

    /// Rights in MetalLB's namespace.
    pub(super) fn namespace_rules(self) -> Vec<PolicyRule> {
        let mut rules = vec![
            rule(names::GROUP, CONFIGURATION, READ),
            rule("", ["pods"], READ),
            rule(names::GROUP, ["configurationstates"], [READ.as_slice(), WRITE.as_slice()].concat()),
            rule(names::GROUP, ["configurationstates/status"], ["get", "patch", "update"]),
        ];
        match self {
            Self::Controller => rules.extend([
                rule(names::GROUP, ["ipaddresspools/status"], ["get", "patch", "update"]),
                // Two controllers agree on who leads.
                rule("coordination.k8s.io", ["leases"], [READ.as_slice(), &["create", "patch", "update"]].concat()),
                rule("apps", ["deployments"], ["get"]).resource_names([names::CONTROLLER]),
                rule("", ["secrets"], ["get"]).resource_names([super::MEMBERLIST_SECRET]),
                // A name cannot be demanded of what does not exist yet.
                rule("", ["secrets"], ["create"]),
            ]),
            Self::Speaker => rules.extend([
                // Whether the password Secrets that peers name are there and of the right type.
                rule("", ["secrets"], READ),
                rule(
                    names::GROUP,
                    ["servicebgpstatuses", "servicel2statuses"],
                    [READ.as_slice(), WRITE.as_slice()].concat(),
                ),
                rule(
                    names::GROUP,
                    ["servicebgpstatuses/status", "servicel2statuses/status"],
                    ["get", "patch", "update"],
                ),
            ]),
        }
        rules
    }
}

pub(super) fn operands(scope: &Scope) -> Result<Vec<Rendered>, RenderError> {
    let mut objects = Vec::new();
    for component in COMPONENTS {
        let name = component.name();
        let account = corev1::ServiceAccount::new(name);
        let cluster_role = rbacv1::ClusterRole::new(component.cluster_role()).rules(component.cluster_rules());
        let role = rbacv1::Role::new(name).rules(component.namespace_rules());
        let subject = rbacv1::Subject::service_account(&account).namespace(&scope.facts.namespace);
        let cluster_binding = rbacv1::ClusterRoleBinding::new(component.cluster_role(), &cluster_role);
        let binding = rbacv1::RoleBinding::new(name, &role);
        objects.extend([
            scope.finish(Kind::ClusterRoleBinding, name, cluster_binding.subjects([subject.clone()]))?,
            scope.finish(Kind::RoleBinding, name, binding.subjects([subject]))?,
            scope.finish(Kind::ServiceAccount, name, account)?,
            scope.finish(Kind::ClusterRole, name, cluster_role)?,
            scope.finish(Kind::Role, name, role)?,
        ]);
    }
    Ok(objects)
}

pub(super) fn rule<R: ToString, V: ToString>(
    group: &str,
    resources: impl IntoIterator<Item = R>,
    verbs: impl IntoIterator<Item = V>,
) -> PolicyRule {
    PolicyRule::default().api_group(group).resources(resources).verbs(verbs)
}
