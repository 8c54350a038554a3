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

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

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

/// Annotation on cluster-scoped operands, which cannot have a namespaced owner: uid of the MetalLB resource.
pub const ANNOTATION_OWNER: &str = "metallb.io/owner-uid";
/// Label on all operands; with [`MANAGED_BY`] as its value the operator watches the object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = names::FIELD_MANAGER_OPERATOR;

impl Owner {
    /// Whether the operator once made this object for this owner. Only such objects are ever deleted.
    pub fn made(&self, object: &Value) -> bool {
        if self.uid.is_empty() {
            return false;
        }
        let metadata = &object["metadata"];
        let labelled = metadata["labels"][LABEL_MANAGED_BY] == MANAGED_BY;
        let annotated = metadata["annotations"][ANNOTATION_OWNER] == *self.uid;
        let owned = metadata["ownerReferences"]
            .as_array()
            .is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == *self.uid && owner["controller"] == true));
        labelled && (annotated || owned)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owner() -> Owner {
        Owner { namespace: "metallb-system".into(), name: "metallb".into(), uid: "u1".into() }
    }

    #[test]
    fn an_object_counts_as_made_only_with_the_label_and_this_owner() {
        let label = json!({LABEL_MANAGED_BY: MANAGED_BY});
        let reference = json!([{"uid": "u1", "controller": true}]);
        let cases = [
            ("namespaced operand", json!({"labels": label, "ownerReferences": reference}), true),
            ("cluster operand", json!({"labels": label, "annotations": {ANNOTATION_OWNER: "u1"}}), true),
            ("someone else's object", json!({"labels": {}}), false),
            ("label without owner", json!({"labels": label}), false),
            ("owner without label", json!({"ownerReferences": reference}), false),
            ("another MetalLB's", json!({"labels": label, "annotations": {ANNOTATION_OWNER: "u2"}}), false),
            ("not the controlling owner", json!({"labels": label, "ownerReferences": [{"uid": "u1"}]}), false),
        ];
        for (name, metadata, expected) in cases {
            assert_eq!(owner().made(&json!({ "metadata": metadata })), expected, "{name}");
        }
    }

    #[test]
    fn an_owner_without_uid_has_made_nothing() {
        let object =
            json!({"metadata": {"labels": {LABEL_MANAGED_BY: MANAGED_BY}, "annotations": {ANNOTATION_OWNER: ""}}});
        assert!(!Owner::default().made(&object));
    }

    #[test]
    fn kinds_are_found_by_their_names() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("Pod"), None);
    }
}
