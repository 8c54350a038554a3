//! What the operator makes: kinds, names, and an inventory of them.
//!
//! ```text
//!  render ──▶ Rendered { id, object }          cluster ──watch──▶ Inventory { id → object }
//!                 └────────────── plan compares by id ──────────────┘
//! ```
//! The set of kinds is closed. It is also the list of what is watched and what may be pruned.

use std::collections::BTreeMap;
use std::fmt;

use api::names;
use serde_json::Value;

/// A kind the operator makes. Declaration order is the order of application: identities and rights before what uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Who a pod is.
    ServiceAccount,
    /// Rights in the whole cluster.
    ClusterRole,
    /// Gives a ClusterRole to a ServiceAccount.
    ClusterRoleBinding,
    /// Rights in one namespace.
    Role,
    /// Gives a Role to a ServiceAccount.
    RoleBinding,
    /// Files for pods.
    ConfigMap,
    /// The controller.
    Deployment,
    /// The speakers.
    DaemonSet,
}

impl Kind {
    /// Every kind, in the order of application.
    pub const ALL: [Self; 8] = [
        Self::ServiceAccount,
        Self::ClusterRole,
        Self::ClusterRoleBinding,
        Self::Role,
        Self::RoleBinding,
        Self::ConfigMap,
        Self::Deployment,
        Self::DaemonSet,
    ];

    /// The name in `kind:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::ClusterRole => "ClusterRole",
            Self::ClusterRoleBinding => "ClusterRoleBinding",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::ConfigMap => "ConfigMap",
            Self::Deployment => "Deployment",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// API group, empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::ServiceAccount | Self::ConfigMap => "",
            Self::ClusterRole | Self::ClusterRoleBinding | Self::Role | Self::RoleBinding => {
                "rbac.authorization.k8s.io"
            }
            Self::Deployment | Self::DaemonSet => "apps",
        }
    }

    /// The name in URLs and in RBAC rules.
    pub fn plural(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceaccounts",
            Self::ClusterRole => "clusterroles",
            Self::ClusterRoleBinding => "clusterrolebindings",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
            Self::ConfigMap => "configmaps",
            Self::Deployment => "deployments",
            Self::DaemonSet => "daemonsets",
        }
    }

    /// Whether objects of this kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::ClusterRole | Self::ClusterRoleBinding)
    }

    /// Whether objects of this kind run pods.
    pub fn is_workload(self) -> bool {
        matches!(self, Self::Deployment | Self::DaemonSet)
    }
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// An object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Its name.
    pub id: ObjectId,
    /// Everything the operator says about it, and nothing else: the body of a server-side apply.
    pub object: Value,
}

/// Objects as they are, by name.
pub type Inventory = BTreeMap<ObjectId, Value>;

/// The MetalLB resource that the operands belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Namespace of the resource.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid. A deleted and re-created resource of the same name is another owner.
    pub uid: String,
}

/// Annotation on cluster-scoped operands, whose owner reference cannot name a namespaced resource: namespace, name and
/// uid of the MetalLB resource, with `/` between them.
pub const ANNOTATION_OWNER: &str = "metallb.io/owner";
/// Label on all operands; with [`MANAGED_BY`] as its value the operator watches the object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = names::FIELD_MANAGER_OPERATOR;

impl Owner {
    /// For whom an operator made this object; `None` for objects of others. Only objects with an owner are ever deleted.
    pub fn of(object: &Value) -> Option<Self> {
        let metadata = &object["metadata"];
        if metadata["labels"][LABEL_MANAGED_BY] != MANAGED_BY {
            return None;
        }
        if let Some(text) = metadata["annotations"][ANNOTATION_OWNER].as_str() {
            return Self::parse(text);
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let owners = metadata["ownerReferences"].as_array()?;
        let owner = owners.iter().find(|owner| owner["kind"] == METALLB && owner["controller"] == true)?;
        Some(Self { namespace: text(&metadata["namespace"]), name: text(&owner["name"]), uid: text(&owner["uid"]) })
            .filter(|owner| !owner.uid.is_empty())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
        (!uid.is_empty()).then_some(Self { namespace, name, uid })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.name, self.uid)
    }
}

/// Kind of the resource that owns operands.
pub const METALLB: &str = "MetalLB";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owner() -> Owner {
        Owner { namespace: "ns".into(), name: "metallb".into(), uid: "u1".into() }
    }

    #[test]
    fn an_object_has_an_owner_only_with_the_label_and_a_mark() {
        let label = json!({LABEL_MANAGED_BY: MANAGED_BY});
        let reference = json!([{"kind": "MetalLB", "name": "metallb", "uid": "u1", "controller": true}]);
        let mark = json!({ANNOTATION_OWNER: "ns/metallb/u1"});
        let cases = [
            ("namespaced operand", json!({"namespace": "ns", "labels": label, "ownerReferences": reference}), true),
            ("cluster operand", json!({"labels": label, "annotations": mark}), true),
            ("someone else's object", json!({"labels": {}}), false),
            ("label without owner", json!({"labels": label}), false),
            ("owner without label", json!({"ownerReferences": reference, "annotations": mark}), false),
            ("half a mark", json!({"labels": label, "annotations": {ANNOTATION_OWNER: "ns/metallb"}}), false),
            (
                "owned by something else",
                json!({"labels": label, "ownerReferences": [{"kind": "Namespace", "uid": "n"}]}),
                false,
            ),
            (
                "not the controlling owner",
                json!({"labels": label, "ownerReferences": [{"kind": "MetalLB", "uid": "u1"}]}),
                false,
            ),
        ];
        for (name, metadata, expected) in cases {
            let found = Owner::of(&json!({ "metadata": metadata }));
            assert_eq!(found, expected.then(owner), "{name}");
        }
    }
}
