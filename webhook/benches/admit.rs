//! How long a verdict takes with 1,000 pools and 1,000 peers stored.
//!
//! `first` compiles what is stored as well, as the first request after a change may have to; `next` finds that done.

use std::hint::black_box;
use std::sync::Arc;

use api::v1beta1::IPAddressPool;
use api::v1beta2::BGPPeer;
use config::{Kind, NodeLabels, ObjectId, Resources};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use webhook::admit::{Operation, Request, Snapshot, against};
use webhook::object::Object;

const COUNT: usize = 1_000;

fn read<T: DeserializeOwned>(document: Value) -> T {
    serde_json::from_value(document).unwrap_or_else(|error| panic!("{error}"))
}

fn pool(number: usize) -> IPAddressPool {
    let address = format!("10.{}.{}.0/24", number / 256, number % 256);
    read(json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
        "metadata": {"name": format!("pool-{number:04}"), "namespace": "metallb-system", "uid": format!("u{number}"),
            "resourceVersion": number.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"addresses": [address]}}))
}

fn peer(number: usize) -> BGPPeer {
    let address = format!("172.16.{}.{}", number / 256, number % 256);
    read(json!({"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer",
        "metadata": {"name": format!("peer-{number:04}"), "namespace": "metallb-system", "uid": format!("p{number}"),
            "resourceVersion": number.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"myASN": 64500, "peerASN": 64501, "peerAddress": address}}))
}

fn stored() -> Resources {
    Resources {
        pools: (0..COUNT).map(pool).map(Arc::new).collect(),
        peers: (0..COUNT).map(peer).map(Arc::new).collect(),
        nodes: (0..100).map(|n| NodeLabels { name: format!("n{n}"), ..NodeLabels::default() }).collect(),
        ..Resources::default()
    }
}

fn creation(object: Object) -> Request {
    let ObjectId { kind, namespace, name } = object.id();
    let id = ObjectId { kind, namespace, name };
    Request { operation: Operation::Create, id, object: Some(object), old: None, dry_run: false }
}

fn admit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit");
    for (name, object) in
        [("pool", Object::IPAddressPool(Arc::new(pool(COUNT)))), ("peer", Object::BGPPeer(Arc::new(peer(COUNT))))]
    {
        assert!(matches!(object.kind(), Kind::IPAddressPool | Kind::BGPPeer));
        let request = creation(object);
        let warm = Snapshot::new(stored());
        assert!(against(&warm, &[], &request).is_allowed());
        group.bench_function(format!("next/{name}"), |bench| {
            bench.iter(|| black_box(against(&warm, &[], &request)));
        });
        group.bench_function(format!("first/{name}"), |bench| {
            bench.iter_batched(
                || Snapshot::new(warm.resources().clone()),
                |cold| black_box(against(&cold, &[], &request)),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, admit);
criterion_main!(benches);
