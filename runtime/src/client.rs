//! The Kubernetes client.
//!
//! ```text
//!  KUBECONFIG, else the pod's service account, else ~/.kube/config
//!      │
//!  base URL ─▶ (retry) ─▶ token ─▶ headers ─▶ HTTP/1.1 ─▶ 5 s to connect ─▶ TLS ─▶ (fence) ─▶ TCP with keep-alive
//! ```
//! kube's own connection never probes a silent peer, so a watch on a dead connection would go unnoticed until its timeout.
//! Here the kernel probes after 15 s and gives up 15 s later.

use std::error::Error as _;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::header::{HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::util::MapRequestLayer;
use tower::{BoxError, ServiceBuilder};

use crate::args::environment;
use crate::fence::{Fence, FencedConnector, is_fenced};
use crate::repeats::Repeats;
use crate::shutdown::Shutdown;

/// Whether the client itself repeats requests that the apiserver refused for the moment (429, 503, 504).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Up to 15 times, which can take minutes. For the operator.
    Default,
    /// Never: the caller's own loop repeats. For the speaker, which must not wait.
    Never,
}

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which the kernel probes the peer.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Between probes; three unanswered ones end the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long sent data may stay unacknowledged before the connection counts as dead.
const UNANSWERED: Duration = Duration::from_secs(30);
/// The same behind a fence: what was handed to the kernel before the deadline must not be delivered long after it.
const UNANSWERED_FENCED: Duration = Duration::from_secs(1);
/// How long one attempt of [`wait_for_api`] may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between the attempts of [`wait_for_api`].
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// A client for the cluster of `KUBECONFIG`, else of the pod this program runs in, else of `~/.kube/config`.
///
/// `user_agent` is what the apiserver's audit log shows; make it with [`user_agent`].
///
/// # Errors
/// No configuration is there or it is unusable; the text says which one and how to mend it. The network is not touched:
/// see [`wait_for_api`].
pub async fn connect(user_agent: &str, retry: Retry) -> anyhow::Result<Client> {
    crate::tls::install_crypto_provider();
    let config = configuration().await?;
    tracing::info!(event = "apiserver", url = %config.cluster_url, "using the Kubernetes API");
    build(config, user_agent, retry, None)
}

/// A second client, for what only a leader may write.
///
/// It has connections of its own, which send nothing past the deadline of `fence`. Every request that writes asks the
/// apiserver to give up after `patience`, and what the kernel could not deliver within a second is dropped: so nothing
/// takes effect later than one second and `patience` after the deadline.
///
/// # Errors
/// See [`connect`].
pub async fn connect_fenced(user_agent: &str, fence: Fence, patience: Duration) -> anyhow::Result<Client> {
    crate::tls::install_crypto_provider();
    build(configuration().await?, user_agent, Retry::Never, Some((fence, patience)))
}

async fn configuration() -> anyhow::Result<Config> {
    let options = KubeConfigOptions::default();
    if let Some(path) = environment("KUBECONFIG") {
        return Config::from_kubeconfig(&options)
            .await
            .with_context(|| format!("cannot use KUBECONFIG={path}; name a file that kubectl works with"));
    }
    if environment("KUBERNETES_SERVICE_HOST").is_some() {
        return Config::incluster().context(
            "cannot use the service account of this pod; mount its token (automountServiceAccountToken: true)",
        );
    }
    match Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        Err(error) => bail!(
            "no Kubernetes cluster is configured: this is no pod (KUBERNETES_SERVICE_HOST is not set), KUBECONFIG is not \
             set, and ~/.kube/config does not help ({error}); run in a pod or set KUBECONFIG"
        ),
    }
}

fn build(
    mut config: Config,
    user_agent: &str,
    retry: Retry,
    fenced: Option<(Fence, Duration)>,
) -> anyhow::Result<Client> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.default_retry = retry == Retry::Default;
    config.headers.push((USER_AGENT, HeaderValue::from_str(user_agent).context("cannot use the user agent")?));
    if let Some(proxy) = &config.proxy_url {
        bail!("the kubeconfig asks for the proxy {proxy}, which is not supported; remove proxy-url");
    }

    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(3));
    tcp.set_tcp_user_timeout(Some(if fenced.is_some() { UNANSWERED_FENCED } else { UNANSWERED }));
    let (fence, patience) = fenced.unzip();
    let tcp = FencedConnector { tcp, fence };
    let tls = config.rustls_https_connector_with_connector(tcp).context("cannot use the cluster's certificates")?;
    let mut connector = TimeoutConnector::new(tls);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_write_timeout(config.write_timeout);

    let http: hyper_util::client::legacy::Client<_, Body> =
        hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .option_layer(patience.map(|patience| MapRequestLayer::new(move |request| impatient(request, patience))))
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer().context("cannot use the cluster's credentials")?)
        .layer(config.extra_headers_layer().context("cannot use the configured headers")?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

/// Asks the apiserver to give up a request that writes after `patience`: whole seconds, never 0, which would mean its default.
fn impatient(mut request: Request<Body>, patience: Duration) -> Request<Body> {
    if request.method() == Method::GET {
        return request;
    }
    let uri = request.uri();
    let separator = if uri.query().is_some() { '&' } else { '?' };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = format!("{path}{separator}timeout={}s", patience.as_secs().max(1));
    let mut parts = uri.clone().into_parts();
    // The path was one before; with a query of plain letters it still is.
    if let Ok(path) = path.parse() {
        parts.path_and_query = Some(path);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Whether a request was not sent because this process does not lead any more.
pub fn was_fenced(error: &kube::Error) -> bool {
    is_fenced(error)
}

/// The user agent of a program, `metallb-rs-<program>/<version>`.
pub fn user_agent(program: &str) -> String {
    format!("metallb-rs-{program}/{}", crate::version())
}

/// Waits until the apiserver answers; logs once per different reason why it does not. Returns false when the shutdown
/// came first.
#[must_use]
pub async fn wait_for_api(client: &Client, shutdown: &Shutdown) -> bool {
    let mut repeats = Repeats::default();
    loop {
        let attempt = tokio::time::timeout(PROBE_TIMEOUT, client.apiserver_version());
        let text = match shutdown.or(attempt).await {
            None => return false,
            Some(Ok(Ok(version))) => {
                if repeats.succeeded() {
                    tracing::info!(
                        event = "apiserver",
                        version = version.git_version,
                        "the Kubernetes API answers now"
                    );
                }
                return true;
            }
            Some(Ok(Err(error))) => unreachable_text(&explain(&error)),
            Some(Err(_)) => unreachable_text("no answer within 10s"),
        };
        if repeats.failed(&text, Instant::now()) {
            tracing::error!(event = "apiserver", "{text}");
        }
        if shutdown.or(tokio::time::sleep(PROBE_PAUSE)).await.is_none() {
            return false;
        }
    }
}

fn unreachable_text(reason: &str) -> String {
    format!(
        "the Kubernetes API does not answer: {reason}; trying again until it does. Check that it runs and that this \
         {} can reach it",
        if environment("KUBERNETES_SERVICE_HOST").is_some() { "pod" } else { "machine" }
    )
}

/// One line that says why a request failed, without the debug noise of [`kube::Error`]'s own text.
pub fn explain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        let message = if status.message.is_empty() { "no message" } else { status.message.trim() };
        return match status.reason.as_str() {
            "" => format!("{message} (HTTP {})", status.code),
            reason => format!("{message} (HTTP {} {reason})", status.code),
        };
    }
    // The text of a service error is only a prefix of its cause's.
    let mut text = if let kube::Error::Service(inner) = error { inner.to_string() } else { error.to_string() };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

/// The HTTP status of a failed request, if the apiserver answered at all.
pub fn http_code(error: &kube::Error) -> Option<u16> {
    if let kube::Error::Api(status) = error { Some(status.code) } else { None }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::Moment;

    fn client_for(port: u16) -> Client {
        let config = Config::new(format!("http://127.0.0.1:{port}").parse().unwrap());
        crate::tls::install_crypto_provider();
        build(config, &user_agent("test"), Retry::Never, None).unwrap()
    }

    #[tokio::test]
    async fn requests_carry_the_programs_user_agent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client_for(listener.local_addr().unwrap().port());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let body = r#"{"major":"1","minor":"36","gitVersion":"v1.36.1","gitCommit":"","gitTreeState":"","buildDate":"",
                "goVersion":"","compiler":"","platform":""}"#;
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        assert!(wait_for_api(&client, &Shutdown::new()).await);
        let request = server.await.unwrap().to_lowercase();
        assert!(request.contains(&format!("user-agent: metallb-rs-test/{}", crate::version())), "{request}");
    }

    #[tokio::test]
    async fn an_unreachable_apiserver_is_explained_in_one_line() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = client_for(port).apiserver_version().await.unwrap_err();
        let text = unreachable_text(&explain(&error));
        assert!(text.starts_with("the Kubernetes API does not answer: "), "{text}");
        assert!(text.contains("Connection refused"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[tokio::test]
    async fn waiting_for_the_apiserver_ends_with_the_shutdown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client_for(listener.local_addr().unwrap().port());
        let shutdown = Shutdown::new();
        shutdown.trigger();
        assert!(!wait_for_api(&client, &shutdown).await);
    }

    #[tokio::test]
    async fn behind_a_fence_writes_carry_a_time_limit_and_nothing_leaves_past_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
        crate::tls::install_crypto_provider();
        let fence = Fence::new();
        fence.open_until(Moment::FAR_FUTURE);
        let patience = Duration::from_secs(2);
        let client = build(config, "x", Retry::Never, Some((fence.clone(), patience))).unwrap();
        let server = tokio::spawn(async move {
            let mut lines = Vec::new();
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
                let request = String::from_utf8(request).unwrap();
                lines.push(request.lines().next().unwrap_or_default().to_owned());
            }
            let rest = stream.read_u8().await;
            (lines, rest.is_err())
        });
        let send = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(Vec::new()).unwrap();
            client.request_text(request)
        };
        send("DELETE", "/a?b=c").await.unwrap();
        send("GET", "/a").await.unwrap();
        fence.close();
        let error = send("DELETE", "/a").await.unwrap_err();
        assert!(was_fenced(&error), "{error:?}");
        assert!(explain(&error).contains("does not lead any more"), "{}", explain(&error));
        drop(client);
        let (lines, silent) = server.await.unwrap();
        assert_eq!(lines, ["DELETE /a?b=c&timeout=2s HTTP/1.1", "GET /a HTTP/1.1"]);
        assert!(silent, "nothing came after the fence was closed");
    }

    #[test]
    fn an_api_error_shows_message_code_and_reason() {
        let status = Status::failure("services \"web\" not found", "NotFound").with_code(404);
        let error = kube::Error::Api(status.boxed());
        assert_eq!(explain(&error), "services \"web\" not found (HTTP 404 NotFound)");
        assert_eq!(http_code(&error), Some(404));
    }

    #[test]
    fn a_proxy_in_the_kubeconfig_is_refused_with_a_remedy() {
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.proxy_url = Some("http://127.0.0.1:3128".parse().unwrap());
        let error = build(config, "x", Retry::Never, None).err().unwrap();
        assert!(error.to_string().ends_with("remove proxy-url"), "{error}");
    }
}
