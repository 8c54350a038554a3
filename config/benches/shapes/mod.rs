//! Configurations far beyond what anybody runs. Each has a part that grows with the square of its size when done naively.

use std::net::Ipv4Addr;
use std::sync::Arc;

use config::{NodeLabels, Resources};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const NAMESPACE: &str = "metallb-system";

fn object<T: DeserializeOwned>(kind: &str, name: &str, labels: Value, spec: Value) -> Arc<T> {
    let metadata = json!({"name": name, "namespace": NAMESPACE, "labels": labels,
        "creationTimestamp": "2026-01-01T00:00:00Z"});
    let document = json!({"apiVersion": "metallb.io/any", "kind": kind, "metadata": metadata, "spec": spec});
    match serde_json::from_value(document) {
        Ok(object) => Arc::new(object),
        Err(error) => panic!("{kind} {name}: {error}"),
    }
}

fn group(index: u32) -> Value {
    json!({"group": format!("g{index}")})
}

fn select(index: u32) -> Value {
    json!([{"matchLabels": group(index)}])
}

fn nodes(count: u32) -> Vec<NodeLabels> {
    let labels =
        |index: u32| [("group".to_owned(), format!("g{index}")), ("zone".to_owned(), format!("z{}", index % 7))].into();
    (0..count).map(|index| NodeLabels { name: format!("n{index}"), labels: labels(index) }).collect()
}

/// 10,000 pools with 10 ranges each, two advertisements that select them all.
pub fn pools() -> Resources {
    let range = |number: u32| {
        let first = 0x0a00_0000 + number * 16;
        format!("{}-{}", Ipv4Addr::from(first + 1), Ipv4Addr::from(first + 9))
    };
    let mut resources = Resources { nodes: nodes(100), ..Resources::default() };
    for index in 0..10_000 {
        let ranges: Vec<String> = (0..10).map(|entry| range(index * 10 + entry)).collect();
        let spec = json!({"addresses": ranges});
        resources.pools.push(object("IPAddressPool", &format!("p{index}"), group(index), spec));
    }
    resources.l2_advertisements.push(object("L2Advertisement", "all", json!({}), json!({})));
    resources.bgp_advertisements.push(object("BGPAdvertisement", "all", json!({}), json!({})));
    resources
}

/// The same pools, and each overlaps with the one before it.
pub fn overlaps() -> Resources {
    let mut resources = pools();
    for index in 1..resources.pools.len() {
        let shared = resources.pools[index - 1].spec.addresses[0].clone();
        Arc::make_mut(&mut resources.pools[index]).spec.addresses.push(shared);
    }
    resources
}

/// 10,000 advertisements of both kinds, each with selectors of its own for pools and nodes, over 1,000 pools and nodes.
pub fn advertisements() -> Resources {
    let mut resources = Resources { nodes: nodes(1_000), ..Resources::default() };
    for index in 0..1_000 {
        let spec = json!({"addresses": [format!("{}/28", Ipv4Addr::from(0x0a00_0000 + index * 16))]});
        resources.pools.push(object("IPAddressPool", &format!("p{index}"), group(index), spec));
    }
    for index in 0..5_000 {
        let spec = json!({"ipAddressPoolSelectors": select(index % 1_000), "nodeSelectors": select(index % 997)});
        resources.l2_advertisements.push(object("L2Advertisement", &format!("a{index}"), json!({}), spec));
        let spec = json!({"ipAddressPoolSelectors": select(index % 1_000), "localPref": 100});
        resources.bgp_advertisements.push(object("BGPAdvertisement", &format!("a{index}"), json!({}), spec));
    }
    resources
}

/// 1,000 peers on 1,000 nodes: some on every node, most on few.
pub fn peers() -> Resources {
    let mut resources = Resources { nodes: nodes(1_000), ..Resources::default() };
    for index in 0..1_000 {
        let selectors = if index % 10 == 0 { json!([]) } else { select(index) };
        let spec = json!({"myASN": 64500, "peerASN": 64501, "nodeSelectors": selectors,
            "peerAddress": Ipv4Addr::from(0xc000_0000 + index).to_string()});
        resources.peers.push(object("BGPPeer", &format!("q{index}"), json!({}), spec));
    }
    resources
}

/// 10,000 Community objects with an alias each, all used by one advertisement.
pub fn communities() -> Resources {
    let mut resources = Resources::default();
    let mut aliases = Vec::new();
    for index in 0..10_000 {
        let alias = json!({"name": format!("alias{index}"), "value": format!("{}:{}", index / 256, index % 256)});
        let spec = json!({"communities": [alias]});
        resources.communities.push(object("Community", &format!("c{index}"), json!({}), spec));
        aliases.push(format!("alias{index}"));
    }
    let spec = json!({"communities": aliases});
    resources.bgp_advertisements.push(object("BGPAdvertisement", "all", json!({}), spec));
    resources
}
