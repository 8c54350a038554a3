//! The HTTPS server of `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum_server::Handle;
use http::{HeaderMap, header};

use super::Registry;
use super::access::Gate;
use crate::listen::listen;
use crate::shutdown::Shutdown;
use crate::tls::TlsSource;

/// What Prometheus calls its text form.
const TEXT_FORM: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long a scrape under way may go on after the shutdown.
const GRACE: Duration = Duration::from_secs(1);

/// Serves `/metrics` over HTTPS until the shutdown. Port 0 serves nothing.
///
/// With a client, a scraper must show a bearer token that may `get` the URL `/metrics`; without one everybody may read.
///
/// # Errors
/// The address cannot be listened on, or the certificate cannot be used.
pub async fn serve_https(
    addr: SocketAddr,
    registry: impl Into<Arc<Registry>>,
    tls: TlsSource,
    client: Option<kube::Client>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    if addr.port() == 0 {
        shutdown.wait().await;
        return Ok(());
    }
    let listener = listen(addr, "metrics", "--port (0 switches them off)")?;
    serve_on(listener, registry.into(), tls, client.map(Gate::new), shutdown).await
}

async fn serve_on(
    listener: std::net::TcpListener,
    registry: Arc<Registry>,
    tls: TlsSource,
    gate: Option<Gate>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let tls = tls.open(false, &shutdown).await.context("cannot serve metrics")?;
    let router = Router::new().route("/metrics", get(scrape)).with_state(Arc::new((registry, gate)));
    let handle = Handle::new();
    let server =
        axum_server::from_tcp_rustls(listener, tls.rustls()).context("cannot serve metrics")?.handle(handle.clone());
    let serving = server.serve(router.into_make_service());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.context("the metrics server failed"),
        () = shutdown.wait() => handle.graceful_shutdown(Some(GRACE)),
    }
    serving.await.context("the metrics server failed")
}

async fn scrape(State(state): State<Arc<(Arc<Registry>, Option<Gate>)>>, headers: HeaderMap) -> Response {
    let (registry, gate) = state.as_ref();
    if let Some(gate) = gate
        && let Err(refusal) = gate.check(&headers).await
    {
        return refusal.into_response();
    }
    ([(header::CONTENT_TYPE, TEXT_FORM)], registry.encode()).into_response()
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use http_body_util::{BodyExt, Empty};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use kube::client::ConfigExt;

    use super::*;
    use crate::tls::{TlsOptions, install_crypto_provider};

    async fn fetch(uri: Uri) -> (u16, Option<String>, String) {
        install_crypto_provider();
        let mut config = kube::Config::new(uri.clone());
        config.accept_invalid_certs = true;
        let client: Client<_, Empty<&[u8]>> =
            Client::builder(TokioExecutor::new()).build(config.rustls_https_connector().unwrap());
        let response = client.get(uri).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn metrics_are_served_over_https_until_the_shutdown() {
        let mut registry = Registry::new();
        registry.counter("metallb_k8s_client_updates_total", "Updates").inc();
        let listener = listen("127.0.0.1:0".parse().unwrap(), "tests", "--port").unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let tls = TlsSource::SelfSigned(TlsOptions::default());
        let server = tokio::spawn(serve_on(listener, Arc::new(registry), tls, None, shutdown.clone()));

        let (status, kind, body) = fetch(format!("https://{addr}/metrics").parse().unwrap()).await;
        assert_eq!((status, kind.as_deref()), (200, Some(TEXT_FORM)));
        assert!(body.contains("\nmetallb_k8s_client_updates_total 1\n"), "{body}");
        assert_eq!(fetch(format!("https://{addr}/other").parse().unwrap()).await.0, 404);

        shutdown.trigger();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn without_a_token_nothing_is_shown() {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(kube::Error::LinesCodecMaxLineLengthExceeded)
        });
        let gate = Gate::new(kube::Client::new(service, "default"));
        let listener = listen("127.0.0.1:0".parse().unwrap(), "tests", "--port").unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let tls = TlsSource::SelfSigned(TlsOptions::default());
        let server = tokio::spawn(serve_on(listener, Arc::new(Registry::new()), tls, Some(gate), shutdown.clone()));

        let (status, _, body) = fetch(format!("https://{addr}/metrics").parse().unwrap()).await;
        assert_eq!((status, body.as_str()), (401, "Unauthorized"));

        shutdown.trigger();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn port_0_serves_nothing_and_waits_for_the_end() {
        let shutdown = Shutdown::new();
        shutdown.trigger();
        let tls = TlsSource::SelfSigned(TlsOptions::default());
        serve_https("127.0.0.1:0".parse().unwrap(), Registry::new(), tls, None, shutdown).await.unwrap();
    }
}
