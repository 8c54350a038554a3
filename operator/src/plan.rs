//! From what is and what should be to what is done. Pure.
//!
//! ```text
//!  Inventory (watched) ─┐
//!                       ├─▶ plan ─▶ apply (in order), prune          MetalLB exists
//!  Rendered (wanted) ───┘
//!  Inventory ──────────────▶ orphans ─▶ delete                       the MetalLB they were made for is gone
//! ```

use std::collections::BTreeSet;

use api::names::FIELD_MANAGER_OPERATOR;

use crate::drift;
use crate::object::{Inventory, ObjectId, Owner, Rendered};

/// The steps of one reconcile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Objects to apply, in this order. Those that already say what they should are left out.
    pub apply: Vec<Rendered>,
    /// Objects the operator made earlier and renders no more.
    pub prune: Vec<ObjectId>,
}

/// Compares what was rendered with what is there.
///
/// Objects of others are neither applied over (unless they bear a name the operator renders: then it takes them over)
/// nor deleted.
pub fn plan(owner: &Owner, observed: &Inventory, mut rendered: Vec<Rendered>) -> Plan {
    let wanted: BTreeSet<ObjectId> = rendered.iter().map(|rendered| rendered.id.clone()).collect();
    // Last made, first removed: nothing runs without the rights it was given.
    let prune = observed
        .iter()
        .rev()
        .filter(|(id, object)| {
            !wanted.contains(*id) && Owner::of(object).as_ref() == Some(owner) && !is_being_deleted(object)
        })
        .map(|(id, _)| id.clone())
        .collect();
    rendered.retain(|rendered| {
        !observed
            .get(&rendered.id)
            .is_some_and(|live| drift::is_current(&rendered.object, live, FIELD_MANAGER_OPERATOR))
    });
    rendered.sort_by(|a, b| a.id.cmp(&b.id));
    Plan { apply: rendered, prune }
}

/// Objects made for MetalLB resources of `namespace` that are gone, in the order to delete them: what runs first, and
/// the rights it runs with last. `living` are the uids of the resources that are there.
pub fn orphans(namespace: &str, living: &BTreeSet<String>, observed: &Inventory) -> Vec<ObjectId> {
    let is_orphan =
        |object| Owner::of(object).is_some_and(|owner| owner.namespace == namespace && !living.contains(&owner.uid));
    observed
        .iter()
        .rev()
        .filter(|(_, object)| is_orphan(object) && !is_being_deleted(object))
        .map(|(id, _)| id.clone())
        .collect()
}

fn is_being_deleted(object: &serde_json::Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::object::{ANNOTATION_OWNER, Kind, LABEL_MANAGED_BY, MANAGED_BY};

    fn owner() -> Owner {
        Owner { namespace: "ns".into(), name: "metallb".into(), uid: "u1".into() }
    }

    fn id(kind: Kind, name: &str) -> ObjectId {
        ObjectId { kind, namespace: if kind.is_namespaced() { "ns".into() } else { String::new() }, name: name.into() }
    }

    fn made() -> Value {
        json!({"metadata": {"labels": {LABEL_MANAGED_BY: MANAGED_BY}, "annotations": {ANNOTATION_OWNER: "ns/metallb/u1"}}})
    }

    fn everything() -> Inventory {
        Kind::ALL.into_iter().map(|kind| (id(kind, "x"), made())).collect()
    }

    #[test]
    fn objects_are_applied_rights_first_and_workloads_last() {
        let rendered =
            Kind::ALL.into_iter().rev().map(|kind| Rendered { id: id(kind, "x"), object: json!({}) }).collect();
        let plan = plan(&owner(), &Inventory::new(), rendered);
        let kinds: Vec<Kind> = plan.apply.iter().map(|rendered| rendered.id.kind).collect();
        assert_eq!(kinds, Kind::ALL);
        assert_eq!(plan.prune, []);
    }

    #[test]
    fn what_is_rendered_no_more_is_pruned_and_nothing_else() {
        let mut observed = everything();
        observed.insert(id(Kind::ConfigMap, "foreign"), json!({"metadata": {}}));
        let mut going = made();
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        observed.insert(id(Kind::ConfigMap, "going"), going);
        let keep = Kind::ALL.into_iter().filter(|kind| *kind != Kind::ConfigMap);
        let rendered = keep.map(|kind| Rendered { id: id(kind, "x"), object: json!({}) }).collect();
        assert_eq!(plan(&owner(), &observed, rendered).prune, [id(Kind::ConfigMap, "x")]);
    }

    #[test]
    fn an_object_that_is_as_it_should_be_is_left_alone() {
        let object = json!({"metadata": {"name": "x", "labels": {"a": "b"}}});
        let mut live = object.clone();
        live["metadata"]["managedFields"] = json!([{"manager": FIELD_MANAGER_OPERATOR, "operation": "Apply",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}}}]);
        let rendered = Rendered { id: id(Kind::ConfigMap, "x"), object };
        let observed = Inventory::from([(rendered.id.clone(), live)]);
        assert_eq!(plan(&owner(), &observed, vec![rendered]), Plan::default());
    }

    #[test]
    fn operands_of_a_resource_that_is_gone_are_orphans_and_go_workloads_first() {
        let gone = orphans("ns", &BTreeSet::new(), &everything());
        assert_eq!(gone.first(), Some(&id(Kind::DaemonSet, "x")));
        assert_eq!(gone.last(), Some(&id(Kind::ServiceAccount, "x")));
        assert_eq!(gone.len(), Kind::ALL.len());
    }

    #[test]
    fn operands_of_living_resources_of_other_namespaces_and_of_others_are_no_orphans() {
        assert_eq!(orphans("ns", &BTreeSet::from(["u1".to_owned()]), &everything()), []);
        assert_eq!(orphans("elsewhere", &BTreeSet::new(), &everything()), []);
        let observed = Inventory::from([(id(Kind::DaemonSet, "foreign"), json!({"metadata": {}}))]);
        assert_eq!(orphans("ns", &BTreeSet::new(), &observed), []);
    }

    #[test]
    fn an_orphan_is_deleted_once() {
        let mut observed = everything();
        for object in observed.values_mut() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        assert_eq!(orphans("ns", &BTreeSet::new(), &observed), []);
    }
}
