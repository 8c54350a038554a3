//! Builders the test files share.

#![allow(dead_code, reason = "each test binary uses a part")]

use config::{Kind, NodeLabels, ObjectId, Resources};
use serde_json::{Value, json};
use webhook::admit::{Operation, Request, Snapshot, Verdict, admit};
use webhook::object::Object;

pub const NAMESPACE: &str = "metallb-system";

pub const KINDS: [Kind; 9] = [
    Kind::IPAddressPool,
    Kind::AddressPool,
    Kind::L2Advertisement,
    Kind::BGPAdvertisement,
    Kind::BGPPeer,
    Kind::BFDProfile,
    Kind::Community,
    Kind::MetalLB,
    Kind::FRRConfiguration,
];

pub fn kind_of(document: &Value) -> Kind {
    let name = document["kind"].as_str().expect("a kind");
    KINDS.into_iter().find(|kind| kind.as_str() == name).expect("a known kind")
}

pub fn object(document: &Value) -> Object {
    let dynamic = serde_json::from_value(document.clone()).expect("an object");
    Object::parse(kind_of(document), dynamic).expect("an object of its kind")
}

pub fn document(kind: &str, name: &str, spec: Value) -> Value {
    let version = if kind == "BGPPeer" { "v1beta2" } else { "v1beta1" };
    json!({"apiVersion": format!("metallb.io/{version}"), "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}

pub fn pool(name: &str, addresses: &[&str]) -> Value {
    document("IPAddressPool", name, json!({"addresses": addresses}))
}

/// A good external peer, changed by `more`.
pub fn peer(name: &str, more: Value) -> Value {
    let mut spec = json!({"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"});
    for (key, value) in more.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    document("BGPPeer", name, spec)
}

pub fn snapshot(stored: &[Value]) -> Snapshot {
    let mut resources = Resources { nodes: vec![NodeLabels::default()], ..Resources::default() };
    for document in stored {
        object(document).add_to(&mut resources);
    }
    Snapshot::new(resources)
}

pub fn request(operation: Operation, new: Option<&Value>, old: Option<&Value>) -> Request {
    let given = new.or(old).expect("an object");
    let text = |path: &str| given["metadata"][path].as_str().unwrap_or_default().to_owned();
    Request {
        operation,
        id: ObjectId { kind: kind_of(given), namespace: text("namespace"), name: text("name") },
        object: new.map(object),
        old: old.map(object),
        dry_run: false,
    }
}

pub fn create(stored: &[Value], new: &Value) -> Verdict {
    admit(NAMESPACE, None, &snapshot(stored), &request(Operation::Create, Some(new), None))
}

/// Replaces the stored object of the same kind and name.
pub fn update(stored: &[Value], new: &Value) -> Verdict {
    let same = |old: &&Value| old["kind"] == new["kind"] && old["metadata"]["name"] == new["metadata"]["name"];
    let old = stored.iter().find(same).expect("the object is stored");
    admit(NAMESPACE, None, &snapshot(stored), &request(Operation::Update, Some(new), Some(old)))
}

pub fn delete(stored: &[Value], old: &Value) -> Verdict {
    admit(NAMESPACE, None, &snapshot(stored), &request(Operation::Delete, None, Some(old)))
}
