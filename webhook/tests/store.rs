//! Reading from the apiserver: absent kinds, broken objects, refusals.

mod common;

use std::sync::Arc;

use common::{NAMESPACE, peer, pool, request};
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use webhook::admit::{Operation, Snapshot};
use webhook::snapshot::{ApiStore, Store};

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
