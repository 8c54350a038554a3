//! How the parts are connected, and the owner loop that turns changes into announcements.
//!
//! ```text
//!  watches ---+
//!  interfaces +--> owner: State::apply* -> settle -> plan -> Handover -> Apply::all --> announcer --> network
//!  members ---+      (the only task that touches State and Announced)                     │ permit?
//!     ▲                 └─ Wanted ─▶ membership task     └─ Planned ─▶ renewal task ──────┘
//!     └──────────────────────────────────┘
//!  asked to stop: farewell to the others, who take over; 300 ms later all ends
//! ```

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::v1beta1::{AddressPool, BFDProfile, BGPAdvertisement, Community, IPAddressPool, L2Advertisement};
use api::v1beta2::BGPPeer;
use api::{names, slim};
use futures::stream::{self, SelectAll};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use membership::NodeName;
use membership::shell::View;
use runtime::client::{self, Retry};
use runtime::clock::Moment;
use runtime::events::Publisher;
use runtime::health::Health;
use runtime::index::map_event;
use runtime::keeper::Verdict;
use runtime::metrics::{Registry, serve_https};
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use runtime::tls::TlsSource;
use runtime::watch::{WatchConfig, WatchMetrics, watched, watched_guarded};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::apply::Apply;
use crate::args::Args;
use crate::configuration_state;
use crate::disputes::Disputes;
use crate::handover::{Handover, LINGER};
use crate::l2::announcer::Report;
use crate::l2::permit::Permit;
use crate::l2::selection::{self, Exclusions, Link};
use crate::l2::{announcer, interfaces, packet};
use crate::members::Members;
use crate::membership_task::{self, Bind, Wanted};
use crate::metrics::Metrics;
use crate::plan::{Announced, plan};
use crate::problem::Problem;
use crate::renewal::{OwnershipMode, Planned, Renewal};
use crate::renewal_task::{self, Sources};
use crate::state::{Dirty, Input, ServiceKey, State};
use crate::status::{self, Desk};
use crate::tell::{self, Complaints};

/// Where the ConfigMap `metallb-excludel2` is mounted.
const EXCLUSIONS: &str = "/etc/metallb/excludel2.yaml";
/// Component name of our Events.
const COMPONENT: &str = "metallb-speaker";
/// How long the parts may take to stop.
const GRACE: Duration = Duration::from_secs(1);
/// Most changes taken in before the next decision.
const BATCH: usize = 1024;
/// Most conflicts of addresses that wait to be told.
const REPORTS: usize = 256;
const HEARTBEAT: Duration = Duration::from_secs(10);

type Inputs = SelectAll<Pin<Box<dyn Stream<Item = Input> + Send>>>;

/// The speaker from start to end.
///
/// # Errors
/// Flags, exclusion file, capabilities or ports are unusable, or a part ended unexpectedly.
pub async fn speak(args: Args) -> anyhow::Result<()> {
    let (settings, namespace) = args.settings()?;
    let bind = args.membership()?;
    let exclusions = exclusions(Path::new(EXCLUSIONS))?;
    packet::probe()?;
    let (asked, shutdown) = (Shutdown::on_signals()?, Shutdown::new());
    let client = client::connect(&client::user_agent("speaker"), Retry::Never).await?;
    let mut registry = Registry::new();
    let metrics = Metrics::register(&mut registry);
    let watch_metrics = WatchMetrics::register(&mut registry);
    let health = Health::new();
    let (links_in, links) = watch::channel(None);
    let (commands, batches) = mpsc::unbounded_channel();

    let mut tasks = Tasks::new(shutdown.clone());
    let probes = SocketAddr::from((Ipv4Addr::LOCALHOST, args.health_probe_port));
    let (probed, until) = (health.clone(), shutdown.clone());
    tasks.spawn("the health probe server", async move { probed.serve(probes, until).await });
    let scrapes = SocketAddr::from((Ipv6Addr::UNSPECIFIED, args.port));
    let tls = TlsSource::from_flags(args.tls.clone(), &args.metrics_cert_dir);
    tasks.spawn("the metrics server", serve_https(scrapes, registry, tls, Some(client.clone()), shutdown.clone()));
    let until = shutdown.clone();
    tasks.spawn("the watch on the node's interfaces", async move {
        until.or(interfaces::observe(links_in)).await.unwrap_or(Ok(()))
    });
    let until = shutdown.clone();
    let permit = Permit::withheld();
    let (reports_in, reports) = mpsc::channel(REPORTS);
    let options = announcer::Options { exclusions: exclusions.clone(), permit: permit.clone(), refresh: None };
    let announcer = announcer::run(options, metrics.layer2.clone(), links.clone(), batches, reports_in);
    tasks.spawn("the layer 2 announcer", async move {
        until.or(announcer).await;
        Ok(())
    });

    let mut inputs = watches(&client, &namespace, settings.members, &args.ml_labels, &watch_metrics);
    inputs.push(interface_names(links, exclusions).boxed());
    let (views_in, views) = watch::channel(None);
    let (wanted, wants) = watch::channel(None);
    let (plans, planned) = watch::channel(None);
    let (gains, gained) = watch::channel(0);
    let leased = leases(args.l2_ownership);
    inputs.push(members(views.clone()).boxed());
    tasks.spawn("the handover at the end", hand_over(asked.clone(), shutdown.clone()));
    match &bind {
        Some(bind) => {
            let talk = membership_task::run(
                bind.clone(),
                wants,
                views_in,
                metrics.membership.clone(),
                asked.clone(),
                shutdown.clone(),
            );
            tasks.spawn("the talk among the speakers", talk);
        }
        None => tracing::warn!(
            event = "membership",
            "the speakers do not talk to one another (--ml-bindaddr, --ml-labels or --ml-secret-key-path is not set): the API \
             server says who is alive, and a dead node is replaced late"
        ),
    }
    let until = shutdown.clone();
    let renewal = Renewal::new(settings.node.clone(), args.l2_ownership);
    let renewing = renewal_task::renew(renewal, Sources { planned, views, leased }, permit.clone(), gains);
    tasks.spawn("the renewal of the permit", async move {
        until.or(renewing).await;
        Ok(())
    });
    let (verdicts, seen) = watch::channel(Verdict::unknown());
    let until = shutdown.clone();
    let place = configuration_state::Place { namespace, node: settings.node.clone(), pod: args.pod_name.clone() };
    let (statuses, complaints) = (Desk::default(), Complaints::default());
    let showing = status::keep(client.clone(), place.clone(), statuses.clone(), watch_metrics.clone());
    let keeping = configuration_state::keep(client.clone(), place, seen, watch_metrics);
    tasks.spawn("the keeper of the ConfigurationState", async move {
        until.or(keeping).await;
        Ok(())
    });
    let events = Publisher::new(client, COMPONENT);
    let until = shutdown.clone();
    tasks.spawn("the keeper of the ServiceL2Statuses", async move {
        until.or(showing).await;
        Ok(())
    });
    let until = shutdown.clone();
    let telling = tell::tell(complaints.clone(), events.clone());
    tasks.spawn("the teller of Services that nobody announces", async move {
        until.or(telling).await;
        Ok(())
    });
    let apply = Apply { commands, probes: args.l2_conflict_probe, metrics, events, statuses, complaints };
    let until = shutdown.clone();
    let ownership = Ownership { mode: args.l2_ownership, permit, gained, plans, bind, wanted, reports };
    tasks.spawn("the owner of the announcements", async move {
        until.or(own(State::new(settings), inputs, apply, health, verdicts, ownership)).await;
        Ok(())
    });
    // MetalLB's line; scripts wait for it.
    tracing::info!("Starting Manager");
    tasks.run(GRACE).await
}

/// Ends everything once the others had time to take over, or at once when a part has failed.
async fn hand_over(asked: Shutdown, shutdown: Shutdown) -> anyhow::Result<()> {
    if shutdown.or(asked.wait()).await.is_some() {
        // Until then this node goes on answering; the membership task has told the others meanwhile.
        let _ = shutdown.or(tokio::time::sleep(LINGER)).await;
    }
    asked.trigger();
    shutdown.trigger();
    Ok(())
}

/// Until when the node's Lease lets it answer: the seam of the mode `lease`.
fn leases(mode: OwnershipMode) -> watch::Receiver<Option<Moment>> {
    let (_, leased) = watch::channel(None);
    match mode {
        OwnershipMode::Fast | OwnershipMode::Quorum => {}
        OwnershipMode::Lease => tracing::error!(event = "ownership", "no Lease is kept: this node answers for nothing"),
    }
    leased
}

/// What the owner of the announcements shares with those who watch over it.
struct Ownership {
    mode: OwnershipMode,
    permit: Permit,
    /// Grows each time the permit is valid after it was not.
    gained: watch::Receiver<u64>,
    plans: watch::Sender<Option<Planned>>,
    /// `None` where the speakers do not talk.
    bind: Option<Bind>,
    wanted: watch::Sender<Option<Wanted>>,
    /// What the announcer noticed.
    reports: mpsc::Receiver<Report>,
}

impl Ownership {
    /// Says what was planned from, and whom the talk concerns.
    fn publish(&self, state: &mut State, announced: &Announced) {
        if !state.is_complete() {
            return;
        }
        if let Some(bind) = &self.bind {
            let watched: BTreeSet<NodeName> = announced.watched().filter_map(|name| NodeName::new(name).ok()).collect();
            let peers = state.new_peers(bind.addr);
            self.wanted.send_if_modified(|wanted| {
                let known = wanted.get_or_insert_default();
                let changed = peers.is_some() || known.watched != watched;
                known.watched = watched;
                known.peers = peers.unwrap_or_else(|| std::mem::take(&mut known.peers));
                changed
            });
        }
        self.plans.send_if_modified(|planned| {
            let new = Planned::of(state, self.bind.is_some());
            let changed = planned.as_ref() != Some(&new);
            *planned = Some(new);
            changed
        });
    }

    /// Whether an address may be answered a little longer when another node was elected for it.
    fn hands_over(&self, now: Moment) -> bool {
        self.mode != OwnershipMode::Lease && self.permit.is_valid(now)
    }
}

/// Who lives, each time it changes.
fn members(views: watch::Receiver<Option<Arc<View>>>) -> impl Stream<Item = Input> + Send {
    stream::unfold(views, async |mut views| {
        loop {
            // After the farewell nothing is heard any more, and what was heard last stays in force until the end.
            if views.changed().await.is_err() {
                return std::future::pending().await;
            }
            let view = views.borrow_and_update().clone();
            if let Some(view) = view {
                return Some((Input::Members(view), views));
            }
        }
    })
}

/// Reads the names of interfaces to leave alone; without the file there are none.
fn exclusions(path: &Path) -> anyhow::Result<Exclusions> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Exclusions::default()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let config_map = names::EXCLUDE_L2_CONFIG_MAP;
    Exclusions::parse(&text)
        .with_context(|| format!("{} is not usable, correct the ConfigMap {config_map}", path.display()))
}

/// Everything the speaker watches in the cluster.
fn watches(client: &Client, namespace: &str, members: Members, labels: &str, metrics: &WatchMetrics) -> Inputs {
    let all = WatchConfig::default;
    let services = WatchConfig { field_selector: Some("spec.type=LoadBalancer".to_owned()), ..all() };
    let slices = WatchConfig { label_selector: Some(format!("!{}", names::LABEL_HEADLESS)), ..all() };
    let pods = WatchConfig { label_selector: Some(labels.to_owned()), ..all() };
    let c = || client.clone();
    let m = || metrics.clone();
    let pools: Api<IPAddressPool> = Api::namespaced(c(), namespace);
    let address_pools: Api<AddressPool> = Api::namespaced(c(), namespace);
    let l2_advertisements: Api<L2Advertisement> = Api::namespaced(c(), namespace);

    let bgp_advertisements: Api<BGPAdvertisement> = Api::namespaced(c(), namespace);
    let peers: Api<BGPPeer> = Api::namespaced(c(), namespace);
    let bfd_profiles: Api<BFDProfile> = Api::namespaced(c(), namespace);
    let communities: Api<Community> = Api::namespaced(c(), namespace);
    let secrets: Api<Secret> = Api::namespaced(c(), namespace);
    // Clusters may lack kinds that only BGP needs, and the deprecated one.
    let optional = || WatchConfig { optional: true, ..all() };

    let mut inputs = Inputs::new();
    inputs.push(watched(Api::<slim::Service>::all(c()), services, m()).map(Input::Service).boxed());
    inputs.push(watched(Api::<slim::EndpointSlice>::all(c()), slices, m()).map(Input::EndpointSlice).boxed());
    inputs.push(watched(Api::<slim::Node>::all(c()), all(), m()).map(Input::Node).boxed());
    inputs.push(watched(Api::<slim::Namespace>::all(c()), all(), m()).map(Input::Namespace).boxed());
    inputs.push(watched_guarded(pools, all(), m()).map(Input::Pool).boxed());
    inputs.push(watched_guarded(address_pools, optional(), m()).map(Input::AddressPool).boxed());
    inputs.push(watched_guarded(bgp_advertisements, optional(), m()).map(Input::BgpAdvertisement).boxed());
    inputs.push(watched_guarded(peers, optional(), m()).map(Input::Peer).boxed());
    inputs.push(watched_guarded(bfd_profiles, optional(), m()).map(Input::BfdProfile).boxed());
    inputs.push(watched_guarded(communities, optional(), m()).map(Input::Community).boxed());
    inputs.push(
        watched(secrets, all(), m())
            .map(|event| Input::Secret(map_event(event, configuration_state::secret_facts)))
            .boxed(),
    );
    inputs.push(watched_guarded(l2_advertisements, all(), m()).map(Input::L2Advertisement).boxed());
    if members == Members::SpeakerPods {
        inputs.push(watched(Api::<slim::Pod>::namespaced(c(), namespace), pods, m()).map(Input::Pod).boxed());
    }
    inputs
}

/// The interfaces that advertisements may name, each time they change.
fn interface_names(
    links: watch::Receiver<Option<Vec<Link>>>,
    exclusions: Exclusions,
) -> impl Stream<Item = Input> + Send {
    stream::unfold((links, exclusions), async |(mut links, exclusions)| {
        links.changed().await.ok()?;
        let names = {
            let seen = links.borrow_and_update();
            selection::names(seen.as_deref().unwrap_or_default(), &exclusions)
        };
        Some((Input::Interfaces(names), (links, exclusions)))
    })
}

/// Takes in changes and acts on them, until the inputs end or the task is dropped.
async fn own(
    mut state: State,
    inputs: Inputs,
    apply: Apply,
    health: Health,
    verdicts: watch::Sender<Verdict>,
    mut ownership: Ownership,
) {
    let mut inputs = inputs.ready_chunks(BATCH);
    let mut announced = Announced::default();
    let mut handover = Handover::default();
    let mut disputes = Disputes::default();
    let mut problems = BTreeSet::new();
    let mut members = BTreeSet::new();
    let mut missing = None;
    let mut pulse = tokio::time::interval(HEARTBEAT);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = pulse.tick() => health.heartbeat(),
            () = at(handover.deadline()) => {
                let now = Moment::now();
                let mut actions = handover.due(now);
                if handover.tells(now) {
                    actions.extend(announced.tell_all());
                }
                apply.all(&state, actions);
            }
            Some(report) = ownership.reports.recv() => {
                let now = Moment::now();
                if disputes.is_foreign(now, &report) {
                    apply.conflict(&state, announced.holders(report.ip()), &report);
                }
            }
            // What was to be told while nothing could be sent, and what others told meanwhile.
            Ok(()) = ownership.gained.changed() => apply.all(&state, announced.tell_all()),
            batch = inputs.next() => {
                let Some(batch) = batch else { return };
                apply.metrics.updated(u64::try_from(batch.len()).unwrap_or(u64::MAX));
                batch.into_iter().for_each(|input| state.apply(input));
                let dirty = state.settle();
                let actions = plan(&state, &mut announced, &dirty);
                let now = Moment::now();
                if dirty.healed {
                    handover.healed(now);
                }
                let lingers = ownership.hands_over(now);
                let lingers = |service: &ServiceKey| lingers && state.can_serve(service);
                let actions = handover.pass(now, actions, lingers);
                disputes.take(now, &dirty, &actions);
                apply.all(&state, actions);
                if !dirty.gone.is_empty() {
                    // What hurries is done. What is told of all the others may have become this node's to tell.
                    let told = plan(&state, &mut announced, &Dirty { all: true, ..Dirty::default() });
                    apply.all(&state, handover.pass(now, told, lingers));
                }
                ownership.publish(&mut state, &announced);
                report(&state, &mut problems, &apply);
                if state.is_judged() {
                    let verdict = configuration_state::verdict(state.errors());
                    verdicts.send_if_modified(|shown| std::mem::replace(shown, verdict.clone()) != verdict);
                }
                report_members(&state.candidates().up, &mut members);
                if let Some(what) = state.missing() {
                    if missing.replace(what) != Some(what) {
                        health.set_unready(format!("waiting for {what}"));
                        tracing::debug!(event = "starting", "waiting for {what}");
                    }
                } else if !health.is_ready() {
                    tracing::info!(event = "ready", "all lists are complete, announcing from now on");
                    health.set_ready(true);
                }
            }
        }
    }
}

/// Waits until a moment; for ever without one.
async fn at(moment: Option<Moment>) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.after(Moment::now())).await,
        None => std::future::pending().await,
    }
}

/// Tells of each object that is not in force once, and once more when it is mended.
fn report(state: &State, known: &mut BTreeSet<Problem>, apply: &Apply) {
    if !state.is_complete() {
        return;
    }
    let found = state.problems();
    for problem in found.difference(known) {
        apply.problem(problem);
    }
    for problem in known.difference(found) {
        tracing::info!(event = "configuration", "no longer a configuration error: {problem}");
    }
    if found != known {
        known.clone_from(found);
        apply.metrics.update_failed(found.len());
    }
    apply.metrics.configuration(found.len());
}

/// Logs which nodes came or went as candidates, under the keys of MetalLB's member events.
fn report_members(up: &BTreeSet<String>, known: &mut BTreeSet<String>) {
    let joined = up.difference(known).map(|name| (name, "NodeJoin"));
    let left = known.difference(up).map(|name| (name, "NodeLeave"));
    for (name, what) in joined.chain(left) {
        tracing::info!("node name" = name, "node event" = what, "node event - forcing sync");
    }
    if up != known {
        known.clone_from(up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_exclusion_file_excludes_nothing() {
        assert!(!exclusions(Path::new("/nonexistent/excludel2.yaml")).unwrap().excludes("lo"));
    }

    #[test]
    fn an_invalid_exclusion_is_one_line_that_names_file_pattern_and_remedy() {
        let path = std::env::temp_dir().join(format!("excludel2-{}.yaml", std::process::id()));
        std::fs::write(&path, "announcedInterfacesToExclude: ['(']\n").unwrap();
        let text = format!("{:#}", exclusions(&path).unwrap_err());
        std::fs::remove_file(&path).unwrap();
        assert!(text.contains("excludel2") && text.contains("\"(\"") && text.contains("ConfigMap metallb-excludel2"));
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
