//! Reading from the apiserver: absent kinds, broken objects, refusals.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{NAMESPACE, object, peer, pool, request};
use config::{Kind, NodeLabels};
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use runtime::watch::Event;
use serde_json::{Value, json};
use webhook::admit::{Operation, Snapshot};
use webhook::metrics::Metrics;
use webhook::mirror::{Change, Mirror};
use webhook::snapshot::{ApiStore, Store, WatchedStore};

/// An apiserver that answers each path with this code and body; lists of unknown kinds are empty.
fn apiserver(answers: Vec<(&'static str, u16, Value)>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let known = answers.iter().find(|(plural, ..)| path.ends_with(&format!("/{plural}")));
        let (code, body) = known.map_or_else(|| (200, list(&[])), |(_, code, body)| (*code, body.clone()));
        let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
        std::future::ready(Ok::<_, kube::Error>(response.expect("a response")))
    });
    Client::new(service, NAMESPACE)
}

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "metallb.io/v1beta1", "kind": "List", "metadata": {}, "items": items})
}

fn refusal(code: u16, reason: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "message": "no", "reason": reason, "code": code})
}

async fn read(client: Client, new: &Value) -> Result<Arc<Snapshot>, String> {
    let store = ApiStore::new(client, NAMESPACE.to_owned());
    store.read(&request(Operation::Create, Some(new), None)).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn kinds_that_are_not_installed_and_objects_that_cannot_be_read_are_left_out() {
    let mut broken = pool("broken", &[]);
    broken["spec"] = json!({"addresses": "10.0.0.0/24"});
    let client = apiserver(vec![
        ("addresspools", 404, refusal(404, "NotFound")),
        ("ipaddresspools", 200, list(&[broken, pool("good", &["10.0.0.0/24"])])),
    ]);
    let snapshot = read(client, &pool("new", &["10.1.0.0/24"])).await.expect("a snapshot");
    let names: Vec<_> = snapshot.resources().pools.iter().filter_map(|pool| pool.metadata.name.as_deref()).collect();
    assert_eq!(names, ["good"]);
}

#[tokio::test]
async fn a_refusal_is_told_with_the_kind() {
    let client = apiserver(vec![("ipaddresspools", 403, refusal(403, "Forbidden"))]);
    let error = read(client, &pool("new", &["10.1.0.0/24"])).await.expect_err("a refusal");
    assert_eq!(error, "failed to get existing IPAddressPool objects: no (HTTP 403 Forbidden)");
}

#[tokio::test]
async fn nodes_are_read_only_when_something_selects_them() {
    let node = json!({"metadata": {"name": "n1", "labels": {"a": "b"}}});
    let nodes =
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": [node]});
    let names = async |new: &Value| {
        let snapshot = read(apiserver(vec![("nodes", 200, nodes.clone())]), new).await.expect("a snapshot");
        snapshot.resources().nodes.iter().map(|node| node.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&peer("p", json!({}))).await, [""], "one node stands for all");
    assert_eq!(names(&peer("p", json!({"nodeSelectors": [{"matchLabels": {"a": "b"}}]}))).await, ["n1"]);
}

#[tokio::test]
async fn the_backend_comes_from_the_stored_metallb_resource() {
    let metallb = common::document("MetalLB", "metallb", json!({"bgpBackend": "frr-k8s"}));
    let snapshot =
        read(apiserver(vec![("metallbs", 200, list(&[metallb]))]), &peer("p", json!({}))).await.expect("a snapshot");
    assert_eq!(snapshot.resources().backend, config::Backend::FrrK8s);
}

const WATCHED: [Kind; 8] = [
    Kind::IPAddressPool,
    Kind::AddressPool,
    Kind::L2Advertisement,
    Kind::BGPAdvertisement,
    Kind::BGPPeer,
    Kind::BFDProfile,
    Kind::Community,
    Kind::MetalLB,
];

fn stored(document: &Value, version: u64) -> Change {
    let object = object(document);
    Change::Object(object.kind(), Event::Apply((object.id().name, version, Some(object))))
}

/// A mirror whose lists of these kinds are in.
fn mirror(kinds: &[Kind]) -> Mirror {
    let mirror = Mirror::default();
    for kind in kinds {
        mirror.apply(Change::Object(*kind, Event::Init));
        mirror.apply(Change::Object(*kind, Event::InitDone));
    }
    mirror.apply(Change::Node(Event::Init));
    mirror.apply(Change::Node(Event::InitApply(NodeLabels { name: "n1".to_owned(), ..NodeLabels::default() })));
    mirror.apply(Change::Node(Event::InitDone));
    mirror
}

fn watched(mirror: &Mirror) -> WatchedStore {
    let listed = list(&[pool("listed", &["10.9.0.0/24"])]);
    let lists = ApiStore::new(apiserver(vec![("ipaddresspools", 200, listed)]), NAMESPACE.to_owned());
    WatchedStore::new(mirror.clone(), lists, Metrics::default())
}

fn pools(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.resources().pools.iter().filter_map(|pool| pool.metadata.name.as_deref()).collect()
}

#[tokio::test]
async fn watches_answer_once_the_lists_that_matter_are_in_and_the_apiserver_before_that() {
    let creation = request(Operation::Create, Some(&pool("new", &["10.1.0.0/24"])), None);
    let behind = mirror(&[Kind::IPAddressPool, Kind::AddressPool]);
    behind.apply(stored(&pool("seen", &["10.0.0.0/24"]), 1));
    assert_eq!(pools(&watched(&behind).read(&creation).await.expect("a snapshot")), ["listed"]);
    let complete = mirror(&WATCHED);
    complete.apply(stored(&pool("seen", &["10.0.0.0/24"]), 1));
    assert_eq!(pools(&watched(&complete).read(&creation).await.expect("a snapshot")), ["seen"]);
}

#[tokio::test]
async fn an_update_of_an_object_that_the_watch_has_not_seen_yet_waits_for_it() {
    let (old, new) = (pool("p", &["10.0.0.0/24"]), pool("p", &["10.0.0.0/25"]));
    let mut replaced = old.clone();
    replaced["metadata"]["resourceVersion"] = json!("7");
    let update = request(Operation::Update, Some(&new), Some(&replaced));
    let mirror = mirror(&WATCHED);
    mirror.apply(stored(&pool("p", &["10.7.0.0/24"]), 6));
    let store = watched(&mirror);
    let later = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        mirror.apply(stored(&old, 7));
    };
    let (snapshot, ()) = tokio::join!(store.read(&update), later);
    let snapshot = snapshot.expect("a snapshot");
    assert_eq!(snapshot.resources().pools[0].spec.addresses, ["10.0.0.0/24"]);
}

#[tokio::test]
async fn a_watch_that_does_not_catch_up_is_not_waited_for_long() {
    let mut replaced = pool("p", &["10.0.0.0/24"]);
    replaced["metadata"]["resourceVersion"] = json!("7");
    let update = request(Operation::Update, Some(&pool("p", &["10.0.0.0/25"])), Some(&replaced));
    assert_eq!(pools(&watched(&mirror(&WATCHED)).read(&update).await.expect("a snapshot")), ["listed"]);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_and_one_that_is_gone_are_left_out_of_the_snapshot() {
    let mirror = mirror(&WATCHED);
    mirror.apply(stored(&pool("gone", &["10.0.0.0/24"]), 1));
    mirror.apply(Change::Object(Kind::IPAddressPool, Event::Apply(("broken".to_owned(), 2, None))));
    mirror.apply(stored(&pool("good", &["10.2.0.0/24"]), 3));
    let (name, gone) = ("gone".to_owned(), object(&pool("gone", &["10.0.0.0/24"])));
    mirror.apply(Change::Object(Kind::IPAddressPool, Event::Delete((name, 4, Some(gone)))));
    let creation = request(Operation::Create, Some(&pool("new", &["10.1.0.0/24"])), None);
    assert_eq!(pools(&watched(&mirror).read(&creation).await.expect("a snapshot")), ["good"]);
}

#[tokio::test]
async fn frr_configurations_are_listed_for_each_request() {
    let document = json!({"apiVersion": "frrk8s.metallb.io/v1beta1", "kind": "FRRConfiguration",
        "metadata": {"name": "f", "namespace": NAMESPACE}, "spec": {}});
    let lists = ApiStore::new(
        apiserver(vec![("frrconfigurations", 200, list(std::slice::from_ref(&document)))]),
        NAMESPACE.to_owned(),
    );
    let store = WatchedStore::new(mirror(&WATCHED), lists, Metrics::default());
    let snapshot = store.read(&request(Operation::Create, Some(&document), None)).await.expect("a snapshot");
    assert_eq!(snapshot.resources().frr_configurations.len(), 1);
}
