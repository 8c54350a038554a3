//! Connects certificates, server, probes, metrics and shutdown.
//!
//! ```text
//!  own rotation:  Secret ──▶ certificate ──▶ listen ──▶ caBundles written and read back ──▶ ready ──▶ keep all that so
//!  mounted:       --cert-dir ──────────────▶ listen ───────────────────────────────────────▶ ready
//! ```

use std::time::Duration;

use anyhow::{Context, anyhow};
use api::names;
use axum_server::Handle;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{Api, Client};
use runtime::certs::{CertificateRequest, Certificates, ensure, inject_ca_bundle, maintain};
use runtime::client::{Retry, connect, explain, user_agent, wait_for_api};
use runtime::health::Health;
use runtime::listen::{all_interfaces, listen};
use runtime::metrics::{Registry, serve_https};
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use runtime::tls::{ReloadingConfig, TlsSource};

use crate::args::Args;
use crate::gate::Gate;
use crate::server::router;
use crate::snapshot::ApiStore;

/// Time to finish after SIGTERM; below the grace period of the Deployment.
const GRACE: Duration = Duration::from_secs(8);
/// Time for the requests under way after SIGTERM.
const REQUEST_GRACE: Duration = Duration::from_secs(5);
/// Between two attempts of a step at start.
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
    let metrics_tls = TlsSource::from_flags(args.tls.clone(), &args.metrics_cert_dir);
    let metrics =
        serve_https(all_interfaces(args.port), Registry::new(), metrics_tls, Some(client.clone()), shutdown.clone());
    tasks.spawn("the metrics server", metrics);
    let admission = admission(args, namespace, client, health, shutdown.clone());
    tasks.spawn("the admission server", admission);
    tasks.run(GRACE).await
}

async fn admission(
    args: Args,
    namespace: String,
    client: Client,
    health: Health,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    health.set_unready("waiting for the Kubernetes API");
    if !wait_for_api(&client, &shutdown).await {
        return Ok(());
    }
    let request = certificate_request(&args, &namespace);
    let (tls, certificates) = if args.disable_cert_rotation {
        let source = TlsSource::Directory(args.tls.clone(), args.cert_dir.clone().into());
        (source.open(args.webhook_http2, &shutdown).await?, None)
    } else {
        health.set_unready(format!("waiting for the certificate in Secret {namespace}/{}", args.webhook_secret));
        let get =
            || ensure(&client, &request.namespace, &request.secret_name, &request.dns_names, &request.field_manager);
        let Some(made) = retried(&health, &shutdown, get).await else { return Ok(()) };
        let (cert, key) = (made.cert_pem.as_bytes(), made.key_pem.as_bytes());
        (ReloadingConfig::new(args.tls.clone(), args.webhook_http2, cert, key)?, Some(made))
    };

    let listener = listen(all_interfaces(args.webhook_port), "admission", "--webhook-port")?;
    let gate = Gate::new(ApiStore::new(client.clone(), namespace.clone()), namespace, args.external_namespace());
    let handle = Handle::new();
    let server = axum_server::from_tcp_rustls(listener, tls.rustls()).context("cannot serve admission")?;
    let serving = server.handle(handle.clone()).serve(router(gate).into_make_service());
    let trust = async {
        if let Some(made) = &certificates
            && retried(&health, &shutdown, || inject(&client, &request, made)).await.is_none()
        {
            return Ok(());
        }
        health.set_ready(true);
        tracing::info!(event = "ready", port = args.webhook_port, "judging changes");
        match certificates {
            Some(_) => maintain(client.clone(), request.clone(), tls, shutdown.clone()).await,
            None => {
                shutdown.wait().await;
                Ok(())
            }
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

/// Makes the registrations trust our certificate. An installation without the operator has only the first one.
async fn inject(client: &Client, request: &CertificateRequest, made: &Certificates) -> anyhow::Result<()> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    for name in &request.webhook_configurations {
        let found = api.get_opt(name).await;
        let found =
            found.map_err(|error| anyhow!("cannot read ValidatingWebhookConfiguration {name}: {}", explain(&error)))?;
        if found.is_some() || name == names::WEBHOOK_CONFIGURATION {
            inject_ca_bundle(client, name, &made.ca_pem).await?;
        }
    }
    Ok(())
}

/// Tries until it succeeds; `None` when the shutdown comes first. The reason of a failure is logged once and shown by the
/// readiness probe.
async fn retried<T, F: Future<Output = anyhow::Result<T>>>(
    health: &Health,
    shutdown: &Shutdown,
    attempt: impl Fn() -> F,
) -> Option<T> {
    let mut last = String::new();
    loop {
        match shutdown.or(attempt()).await? {
            Ok(value) => return Some(value),
            Err(error) => {
                let text = format!("{error:#}; trying again");
                if text != last {
                    tracing::error!(event = "certificates", "{text}");
                    last.clone_from(&text);
                }
                health.set_unready(text);
            }
        }
        shutdown.or(tokio::time::sleep(RETRY)).await?;
    }
}
