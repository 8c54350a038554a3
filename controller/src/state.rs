//! Everything the controller knows, and what follows from it. Pure: events in, actions out.
//!
//! ```text
//!  apply(Input) ──▶ indexes ──▶ dirty Services ─┐    (lead(): everything below anew; follow(): only the indexes)
//!  written(attempt, Outcome) ───────────────────┼─▶ settle(): every list in? compile, import, converge ──▶ Vec<Action>
//!  retry(Service) ──────────────────────────────┘
//! ```
//! Three rules make addresses safe:
//! - nothing is given out before Services, Namespaces and pools were listed completely;
//! - what Services show is claimed before anything new is given out;
//! - an address is free only when no Service has it, shows it, or may come to show it through a write whose outcome is
//!   not known. So all of this can be rebuilt from the API at any moment, and a restart changes nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::v1beta1::IPAddressPoolStatus;
use config::{Class, Finding, Kind, NamespaceLabels, PoolName, Resources};
use runtime::index::{Changes, Index};
use runtime::watch::Event;

use crate::allocator::{Allocator, ServiceKey};
use crate::plan::{self, Note, Step, Surroundings, Write};
use crate::pool_objects::{AddressPoolObject, ObjectReport, PoolObject, PoolStatusWrite};
use crate::service::Service;
use crate::services::{self, Services};

/// How often [`State::settle`] looks again at waiting Services because the pass before freed something.
const ROUNDS: usize = 8;

/// An event of one of the watches.
#[derive(Debug, Clone)]
pub enum Input {
    /// A Service, wherever it is.
    Service(Event<Service>),
    /// One consistent list of all Services, read after the Lease was won.
    Listed {
        /// The version of the list.
        version: u64,
        /// All Services there are.
        services: Vec<Service>,
    },
    /// A Namespace.
    Namespace(Event<NamespaceLabels>),
    /// An IPAddressPool of our namespace.
    Pool(Event<PoolObject>),
    /// An AddressPool of our namespace.
    AddressPool(Event<AddressPoolObject>),
}

/// Something the shell has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Write the status of a Service; report back with [`State::written`].
    Write(ServiceWrite),
    /// Publish an Event about a Service.
    Note(Subject, Note),
    /// Log what happened to a Service.
    Log(ServiceKey, Step),
    /// Tell that a pool object cannot be used as it is.
    Report(ObjectReport),
}

/// A Service as Events name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub key: ServiceKey,
    /// Its uid.
    pub uid: String,
    /// Version of the object the Event is about.
    pub resource_version: String,
}

/// One conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceWrite {
    /// Tells this write from every other.
    pub attempt: u64,
    /// The Service.
    pub key: ServiceKey,
    /// The version it must still have.
    pub resource_version: String,
    /// What to write.
    pub write: Write,
}

/// How a write ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The apiserver stored it and answered with the new object.
    Stored(Box<Service>),
    /// The apiserver refused it: the object is newer, or gone. Nothing was stored.
    Refused,
    /// Nobody knows whether it was stored.
    Unknown,
}

/// What is known about writes and Events of one Service.
#[derive(Debug, Clone, Default, PartialEq)]
struct Progress {
    /// The write under way.
    writing: Option<u64>,
    /// Addresses of writes since the object was last seen to change: it may come to show them.
    sent: Vec<IpAddr>,
    /// Events of the last convergence; they are not repeated while nothing changes.
    said: BTreeSet<Note>,
}

/// The whole state.
#[derive(Debug)]
pub struct State {
    class: Option<String>,
    leading: bool,
    services: Services,
    namespaces: Index<String, NamespaceLabels>,
    pools: Index<String, PoolObject>,
    address_pools: Index<String, AddressPoolObject>,
    allocator: Allocator,
    in_force: BTreeMap<PoolName, config::Pool>,
    frozen: BTreeSet<PoolName>,
    /// What was reported about pool objects and still holds.
    reported: BTreeSet<ObjectReport>,
    errors: Vec<String>,
    compiled_once: bool,
    config_dirty: bool,
    dirty: BTreeSet<ServiceKey>,
    waiting: BTreeSet<ServiceKey>,
    progress: BTreeMap<ServiceKey, Progress>,
    attempts: u64,
    convergences: u64,
}

impl State {
    /// A state that knows nothing yet and follows: it keeps its indexes and does nothing else, until [`State::lead`].
    /// `class` is the `--lb-class` flag.
    pub fn new(class: Option<String>) -> Self {
        Self {
            class,
            leading: false,
            services: Services::default(),
            namespaces: Index::new(),
            pools: Index::new(),
            address_pools: Index::new(),
            allocator: Allocator::new(),
            in_force: BTreeMap::new(),
            frozen: BTreeSet::new(),
            reported: BTreeSet::new(),
            errors: Vec::new(),
            compiled_once: false,
            config_dirty: true,
            dirty: BTreeSet::new(),
            waiting: BTreeSet::new(),
            progress: BTreeMap::new(),
            attempts: 0,
            convergences: 0,
        }
    }

    /// The Lease is ours. Everything that was derived is thrown away: the next [`State::settle`] imports what Services
    /// show and only then gives out addresses.
    pub fn lead(&mut self) {
        self.forget_everything_derived();
        self.leading = true;
    }

    /// The Lease is not ours any more. Writes under way are forgotten; how they end changes nothing.
    pub fn follow(&mut self) {
        self.forget_everything_derived();
        self.leading = false;
    }

    fn forget_everything_derived(&mut self) {
        self.allocator = Allocator::new();
        self.in_force.clear();
        self.frozen.clear();
        self.reported.clear();
        self.errors.clear();
        self.compiled_once = false;
        self.config_dirty = true;
        self.dirty.clear();
        self.waiting.clear();
        self.progress.clear();
    }

    /// Whether this controller gives out addresses.
    pub fn is_leading(&self) -> bool {
        self.leading
    }

    /// Whether every list is in. Until then [`State::settle`] does nothing.
    pub fn is_synced(&self) -> bool {
        self.missing().is_empty()
    }

    /// The kinds whose first list is not complete.
    pub fn missing(&self) -> Vec<&'static str> {
        let lists = [
            ("Service", self.services.is_synced()),
            ("Namespace", self.namespaces.is_synced()),
            ("IPAddressPool", self.pools.is_synced()),
            ("AddressPool", self.address_pools.is_synced()),
        ];
        lists.into_iter().filter(|(_, synced)| !synced).map(|(kind, _)| kind).collect()
    }

    /// Who has which address.
    pub fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// Whether some pool object is not in force as it stands in the API.
    pub fn is_config_stale(&self) -> bool {
        !self.reported.is_empty()
    }

    /// All errors of the configuration, the one that MetalLB would name first; empty while following.
    pub fn errors(&self) -> &[String] {
        &self.errors
    }

    /// How many times a Service or the configuration was looked at.
    pub fn convergences(&self) -> u64 {
        self.convergences
    }

    /// How many Services wait for an address.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes in one event.
    pub fn apply(&mut self, input: Input) {
        match input {
            Input::Service(event) => {
                let changes = self.services.apply(event);
                self.take_in(changes);
            }
            Input::Listed { version, services } => {
                let changes = self.services.list(version, services);
                self.take_in(changes);
            }
            Input::Namespace(event) => {
                let event = runtime::index::map_event(event, |namespace| (namespace.name.clone(), namespace));
                let changed = !self.namespaces.apply(event).is_empty();
                self.config_dirty |= changed && self.pools.values().any(PoolObject::selects_namespaces);
            }
            Input::Pool(event) => {
                let known =
                    |object: &PoolObject| self.pools.get(&object.name).is_some_and(|old| old.body == object.body);
                let only_status = match &event {
                    Event::Apply(object) | Event::InitApply(object) => known(object),
                    Event::Init | Event::InitDone | Event::Delete(_) => false,
                };
                let changes = self.pools.apply(runtime::index::map_event(event, |pool| (pool.name.clone(), pool)));
                self.config_dirty |= changed(&changes) && !only_status;
            }
            Input::AddressPool(event) => {
                let event = runtime::index::map_event(event, |pool| (pool.name.clone(), pool));
                let changes = self.address_pools.apply(event);
                self.config_dirty |= changed(&changes);
            }
        }
    }

    fn take_in(&mut self, changes: services::Changes) {
        if !self.leading {
            return;
        }
        for key in &changes.removed {
            self.forget(key);
            self.dirty.remove(key);
        }
        for key in changes.upserted {
            if let Some(progress) = self.progress.get_mut(&key) {
                progress.sent.clear();
            }
            if let Some(service) = self.services.get(&key) {
                self.allocator.observe(&key, &service.shown());
            }
            self.dirty.insert(key);
        }
    }

    /// A Service is gone, or another one took its name.
    fn forget(&mut self, key: &ServiceKey) {
        self.allocator.release(key, &[]);
        self.progress.remove(key);
        self.waiting.remove(key);
    }

    /// Takes in how a write ended. Returns whether to call [`State::retry`] for this Service after a while.
    pub fn written(&mut self, attempt: u64, key: &ServiceKey, outcome: Outcome) -> bool {
        let Some(progress) = self.progress.get_mut(key).filter(|progress| progress.writing == Some(attempt)) else {
            return false;
        };
        progress.writing = None;
        match outcome {
            // Without a version that can be compared, only the watch tells what came last.
            Outcome::Stored(service) if service.version().is_some() => {
                self.apply(Input::Service(Event::Apply(*service)));
                false
            }
            Outcome::Stored(_) => false,
            Outcome::Refused | Outcome::Unknown => true,
        }
    }

    /// Looks at a Service again although nothing changed: an earlier write did not get through.
    pub fn retry(&mut self, key: &ServiceKey) {
        if self.leading && self.services.get(key).is_some() {
            self.dirty.insert(key.clone());
        }
    }

    /// Brings everything in line and says what has to be done. Does nothing before every list is in.
    pub fn settle(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.leading || !self.is_synced() {
            return actions;
        }
        self.recompile(&mut actions);
        for _ in 0..ROUNDS {
            if self.allocator.take_freed() {
                self.dirty.extend(self.waiting.iter().cloned());
            }
            let batch = self.take_batch();
            if batch.is_empty() {
                break;
            }
            for key in &batch {
                let holds = |service: &&Service| self.is_ours(service) || shows_what_we_gave(service);
                if let Some(service) = self.services.get(key).filter(holds) {
                    plan::import(service, &mut self.allocator, &service.shown());
                }
            }
            for key in batch {
                self.converge(&key, &mut actions);
            }
        }
        actions
    }

    /// Services to look at, those with addresses first, then the oldest; Services with a write under way stay dirty.
    fn take_batch(&mut self) -> Vec<ServiceKey> {
        let busy = |key: &ServiceKey| self.progress.get(key).is_some_and(|progress| progress.writing.is_some());
        let (later, now): (BTreeSet<_>, BTreeSet<_>) = std::mem::take(&mut self.dirty).into_iter().partition(busy);
        self.dirty = later;
        let mut batch: Vec<ServiceKey> = now.into_iter().collect();
        batch.sort_by_cached_key(|key| {
            let service = self.services.get(key);
            let shown = service.map_or(0, |service| service.ingress.len());
            (Reverse(shown), service.map_or(0, |service| service.created))
        });
        batch
    }

    /// Whether the class of a Service makes it ours. A Service that is no load balancer any more has lost its class, but
    /// what it still has of us is ours to clean up.
    fn is_ours(&self, service: &Service) -> bool {
        service.is_of_class(self.class.as_deref())
            || (!service.is_load_balancer && (service.recorded_pool().is_some() || self.allocator.knows(&service.key)))
    }

    fn converge(&mut self, key: &ServiceKey, actions: &mut Vec<Action>) {
        let Some(service) = self.services.get(key) else { return };
        if !self.is_ours(service) {
            let shown = service.shown();
            let held = self.allocator.allocation(key).is_some_and(|allocation| allocation.addresses == shown);
            if !(held && shows_what_we_gave(service)) {
                self.allocator.release(key, &[]);
            }
            self.waiting.remove(key);
            return;
        }
        self.convergences += 1;
        let before = self.progress.remove(key).unwrap_or_default();
        let mut visible = service.shown();
        visible.extend(&before.sent);
        let around = Surroundings { visible: &visible, allocation_rules: !before.sent.is_empty() };
        let decision = plan::converge(service, &mut self.allocator, around);
        let write = decision.target.as_ref().and_then(|target| plan::difference(service, target));
        let mut progress = Progress { sent: before.sent, ..Progress::default() };
        let mut notes = decision.notes;
        if write.is_some() {
            notes.extend(plan::deprecations(service));
        }
        let subject =
            Subject { key: key.clone(), uid: service.uid.clone(), resource_version: service.resource_version.clone() };
        let news = notes.iter().any(|note| !before.said.contains(note));
        if news || (notes.is_empty() && write.is_some()) {
            actions.extend(decision.steps.into_iter().map(|step| Action::Log(key.clone(), step)));
        }
        for note in notes {
            if !before.said.contains(&note) {
                actions.push(Action::Note(subject.clone(), note.clone()));
            }
            progress.said.insert(note);
        }
        if let Some(write) = write {
            self.attempts += 1;
            progress.writing = Some(self.attempts);
            progress.sent.extend(decision.target.iter().flat_map(|target| &target.addresses));
            progress.sent.sort_unstable();
            progress.sent.dedup();
            let resource_version = service.resource_version.clone();
            actions.push(Action::Write(ServiceWrite {
                attempt: self.attempts,
                key: key.clone(),
                resource_version,
                write,
            }));
        }
        if decision.waiting {
            self.waiting.insert(key.clone());
        } else {
            self.waiting.remove(key);
        }
        if progress != Progress::default() {
            self.progress.insert(key.clone(), progress);
        }
    }

    /// Puts the pool objects in force if they changed. Objects that cannot be used freeze their pool.
    fn recompile(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::take(&mut self.config_dirty) {
            return;
        }
        self.convergences += 1;
        let resources = Resources {
            pools: self.pools.values().filter_map(PoolObject::resource).collect(),
            address_pools: self.address_pools.values().filter_map(AddressPoolObject::resource).collect(),
            namespaces: self.namespaces.values().cloned().collect(),
            ..Resources::default()
        };
        let compiled = config::compile(&resources);
        let names = self.pools.iter().map(|(name, _)| name).chain(self.address_pools.iter().map(|(name, _)| name));
        let frozen: BTreeSet<PoolName> = names
            .map(|name| PoolName::from(name.as_str()))
            .filter(|name| !compiled.config.pools.contains_key(name))
            .collect();
        self.report(&compiled.findings, actions);
        if !self.compiled_once || compiled.config.pools != self.in_force || frozen != self.frozen {
            self.compiled_once = true;
            self.allocator.set_pools(&compiled.config.pools, frozen.clone());
            self.in_force = compiled.config.pools;
            self.frozen = frozen;
            let keys: Vec<ServiceKey> = self.services.iter().map(|(key, _)| key.clone()).collect();
            self.dirty.extend(keys);
        }
    }

    fn report(&mut self, findings: &[Finding], actions: &mut Vec<Action>) {
        let errors = findings.iter().filter(|finding| finding.class == Class::Error);
        let mut now: BTreeSet<ObjectReport> = errors.clone().map(|finding| self.locate(finding)).collect();
        let unreadable: Vec<ObjectReport> = self
            .pools
            .values()
            .filter_map(PoolObject::report)
            .chain(self.address_pools.values().filter_map(AddressPoolObject::report))
            .collect();
        self.errors = errors.map(ToString::to_string).chain(unreadable.iter().map(|one| one.text.clone())).collect();
        now.extend(unreadable);
        actions.extend(now.difference(&self.reported).cloned().map(Action::Report));
        self.reported = now;
    }

    fn locate(&self, finding: &Finding) -> ObjectReport {
        let uid = if finding.object.kind == Kind::AddressPool {
            self.address_pools.get(&finding.object.name).map(|pool| pool.uid.clone())
        } else {
            self.pools.get(&finding.object.name).map(|pool| pool.uid.clone())
        };
        ObjectReport::of_finding(finding, uid.unwrap_or_default())
    }

    /// Takes in that a status was stored, so that it is not written again before the watch shows it.
    pub fn pool_status_stored(&mut self, name: &str, status: IPAddressPoolStatus) {
        if let Some(known) = self.pools.get(&name.to_owned()) {
            let mut object = known.clone();
            object.status = Some(status);
            self.apply(Input::Pool(Event::Apply(object)));
        }
    }

    /// IPAddressPool objects whose status does not show the numbers it should.
    pub fn pool_status_writes(&self) -> Vec<PoolStatusWrite> {
        if !self.compiled_once {
            return Vec::new();
        }
        let counted = self.allocator.counters();
        counted.filter_map(|(name, counters)| self.pools.get(&name.0)?.status_write(counters)).collect()
    }
}

/// A load balancer that shows an address of one of our pools. If its class is another one now, it is not ours to change, but
/// nobody else may get the address: the class of the controller can change while Services have addresses.
fn shows_what_we_gave(service: &Service) -> bool {
    service.is_load_balancer && service.recorded_pool().is_some() && !service.ingress.is_empty()
}

fn changed<K>(changes: &Changes<K>) -> bool {
    !changes.is_empty()
}
