//! ServiceL2Status: which node announces which Service, in the API. One object per announced Service, equal to what this node
//! does on the wire.
//!
//! ```text
//!  owner ──Desk──▶ ┐                    ┌─▶ create ─▶ fill ─▶ delete what others left ─▶ describe (labels last)
//!                  ├─ Book ─difference─▶┤     at most one request per Service, LIMIT at once
//!  watch ─────────▶ ┘  (pure)           └─▶ failed: later, longer each time; 429, 503: a pause of all
//! ```
//! Every answer and every event of the watch leads to another look, so an object that somebody deletes or edits is put right,
//! and nothing is written while nothing differs.

mod book;
mod object;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use api::names::FIELD_MANAGER_SPEAKER;
use api::v1beta1::ServiceL2Status;
use futures::{Stream, StreamExt};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use runtime::client::{explain, http_code};
use runtime::index::map_event;
use runtime::keeper::owned_by_pod;
use runtime::pace::Pace;
use runtime::repeats::Repeats;
use runtime::throttle::{Throttle, asked};
use runtime::watch::{Event, WatchConfig, WatchMetrics, watched};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use book::{Book, Stand};
pub use object::{Identity, Named, Seen, Write};

use crate::configuration_state::Place;
use crate::mailbox::Mailbox;
use crate::state::ServiceKey;

/// Requests under way at once.
const LIMIT: usize = 8;
/// How long a request may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// First pause of a Service after a failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Writes about one Service without a pause, enough for four changes of owner; then one more each [`STEADY`], so that two
/// writers who disagree do not keep the apiserver busy.
const BURST: u32 = 20;
/// See [`BURST`].
const STEADY: Duration = Duration::from_secs(2);
/// More paces than this are not remembered.
const PACES: usize = 8192;

/// Where decisions are left. Clones share it.
#[derive(Debug, Clone)]
pub struct Desk {
    stands: Mailbox<ServiceKey, Option<Stand>>,
    live: watch::Sender<Option<BTreeSet<String>>>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { stands: Mailbox::default(), live: watch::Sender::new(None) }
    }
}

impl Desk {
    /// Leaves a decision; `None` when there is no such Service.
    pub fn stand(&self, service: ServiceKey, stand: Option<Stand>) {
        self.stands.put(service, stand);
    }

    /// Tells which speakers are alive, once all decisions of a start were left.
    pub fn live(&self, speakers: &BTreeSet<&str>) {
        self.live.send_if_modified(|known| {
            let same =
                known.as_ref().is_some_and(|known| known.iter().map(String::as_str).eq(speakers.iter().copied()));
            if !same {
                *known = Some(speakers.iter().map(|name| (*name).to_owned()).collect());
            }
            !same
        });
    }
}

/// Keeps the objects as the decisions say, for as long as the future is polled.
pub async fn keep(client: Client, place: Place, desk: Desk, metrics: WatchMetrics) {
    let owner = owned_by_pod(&client, &place.namespace, &place.pod).await;
    let api: Api<ServiceL2Status> = Api::namespaced(client, &place.namespace);
    let events = watched(api.clone(), WatchConfig::default(), metrics);
    let events = events.map(|event| map_event(event, Seen::from)).boxed();
    Keeper::new(api, Book::new(Identity { node: place.node, owner })).run(events, desk).await;
}

/// How a request ended: what it left, or the refusal.
type Answer = Result<Option<Seen>, Refusal>;

struct Refusal {
    code: Option<u16>,
    asked: Option<Duration>,
    text: String,
}

struct Keeper {
    api: Api<ServiceL2Status>,
    book: Book,
    queue: VecDeque<ServiceKey>,
    /// With a request under way, or waiting for the end of a pause.
    busy: BTreeSet<ServiceKey>,
    running: JoinSet<(ServiceKey, Write, Answer)>,
    pauses: BTreeSet<(Instant, ServiceKey)>,
    failures: BTreeMap<ServiceKey, u32>,
    paces: BTreeMap<ServiceKey, Pace>,
    throttle: Throttle,
    repeats: Repeats,
}

impl Keeper {
    fn new(api: Api<ServiceL2Status>, book: Book) -> Self {
        Self {
            api,
            book,
            queue: VecDeque::new(),
            busy: BTreeSet::new(),
            running: JoinSet::new(),
            pauses: BTreeSet::new(),
            failures: BTreeMap::new(),
            paces: BTreeMap::new(),
            throttle: Throttle::default(),
            repeats: Repeats::default(),
        }
    }

    async fn run(mut self, mut events: impl Stream<Item = Event<Seen>> + Unpin, desk: Desk) {
        let mut live = desk.live.subscribe();
        live.mark_changed();
        loop {
            self.start(Instant::now());
            let wake = self.wake(Instant::now());
            tokio::select! {
                Some(event) = events.next() => self.book.watched(event),
                () = desk.stands.arrival() => self.collect(&desk),
                // The desk is here, so its sender is, too.
                _ = live.changed() => {
                    let speakers = live.borrow_and_update().clone();
                    // What was decided before stands in the mailbox already.
                    self.collect(&desk);
                    if let Some(speakers) = speakers {
                        self.book.live(speakers);
                    }
                }
                Some(ended) = self.running.join_next() => match ended {
                    Ok((service, write, answer)) => self.ended(service, &write, answer, Instant::now()),
                    // In release builds a panic ends the process.
                    Err(error) => tracing::error!(event = "bug", "a write crashed: {error}"),
                },
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => {}
            }
        }
    }

    fn collect(&mut self, desk: &Desk) {
        for (service, stand) in desk.stands.drain() {
            self.book.stand(service, stand);
        }
    }

    /// When there is something to do that no input announces.
    fn wake(&self, now: Instant) -> Option<Instant> {
        let throttled = self.throttle.ready_at(now).filter(|_| !self.queue.is_empty());
        [self.pauses.first().map(|(when, _)| *when), throttled].into_iter().flatten().min()
    }

    fn start(&mut self, now: Instant) {
        while let Some((when, service)) = self.pauses.pop_first() {
            if when > now {
                self.pauses.insert((when, service));
                break;
            }
            self.busy.remove(&service);
            self.book.again(service);
        }
        let waiting: BTreeSet<ServiceKey> = self.book.due();
        if !waiting.is_empty() {
            let queued: BTreeSet<&ServiceKey> = self.queue.iter().collect();
            let new: Vec<ServiceKey> = waiting.into_iter().filter(|service| !queued.contains(service)).collect();
            self.queue.extend(new);
        }
        if self.throttle.ready_at(now).is_some() {
            return;
        }
        while self.running.len() < LIMIT
            && let Some(service) = self.queue.pop_front()
        {
            // Looked at again when the request has ended or the pause is over.
            if self.busy.contains(&service) {
                continue;
            }
            let Some(write) = self.book.difference(&service) else {
                self.failures.remove(&service);
                continue;
            };
            if self.paces.len() >= PACES {
                self.paces.clear();
            }
            let pace = self.paces.entry(service.clone()).or_insert_with(|| Pace::new(BURST, STEADY));
            self.busy.insert(service.clone());
            if let Err(wait) = pace.take(now) {
                self.pauses.insert((now + wait, service));
                continue;
            }
            let (api, identity) = (self.api.clone(), self.book.identity().clone());
            self.running.spawn(async move {
                let answer = send(&api, &identity, &service, &write).await;
                (service, write, answer)
            });
        }
    }

    fn ended(&mut self, service: ServiceKey, write: &Write, answer: Answer, now: Instant) {
        let name = match write {
            Write::Create { name }
            | Write::Fill { name, .. }
            | Write::Describe { name }
            | Write::Delete { name, .. } => name,
        };
        let refusal = match answer {
            Ok(seen) => {
                self.throttle.accepted();
                self.repeats.succeeded();
                self.failures.remove(&service);
                match seen {
                    Some(seen) => self.book.stored(seen),
                    None => self.book.gone(name),
                }
                self.busy.remove(&service);
                self.book.again(service);
                return;
            }
            Err(refusal) => refusal,
        };
        self.throttle.refused(now, refusal.code, refusal.asked);
        let is_create = matches!(write, Write::Create { .. });
        match refusal.code {
            Some(404) if !is_create => self.book.gone(name),
            // Another of this name is there, which the watch will show.
            Some(409) => tracing::debug!(event = "statusChanged", service = %service, "{}", refusal.text),
            _ => {
                let text = format!("cannot write ServiceL2Statuses: {}; trying again", refusal.text);
                if self.repeats.failed(&text, now) {
                    tracing::error!(event = "updateFailed", service = %service, "{text}");
                }
            }
        }
        let failures = self.failures.entry(service.clone()).or_default();
        let pause = PAUSE.saturating_mul(2u32.saturating_pow(*failures)).min(LONGEST_PAUSE);
        *failures = failures.saturating_add(1);
        self.pauses.insert((now + pause, service));
    }
}

async fn send(api: &Api<ServiceL2Status>, identity: &Identity, service: &ServiceKey, write: &Write) -> Answer {
    match tokio::time::timeout(WRITE_TIMEOUT, request(api, identity, service, write)).await {
        Ok(Ok(object)) => Ok(object.map(Seen::from)),
        Ok(Err(error)) => Err(Refusal { code: http_code(&error), asked: asked(&error), text: explain(&error) }),
        Err(_) => Err(Refusal { code: None, asked: None, text: String::from("no answer in time") }),
    }
}

async fn request(
    api: &Api<ServiceL2Status>,
    identity: &Identity,
    service: &ServiceKey,
    write: &Write,
) -> Result<Option<ServiceL2Status>, kube::Error> {
    let manager = Some(FIELD_MANAGER_SPEAKER.to_owned());
    let patched = PatchParams { field_manager: manager.clone(), ..PatchParams::default() };
    match write {
        Write::Create { name } => {
            let params = PostParams { field_manager: manager, ..PostParams::default() };
            api.create(&params, &identity.empty(name)).await.map(Some)
        }
        Write::Fill { name, interfaces } => {
            let body = Patch::Merge(identity.status(service, interfaces));
            api.patch_status(name, &patched, &body).await.map(Some)
        }
        Write::Describe { name } => {
            api.patch(name, &patched, &Patch::Merge(identity.description(service))).await.map(Some)
        }
        Write::Delete { name, uid } => {
            let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match api.delete(name, &params).await {
                Ok(_) => Ok(None),
                Err(error) if http_code(&error) == Some(404) => Ok(None),
                Err(error) => Err(error),
            }
        }
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
