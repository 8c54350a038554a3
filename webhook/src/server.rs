//! The paths that the apiserver calls. They are MetalLB's, so that existing registrations keep working.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use config::Kind;

use crate::admit::Verdict;
use crate::gate::Gate;
use crate::review;
use crate::snapshot::Store;

/// Path and kind. Both versions of BGPPeer have one schema and share a path.
const PATHS: [(&str, Kind); 9] = [
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

/// All paths, judged by this gate.
pub fn router<S: Store>(gate: Gate<S>) -> Router {
    let gate = Arc::new(gate);
    let mut router = Router::new();
    for (path, kind) in PATHS {
        let handler =
            post(move |State(gate): State<Arc<Gate<S>>>, body: Bytes| async move { handle(&gate, kind, &body).await });
        router = router.route(path, handler);
    }
    router.layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(gate)
}

async fn handle<S: Store>(gate: &Gate<S>, kind: Kind, body: &[u8]) -> Response {
    let question = match review::read(kind, body) {
        Ok(question) => question,
        Err(text) => {
            tracing::warn!(event = "admission", "refused a call: {text}");
            return (StatusCode::BAD_REQUEST, format!("{text}\n")).into_response();
        }
    };
    let answer = match &question.request {
        Err(text) => question.answer(&Verdict::deny(text)),
        Ok(request) => match gate.judge(request).await {
            Ok(verdict) => {
                let object = request.id.to_string();
                match &verdict.denied {
                    Some(text) => {
                        tracing::info!(event = "admission", object, operation = ?request.operation, "denied: {text}")
                    }
                    None => tracing::debug!(event = "admission", object, operation = ?request.operation, "admitted"),
                }
                question.answer(&verdict)
            }
            Err(error) => {
                tracing::error!(event = "admission", object = %request.id, "cannot judge: {error:#}");
                question.unable(&format!("{error:#}"))
            }
        },
    };
    match serde_json::to_vec(&answer) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the answer: {error}\n")).into_response()
        }
    }
}
