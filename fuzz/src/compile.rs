//! Whole configurations: a JSON list of objects of all kinds, judged as the programs judge them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use config::{Compiled, Config, Family, Finding, Kind, NamespaceLabels, NodeLabels, ObjectId, Resources};
use config::{compile, frrk8s, metallb};
use k8s_openapi::serde::de::DeserializeOwned;
use serde_json::Value;

/// Compiles the objects and checks what must hold for all configurations.
pub fn run(data: &[u8]) {
    let Ok(documents) = serde_json::from_slice::<Vec<Value>>(data) else { return };
    let (resources, objects) = read(&documents);
    let compiled = compile(&resources);
    in_force(&compiled.config);
    told(&compiled.findings, &objects);
    let reversed: Vec<Value> = documents.iter().rev().cloned().collect();
    let (other, _) = read(&reversed);
    let Compiled { config, findings } = compile(&other);
    assert_eq!(compiled.config, config, "the order of objects matters");
    assert_eq!(compiled.findings, findings, "the order of objects matters");
    frr(&resources, &other, &objects);
    for document in &documents {
        if let Some(resource) = parse::<api::v1beta1::MetalLB>(document, "MetalLB") {
            told(&metallb::check(&resource, None), &objects);
        }
    }
}

/// The objects that can be read, as a program's watch would have them, and their names.
pub fn read(documents: &[Value]) -> (Resources, BTreeSet<(Kind, String)>) {
    let (mut resources, mut objects) = (Resources::default(), BTreeSet::new());
    for document in documents {
        add(&mut resources, &mut objects, document);
    }
    // The API has no two of one name.
    resources.nodes.sort_by(|a, b| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
    resources.nodes.dedup_by(|a, b| a.name == b.name);
    resources.namespaces.sort_by(|a, b| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
    resources.namespaces.dedup_by(|a, b| a.name == b.name);
    (resources, objects)
}

fn parse<T: DeserializeOwned>(document: &Value, kind: &str) -> Option<T> {
    if document["kind"] != kind {
        return None;
    }
    let mut document = document.clone();
    document["apiVersion"] = "any".into();
    serde_json::from_value(document).ok()
}

fn add(resources: &mut Resources, objects: &mut BTreeSet<(Kind, String)>, document: &Value) {
    let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let labels = || serde_json::from_value(document["metadata"]["labels"].clone()).unwrap_or_default();
    match document["kind"].as_str() {
        Some("Node") => return resources.nodes.push(NodeLabels { name, labels: labels() }),
        Some("Namespace") => return resources.namespaces.push(NamespaceLabels { name, labels: labels() }),
        Some("Backend") => return resources.backend = resources.backend.max(name.parse().unwrap_or_default()),
        _ => {}
    }
    macro_rules! kinds {
        ($($kind:ident $type:ty => $field:ident),*) => {$(
            if let Some(object) = parse::<$type>(document, stringify!($kind)) {
                objects.insert((Kind::$kind, name.clone()));
                resources.$field.push(object.into());
            }
        )*};
    }
    kinds! {
        IPAddressPool api::v1beta1::IPAddressPool => pools,
        AddressPool api::v1beta1::AddressPool => address_pools,
        L2Advertisement api::v1beta1::L2Advertisement => l2_advertisements,
        BGPAdvertisement api::v1beta1::BGPAdvertisement => bgp_advertisements,
        BGPPeer api::v1beta2::BGPPeer => peers,
        BFDProfile api::v1beta1::BFDProfile => bfd_profiles,
        Community api::v1beta1::Community => communities,
        FRRConfiguration api::frrk8s::FRRConfiguration => frr_configurations
    }
    if document["kind"] == "MetalLB" {
        objects.insert((Kind::MetalLB, name));
    }
}

/// Whatever is in force is consistent in itself.
fn in_force(config: &Config) {
    let mut spans: Vec<(IpAddr, IpAddr, &config::PoolName)> = Vec::new();
    for (name, pool) in &config.pools {
        assert!(!config.held.contains_key(name), "{name} is in force and held");
        assert!(pool.entries.iter().all(|entry| !entry.cidrs.is_empty()), "{name} has an empty entry");
        spans.extend(pool.cidrs().map(|cidr| (cidr.network(), cidr.broadcast(), name)));
        for family in [Family::V4, Family::V6] {
            let first: Vec<IpAddr> = pool.addresses(family).take(600).collect();
            let capacity = pool.capacity(family);
            if capacity < 600 {
                assert_eq!(u64::try_from(first.len()).ok(), Some(capacity), "{name}");
            }
            let distinct: BTreeSet<&IpAddr> = first.iter().collect();
            assert_eq!(distinct.len(), first.len(), "{name} gives an address twice");
            for address in first {
                assert!(pool.contains(address), "{name} gives out {address} and does not contain it");
                assert_eq!(config.pool_holding(&[address]), Some(pool), "{address}");
            }
        }
        for advertisement in &pool.bgp_advertisements {
            let lengths = (advertisement.aggregation_length, advertisement.aggregation_length_v6);
            assert!((1..=32).contains(&lengths.0) && (1..=128).contains(&lengths.1), "{advertisement:?}");
        }
    }
    spans.sort();
    for pair in spans.windows(2) {
        assert!(pair[0].1 < pair[1].0, "{:?} and {:?} overlap", pair[0], pair[1]);
    }
    for (name, peer) in &config.peers {
        assert_eq!(*name, peer.name);
        let hold = peer.hold_time_seconds;
        assert!(hold.is_none_or(|hold| hold == 0 || (3..=65_535).contains(&hold)), "{peer:?}");
        let keepalive = peer.keepalive_seconds;
        assert!(keepalive.is_none_or(|keepalive| hold.is_none_or(|hold| keepalive <= hold)), "{peer:?}");
        assert!(peer.connect_time_seconds.is_none_or(|time| (1..=65_535).contains(&time)), "{peer:?}");
        let profile = peer.bfd_profile.as_ref();
        assert!(profile.is_none_or(|profile| config.bfd_profiles.contains_key(profile)), "{peer:?}");
    }
}

/// Findings can be shown, and the objects they name are there.
fn told(findings: &[Finding], objects: &BTreeSet<(Kind, String)>) {
    let exists = |id: &ObjectId| objects.contains(&(id.kind, id.name.clone()));
    for finding in findings {
        assert!(!finding.text.is_empty() && !finding.to_string().is_empty(), "{finding:?}");
        assert!(exists(&finding.object), "{finding:?}");
        assert!(finding.others.iter().all(exists), "{finding:?}");
    }
}

fn frr(resources: &Resources, reversed: &Resources, objects: &BTreeSet<(Kind, String)>) {
    let all = &resources.frr_configurations;
    let findings = frrk8s::check(all, &resources.nodes);
    told(&findings, objects);
    assert_eq!(findings, frrk8s::check(&reversed.frr_configurations, &reversed.nodes), "the order of objects matters");
    if let [first, .., last] = all.as_slice() {
        told(&frrk8s::change(first, last), objects);
        assert_eq!(frrk8s::change(first, first), []);
    }
}
