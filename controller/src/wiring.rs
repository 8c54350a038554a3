//! How the parts are connected, and the owner loop that turns changes into addresses.
//!
//! ```text
//!  watches ──────────┐
//!  ended writes ─────┼─▶ owner: State::apply* ─▶ settle ─▶ Work (services/status, Events, pools)   while it leads
//!  retries ──────────┤        │ (the only task that touches State)
//!  the Lease ────────┘        └─ at most every 200 ms ─▶ PoolStatus, metrics
//! ```
//! A term begins like a start: fresh watches, fresh lists, fresh writers; see `leadership.rs`. With the apiserver away nothing
//! comes in and nothing changes: no address is lost by that.

use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use api::slim;
use api::v1beta1::{AddressPool, Community, IPAddressPool};
use config::NamespaceLabels;
use futures::stream::{ReadyChunks, SelectAll};
use futures::{Stream, StreamExt};
use kube::{Api, Client};
use runtime::client::{self, Retry};
use runtime::health::Health;
use runtime::index::map_event;
use runtime::leader::{self, Leadership, Term};
use runtime::metrics::{Registry, serve_https};
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use runtime::tls::TlsSource;
use runtime::watch::{Event, WatchConfig, WatchMetrics, watched, watched_guarded};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use crate::apply::{self, Done, Next};
use crate::args::Args;
use crate::leadership::{Ended, Place, Work, ended};
use crate::memberlist;
use crate::metrics::Metrics;
use crate::service::Service;
use crate::state::{Action, Input, Outcome, State};

/// How long the parts may take to stop.
const GRACE: Duration = Duration::from_secs(5);
/// Most changes taken in before the next decision.
const BATCH: usize = 1024;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Changes of the pools' numbers are collected for this long.
const COALESCE: Duration = Duration::from_millis(200);
/// A term waits for its lists, so they come in few round trips; a page is in memory at once, twice while it is decoded.
const PAGE_SIZE: u32 = 500;

type Streams = SelectAll<Pin<Box<dyn Stream<Item = Input> + Send>>>;
type Inputs = ReadyChunks<Streams>;

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

    let place = Place {
        client,
        pod: args.pod_name,
        memberlist: memberlist::Settings {
            namespace: settings.namespace,
            secret: args.ml_secret_name,
            deployment: args.deployment,
        },
        watch_metrics,
    };
    let (leadership, follower) = leader::follow(&place.client, place.settings(), place.watch_metrics.clone())?;
    let owner = Owner {
        inputs: watches(&place),
        place,
        leadership,
        work: None,
        state: State::new(settings.class),
        metrics,
        health,
        was_synced: false,
        begun: false,
        numbers_due: None,
        shown: 0,
    };
    // The Lease is given back after the last write, so its task ends after the owner.
    let done = Shutdown::new();
    let until = done.clone();
    tasks.spawn("the task that holds the Lease", async move {
        until.or(follower).await;
        Ok(())
    });
    tasks.spawn("the owner of the addresses", async move {
        let outcome = owner.run(shutdown).await;
        done.trigger();
        outcome
    });
    tasks.run(GRACE).await
}

/// Everything the controller watches in the cluster. All Services, not only load balancers: one that stops being one has
/// something of ours to give back.
fn watches(place: &Place) -> Inputs {
    let namespace = &place.memberlist.namespace;
    let all = || WatchConfig { page_size: PAGE_SIZE, ..WatchConfig::default() };
    // AddressPool is deprecated, and a cluster that never had it may lack its CRD.
    let optional = WatchConfig { optional: true, ..all() };
    let c = || -> Client { place.client.clone() };
    let m = || -> WatchMetrics { place.watch_metrics.clone() };
    let pools: Api<IPAddressPool> = Api::namespaced(c(), namespace);
    let address_pools: Api<AddressPool> = Api::namespaced(c(), namespace);
    let communities: Api<Community> = Api::namespaced(c(), namespace);

    let mut inputs = Streams::new();
    inputs.push(watched(Api::<slim::Service>::all(c()), all(), m()).filter_map(async |event| service(event)).boxed());
    inputs.push(watched(Api::<slim::Namespace>::all(c()), all(), m()).map(namespace_labels).boxed());
    inputs.push(watched_guarded(pools, all(), m()).map(|event| Input::Pool(map_event(event, Into::into))).boxed());
    inputs.push(
        watched_guarded(address_pools, optional.clone(), m())
            .map(|event| Input::AddressPool(map_event(event, Into::into)))
            .boxed(),
    );
    inputs.push(
        watched_guarded(communities, optional, m()).map(|event| Input::Community(map_event(event, Into::into))).boxed(),
    );
    batches(inputs)
}

/// Whatever is there already is decided about together.
fn batches(inputs: Streams) -> Inputs {
    inputs.ready_chunks(BATCH)
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

/// The one task that decides.
struct Owner {
    inputs: Inputs,
    place: Place,
    leadership: Leadership,
    /// While this controller leads.
    work: Option<Work>,
    state: State,
    metrics: Metrics,
    health: Health,
    /// Whether every list was in once: then this controller is able to lead.
    was_synced: bool,
    /// Whether every list of this term is in.
    begun: bool,
    /// When to bring pool statuses and metrics up to date.
    numbers_due: Option<Instant>,
    /// Generation of the numbers shown last.
    shown: u64,
}

impl Owner {
    async fn run(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.wait() => break,
                term = self.leadership.changed() => self.turn(term).await?,
                Some(batch) = self.inputs.next() => self.take_in(batch),
                ended = ended(&mut self.work) => self.ended(ended),
                () = at(self.numbers_due) => self.show_numbers(),
                _ = heartbeat.tick() => self.health.heartbeat(),
            }
            self.decide();
            self.show_readiness();
        }
        let answered = match self.work.take() {
            Some(work) => work.drain().await,
            None => true,
        };
        self.leadership.stop(answered).await;
        Ok(())
    }

    /// Begins or ends a term.
    async fn turn(&mut self, term: Option<Term>) -> anyhow::Result<()> {
        self.work = None;
        self.state.follow();
        self.metrics.observe_pools(std::iter::empty(), std::iter::empty());
        self.numbers_due = None;
        self.metrics.observe_leader(term.is_some());
        if let Some(term) = term {
            self.work = Some(Work::begin(&term, &self.place).await?);
            // What the leader before wrote must be seen, and a watch may lag: everything is listed anew.
            self.inputs = watches(&self.place);
            self.state.lead();
            self.begun = false;
        }
        Ok(())
    }

    fn take_in(&mut self, batch: Vec<Input>) {
        for input in batch {
            if matches!(input, Input::Pool(_)) {
                self.numbers_due.get_or_insert_with(|| Instant::now() + COALESCE);
            }
            if let Input::Service(Event::Delete(service)) = &input {
                tracing::info!(event = "serviceDeleted", service = service.key.as_str(), "service deleted");
            }
            self.state.apply(input);
        }
    }

    fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Service(Next::Done(done)) => self.written(done),
            Ended::Service(Next::Retry(key)) => self.state.retry(&key),
            Ended::Pool(stored) => {
                if let Some((name, status)) = stored {
                    self.state.pool_status_stored(&name, status);
                }
                self.numbers_due.get_or_insert_with(|| Instant::now() + COALESCE);
            }
        }
    }

    fn written(&mut self, done: Done) {
        self.metrics.configuration.failed(u64::from(!matches!(done.outcome, Outcome::Stored(_))));
        if self.state.written(done.attempt, &done.key, done.outcome)
            && let Some(work) = &mut self.work
        {
            work.apply.retry_later(done.key);
        }
    }

    fn decide(&mut self) {
        let Some(work) = &mut self.work else {
            self.metrics.configuration.observe(self.was_synced, false);
            return;
        };
        let before = self.state.convergences();
        for action in self.state.settle() {
            match action {
                Action::Write(write) => work.write(write),
                Action::Note(subject, note) => work.apply.note(&subject, &note),
                Action::Log(key, step) => apply::log(&key, &step),
                Action::Report(report) => work.apply.report(&report),
                Action::Later(key, pause) => work.apply.later(key, pause),
            }
        }
        self.metrics.configuration.updated(self.state.convergences() - before);
        if !self.state.is_synced() {
            return;
        }
        self.metrics.configuration.observe(true, self.state.is_config_stale());
        if self.state.is_judged() {
            work.tell(self.state.errors());
        }
        if !std::mem::replace(&mut self.begun, true) {
            self.shown = u64::MAX;
            let waiting = self.state.waiting();
            tracing::info!(event = "leading", waiting, "every list is in, addresses are given out");
        }
        if self.state.allocator().generation() != self.shown {
            self.numbers_due.get_or_insert_with(|| Instant::now() + COALESCE);
        }
    }

    fn show_numbers(&mut self) {
        self.numbers_due = None;
        let Some(work) = &mut self.work else { return };
        let allocator = self.state.allocator();
        self.shown = allocator.generation();
        let holders = allocator.allocations().map(|(_, allocation)| &allocation.pool);
        self.metrics.observe_pools(allocator.counters(), holders);
        let left = work.pool_status.write(self.state.pool_status_writes());
        self.numbers_due = left.then(|| Instant::now() + COALESCE);
    }

    /// Once ready, always ready: when the apiserver is away, a restart would not bring it back.
    fn show_readiness(&mut self) {
        let missing = self.state.missing();
        let listed = missing.is_empty();
        if !self.was_synced && !listed {
            self.health.set_unready(format!("waiting for the list of {}", missing.join(", ")));
        }
        if !self.was_synced && listed {
            self.was_synced = true;
            self.health.set_ready(true);
            self.leadership.compete();
            tracing::info!(event = "synced", "every list is in, ready to lead");
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_input_is_lost_between_two_batches() {
        let number = 3 * BATCH + 1;
        let mut inputs = Streams::new();
        inputs.push(futures::stream::iter((0..number).map(|_| Input::Service(Event::InitDone))).boxed());
        let batches: Vec<Vec<Input>> = batches(inputs).collect().await;
        assert!(batches.len() > 3 && batches.iter().map(Vec::len).sum::<usize>() == number);
    }
}
