//! How the parts are connected, and the owner loop that turns changes into addresses.
//!
//! ```text
//!  watches ──────────┐
//!  ended writes ─────┼─▶ owner: State::apply* ─▶ settle ─▶ Apply (services/status, Events)
//!  retries ──────────┘        │ (the only task that touches State)
//!                             └─ at most every 200 ms ─▶ PoolStatus, metrics
//! ```
//! With the apiserver away nothing comes in and nothing changes: no address is lost by that.

use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use api::slim;
use api::v1beta1::{AddressPool, IPAddressPool};
use config::NamespaceLabels;
use futures::stream::{self, SelectAll};
use futures::{FutureExt, Stream, StreamExt};
use kube::api::ListParams;
use kube::{Api, Client};
use runtime::client::{self, Retry, http_code};
use runtime::events::Publisher;
use runtime::health::Health;
use runtime::index::map_event;
use runtime::metrics::{Registry, serve_https};
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use runtime::tls::TlsSource;
use runtime::watch::{Event, WatchConfig, WatchMetrics, watched, watched_guarded};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use crate::apply::{self, Apply, Done, Next};
use crate::args::Args;
use crate::metrics::Metrics;
use crate::pool_status::PoolStatus;
use crate::service::Service;
use crate::state::{Action, Input, Outcome, State};

/// Component name of our Events.
const COMPONENT: &str = "metallb-controller";
/// How long the parts may take to stop.
const GRACE: Duration = Duration::from_secs(5);
/// Most changes taken in before the next decision.
const BATCH: usize = 1024;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Changes of the pools' numbers are collected for this long.
const COALESCE: Duration = Duration::from_millis(200);
/// Between attempts to find out whether the AddressPool CRD is there.
const PROBE_PAUSE: Duration = Duration::from_secs(2);

type Inputs = SelectAll<Pin<Box<dyn Stream<Item = Input> + Send>>>;

/// The controller from start to end.
///
/// # Errors
/// Flags or ports are unusable, no cluster is configured, or a part ended unexpectedly.
pub async fn allocate(args: Args) -> anyhow::Result<()> {
    let settings = args.settings()?;
    let shutdown = Shutdown::on_signals()?;
    let client = client::connect(&client::user_agent("controller"), Retry::Never).await?;
    let mut registry = Registry::new();
    let metrics = Metrics::register(&mut registry);
    let watch_metrics = WatchMetrics::register(&mut registry);
    let health = Health::new();

    let mut tasks = Tasks::new(shutdown.clone());
    let probes = SocketAddr::from((Ipv6Addr::UNSPECIFIED, args.health_probe_port));
    let (probed, until) = (health.clone(), shutdown.clone());
    tasks.spawn("the health probe server", async move { probed.serve(probes, until).await });
    let scrapes = SocketAddr::from((Ipv6Addr::UNSPECIFIED, args.port));
    let tls = TlsSource::from_flags(args.tls.clone(), &args.metrics_cert_dir);
    tasks.spawn("the metrics server", serve_https(scrapes, registry, tls, Some(client.clone()), shutdown.clone()));

    let mut state = State::new(settings.class);
    state.lead();
    let owner = Owner {
        inputs: watches(&client, &settings.namespace, &watch_metrics),
        apply: Apply::new(client.clone(), Publisher::new(client.clone(), COMPONENT)),
        pool_status: PoolStatus::new(client, &settings.namespace),
        state,
        metrics,
        health,
        numbers_due: None,
        shown: 0,
    };
    let until = shutdown.clone();
    tasks.spawn("the owner of the addresses", async move {
        until.or(owner.run()).await;
        Ok(())
    });
    tasks.run(GRACE).await
}

/// Everything the controller watches in the cluster. All Services, not only load balancers: one that stops being one has
/// something of ours to give back.
fn watches(client: &Client, namespace: &str, metrics: &WatchMetrics) -> Inputs {
    let all = WatchConfig::default;
    let c = || client.clone();
    let m = || metrics.clone();
    let pools: Api<IPAddressPool> = Api::namespaced(c(), namespace);
    let address_pools: Api<AddressPool> = Api::namespaced(c(), namespace);

    let mut inputs = Inputs::new();
    inputs.push(watched(Api::<slim::Service>::all(c()), all(), m()).filter_map(async |event| service(event)).boxed());
    inputs.push(watched(Api::<slim::Namespace>::all(c()), all(), m()).map(namespace_labels).boxed());
    inputs.push(watched_guarded(pools, all(), m()).map(|event| Input::Pool(map_event(event, Into::into))).boxed());
    inputs.push(absent_crd(address_pools.clone()).boxed());
    inputs.push(
        watched_guarded(address_pools, all(), m())
            .map(|event| Input::AddressPool(map_event(event, Into::into)))
            .boxed(),
    );
    inputs
}

fn service(event: Event<slim::Service>) -> Option<Input> {
    let event = match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(object) => Event::InitApply(Service::from_slim(object)?),
        Event::Apply(object) => Event::Apply(Service::from_slim(object)?),
        Event::Delete(object) => Event::Delete(Service::from_slim(object)?),
    };
    Some(Input::Service(event))
}

fn namespace_labels(event: Event<slim::Namespace>) -> Input {
    Input::Namespace(map_event(event, |object| NamespaceLabels {
        name: object.metadata.name.unwrap_or_default(),
        labels: object.metadata.labels.unwrap_or_default(),
    }))
}

/// AddressPool is deprecated, and a cluster that never had it may lack its CRD. Then its list counts as complete and empty;
/// otherwise its watch, which waits for the CRD, would keep every Service waiting too.
fn absent_crd(api: Api<AddressPool>) -> impl Stream<Item = Input> + Send {
    let probe = async move {
        loop {
            match api.list_metadata(&ListParams::default().limit(1)).await {
                Ok(_) => return Vec::new(),
                Err(error) if http_code(&error) == Some(404) => {
                    tracing::warn!(
                        event = "crdMissing",
                        kind = "AddressPool",
                        "the CRD of the deprecated kind AddressPool is not installed; going on without it"
                    );
                    return vec![Input::AddressPool(Event::Init), Input::AddressPool(Event::InitDone)];
                }
                Err(_) => tokio::time::sleep(PROBE_PAUSE).await,
            }
        }
    };
    stream::once(probe).flat_map(stream::iter)
}

/// The one task that decides.
struct Owner {
    inputs: Inputs,
    apply: Apply,
    pool_status: PoolStatus,
    state: State,
    metrics: Metrics,
    health: Health,
    /// When to bring pool statuses and metrics up to date.
    numbers_due: Option<Instant>,
    /// Generation of the numbers shown last.
    shown: u64,
}

impl Owner {
    async fn run(mut self) {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_synced = false;
        loop {
            tokio::select! {
                Some(input) = self.inputs.next() => self.take_in(input),
                next = self.apply.next() => match next {
                    Next::Done(done) => self.written(done),
                    Next::Retry(key) => self.state.retry(&key),
                },
                stored = self.pool_status.done() => {
                    if let Some((name, status)) = stored {
                        self.state.pool_status_stored(&name, status);
                    }
                    self.numbers_due.get_or_insert_with(|| Instant::now() + COALESCE);
                }
                () = at(self.numbers_due) => self.show_numbers(),
                _ = heartbeat.tick() => self.health.heartbeat(),
            }
            self.decide();
            self.show_readiness(&mut was_synced);
        }
    }

    /// Takes in a change and whatever else is there already.
    fn take_in(&mut self, first: Input) {
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(input) = next else { break };
            if matches!(input, Input::Pool(_)) {
                self.numbers_due.get_or_insert_with(|| Instant::now() + COALESCE);
            }
            if let Input::Service(Event::Delete(service)) = &input {
                tracing::info!(event = "serviceDeleted", service = service.key.as_str(), "service deleted");
            }
            self.state.apply(input);
            next = self.inputs.next().now_or_never().flatten();
        }
    }

    fn written(&mut self, done: Done) {
        self.metrics.update_errors.inc_by(u64::from(!matches!(done.outcome, Outcome::Stored(_))));
        if self.state.written(done.attempt, &done.key, done.outcome) {
            self.apply.retry_later(done.key);
        }
    }

    fn decide(&mut self) {
        let before = self.state.convergences();
        for action in self.state.settle() {
            match action {
                Action::Write(write) => self.apply.write(write),
                Action::Note(subject, note) => self.apply.note(&subject, &note),
                Action::Log(key, step) => apply::log(&key, &step),
                Action::Report(report) => self.apply.report(&report),
                Action::Later(key, pause) => self.apply.later(key, pause),
            }
        }
        self.metrics.updates.inc_by(self.state.convergences() - before);
        self.metrics.observe_config(self.state.is_synced(), self.state.is_config_stale());
        if self.state.allocator().generation() != self.shown {
            self.numbers_due.get_or_insert_with(|| Instant::now() + COALESCE);
        }
    }

    fn show_numbers(&mut self) {
        self.shown = self.state.allocator().generation();
        self.metrics.observe_pools(self.state.allocator().counters());
        let left = self.pool_status.write(self.state.pool_status_writes());
        self.numbers_due = left.then(|| Instant::now() + COALESCE);
    }

    fn show_readiness(&self, was_synced: &mut bool) {
        let missing = self.state.missing();
        if missing.is_empty() && !*was_synced {
            *was_synced = true;
            tracing::info!(
                event = "synced",
                waiting = self.state.waiting(),
                "every list is in, addresses are given out"
            );
            self.health.set_ready(true);
        } else if !missing.is_empty() {
            self.health.set_unready(format!("waiting for the list of {}", missing.join(", ")));
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
