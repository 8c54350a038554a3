//! Connects certificates, watches, server, probes, metrics and shutdown.
//!
//! ```text
//!  own rotation:  maintain: Secret ─▶ certificate ─▶ caBundles written and read back ─┐
//!  mounted:       --cert-dir ─▶ certificate ─▶ caBundles read, as far as they are ours ┴─▶ trusted ──▶ ready, for good
//!  watches ─▶ mirror ─▶ gate ─▶ server
//! ```
//! Ready means: what the registrations say was read back, and a call by the name they use would find our certificate good.
//! A real call would prove no more and needs what it is to prove: endpoints exist only once we are ready.
//!
//! Ready is for good. When trust is lost later, it is lost for all replicas at once; to leave the endpoints would only turn
//! one error of callers into another, and would keep calls away for some seconds after the caBundles are put right.

use std::time::Duration;

use anyhow::Context;
use api::names;
use axum_server::Handle;
use kube::Client;
use runtime::certs::{CertificateRequest, Trust, maintain, trust_in_mounted};
use runtime::client::{Retry, connect, user_agent, wait_for_api};
use runtime::health::Health;
use runtime::listen::{all_interfaces, listen};
use runtime::metrics::{Registry, serve_https};
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use runtime::tls::TlsSource;
use runtime::watch::WatchMetrics;
use tokio::sync::watch;

use crate::args::Args;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::server::router;
use crate::snapshot::{ApiStore, WatchedStore};

/// Time to finish after SIGTERM; below the grace period of the Deployment.
const GRACE: Duration = Duration::from_secs(8);
/// Time for the requests under way after SIGTERM.
const REQUEST_GRACE: Duration = Duration::from_secs(5);
/// Between two looks whether a mounted certificate is trusted.
const RETRY: Duration = Duration::from_secs(2);

/// Runs the webhook until a signal.
///
/// # Errors
/// A flag is wrong, no cluster is configured, a port is taken, or a part of the program ended.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let namespace = args.own_namespace()?;
    // A wrong TLS flag must not wait for the cluster to be noticed.
    args.tls.profile()?;
    let (shutdown, health) = (Shutdown::on_signals()?, Health::new());
    let mut tasks = Tasks::new(shutdown.clone());
    let probes = all_interfaces(args.health_probe_port);
    let (served, until) = (health.clone(), shutdown.clone());
    tasks.spawn("the health probe server", async move { served.serve(probes, until).await });

    let client = connect(&user_agent("webhook"), Retry::Never).await?;
    let mut registry = Registry::new();
    let (metrics, watches) = (Metrics::register(&mut registry), WatchMetrics::register(&mut registry));
    let metrics_tls = TlsSource::from_flags(args.tls.clone(), &args.metrics_cert_dir);
    let server = serve_https(all_interfaces(args.port), registry, metrics_tls, Some(client.clone()), shutdown.clone());
    tasks.spawn("the metrics server", server);
    health.set_unready("waiting for the Kubernetes API");
    let mirror = Mirror::default();
    let (taking, following, until) = (client.clone(), mirror.clone(), shutdown.clone());
    let home = namespace.clone();
    tasks.spawn("the watches", async move {
        if !wait_for_api(&taking, &until).await {
            return Ok(());
        }
        following.follow(taking, home, watches, until).await
    });
    let lists = ApiStore::new(client.clone(), namespace.clone());
    let store = WatchedStore::new(mirror, lists, metrics.clone());
    let gate = Gate::new(store, namespace.clone(), args.external_namespace());
    let certificates = certificate_request(&args, &namespace);
    let (said, trust) = watch::channel(Trust::Missing(String::from("waiting for the Kubernetes API")));
    let admission =
        admission(args, gate, metrics, Certificates { client, request: certificates, said }, shutdown.clone());
    tasks.spawn("the admission server", admission);
    let until = shutdown.clone();
    tasks.spawn("the readiness", async move { readiness(trust, health, until).await });
    tasks.run(GRACE).await
}

/// What is needed to get a certificate and to know whether it is trusted.
struct Certificates {
    client: Client,
    request: CertificateRequest,
    said: watch::Sender<Trust>,
}

async fn admission(
    args: Args,
    gate: Gate<WatchedStore>,
    metrics: Metrics,
    certificates: Certificates,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Certificates { client, request, said } = certificates;
    if !wait_for_api(&client, &shutdown).await {
        return Ok(());
    }
    let source = if args.disable_cert_rotation {
        TlsSource::Directory(args.tls.clone(), args.cert_dir.clone().into())
    } else {
        // Nobody trusts it and nobody calls: it only makes the port ready before the Secret is read.
        TlsSource::SelfSigned(args.tls.clone())
    };
    let tls = source.open(args.webhook_http2, &shutdown).await?;
    let listener = listen(all_interfaces(args.webhook_port), "admission", "--webhook-port")?;
    let handle = Handle::new();
    let server = axum_server::from_tcp_rustls(listener, tls.rustls()).context("cannot serve admission")?;
    let serving = server.handle(handle.clone()).serve(router(gate, metrics).into_make_service());
    let trust = async {
        match args.disable_cert_rotation {
            false => maintain(client, request, tls, said, shutdown.clone()).await,
            true => mounted(&client, &request, &args.cert_dir, &said, &shutdown).await,
        }
    };
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.context("the admission server failed"),
        ended = trust => ended?,
    }
    handle.graceful_shutdown(Some(REQUEST_GRACE));
    serving.await.context("the admission server failed")
}

/// Waits until a certificate that somebody else renews is trusted; then it stays theirs to care for.
async fn mounted(
    client: &Client,
    request: &CertificateRequest,
    directory: &str,
    said: &watch::Sender<Trust>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    loop {
        let look = async {
            let file = std::path::Path::new(directory).join("tls.crt");
            let cert = tokio::fs::read(&file).await.with_context(|| format!("cannot read {}", file.display()))?;
            trust_in_mounted(client, request, &cert).await
        };
        let Some(seen) = shutdown.or(look).await else { return Ok(()) };
        let trust = seen.unwrap_or_else(|error| Trust::Missing(format!("{error:#}")));
        let given = trust == Trust::Given;
        said.send_replace(trust);
        if given {
            shutdown.wait().await;
            return Ok(());
        }
        if shutdown.or(tokio::time::sleep(RETRY)).await.is_none() {
            return Ok(());
        }
    }
}

/// Makes the program ready when trust is given for the first time.
async fn readiness(mut trust: watch::Receiver<Trust>, health: Health, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut last = String::new();
    loop {
        let said = trust.borrow_and_update().clone();
        match said {
            Trust::Given => break,
            Trust::Missing(text) => {
                if text != last {
                    tracing::info!(event = "certificates", "not ready: {text}");
                }
                health.set_unready(&text);
                last = text;
            }
        }
        if !matches!(shutdown.or(trust.changed()).await, Some(Ok(()))) {
            shutdown.wait().await;
            return Ok(());
        }
    }
    health.set_ready(true);
    tracing::info!(event = "ready", "judging changes");
    while let Some(Ok(())) = shutdown.or(trust.changed()).await {
        match trust.borrow_and_update().clone() {
            Trust::Given => tracing::info!(event = "certificates", "calls of the apiserver find the certificate good"),
            Trust::Missing(text) => tracing::error!(event = "certificates", "calls of the apiserver fail: {text}"),
        }
    }
    shutdown.wait().await;
    Ok(())
}

fn certificate_request(args: &Args, namespace: &str) -> CertificateRequest {
    let mut services = vec![args.cert_service_name.as_str()];
    if args.cert_service_name != names::OPERATOR_WEBHOOK_SERVICE {
        services.push(names::OPERATOR_WEBHOOK_SERVICE);
    }
    CertificateRequest {
        namespace: namespace.to_owned(),
        secret_name: args.webhook_secret.clone(),
        dns_names: services.iter().map(|service| format!("{service}.{namespace}.svc")).collect(),
        field_manager: names::FIELD_MANAGER_WEBHOOK.to_owned(),
        webhook_configurations: vec![
            names::WEBHOOK_CONFIGURATION.to_owned(),
            names::OPERATOR_WEBHOOK_CONFIGURATION.to_owned(),
        ],
    }
}
