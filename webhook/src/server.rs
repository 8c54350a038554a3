//! The paths that the apiserver calls. They are MetalLB's, so that existing registrations keep working.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use config::Kind;

use crate::admit::{Request as Change, Verdict};
use crate::gate::Gate;
use crate::metrics::{Metrics, Outcome};
use crate::review;
use crate::snapshot::Store;

/// Path and kind. Both versions of BGPPeer have one schema and share a path.
const PATHS: [(&str, Kind); 10] = [
    ("/validate-frrk8s-metallb-io-v1beta1-frrconfiguration", Kind::FRRConfiguration),
    ("/validate-metallb-io-v1beta1-addresspool", Kind::AddressPool),
    ("/validate-metallb-io-v1beta1-bfdprofile", Kind::BFDProfile),
    ("/validate-metallb-io-v1beta1-bgpadvertisement", Kind::BGPAdvertisement),
    ("/validate-metallb-io-v1beta1-bgppeer", Kind::BGPPeer),
    ("/validate-metallb-io-v1beta2-bgppeer", Kind::BGPPeer),
    ("/validate-metallb-io-v1beta1-community", Kind::Community),
    ("/validate-metallb-io-v1beta1-ipaddresspool", Kind::IPAddressPool),
    ("/validate-metallb-io-v1beta1-l2advertisement", Kind::L2Advertisement),
    ("/validate-metallb-io-v1beta1-metallb", Kind::MetalLB),
];

/// Largest body. An object has at most 1.5 MiB, and a review holds two.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// How long a body may take to arrive. The apiserver sends it at once and gives up after ten seconds.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// All paths, judged by this gate.
pub fn router<S: Store>(gate: Gate<S>, metrics: Metrics) -> Router {
    impatient_router(gate, metrics, BODY_TIMEOUT)
}

/// As [`router`], with another limit for how long a body may take to arrive.
pub fn impatient_router<S: Store>(gate: Gate<S>, metrics: Metrics, patience: Duration) -> Router {
    let state = Arc::new((gate, metrics));
    let mut router = Router::new();
    for (path, kind) in PATHS {
        let handler = post(move |State(state): State<Arc<(Gate<S>, Metrics)>>, request: Request| async move {
            let body = match tokio::time::timeout(patience, Bytes::from_request(request, &())).await {
                Ok(Ok(body)) => body,
                Ok(Err(rejection)) => return rejection.into_response(),
                Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n").into_response(),
            };
            handle(&state.0, &state.1, kind, &body).await
        });
        router = router.route(path, handler);
    }
    router.layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(state)
}

async fn handle<S: Store>(gate: &Gate<S>, metrics: &Metrics, kind: Kind, body: &[u8]) -> Response {
    let begin = Instant::now();
    let question = match review::read(kind, body) {
        Ok(question) => question,
        Err(text) => {
            tracing::warn!(event = "admission", "refused a call: {text}");
            return (StatusCode::BAD_REQUEST, format!("{text}\n")).into_response();
        }
    };
    let (answer, outcome) = match &question.request {
        Err(text) => (question.answer(&Verdict::deny(text)), Outcome::Denied),
        Ok(request) => match gate.judge(request).await {
            Ok(verdict) => {
                log(request, &verdict);
                let outcome = if verdict.is_allowed() { Outcome::Allowed } else { Outcome::Denied };
                (question.answer(&verdict), outcome)
            }
            Err(error) => {
                tracing::error!(event = "admission", object = %request.id, "cannot judge: {error:#}");
                (question.unable(&format!("{error:#}")), Outcome::Failed)
            }
        },
    };
    let response = match serde_json::to_vec(&answer) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the answer: {error}\n")).into_response()
        }
    };
    metrics.answered(kind, question.operation, outcome, begin.elapsed());
    response
}

fn log(request: &Change, verdict: &Verdict) {
    let (object, operation) = (request.id.to_string(), request.operation);
    match &verdict.denied {
        Some(text) => tracing::info!(event = "admission", object, ?operation, "denied: {text}"),
        None => tracing::debug!(event = "admission", object, ?operation, "admitted"),
    }
}
