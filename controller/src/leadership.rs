//! What a term of leadership needs. It is made when the Lease was won and thrown away with it.
//!
//! ```text
//!  Term { fence } ──▶ client of its own ─┬─▶ Apply        services/status, Events
//!                                        ├─▶ PoolStatus   ipaddresspools/status
//!                                        ├─▶ ConfigurationState `controller`
//!                                        └─▶ the Secret of the speakers
//! ```
//! Nothing of one term reaches the next: requests under way are dropped, and what was already sent meets the fence.

use std::time::Duration;

use anyhow::Context;
use kube::Client;
use runtime::client::{connect_fenced, user_agent};
use runtime::events::Publisher;
use runtime::keeper::Verdict;
use runtime::leader::lease::PATIENCE;
use runtime::leader::{Settings, Term};
use runtime::watch::WatchMetrics;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::apply::{Apply, Done, Next};
use crate::pool_status::{PoolStatus, Stored};
use crate::state::{Outcome, ServiceWrite};
use crate::{configuration_state, memberlist};

/// Component name of our Events.
const COMPONENT: &str = "metallb-controller";
/// The Lease that names the leader.
const LEASE: &str = "metallb-controller";
/// Labels of all controllers, ours and MetalLB's.
const CONTROLLERS: &str = "app=metallb,component=controller";
/// How long the writes under way may take when the controller stops.
const DRAIN: Duration = Duration::from_millis(2500);

/// Where the controller runs.
#[derive(Clone)]
pub struct Place {
    /// Reads, and writes the Lease.
    pub client: Client,
    /// Name of our pod; empty outside of one.
    pub pod: String,
    /// The Secret to make.
    pub memberlist: memberlist::Settings,
    /// Counts errors of watches.
    pub watch_metrics: WatchMetrics,
}

impl Place {
    /// Who competes for the Lease.
    pub fn settings(&self) -> Settings {
        Settings {
            namespace: self.memberlist.namespace.clone(),
            name: LEASE.to_owned(),
            pod: self.pod.clone(),
            competitors: CONTROLLERS.to_owned(),
            field_manager: api::names::FIELD_MANAGER_CONTROLLER.to_owned(),
        }
    }
}

/// Something that ended in the background.
pub enum Ended {
    /// A write of a Service, or the pause after one that failed.
    Service(Next),
    /// A write of a pool's status; `None` when it failed.
    Pool(Option<Stored>),
}

/// The writers of one term.
pub struct Work {
    /// Writes Services and Events.
    pub apply: Apply,
    /// Writes the status of pools.
    pub pool_status: PoolStatus,
    verdicts: watch::Sender<Verdict>,
    /// Writes of Services that were not answered yet.
    unanswered: u64,
    /// Aborted when this is dropped.
    _background: JoinSet<()>,
}

impl Work {
    /// The writers of a term that has just begun.
    ///
    /// # Errors
    /// The cluster's configuration cannot be read any more.
    pub async fn begin(term: &Term, place: &Place) -> anyhow::Result<Self> {
        let client = connect_fenced(&user_agent("controller"), term.fence.clone(), PATIENCE)
            .await
            .context("cannot make the connection that a leader writes through")?;
        let namespace = place.memberlist.namespace.clone();
        let (verdicts, seen) = watch::channel(Verdict::unknown());
        let mut background = JoinSet::new();
        background.spawn(configuration_state::keep(
            place.client.clone(),
            client.clone(),
            namespace.clone(),
            place.pod.clone(),
            seen,
            place.watch_metrics.clone(),
        ));
        background.spawn(memberlist::ensure(client.clone(), place.memberlist.clone()));
        Ok(Self {
            apply: Apply::new(client.clone(), Publisher::new(client.clone(), COMPONENT)),
            pool_status: PoolStatus::new(client, &namespace),
            verdicts,
            unanswered: 0,
            _background: background,
        })
    }

    /// Starts or queues a write.
    pub fn write(&mut self, write: ServiceWrite) {
        self.unanswered += 1;
        self.apply.write(write);
    }

    /// Shows these errors of the configuration.
    pub fn tell(&self, errors: &[String]) {
        let verdict = configuration_state::verdict(errors);
        self.verdicts.send_if_modified(|shown| {
            let differs = *shown != verdict;
            *shown = verdict;
            differs
        });
    }

    /// The next thing that ends in the background; safe to drop and call again.
    pub async fn next(&mut self) -> Ended {
        tokio::select! {
            next = self.apply.next() => {
                if let Next::Done(_) = next {
                    self.unanswered = self.unanswered.saturating_sub(1);
                }
                Ended::Service(next)
            }
            stored = self.pool_status.done() => Ended::Pool(stored),
        }
    }

    /// Waits for the writes under way; returns whether the apiserver answered each of them in time. Then nothing of this
    /// term can take effect any more.
    pub async fn drain(mut self) -> bool {
        let deadline = Instant::now() + DRAIN;
        let mut answered = true;
        while self.unanswered > 0 || self.pool_status.is_busy() {
            match timeout_at(deadline, self.next()).await {
                Ok(Ended::Service(Next::Done(Done { outcome, .. }))) => {
                    answered &= !matches!(outcome, Outcome::Unknown)
                }
                Ok(Ended::Service(Next::Retry(_)) | Ended::Pool(_)) => {}
                Err(_) => return false,
            }
        }
        answered
    }
}

/// The next thing that ends; waits for ever while nobody leads.
pub async fn ended(work: &mut Option<Work>) -> Ended {
    match work {
        Some(work) => work.next().await,
        None => std::future::pending().await,
    }
}
