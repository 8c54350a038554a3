//! Builders the test files share: objects from JSON, resources from objects.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::Arc;

use config::{Class, Compiled, NamespaceLabels, NodeLabels, Resources, compile};
use serde_json::{Value, json};

/// Resources from documents such as `{"kind": "IPAddressPool", "metadata": {..}, "spec": {..}}`.
pub fn resources(documents: &[Value]) -> Resources {
    let mut resources = Resources::default();
    for document in documents {
        add(&mut resources, document);
    }
    resources
}

fn add(resources: &mut Resources, document: &Value) {
    fn read<T: serde::de::DeserializeOwned>(document: &Value) -> Arc<T> {
        let mut document = document.clone();
        document["apiVersion"] = json!("metallb.io/any");
        Arc::new(serde_json::from_value(document).expect("a document of the kind it claims"))
    }
    match document["kind"].as_str().expect("a kind") {
        "IPAddressPool" => resources.pools.push(read(document)),
        "AddressPool" => resources.address_pools.push(read(document)),
        "L2Advertisement" => resources.l2_advertisements.push(read(document)),
        "BGPAdvertisement" => resources.bgp_advertisements.push(read(document)),
        "BGPPeer" => resources.peers.push(read(document)),
        "BFDProfile" => resources.bfd_profiles.push(read(document)),
        "Community" => resources.communities.push(read(document)),
        "Node" => {
            let name = document["metadata"]["name"].as_str().expect("a name").to_owned();
            resources.nodes.push(NodeLabels { name, labels: read_labels(document) });
        }
        "Namespace" => {
            let name = document["metadata"]["name"].as_str().expect("a name").to_owned();
            resources.namespaces.push(NamespaceLabels { name, labels: read_labels(document) });
        }
        other => panic!("unknown kind {other}"),
    }
}

fn read_labels(document: &Value) -> std::collections::BTreeMap<String, String> {
    serde_json::from_value(document["metadata"]["labels"].clone()).unwrap_or_default()
}

pub fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"kind": kind, "metadata": {"name": name, "namespace": "metallb-system"}, "spec": spec})
}

pub fn pool(name: &str, addresses: &[&str]) -> Value {
    object("IPAddressPool", name, json!({"addresses": addresses}))
}

pub fn l2(name: &str, spec: Value) -> Value {
    object("L2Advertisement", name, spec)
}

pub fn bgp(name: &str, spec: Value) -> Value {
    object("BGPAdvertisement", name, spec)
}

/// A good external peer, changed by `more`.
pub fn peer(name: &str, more: Value) -> Value {
    let mut spec = json!({"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"});
    for (key, value) in more.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    object("BGPPeer", name, spec)
}

pub fn community(name: &str, aliases: &[(&str, &str)]) -> Value {
    let aliases: Vec<_> = aliases.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    object("Community", name, json!({"communities": aliases}))
}

pub fn node(name: &str, labels: Value) -> Value {
    json!({"kind": "Node", "metadata": {"name": name, "labels": labels}})
}

pub fn namespace(name: &str, labels: Value) -> Value {
    json!({"kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// The object as if it had been stored at this second of a day.
pub fn created(mut document: Value, second: u32) -> Value {
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    document["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T{hour:02}:{minute:02}:{second:02}Z"));
    document
}

pub fn labelled(mut document: Value, labels: Value) -> Value {
    document["metadata"]["labels"] = labels;
    document
}

pub fn compiled(documents: &[Value]) -> Compiled {
    compile(&resources(documents))
}

/// The texts of one class, in order.
pub fn texts(compiled: &Compiled, class: Class) -> Vec<String> {
    compiled.findings.iter().filter(|finding| finding.class == class).map(|finding| finding.text.clone()).collect()
}
