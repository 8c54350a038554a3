//! The HTTP side: reviews in, answers out, and calls that are none.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request as HttpRequest;
use common::{NAMESPACE, object, peer, pool, request, snapshot};
use serde_json::{Value, json};
use tower::ServiceExt;
use webhook::admit::{Operation, Request, Snapshot};
use webhook::gate::Gate;
use webhook::metrics::Metrics;
use webhook::server::{impatient_router, router};
use webhook::snapshot::Store;

/// A store whose reads are counted; `late` appears with the read of that number.
#[derive(Clone, Default)]
struct Shelf {
    stored: Arc<Mutex<Vec<Value>>>,
    late: Arc<Mutex<Option<(usize, Value)>>>,
    reads: Arc<AtomicUsize>,
    broken: bool,
}

impl Store for Shelf {
    async fn read(&self, _request: &Request) -> anyhow::Result<Arc<Snapshot>> {
        anyhow::ensure!(!self.broken, "failed to get existing IPAddressPool objects: it is Sunday");
        let read = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
        let mut stored = self.stored.lock().expect("the shelf");
        if let Some((due, document)) = self.late.lock().expect("the late one").as_ref()
            && read == *due
        {
            stored.push(document.clone());
        }
        Ok(Arc::new(snapshot(&stored)))
    }
}

fn gate(shelf: &Shelf) -> Gate<Shelf> {
    Gate::new(shelf.clone(), NAMESPACE.to_owned(), None)
}

async fn call(shelf: &Shelf, method: &str, path: &str, body: String) -> (u16, String) {
    let http = HttpRequest::builder().method(method).uri(path).body(Body::from(body)).expect("a request");
    let response = router(gate(shelf), Metrics::default()).oneshot(http).await.expect("an answer");
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    (status, String::from_utf8(bytes.to_vec()).expect("text"))
}

fn review(version: &str, operation: &str, document: &Value) -> String {
    let (group, version_of_kind) =
        document["apiVersion"].as_str().and_then(|text| text.split_once('/')).expect("group and version");
    let kind = json!({"group": group, "version": version_of_kind, "kind": document["kind"]});
    let resource = json!({"group": group, "version": version_of_kind, "resource": "any"});
    json!({"apiVersion": format!("admission.k8s.io/{version}"), "kind": "AdmissionReview", "request": {
        "uid": "u-1", "kind": kind, "resource": resource, "name": document["metadata"]["name"],
        "namespace": document["metadata"]["namespace"], "operation": operation, "userInfo": {}, "object": document,
        "oldObject": null, "dryRun": false}})
    .to_string()
}

const POOL_PATH: &str = "/validate-metallb-io-v1beta1-ipaddresspool";

#[tokio::test]
async fn a_good_object_is_allowed_and_a_bad_one_denied_in_the_version_of_the_question() {
    let shelf = Shelf::default();
    for version in ["v1", "v1beta1"] {
        let (status, body) =
            call(&shelf, "POST", POOL_PATH, review(version, "CREATE", &pool("p", &["10.0.0.0/24"]))).await;
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            (status, &answer["response"]["allowed"], &answer["response"]["uid"]),
            (200, &json!(true), &json!("u-1"))
        );
        assert_eq!(answer["apiVersion"], format!("admission.k8s.io/{version}"));
        assert_eq!(answer["kind"], "AdmissionReview");
    }
    let (status, body) = call(&shelf, "POST", POOL_PATH, review("v1", "CREATE", &pool("p", &["10"]))).await;
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let response = &answer["response"];
    assert_eq!((status, &response["allowed"], &response["status"]["code"]), (200, &json!(false), &json!(403)));
    assert_eq!(
        response["status"]["message"],
        "parsing address pool p: invalid CIDR \"10\" in pool \"p\": invalid CIDR \"10\""
    );
}

#[tokio::test]
async fn both_versions_of_a_peer_are_judged_on_either_path() {
    let mut old = peer("p", json!({"peerAddress": "1.1.1"}));
    for version in ["v1beta1", "v1beta2"] {
        old["apiVersion"] = json!(format!("metallb.io/{version}"));
        for path in ["/validate-metallb-io-v1beta1-bgppeer", "/validate-metallb-io-v1beta2-bgppeer"] {
            let (_, body) = call(&Shelf::default(), "POST", path, review("v1", "CREATE", &old)).await;
            assert!(body.contains("invalid BGPPeer address"), "{version} {path}: {body}");
        }
    }
}

#[tokio::test]
async fn warnings_reach_the_user() {
    let (_, body) = call(
        &Shelf::default(),
        "POST",
        "/validate-metallb-io-v1beta2-bgppeer",
        review("v1", "CREATE", &peer("p", json!({"bfdProfile": "f"}))),
    )
    .await;
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["response"]["warnings"], json!(["peer p referencing non existing bfd profile f"]));
}

#[tokio::test]
async fn malformed_calls_get_400_and_one_line() {
    let other_kind = review("v1", "CREATE", &peer("p", json!({})));
    let connect = review("v1", "CONNECT", &pool("p", &[]));
    let bodies = [
        (String::new(), "cannot read the AdmissionReview: "),
        ("{".to_owned(), "cannot read the AdmissionReview: "),
        ("[]".to_owned(), "cannot read the AdmissionReview: "),
        ("\u{fffd}".to_owned(), "cannot read the AdmissionReview: "),
        (json!({"apiVersion": "v1", "kind": "Pod"}).to_string(), "got \"Pod\" of \"v1\"; "),
        (
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}).to_string(),
            "the AdmissionReview has no request",
        ),
        (
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}}).to_string(),
            "cannot read the AdmissionReview: ",
        ),
        (other_kind, "the request is about \"BGPPeer\" of \"metallb.io\"; this path judges IPAddressPool"),
        (connect, "CONNECT is not judged here"),
    ];
    for (body, text) in bodies {
        let (status, answer) = call(&Shelf::default(), "POST", POOL_PATH, body.clone()).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer.starts_with(text) && answer.lines().count() == 1, "{body}: {answer}");
    }
    assert_eq!(call(&Shelf::default(), "GET", POOL_PATH, String::new()).await.0, 405);
    assert_eq!(call(&Shelf::default(), "POST", "/validate", String::new()).await.0, 404);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_denied_with_its_name() {
    let mut broken = pool("p", &[]);
    broken["spec"] = json!({"addresses": 7});
    let (status, body) = call(&Shelf::default(), "POST", POOL_PATH, review("v1", "CREATE", &broken)).await;
    assert_eq!(status, 200);
    assert!(body.contains("IPAddressPool p cannot be read: "), "{body}");
}

#[tokio::test]
async fn a_change_that_cannot_be_judged_is_refused_with_the_reason() {
    let shelf = Shelf { broken: true, ..Shelf::default() };
    let (status, body) = call(&shelf, "POST", POOL_PATH, review("v1", "CREATE", &pool("p", &["10.0.0.0/24"]))).await;
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &answer["response"]["status"]["code"]), (200, &json!(500)));
    assert_eq!(answer["response"]["status"]["message"], "failed to get existing IPAddressPool objects: it is Sunday");
}

fn creation(document: &Value) -> Request {
    request(Operation::Create, Some(document), None)
}

#[tokio::test]
async fn of_two_overlapping_pools_that_come_at_once_only_one_is_admitted() {
    let (first, second) = (pool("a", &["10.0.0.0/24"]), pool("b", &["10.0.0.0/25"]));
    let shelf = Shelf::default();
    // The apiserver stores the first one only after the second was read about once.
    *shelf.late.lock().unwrap() = Some((3, first.clone()));
    let gate = gate(&shelf);
    let (first, second) = (creation(&first), creation(&second));
    let (one, two) = tokio::join!(gate.judge(&first), gate.judge(&second));
    assert!(one.expect("a verdict").is_allowed());
    let denied = two.expect("a verdict").denied.expect("a denial");
    assert!(denied.starts_with("CIDR \"10.0.0.0/25\" in pool \"b\" overlaps with already defined CIDR"), "{denied}");
    assert_eq!(shelf.reads.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_admitted_object_that_never_arrives_blocks_nobody_for_long() {
    let shelf = Shelf::default();
    let gate = gate(&shelf);
    assert!(gate.judge(&creation(&pool("a", &["10.0.0.0/24"]))).await.expect("a verdict").is_allowed());
    let verdict = gate.judge(&creation(&pool("b", &["10.0.0.0/25"]))).await.expect("a verdict");
    assert!(verdict.is_allowed(), "{verdict:?}");
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace() {
    let shelf = Shelf::default();
    let gate = gate(&shelf);
    let mut tried = creation(&pool("a", &["10.0.0.0/24"]));
    tried.dry_run = true;
    assert!(gate.judge(&tried).await.expect("a verdict").is_allowed());
    assert!(gate.judge(&creation(&pool("b", &["10.0.0.0/25"]))).await.expect("a verdict").is_allowed());
    assert_eq!(shelf.reads.load(Ordering::SeqCst), 2, "the second one had nothing to wait for");
}

#[tokio::test]
async fn changes_that_go_together_do_not_wait_for_one_another() {
    let shelf = Shelf::default();
    let gate = gate(&shelf);
    for index in 0..10 {
        let address = format!("10.0.{index}.0/24");
        assert!(gate.judge(&creation(&pool(&format!("p{index}"), &[&address]))).await.expect("a verdict").is_allowed());
    }
    assert_eq!(shelf.reads.load(Ordering::SeqCst), 10);
}

#[test]
fn metadata_that_the_store_adds_does_not_make_an_object_another_one() {
    let mut stored = pool("a", &["10.0.0.0/24"]);
    let new = object(&stored);
    stored["metadata"]["resourceVersion"] = json!("7");
    assert!(new.is_stored_in(snapshot(&[stored]).resources()));
    assert!(!new.is_stored_in(snapshot(&[pool("a", &["10.0.0.0/25"])]).resources()));
}

/// `nodeSelector` is spelt out, because without it nothing is compared per node.
fn frr(name: &str, namespace: &str, asn: u32) -> Value {
    json!({"apiVersion": "frrk8s.metallb.io/v1beta1", "kind": "FRRConfiguration",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"bgp": {"routers": [{"asn": asn}]}, "nodeSelector": {}}})
}

const FRR_PATH: &str = "/validate-frrk8s-metallb-io-v1beta1-frrconfiguration";

#[tokio::test]
async fn an_frr_configuration_that_contradicts_another_is_denied_on_its_own_path() {
    let shelf = Shelf::default();
    shelf.stored.lock().expect("the shelf").push(frr("first", NAMESPACE, 64500));
    let (_, body) = call(&shelf, "POST", FRR_PATH, review("v1", "CREATE", &frr("second", NAMESPACE, 64501))).await;
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["response"]["allowed"], json!(false), "{body}");
    assert!(answer["response"]["status"]["message"].as_str().is_some_and(|text| text.contains("first")), "{body}");
    let (_, body) = call(&shelf, "POST", FRR_PATH, review("v1", "CREATE", &frr("second", "elsewhere", 64501))).await;
    assert!(body.contains("\"allowed\":true"), "a foreign frr-k8s looks after its own: {body}");
    let (status, body) = call(&shelf, "POST", FRR_PATH, review("v1", "CREATE", &pool("p", &["10.0.0.0/24"]))).await;
    assert_eq!(
        (status, body.contains("this path judges FRRConfiguration of frrk8s.metallb.io")),
        (400, true),
        "{body}"
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let (status, _) = call(&Shelf::default(), "POST", POOL_PATH, " ".repeat(9 * 1024 * 1024)).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let body = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let http = HttpRequest::builder().method("POST").uri(POOL_PATH).body(body).expect("a request");
    let router = impatient_router(gate(&Shelf::default()), Metrics::default(), Duration::from_millis(10));
    assert_eq!(router.oneshot(http).await.expect("an answer").status().as_u16(), 408);
}

#[tokio::test]
async fn a_change_that_waits_for_another_holds_up_nobody_else() {
    let shelf = Shelf::default();
    let gate = gate(&shelf);
    assert!(gate.judge(&creation(&pool("a", &["10.0.0.0/24"]))).await.expect("a verdict").is_allowed());
    let (clash, other) = (creation(&pool("b", &["10.0.0.0/25"])), creation(&pool("c", &["10.1.0.0/24"])));
    let waiting = gate.judge(&clash);
    tokio::pin!(waiting);
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("it did not wait"),
        verdict = gate.judge(&other) => assert!(verdict.expect("a verdict").is_allowed()),
    }
}
