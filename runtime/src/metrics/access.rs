//! Who may read the metrics.
//!
//! ```text
//!  no token ──▶ 401        token ──TokenReview──▶ unknown ──▶ 401
//!                                        └──▶ user ──SubjectAccessReview──▶ denied ──▶ 403, allowed ──▶ 200
//!                          the apiserver does not answer ──▶ 500, not remembered
//! ```
//! The same rights as for MetalLB: a scraper needs `get` on the non-resource URL `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::client::explain;
use crate::repeats::Repeats;

/// How long a decision is remembered; a scrape would otherwise cost two API calls.
const MEMORY: Duration = Duration::from_secs(60);
/// How many decisions are remembered. More different tokens than that are an attack, not a scraper.
const CAPACITY: usize = 256;
/// How long the apiserver may take.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// SHA-256 of a token: the token itself is not kept.
type TokenHash = [u8; 32];

/// The answer to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// May read.
    Allowed,
    /// Nobody knows the token.
    Unknown,
    /// The user may not read.
    Denied(String),
}

/// Asks the apiserver and remembers its answers.
pub(super) struct Gate {
    client: Client,
    memory: Mutex<Memory>,
    repeats: Mutex<Repeats>,
}

impl Gate {
    pub(super) fn new(client: Client) -> Self {
        Self { client, memory: Mutex::default(), repeats: Mutex::default() }
    }

    /// Decides about a request by its headers: `Ok`, or the status and text to answer.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        let Some(token) = bearer_token(headers) else { return refusal(Verdict::Unknown) };
        let hash = hash(token);
        let remembered = self.memory.lock().unwrap_or_else(PoisonError::into_inner).recall(&hash, Instant::now());
        if let Some(verdict) = remembered {
            return refusal(verdict);
        }
        let reviewed = match tokio::time::timeout(REVIEW_TIMEOUT, review(&self.client, token)).await {
            Ok(reviewed) => reviewed,
            Err(_) => Err(String::from("the Kubernetes API did not answer within 5s")),
        };
        match reviewed {
            Ok(verdict) => {
                let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                memory.remember(hash, verdict.clone(), Instant::now());
                refusal(verdict)
            }
            Err(reason) => {
                let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
                if repeats.failed(&reason, Instant::now()) {
                    tracing::error!(
                        event = "metrics",
                        "cannot check who asks for the metrics: {reason}; grant create on tokenreviews and subjectaccessreviews"
                    );
                }
                Err((StatusCode::INTERNAL_SERVER_ERROR, String::from("Authentication failed")))
            }
        }
    }
}

fn refusal(verdict: Verdict) -> Result<(), (StatusCode, String)> {
    match verdict {
        Verdict::Allowed => Ok(()),
        Verdict::Unknown => Err((StatusCode::UNAUTHORIZED, String::from("Unauthorized"))),
        Verdict::Denied(user) => Err((StatusCode::FORBIDDEN, format!("Authorization denied for user {user}"))),
    }
}

/// The token of `Authorization: Bearer <token>` (RFC 6750 section 2.1).
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn hash(token: &str) -> TokenHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
    hash
}

async fn review(client: &Client, token: &str) -> Result<Verdict, String> {
    let question = TokenReview {
        spec: TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() },
        ..TokenReview::default()
    };
    let answer = Api::<TokenReview>::all(client.clone())
        .create(&PostParams::default(), &question)
        .await
        .map_err(|error| explain(&error))?;
    let status = answer.status.unwrap_or_default();
    let user = status.user.filter(|_| status.authenticated == Some(true));
    let Some(user) = user else { return Ok(Verdict::Unknown) };
    let name = user.username.clone().unwrap_or_default();
    let answer = Api::<SubjectAccessReview>::all(client.clone())
        .create(&PostParams::default(), &access_question(user))
        .await
        .map_err(|error| explain(&error))?;
    let SubjectAccessReviewStatus { allowed, denied, .. } = answer.status.unwrap_or_default();
    Ok(if allowed && denied != Some(true) { Verdict::Allowed } else { Verdict::Denied(name) })
}

fn access_question(user: UserInfo) -> SubjectAccessReview {
    let attributes = NonResourceAttributes { path: Some(String::from("/metrics")), verb: Some(String::from("get")) };
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            non_resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

/// Decisions and when they were made.
#[derive(Default)]
struct Memory {
    known: BTreeMap<TokenHash, (Instant, Verdict)>,
}

impl Memory {
    fn recall(&self, hash: &TokenHash, now: Instant) -> Option<Verdict> {
        let (since, verdict) = self.known.get(hash)?;
        (now.saturating_duration_since(*since) < MEMORY).then(|| verdict.clone())
    }

    fn remember(&mut self, hash: TokenHash, verdict: Verdict, now: Instant) {
        if self.known.len() >= CAPACITY {
            self.known.retain(|_, (since, _)| now.saturating_duration_since(*since) < MEMORY);
        }
        if self.known.len() >= CAPACITY {
            // Forgetting all costs each scraper two API calls and bounds what an attacker can occupy.
            self.known.clear();
        }
        self.known.insert(hash, (now, verdict));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    /// An apiserver that knows the tokens `good` and `poor`; only the user of `good` may read metrics.
    fn gate() -> (Gate, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect_bytes().await?;
                let question: Value = serde_json::from_slice(&body).unwrap();
                let spec = &question["spec"];
                let status = if path == "/apis/authentication.k8s.io/v1/tokenreviews" {
                    let token = spec["token"].as_str().unwrap();
                    if token == "down" {
                        let body = Body::from(b"{}".to_vec());
                        return Ok::<_, kube::Error>(Response::builder().status(500).body(body).unwrap());
                    }
                    json!({"authenticated": token == "good" || token == "poor", "user": {"username": token, "groups": ["g"]}})
                } else {
                    assert_eq!(path, "/apis/authorization.k8s.io/v1/subjectaccessreviews");
                    assert_eq!(spec["nonResourceAttributes"], json!({"path": "/metrics", "verb": "get"}));
                    assert_eq!(spec["groups"], json!(["g"]));
                    json!({"allowed": spec["user"] == "good"})
                };
                let answer = json!({"spec": spec, "status": status}).to_string();
                Ok(Response::builder().status(201).body(Body::from(answer.into_bytes())).unwrap())
            }
        });
        (Gate::new(Client::new(service, "default")), calls)
    }

    #[tokio::test]
    async fn tokens_are_answered_as_the_apiserver_decides() {
        let (gate, _) = gate();
        let status = async |value: &str| gate.check(&headers(value)).await.map_err(|refusal| refusal.0.as_u16());
        assert_eq!(status("Bearer good").await, Ok(()));
        assert_eq!(status("bearer  good ").await, Ok(()));
        assert_eq!(status("Bearer poor").await, Err(403));
        assert_eq!(status("Bearer stranger").await, Err(401));
        assert_eq!(status("Bearer ").await, Err(401));
        assert_eq!(status("Basic good").await, Err(401));
        assert_eq!(gate.check(&HeaderMap::new()).await.unwrap_err().0, StatusCode::UNAUTHORIZED);
        assert_eq!(status("Bearer down").await, Err(500));
    }

    #[tokio::test]
    async fn decisions_are_remembered_and_failures_are_not() {
        let (gate, calls) = gate();
        for _ in 0..3 {
            gate.check(&headers("Bearer good")).await.unwrap();
        }
        assert_eq!(calls.load(Ordering::Relaxed), 2, "one TokenReview and one SubjectAccessReview");
        for _ in 0..2 {
            gate.check(&headers("Bearer down")).await.unwrap_err();
        }
        assert_eq!(calls.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn decisions_are_forgotten_after_a_minute_and_bounded_in_number() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.remember(hash("a"), Verdict::Allowed, now);
        assert_eq!(memory.recall(&hash("a"), now + Duration::from_secs(59)), Some(Verdict::Allowed));
        assert_eq!(memory.recall(&hash("a"), now + MEMORY), None);
        for number in 0..2 * CAPACITY {
            memory.remember(hash(&number.to_string()), Verdict::Unknown, now);
        }
        assert!(memory.known.len() <= CAPACITY);
    }
}
