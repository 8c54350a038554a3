//! Certificates for the webhook server.
//!
//! ```text
//!             ┌─ every minute, and when a ValidatingWebhookConfiguration changes ─┐
//!  Secret ──read──▶ decide ──▶ Keep | RenewLeaf | RenewAll ──write (conflict: read again)──▶ Secret
//!                     │
//!                     ├──▶ ReloadingConfig (the server's certificate)
//!                     └──▶ caBundle of the ValidatingWebhookConfigurations
//! ```
//! Several replicas share one Secret. Whoever writes first wins, the others read what it wrote.

mod authority;
mod bundle;
mod stored;

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{PartialObjectMeta, PostParams};
use kube::{Api, Client};

pub use authority::{CertificateAuthority, CertificateError, Pair, self_signed};
pub use bundle::inject_ca_bundle;
pub use stored::{Action, Leaf, Stored, decide};

use crate::client::{explain, http_code};
use crate::repeats::Repeats;
use crate::shutdown::Shutdown;
use crate::tls::ReloadingConfig;
use crate::watch::{Event, WatchConfig, WatchMetrics, watched};

/// A server's certificate, its key and the authority that signed it, all PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The authority's certificate: what clients must trust.
    pub ca_pem: String,
    /// The server's certificate chain.
    pub cert_pem: String,
    /// The server's private key.
    pub key_pem: String,
    /// When the server's certificate ends.
    pub not_after: Timestamp,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Which certificate a program needs and who must trust it.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret with keys `ca.crt`, `ca.key`, `tls.crt`, `tls.key`.
    pub secret_name: String,
    /// Names that clients connect to.
    pub dns_names: Vec<String>,
    /// Field manager of our writes.
    pub field_manager: String,
    /// ValidatingWebhookConfigurations whose caBundle must hold the authority.
    pub webhook_configurations: Vec<String>,
}

/// How often another writer of the Secret is yielded to before giving up.
const ATTEMPTS: usize = 5;
/// Between checks when all is well. Wall-clock time is compared each time, so a suspended machine catches up.
const PERIOD: Duration = Duration::from_secs(60);
/// Between checks after a failure.
const RETRY_PERIOD: Duration = Duration::from_secs(5);
/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads the certificates from the Secret; makes or renews them when needed. The Secret may be absent or empty.
///
/// # Errors
/// The apiserver refuses a read or a write, or a name cannot stand in a certificate.
pub async fn ensure(
    client: &Client,
    namespace: &str,
    secret_name: &str,
    dns_names: &[String],
    field_manager: &str,
) -> anyhow::Result<Certificates> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let object = format!("Secret {namespace}/{secret_name}");
    let params = PostParams { field_manager: Some(field_manager.to_owned()), ..PostParams::default() };
    for _ in 0..ATTEMPTS {
        let found =
            api.get_opt(secret_name).await.map_err(|error| anyhow!("cannot read {object}: {}", explain(&error)))?;
        let now = Timestamp::now();
        let stored = found.as_ref().map(Stored::read).unwrap_or_default();
        let action = decide(now, &stored, dns_names);
        if let (Action::Keep, Stored { authority: Some(authority), leaf: Some(leaf) }) = (action, &stored) {
            return Ok(certificates(authority, &leaf.pair));
        }
        let (authority, leaf) = renewed(now, stored.authority, action, dns_names)?;
        let mut secret = found.clone().unwrap_or_default();
        secret.metadata.name = Some(secret_name.to_owned());
        Stored::fill(&mut secret, &authority, &leaf);
        let written = match found {
            // The resourceVersion that was read makes the write fail if somebody was faster.
            Some(_) => api.replace(secret_name, &params, &secret).await,
            None => api.create(&params, &secret).await,
        };
        match written {
            Ok(_) => {
                let until = leaf.pair.not_after;
                tracing::info!(event = "certificates", secret = object, %until, ?action, "certificates renewed");
                return Ok(certificates(&authority, &leaf.pair));
            }
            Err(error) if http_code(&error) == Some(409) => {}
            Err(error) => bail!("cannot write {object}: {}", explain(&error)),
        }
    }
    bail!("{object} is changed by somebody else all the time; find out who writes it")
}

fn renewed(
    now: Timestamp,
    authority: Option<Pair>,
    action: Action,
    dns_names: &[String],
) -> Result<(Pair, Leaf), CertificateError> {
    let authority = match authority {
        Some(pair) if action == Action::RenewLeaf => CertificateAuthority::load(pair)?,
        Some(_) | None => CertificateAuthority::generate(now)?,
    };
    let leaf = Leaf { pair: authority.issue(now, dns_names)?, dns_names: dns_names.to_vec() };
    Ok((authority.pair().clone(), leaf))
}

fn certificates(authority: &Pair, leaf: &Pair) -> Certificates {
    Certificates {
        ca_pem: authority.cert_pem.clone(),
        cert_pem: leaf.cert_pem.clone(),
        key_pem: leaf.key_pem.clone(),
        not_after: leaf.not_after,
    }
}

/// Keeps certificates fresh, served and trusted until the shutdown; also repairs a caBundle that somebody removed.
///
/// # Errors
/// None: failures are logged once each and tried again. The result makes it usable as a task.
pub async fn maintain(
    client: Client,
    request: CertificateRequest,
    tls: ReloadingConfig,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut served = None;
    let mut repeats = Repeats::default();
    let mut changes = std::pin::pin!(changes(&client, &request.webhook_configurations));
    loop {
        let check = tokio::time::timeout(CHECK_TIMEOUT, check(&client, &request, &tls, &mut served));
        let outcome = match shutdown.or(check).await {
            None => return Ok(()),
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(anyhow!("the Kubernetes API did not answer within 30s")),
        };
        let pause = match outcome {
            Ok(()) => {
                if repeats.succeeded() {
                    tracing::info!(event = "certificates", "certificates are in order again");
                }
                PERIOD
            }
            Err(error) => {
                let text = format!("{error:#}; trying again");
                if repeats.failed(&text, Instant::now()) {
                    tracing::error!(event = "certificates", "{text}");
                }
                RETRY_PERIOD
            }
        };
        let wake = async {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Ends never; a change that came during the check is waiting here and counts.
                _ = changes.next() => {}
            }
        };
        if shutdown.or(wake).await.is_none() {
            return Ok(());
        }
    }
}

/// One item for each time that one of these webhook configurations is created or changed: somebody who replaces one takes
/// the caBundle away, and until it is back every change of configuration is refused.
fn changes(client: &Client, names: &[String]) -> impl futures::Stream<Item = ()> + use<> {
    let api: Api<PartialObjectMeta<ValidatingWebhookConfiguration>> = Api::all(client.clone());
    let names = names.to_vec();
    watched(api, WatchConfig::default(), WatchMetrics::default()).filter_map(move |event| {
        let ours = match event {
            Event::Apply(object) | Event::InitApply(object) => {
                object.metadata.name.is_some_and(|name| names.contains(&name))
            }
            Event::Init | Event::InitDone | Event::Delete(_) => false,
        };
        std::future::ready(ours.then_some(()))
    })
}

async fn check(
    client: &Client,
    request: &CertificateRequest,
    tls: &ReloadingConfig,
    served: &mut Option<Certificates>,
) -> anyhow::Result<()> {
    let CertificateRequest { namespace, secret_name, dns_names, field_manager, webhook_configurations } = request;
    let wanted = ensure(client, namespace, secret_name, dns_names, field_manager).await?;
    if served.as_ref() != Some(&wanted) {
        tls.replace(wanted.cert_pem.as_bytes(), wanted.key_pem.as_bytes())
            .context("cannot serve the new certificate")?;
        *served = Some(wanted.clone());
    }
    let mut outcome = Ok(());
    for name in webhook_configurations {
        match inject_ca_bundle(client, name, &wanted.ca_pem).await {
            Ok(true) => tracing::info!(event = "certificates", object = name, "caBundle written"),
            Ok(false) => {}
            // The other configurations must not wait for this one.
            Err(error) if outcome.is_ok() => outcome = Err(error),
            Err(_) => {}
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use kube::client::Body;
    use kube::core::Status;
    use serde_json::json;

    use super::*;
    use crate::tls::TlsOptions;

    /// An apiserver that knows one Secret and guards its resourceVersion.
    #[derive(Clone, Default)]
    struct Server {
        secret: Arc<Mutex<Option<Secret>>>,
        writes: Arc<Mutex<u32>>,
    }

    impl Server {
        fn client(&self) -> Client {
            let server = self.clone();
            Client::new(
                tower::service_fn(move |request: Request<Body>| {
                    let server = server.clone();
                    async move {
                        let method = request.method().clone();
                        let body = request.into_body().collect_bytes().await?;
                        // The pause lets concurrent callers meet between reading and writing.
                        tokio::task::yield_now().await;
                        let (code, answer) = server.answer(&method, &body);
                        let response = Response::builder().status(code).body(Body::from(answer)).unwrap();
                        Ok::<_, kube::Error>(response)
                    }
                }),
                "default",
            )
        }

        fn answer(&self, method: &Method, body: &[u8]) -> (u16, Vec<u8>) {
            let mut secret = self.secret.lock().unwrap();
            let refuse = |code: u16, reason: &str| {
                (code, serde_json::to_vec(&Status::failure("refused", reason).with_code(code)).unwrap())
            };
            let version = |secret: &Secret| secret.metadata.resource_version.clone();
            match (method, secret.as_ref()) {
                (&Method::GET, None) => return refuse(404, "NotFound"),
                (&Method::POST, Some(_)) => return refuse(409, "AlreadyExists"),
                (&Method::POST | &Method::PUT, current) => {
                    let mut sent: Secret = serde_json::from_slice(body).unwrap();
                    if current.map(version) != (method == Method::PUT).then(|| version(&sent)) {
                        return refuse(409, "Conflict");
                    }
                    let mut writes = self.writes.lock().unwrap();
                    *writes += 1;
                    sent.metadata.resource_version = Some(writes.to_string());
                    *secret = Some(sent);
                }
                _ => {}
            }
            (200, serde_json::to_vec(&*secret).unwrap())
        }
    }

    fn names() -> Vec<String> {
        vec![String::from("metallb-webhook-service.metallb-system.svc")]
    }

    async fn ensured(server: &Server) -> Certificates {
        ensure(&server.client(), "metallb-system", "metallb-webhook-cert", &names(), "MetalLB").await.unwrap()
    }

    #[tokio::test]
    async fn certificates_are_made_once_and_then_kept() {
        let server = Server::default();
        let first = ensured(&server).await;
        assert_eq!(ensured(&server).await, first);
        assert_eq!(*server.writes.lock().unwrap(), 1);
    }

    #[tokio::test]
    async fn the_empty_secret_of_the_manifests_is_filled() {
        let server = Server::default();
        let empty = json!({"metadata": {"name": "metallb-webhook-cert", "resourceVersion": "7"}});
        *server.secret.lock().unwrap() = Some(serde_json::from_value(empty).unwrap());
        let made = ensured(&server).await;
        let secret = server.secret.lock().unwrap().clone().unwrap();
        assert_eq!(secret.data.unwrap()["ca.crt"].0, made.ca_pem.as_bytes());
    }

    #[tokio::test]
    async fn replicas_that_start_together_agree_on_one_authority() {
        for existing in [None, Some(json!({"metadata": {"name": "metallb-webhook-cert", "resourceVersion": "7"}}))] {
            let server = Server::default();
            *server.secret.lock().unwrap() = existing.map(|secret| serde_json::from_value(secret).unwrap());
            let all = futures::future::join_all((0..3).map(|_| ensured(&server))).await;
            assert!(all.iter().all(|one| *one == all[0]));
            assert_eq!(*server.writes.lock().unwrap(), 1);
        }
    }

    #[tokio::test]
    async fn a_check_exchanges_the_served_certificate() {
        let made = self_signed(Timestamp::now(), &names()).unwrap();
        let tls = ReloadingConfig::new(TlsOptions::default(), false, made.cert_pem.as_bytes(), made.key_pem.as_bytes())
            .unwrap();
        let before = tls.rustls().get_inner();
        let request = CertificateRequest {
            namespace: String::from("metallb-system"),
            secret_name: String::from("metallb-webhook-cert"),
            dns_names: names(),
            field_manager: String::from("MetalLB"),
            webhook_configurations: Vec::new(),
        };
        let (server, mut served) = (Server::default(), None);
        check(&server.client(), &request, &tls, &mut served).await.unwrap();
        let after = tls.rustls().get_inner();
        assert!(!Arc::ptr_eq(&before, &after));
        check(&server.client(), &request, &tls, &mut served).await.unwrap();
        assert!(Arc::ptr_eq(&after, &tls.rustls().get_inner()), "the same certificate is not loaded again");
    }

    #[test]
    fn a_server_certificate_is_renewed_by_the_same_authority() {
        let now = Timestamp::now();
        let (authority, _) = renewed(now, None, Action::RenewAll, &names()).unwrap();
        let (same, _) = renewed(now, Some(authority.clone()), Action::RenewLeaf, &names()).unwrap();
        assert_eq!(same, authority);
        let (other, _) = renewed(now, Some(authority.clone()), Action::RenewAll, &names()).unwrap();
        assert_ne!(other, authority);
    }
}
