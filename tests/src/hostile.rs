//! An API server that misbehaves: a proxy in front of the real one, with faults that a test turns on and off.
//!
//! ```text
//!  program under test ──plain HTTP──▶ 127.0.0.1:port ──(delay, refuse, shuffle, cut)──▶ kube-apiserver
//!                                          └─ notes every request and when it was answered
//! ```
//! The program gets a kubeconfig without credentials; the proxy asks as the service account it was given. So the program
//! can do what it can do in its pod, and every byte of its talk can be spoiled.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{self, Body};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::header::{CONTENT_LENGTH, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use kube::Client;
use serde_json::{Value, json};

/// Largest body of a request.
const LIMIT: usize = 8 * 1024 * 1024;

/// What is wrong at the moment. The default is nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A LIST of Services is answered this much later.
    pub services_late: Duration,
    /// Everything is answered this much later.
    pub late: Duration,
    /// Everything is answered with this status; 429 and 503 ask to come again in a second.
    pub refuse: Option<StatusCode>,
    /// Watches end after this time.
    pub cut_watches: Option<Duration>,
    /// Watches are told that their resource version is too old.
    pub too_old: bool,
    /// Items of a LIST come in an order that this number decides.
    pub shuffle: Option<u64>,
}

/// A request that came through.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// When it came.
    pub asked: Instant,
    /// When its answer began; `None` as long as it did not.
    pub answered: Option<Instant>,
    /// Status of the answer.
    pub status: Option<StatusCode>,
}

impl Seen {
    /// True when it asks to store something other than a Lease.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET && !self.path.contains("/leases") && !self.path.contains("reviews")
    }

    /// True for a LIST of the Services of all namespaces.
    pub fn is_services_list(&self) -> bool {
        self.method == Method::GET && is_services_list(&self.path)
    }
}

/// The running proxy; it ends when dropped.
pub struct Hostile {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    client: Client,
    faults: Mutex<Faults>,
    seen: Mutex<Vec<Seen>>,
}

impl Hostile {
    /// Starts in front of the API server that `client` talks to; asks with its credentials.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(client: Client) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("open a port")?;
        let address = listener.local_addr().context("ask for the port")?;
        let shared = Arc::new(Shared { client, faults: Mutex::default(), seen: Mutex::default() });
        let router = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            // Ends only with the process or when this task is aborted.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, task })
    }

    /// Kubeconfig text for the program under test.
    pub fn kubeconfig(&self) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": "hostile", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "hostile", "context": {"cluster": "hostile", "user": "nobody"}}],
            "current-context": "hostile",
        });
        format!("{config:#}\n")
    }

    /// From now on these are the faults.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Every request so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn faults(&self) -> Faults {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, request: &Request) -> usize {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(Seen {
            method: request.method().clone(),
            path: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
            asked: Instant::now(),
            answered: None,
            status: None,
        });
        seen.len() - 1
    }

    fn answered(&self, number: usize, status: StatusCode) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have been forgotten meanwhile.
        if let Some(seen) = seen.get_mut(number) {
            (seen.answered, seen.status) = (Some(Instant::now()), Some(status));
        }
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let number = shared.asked(&request);
    let response = match spoiled(&shared, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    };
    shared.answered(number, response.status());
    response
}

async fn spoiled(shared: &Shared, request: Request) -> Result<Response> {
    let faults = shared.faults();
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let watch = path.contains("watch=true");
    let list = request.method() == Method::GET && !watch;
    tokio::time::sleep(faults.late).await;
    if let Some(status) = faults.refuse {
        return Ok(refusal(status));
    }
    if watch && faults.too_old {
        return Ok(refusal(StatusCode::GONE));
    }
    let (mut parts, sent) = request.into_parts();
    parts.headers.remove(HOST);
    let sent = body::to_bytes(sent, LIMIT).await.context("read the request")?;
    let asked = http::Request::from_parts(parts, kube::client::Body::from(sent.to_vec()));
    let (mut parts, answer) = shared.client.send(asked).await.context("ask the API server")?.into_parts();
    let answer = Body::new(answer);
    if watch {
        let Some(life) = faults.cut_watches else { return Ok(Response::from_parts(parts, answer)) };
        let cut = answer.into_data_stream().take_until(tokio::time::sleep(life));
        return Ok(Response::from_parts(parts, Body::from_stream(cut)));
    }
    if list && is_services_list(&path) {
        tokio::time::sleep(faults.services_late).await;
    }
    let Some(seed) = faults.shuffle.filter(|_| list && parts.status.is_success()) else {
        return Ok(Response::from_parts(parts, answer));
    };
    let text = body::to_bytes(answer, usize::MAX).await.context("read the answer")?;
    // The answer has another length now, and it is known.
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(TRANSFER_ENCODING);
    Ok(Response::from_parts(parts, Body::from(shuffled(&text, seed))))
}

fn is_services_list(path: &str) -> bool {
    (path == "/api/v1/services" || path.starts_with("/api/v1/services?")) && !path.contains("watch=true")
}

/// As the API server refuses.
fn refusal(status: StatusCode) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.as_u16(),
        "reason": if status == StatusCode::GONE { "Expired" } else { "TooManyRequests" },
        "message": "refused by the test",
    });
    let retry = [(RETRY_AFTER, "1"), (http::header::CONTENT_TYPE, "application/json")];
    (status, retry, body.to_string()).into_response()
}

/// The same list, its items in an order that the seed decides; whatever is no list stays as it is.
fn shuffled(text: &[u8], seed: u64) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(text) else { return text.to_vec() };
    if let Some(items) = value.get_mut("items").and_then(Value::as_array_mut) {
        let mut state = seed;
        for at in (1..items.len()).rev() {
            // Knuth's generator; its upper bits are good enough to shuffle with.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            items.swap(at, usize::try_from(state >> 33).unwrap_or(0) % (at + 1));
        }
    }
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffled_list_has_the_same_items() {
        let text = json!({"kind": "List", "items": (0..50).collect::<Vec<_>>()}).to_string();
        let order = |seed| {
            let value: Value = serde_json::from_slice(&shuffled(text.as_bytes(), seed)).unwrap();
            value["items"].as_array().unwrap().iter().map(|item| item.as_u64().unwrap()).collect::<Vec<_>>()
        };
        let (one, other) = (order(1), order(2));
        assert_ne!(one, other);
        let mut sorted = one.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(one, order(1));
        assert_eq!(shuffled(b"no json", 1), b"no json");
    }

    #[test]
    fn only_lists_of_all_services_are_lists_of_all_services() {
        assert!(is_services_list("/api/v1/services?limit=500"));
        assert!(!is_services_list("/api/v1/services?watch=true"));
        assert!(!is_services_list("/api/v1/namespaces/a/services/b/status"));
    }
}
