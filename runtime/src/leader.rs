//! Leadership by a Lease: at most one of several processes does what only one may do.
//!
//! ```text
//!  watch on the Lease ─┐                     ┌─▶ requests for the Lease
//!  answers, time ──────┼─▶ lease::Candidate ─┤
//!  compete, stop ──────┘        (pure)       └─▶ Term { number, fence } or nothing ──▶ the owner of the work
//! ```
//! A [`Term`] comes with a fence that closes with it and never opens again: clients made with it write nothing once the term
//! is over, whether this process knows already or not.

pub mod lease;

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use crate::client::{explain, http_code};
use crate::clock::Moment;
use crate::fence::Fence;
use crate::repeats::Repeats;
use crate::watch::{Event, WatchConfig, WatchMetrics, watched};
use lease::{Answer, Candidate, Input, LEASE, Output, Record, Request};

/// How long the search for others who could lead may take.
const LOOK: Duration = Duration::from_secs(3);
/// Longest sleep; the machine may sleep meanwhile and the boot clock goes on.
const NAP: Duration = Duration::from_secs(1);

/// Who competes for which Lease.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the Lease and of the pods that compete.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Our pod; empty outside of one.
    pub pod: String,
    /// Labels of the pods that compete, in Kubernetes selector syntax.
    pub competitors: String,
    /// Field manager of the writes.
    pub field_manager: String,
}

/// A time of leadership.
#[derive(Clone, Debug)]
pub struct Term {
    /// Grows with each term of this process.
    pub number: u64,
    /// Open as long as the term lasts; make a client with it, see [`crate::client::connect_fenced`].
    pub fence: Fence,
}

enum Order {
    Compete,
    Stop { give_back: bool, done: oneshot::Sender<()> },
}

/// What the owner of the work holds.
#[derive(Debug)]
pub struct Leadership {
    terms: watch::Receiver<Option<Term>>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Leadership {
    /// Waits for a term to begin or to end; `None` when we follow. Safe to drop and call again. Two terms may follow each
    /// other without a `None` between them: compare the numbers.
    pub async fn changed(&mut self) -> Option<Term> {
        if self.terms.changed().await.is_err() {
            // The task ended, which ends the process.
            return std::future::pending().await;
        }
        self.terms.borrow_and_update().clone()
    }

    /// Says that we are able to lead.
    pub fn compete(&self) {
        // Fails only when the task ended, and with it the process.
        let _ended = self.orders.send(Order::Compete);
    }

    /// Ends the term, if there is one, and waits until the Lease is given back. Say `give_back` only when every write of the
    /// term was answered; otherwise the Lease is left to expire.
    pub async fn stop(&self, give_back: bool) {
        let (done, stopped) = oneshot::channel();
        if self.orders.send(Order::Stop { give_back, done }).is_ok() {
            let _ended = stopped.await;
        }
    }
}

/// Starts to follow a Lease. The second value is the task to run; it never ends by itself.
///
/// # Errors
/// The system has no random numbers.
pub fn follow(
    client: &Client,
    settings: Settings,
    metrics: WatchMetrics,
) -> anyhow::Result<(Leadership, impl Future<Output = ()> + Send + 'static)> {
    let identity = identity(&settings.pod)?;
    let (terms_in, terms) = watch::channel(None);
    let (orders, orders_out) = mpsc::unbounded_channel();
    let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.namespace);
    let only_ours =
        WatchConfig { field_selector: Some(format!("metadata.name={}", settings.name)), ..WatchConfig::default() };
    let runner = Runner {
        sights: sights(watched(leases.clone(), only_ours, metrics)).boxed(),
        candidate: Candidate::new(&identity),
        writer: Writer { leases, identity: identity.clone(), settings: settings.clone() },
        pods: Api::namespaced(client.clone(), &settings.namespace),
        settings,
        identity,
        terms: terms_in,
        term: 0,
        request: None,
        stopping: None,
        shown: None,
        repeats: Repeats::default(),
    };
    Ok((Leadership { terms, orders }, runner.run(orders_out)))
}

/// A name that no other process ever had.
fn identity(pod: &str) -> anyhow::Result<String> {
    let suffix: String = crate::random::bytes(5)?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}_{suffix}", if pod.is_empty() { "process" } else { pod }))
}

/// The Lease each time the watch shows it.
fn sights(events: impl Stream<Item = Event<Lease>> + Send + 'static) -> impl Stream<Item = Option<Record>> + Send {
    let mut listed = None;
    events.filter_map(move |event| {
        let sight = match event {
            Event::Init => {
                listed = None;
                None
            }
            Event::InitApply(lease) => {
                listed = Some(record(lease));
                None
            }
            Event::InitDone => Some(listed.take()),
            Event::Apply(lease) => Some(Some(record(lease))),
            Event::Delete(_) => Some(None),
        };
        std::future::ready(sight)
    })
}

fn record(lease: Lease) -> Record {
    let spec = lease.spec.unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        version: lease.metadata.resource_version.unwrap_or_default(),
        holder: spec.holder_identity.unwrap_or_default(),
        duration: seconds.map_or(LEASE, Duration::from_secs),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

type Pending = Pin<Box<dyn Future<Output = (u64, Result<Answer, String>)> + Send>>;

struct Runner {
    sights: Pin<Box<dyn Stream<Item = Option<Record>> + Send>>,
    candidate: Candidate,
    writer: Writer,
    pods: Api<Pod>,
    settings: Settings,
    identity: String,
    terms: watch::Sender<Option<Term>>,
    /// Number of the last term.
    term: u64,
    request: Option<Pending>,
    stopping: Option<oneshot::Sender<()>>,
    /// The holder that was logged last.
    shown: Option<String>,
    repeats: Repeats,
}

impl Runner {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut look: Option<Pin<Box<dyn Future<Output = bool> + Send>>> = None;
        loop {
            let wait = self.candidate.deadline().map_or(NAP, |deadline| deadline.after(Moment::now()).min(NAP));
            let input = tokio::select! {
                biased;
                (number, answer) = due(&mut self.request) => Input::Answered(number, self.answer(answer)),
                Some(sight) = self.sights.next() => Input::Seen(sight),
                Some(order) = orders.recv() => match order {
                    Order::Compete => {
                        look = Some(Box::pin(is_alone(self.pods.clone(), self.settings.clone())));
                        Input::Tick
                    }
                    Order::Stop { give_back, done } => {
                        // Before anybody else may lead.
                        self.end_term();
                        self.stopping = Some(done);
                        Input::Stop { give_back }
                    }
                },
                alone = due(&mut look) => Input::Compete { alone },
                () = tokio::time::sleep(wait) => Input::Tick,
            };
            for output in self.candidate.handle(Moment::now(), input) {
                self.act(output);
            }
            self.show_holder();
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Send(number, request) => {
                let writer = self.writer.clone();
                self.request = Some(Box::pin(async move { (number, writer.send(request).await) }));
            }
            Output::Lead(until) => {
                let running = self.terms.borrow().as_ref().map(|term| term.fence.clone());
                if let Some(fence) = running {
                    return fence.open_until(until);
                }
                self.term += 1;
                let fence = Fence::new();
                fence.open_until(until);
                tracing::info!(event = "leadership", identity = self.identity, "this process leads now");
                self.terms.send_replace(Some(Term { number: self.term, fence }));
            }
            Output::Lost(reason) => {
                tracing::warn!(
                    event = "leadership",
                    identity = self.identity,
                    "this process does not lead any more: {reason}"
                );
                self.end_term();
            }
            Output::Stopped => {
                self.request = None;
                if let Some(done) = self.stopping.take() {
                    let _gone = done.send(());
                }
            }
        }
    }

    fn end_term(&self) {
        self.terms.send_if_modified(|term| {
            let ended = term.take();
            if let Some(ended) = &ended {
                ended.fence.close();
            }
            ended.is_some()
        });
    }

    fn answer(&mut self, answer: Result<Answer, String>) -> Answer {
        match answer {
            Ok(answer) => {
                self.repeats.succeeded();
                answer
            }
            Err(reason) => {
                let Settings { namespace, name, .. } = &self.settings;
                let text = format!("cannot use the Lease {namespace}/{name}: {reason}; trying again");
                if self.repeats.failed(&text, Instant::now()) {
                    tracing::error!(event = "leadership", "{text}");
                }
                Answer::Failed
            }
        }
    }

    fn show_holder(&mut self) {
        let holder = self.candidate.holder().filter(|holder| *holder != self.identity).map(str::to_owned);
        if holder != self.shown {
            if let Some(holder) = &holder {
                tracing::info!(event = "leadership", leader = holder, "another process leads; this one stands by");
            }
            self.shown = holder;
        }
    }
}

async fn due<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match future {
        Some(pending) => {
            let output = pending.await;
            *future = None;
            output
        }
        None => std::future::pending().await,
    }
}

/// Whether no other pod is there that could lead.
async fn is_alone(pods: Api<Pod>, settings: Settings) -> bool {
    let competitors = ListParams::default().labels(&settings.competitors);
    let reason = match tokio::time::timeout(LOOK, pods.list(&competitors)).await {
        Ok(Ok(list)) => return !list.iter().any(|pod| pod.name_any() != settings.pod && !is_over(pod)),
        Ok(Err(error)) => explain(&error),
        Err(_) => String::from("no answer in time"),
    };
    tracing::warn!(
        event = "leadership",
        "cannot see whether another process of this kind runs: {reason}; a Lease that is absent is waited for"
    );
    false
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Reads and writes the Lease.
#[derive(Clone)]
struct Writer {
    leases: Api<Lease>,
    identity: String,
    settings: Settings,
}

impl Writer {
    /// # Errors
    /// Nobody knows the outcome; the text says why.
    async fn send(&self, request: Request) -> Result<Answer, String> {
        let now = MicroTime(Timestamp::now());
        let (version, spec) = match request {
            Request::Read => {
                let read = self.leases.get_opt(&self.settings.name).await;
                return read.map(|lease| Answer::Read(lease.map(record))).map_err(|error| explain(&error));
            }
            Request::Create => return self.create(Some(self.identity.clone()), now).await,
            Request::Open => return self.create(None, now).await,
            Request::Take(version, transitions) => {
                let spec = self.held(&now);
                (version, merge(spec, json!({"acquireTime": now, "leaseTransitions": transitions})))
            }
            Request::Renew(version) => (version, self.held(&now)),
            // As Go's client leaves it: a second, held by nobody.
            Request::Release(version) => {
                (version, json!({"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now}))
            }
        };
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "spec": spec}));
        let params = PatchParams { field_manager: Some(self.settings.field_manager.clone()), ..PatchParams::default() };
        Self::outcome(self.leases.patch(&self.settings.name, &params, &patch).await)
    }

    fn held(&self, now: &MicroTime) -> Value {
        json!({"holderIdentity": self.identity, "leaseDurationSeconds": LEASE.as_secs(), "renewTime": now})
    }

    async fn create(&self, holder: Option<String>, now: MicroTime) -> Result<Answer, String> {
        let times = holder.as_ref().map(|_| now);
        let lease = Lease {
            metadata: ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
                lease_transitions: Some(0),
                acquire_time: times.clone(),
                renew_time: times,
                holder_identity: holder,
                ..LeaseSpec::default()
            }),
        };
        let params = PostParams { field_manager: Some(self.settings.field_manager.clone()), ..PostParams::default() };
        Self::outcome(self.leases.create(&params, &lease).await)
    }

    fn outcome(answer: Result<Lease, kube::Error>) -> Result<Answer, String> {
        match answer {
            Ok(lease) => Ok(Answer::Stored(record(lease))),
            Err(error) => match http_code(&error) {
                Some(404) => Ok(Answer::Absent),
                Some(409) => Ok(Answer::Refused),
                _ => Err(explain(&error)),
            },
        }
    }
}

fn merge(mut spec: Value, more: Value) -> Value {
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_processes_have_the_same_identity() {
        let (one, two) = (identity("pod-a").unwrap(), identity("pod-a").unwrap());
        assert!(one.starts_with("pod-a_") && one != two, "{one} {two}");
        assert!(identity("").unwrap().starts_with("process_"));
    }

    #[tokio::test]
    async fn the_watch_shows_a_lease_or_its_absence() {
        let lease = |version: &str, holder: &str| Lease {
            metadata: ObjectMeta { resource_version: Some(version.into()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec { holder_identity: Some(holder.into()), ..LeaseSpec::default() }),
        };
        let events = vec![
            Event::Init,
            Event::InitDone,
            Event::Apply(lease("5", "a")),
            Event::Delete(lease("6", "a")),
            Event::Init,
            Event::InitApply(lease("7", "b")),
            Event::InitDone,
        ];
        let seen: Vec<_> = sights(futures::stream::iter(events)).collect().await;
        let short: Vec<_> = seen.iter().map(|sight| sight.as_ref().map(|record| record.version.as_str())).collect();
        assert_eq!(short, [None, Some("5"), None, Some("7")]);
        assert_eq!(seen[1].as_ref().map(|record| (record.holder.as_str(), record.duration)), Some(("a", LEASE)));
    }

    #[test]
    fn a_pod_that_ended_does_not_compete() {
        let pod = |phase: &str| serde_json::from_value::<Pod>(json!({"status": {"phase": phase}})).unwrap();
        assert!(is_over(&pod("Failed")) && is_over(&pod("Succeeded")));
        assert!(!is_over(&pod("Running")) && !is_over(&pod("Unknown")) && !is_over(&Pod::default()));
    }
}
