//! Certificates for the webhook server: made, stored, served, trusted and renewed without a restart.
//!
//! ```text
//!             ┌─ every minute, and when the Secret or a ValidatingWebhookConfiguration changes ─┐
//!  Secret ──────────┐                                   ┌─ Store ─▶ Secret (conditional; who loses reads again)
//!  registrations ───┼─▶ decide (pure), one step a time ─┼─ Serve ─▶ ReloadingConfig (the server's certificate)
//!  what we serve ───┘                                   └─ Trust ─▶ caBundles, and nothing else of the registrations
//! ```
//! Several replicas share one Secret and agree on nothing: each step of [`decide`] leaves a state in which calls succeed,
//! whatever the others do. A state that needs no step is left without a single write. The time is the apiserver's, as far
//! as it tells: its clock is the one that judges certificates.

mod authority;
mod decide;
mod registrations;
#[cfg(test)]
mod simulation;
mod stored;
mod x509;

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use futures::{FutureExt, Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{GetParams, PartialObjectMeta, PostParams};
use kube::client::Body;
use kube::core::{Request, Status};
use kube::{Api, Client, Resource};
use tokio::sync::watch;

pub use authority::{CertificateAuthority, CertificateError, Pair, self_signed};

use crate::client::{explain, http_code};
use crate::pace::Pace;
use crate::repeats::Repeats;
use crate::shutdown::Shutdown;
use crate::tls::ReloadingConfig;
use crate::watch::{Event, WatchConfig, WatchMetrics, watched};
use decide::{Action, Change, Trusted, View, changed, decide};
use registrations::{Registration, Written};
use stored::Stored;

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
    /// ValidatingWebhookConfigurations whose caBundles must trust the certificate. The first one must exist before calls can
    /// succeed, the others may be absent.
    pub webhook_configurations: Vec<String>,
}

/// Whether calls through the apiserver would find our certificate good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// They would: the registrations were read back and trust what is served, by the names they call.
    Given,
    /// They would not, and this is why.
    Missing(String),
}

/// Between checks when all is well. Wall-clock time is compared each time, so a suspended machine catches up.
const PERIOD: Duration = Duration::from_secs(60);
/// Between checks after a failure, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);
/// Steps of one check. A first boot takes five; conflicts with other replicas add some.
const STEPS: usize = 16;

/// Keeps certificates fresh, served and trusted until the shutdown, and tells in `trust` whether they are.
///
/// `tls` may begin with any certificate; it is replaced before `trust` is given for the first time.
///
/// # Errors
/// None: failures are logged once each and tried again. The result makes it usable as a task.
pub async fn maintain(
    client: Client,
    request: CertificateRequest,
    tls: ReloadingConfig,
    trust: watch::Sender<Trust>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut changes = std::pin::pin!(changes(&client, &request));
    let mut keeper = Keeper::new(client, request, tls);
    let (mut repeats, mut retry) = (Repeats::default(), RETRY.0);
    loop {
        // Everything that was said until now is about to be looked at.
        while changes.next().now_or_never().is_some() {}
        let check = tokio::time::timeout(CHECK_TIMEOUT, keeper.check(Timestamp::now(), Instant::now()));
        let outcome = match shutdown.or(check).await {
            None => return Ok(()),
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(anyhow!("the Kubernetes API did not answer within 30s")),
        };
        let (said, pause) = match outcome {
            Ok(Checked { again, trust }) => {
                if repeats.succeeded() {
                    tracing::info!(event = "certificates", "certificates are in order again");
                }
                retry = RETRY.0;
                (trust, again.min(PERIOD))
            }
            Err(error) => {
                let text = format!("{error:#}; trying again");
                if repeats.failed(&text, Instant::now()) {
                    tracing::error!(event = "certificates", "{text}");
                }
                let pause = retry;
                retry = (retry * 2).min(RETRY.1);
                (Trust::Missing(text), pause)
            }
        };
        trust.send_if_modified(|known| {
            let differs = *known != said;
            *known = said;
            differs
        });
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

/// One item for each change of the Secret or of one of the registrations: somebody who replaces one of these takes the
/// caBundle away, and until it is back every change of configuration is refused.
fn changes(client: &Client, request: &CertificateRequest) -> impl Stream<Item = ()> + use<> {
    let registrations: Api<PartialObjectMeta<ValidatingWebhookConfiguration>> = Api::all(client.clone());
    let names = request.webhook_configurations.clone();
    let registrations = watched(registrations, WatchConfig::default(), WatchMetrics::default());
    let registrations = registrations.filter_map(move |event| {
        let ours = match event {
            Event::Apply(object) | Event::InitApply(object) => {
                object.metadata.name.is_some_and(|name| names.contains(&name))
            }
            Event::Init | Event::InitDone | Event::Delete(_) => false,
        };
        std::future::ready(ours.then_some(()))
    });
    let secret: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), &request.namespace);
    let only = WatchConfig {
        field_selector: Some(format!("metadata.name={}", request.secret_name)),
        ..WatchConfig::default()
    };
    let secret = watched(secret, only, WatchMetrics::default()).filter_map(|event| {
        let ours = matches!(event, Event::Apply(_) | Event::InitApply(_) | Event::Delete(_));
        std::future::ready(ours.then_some(()))
    });
    futures::stream::select(registrations, secret)
}

/// What a check came to.
#[derive(Debug)]
struct Checked {
    /// When to look again.
    again: Duration,
    trust: Trust,
}

/// What one replica remembers between checks.
struct Keeper {
    client: Client,
    request: CertificateRequest,
    tls: ReloadingConfig,
    /// What the Secret held when the certificate that is served was taken from there.
    held: Option<Stored>,
    trusted: Trusted,
    /// Two replicas whose clocks are far apart may not agree what is fresh; they must not drown the apiserver in writes.
    secret_pace: Pace,
    /// What is overwritten once a second is put right at once each time. Against somebody who answers each write with
    /// another one, this is as fast as it gets.
    bundle_pace: Pace,
}

impl Keeper {
    fn new(client: Client, request: CertificateRequest, tls: ReloadingConfig) -> Self {
        Self {
            client,
            request,
            tls,
            held: None,
            trusted: Trusted::new(),
            secret_pace: Pace::new(8, Duration::from_secs(10)),
            bundle_pace: Pace::new(5, Duration::from_secs(1)),
        }
    }

    /// Takes steps until none is left. `now` counts where the apiserver does not tell its time.
    async fn check(&mut self, now: Timestamp, clock: Instant) -> anyhow::Result<Checked> {
        for _ in 0..STEPS {
            let (secret, date) = self.secret().await?;
            let now = date.unwrap_or(now);
            let stored = secret.as_ref().map(Stored::read).unwrap_or_default();
            let registrations = registrations::read(&self.client, &self.request.webhook_configurations).await?;
            self.note_trust(&stored, &registrations, now);
            let view = View {
                now,
                dns_names: &self.request.dns_names,
                stored: &stored,
                held: self.held.as_ref(),
                registrations: &registrations,
                trusted: &self.trusted,
            };
            match decide(&view) {
                Action::Store(change) => {
                    let next = changed(&view, change)?;
                    if let Err(wait) = self.secret_pace.take(clock) {
                        bail!(
                            "{} was written too often within the last minute ({}), the next time in {}s; find out who \
                             else writes it and compare the clocks of the nodes",
                            self.object(),
                            change.reason(),
                            wait.as_secs() + 1
                        );
                    }
                    self.store(secret, &next, change).await?;
                }
                Action::Serve => {
                    let Some(leaf) = &stored.leaf else { continue };
                    self.tls
                        .replace(leaf.cert_pem.as_bytes(), leaf.key_pem.as_bytes())
                        .context("cannot serve the new certificate")?;
                    tracing::info!(event = "certificates", until = %leaf.not_after, "certificate loaded");
                    self.held = Some(stored);
                }
                Action::Trust => {
                    if let Err(wait) = self.bundle_pace.take(clock) {
                        let trust = self.trust(&registrations, now);
                        tracing::warn!(
                            event = "certificates",
                            "somebody else keeps writing caBundles; find out who (metadata.managedFields tells)"
                        );
                        return Ok(Checked { again: wait, trust });
                    }
                    self.write_bundles(&stored, &registrations, now).await?;
                }
                Action::Keep { again } => {
                    if self.held.as_ref().is_some_and(|held| held.leaf == stored.leaf) {
                        // So that all of it comes back should the Secret be lost.
                        self.held = Some(stored);
                    }
                    let trust = self.trust(&registrations, now);
                    return Ok(Checked { again: again.unwrap_or(PERIOD), trust });
                }
            }
        }
        bail!("Secret or caBundles do not stay as they are written; find out who else writes them")
    }

    fn object(&self) -> String {
        format!("Secret {}/{}", self.request.namespace, self.request.secret_name)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.request.namespace)
    }

    /// The Secret, if there is one, and the apiserver's time.
    async fn secret(&self) -> anyhow::Result<(Option<Secret>, Option<Timestamp>)> {
        let failed = |error: kube::Error| anyhow!("cannot read {}: {}", self.object(), explain(&error));
        let url = Secret::url_path(&(), Some(&self.request.namespace));
        let request = Request::new(url).get(&self.request.secret_name, &GetParams::default());
        let request = request.with_context(|| format!("{} has no usable name", self.object()))?;
        let response = self.client.send(request.map(Body::from)).await.map_err(failed)?;
        let date = response.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp());
        let (code, body) = (response.status(), response.into_body().collect_bytes().await.map_err(failed)?);
        if code.is_success() {
            let secret = serde_json::from_slice(&body).with_context(|| format!("cannot read {}", self.object()))?;
            return Ok((Some(secret), date));
        }
        let reason = code.canonical_reason().unwrap_or("an unknown answer");
        let status = || Status::failure(reason, reason).with_code(code.as_u16());
        match serde_json::from_slice(&body).unwrap_or_else(|_| status()) {
            Status { code: 404, .. } => Ok((None, date)),
            status => Err(failed(kube::Error::Api(Box::new(status)))),
        }
    }

    /// Writes the Secret on condition that it is still the one that was read.
    async fn store(&self, found: Option<Secret>, next: &Stored, change: Change) -> anyhow::Result<()> {
        let manager = Some(self.request.field_manager.clone());
        let params = PostParams { field_manager: manager, ..PostParams::default() };
        let (api, name, existed) = (self.secrets(), &self.request.secret_name, found.is_some());
        let mut secret = found.unwrap_or_default();
        secret.metadata.name = Some(name.clone());
        next.fill(&mut secret, &self.request.dns_names);
        // Its resourceVersion makes the write fail if somebody was faster.
        let written =
            if existed { api.replace(name, &params, &secret).await } else { api.create(&params, &secret).await };
        match written {
            Ok(_) => {
                let (until, authorities) = (next.leaf.as_ref().map(|leaf| leaf.not_after), next.authorities.len());
                tracing::info!(
                    event = "certificates",
                    secret = self.object(),
                    ?until,
                    authorities,
                    "{}",
                    change.reason()
                );
                Ok(())
            }
            // Changed, created or deleted by somebody else: look again.
            Err(error) if matches!(http_code(&error), Some(404 | 409)) => Ok(()),
            Err(error) => bail!("cannot write {}: {}", self.object(), explain(&error)),
        }
    }

    async fn write_bundles(
        &self,
        stored: &Stored,
        registrations: &[Registration],
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for registration in registrations {
            let Some(patch) = registration.patch(&stored.authorities, now) else { continue };
            let name = &registration.name;
            match registrations::write(&self.client, name, &self.request.field_manager, patch).await {
                Ok(Written::Yes) => tracing::info!(event = "certificates", object = name, "caBundle written"),
                Ok(Written::Conflict) => {}
                // The other registrations must not wait for this one.
                Err(error) if outcome.is_ok() => outcome = Err(error),
                Err(_) => {}
            }
        }
        outcome
    }

    fn note_trust(&mut self, stored: &Stored, registrations: &[Registration], now: Timestamp) {
        let all = stored.authorities.iter().map(|authority| &authority.der);
        let trusted = all.filter(|der| registrations.iter().all(|registration| registration.trusts(der)));
        let since = |der: &[u8]| self.trusted.get(der).copied().unwrap_or(now);
        self.trusted = trusted.map(|der| (der.to_vec(), since(der))).collect();
    }

    fn trust(&self, registrations: &[Registration], now: Timestamp) -> Trust {
        let Some(leaf) = self.held.as_ref().and_then(|held| held.leaf.as_ref()) else {
            return Trust::Missing(String::from("no certificate is served yet"));
        };
        match trusted(&self.request, registrations, |registration| registration.accepts(&leaf.chain, now)) {
            Ok(()) => Trust::Given,
            Err(text) => Trust::Missing(text),
        }
    }
}

fn trusted(
    request: &CertificateRequest,
    registrations: &[Registration],
    accepts: impl Fn(&Registration) -> Result<(), String>,
) -> Result<(), String> {
    if let Some(first) = request.webhook_configurations.first()
        && !registrations.iter().any(|registration| registration.name == *first)
    {
        return Err(format!(
            "ValidatingWebhookConfiguration {first} does not exist; apply manifests/metallb-operator.yaml"
        ));
    }
    registrations.iter().try_for_each(accepts)
}

/// Whether calls would find a certificate good that somebody else renews. OLM makes registrations with names of its own,
/// so ours may all be absent; those that exist must trust the certificate.
///
/// # Errors
/// The registrations cannot be read.
pub async fn trust_in_mounted(client: &Client, request: &CertificateRequest, cert_pem: &[u8]) -> anyhow::Result<Trust> {
    let Some(chain) = x509::read_pem(cert_pem) else {
        return Ok(Trust::Missing(String::from("tls.crt holds no certificate")));
    };
    let registrations = registrations::read(client, &request.webhook_configurations).await?;
    let now = Timestamp::now();
    let outcome = registrations.iter().try_for_each(|registration| registration.accepts_mounted(&chain, now));
    Ok(outcome.map_or_else(Trust::Missing, |()| Trust::Given))
}
