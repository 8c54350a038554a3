//! Everything the controller knows, and what follows from it. Pure: events in, actions out.
//!
//! ```text
//!  apply(Input) ──▶ indexes ──▶ dirty Services ─┐    (lead(): all anew, as at a start; follow(): only the indexes)
//!  written(attempt, Outcome) ───────────────────┼─▶ settle(): every list in? compile, import, converge ──▶ Vec<Action>
//!  retry(Service) ──────────────────────────────┘
//! ```
//! Three rules make addresses safe:
//! - nothing is given out before Services, Namespaces and pools were listed completely;
//! - what Services show is claimed before anything new is given out;
//! - an address is free only when no Service has it, shows it, or may come to show it through a write whose outcome is
//!   not known. So all of this can be rebuilt from the API at any moment, and a restart changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::v1beta1::IPAddressPoolStatus;
use config::{Class, Compiled, Config, Finding, Kind, NamespaceLabels, Pool, PoolName, Resources};
use runtime::index::{Changes, Index};
use runtime::watch::Event;

use crate::allocator::{Allocator, ServiceKey};
use crate::plan::{Note, Step, Write};
use crate::pool_objects::{AddressPoolObject, CommunityObject, ObjectReport, PoolObject, PoolStatusWrite};
use crate::service::Service;
use crate::services::{self, Services};
use crate::settle::{Progress, Written};
use crate::waiting::Waiting;

/// An event of one of the watches.
#[derive(Debug, Clone)]
pub enum Input {
    /// A Service, wherever it is.
    Service(Event<Service>),
    /// A Namespace.
    Namespace(Event<NamespaceLabels>),
    /// An IPAddressPool of our namespace.
    Pool(Event<PoolObject>),
    /// An AddressPool of our namespace.
    AddressPool(Event<AddressPoolObject>),
    /// A Community of our namespace.
    Community(Event<CommunityObject>),
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
    /// Call [`State::retry`] for this Service after that time: somebody else keeps replacing its status.
    Later(ServiceKey, Duration),
}

/// A Service as Events name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub key: ServiceKey,
    /// Its uid.
    pub uid: Box<str>,
    /// Version of the object the Event is about.
    pub resource_version: Box<str>,
}

/// One conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceWrite {
    /// Tells this write from every other.
    pub attempt: u64,
    /// The Service.
    pub key: ServiceKey,
    /// The version it must still have.
    pub resource_version: Box<str>,
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

/// The whole state.
#[derive(Debug)]
pub struct State {
    pub(crate) class: Option<String>,
    pub(crate) leading: bool,
    pub(crate) services: Services,
    namespaces: Index<String, NamespaceLabels>,
    pools: Index<String, PoolObject>,
    address_pools: Index<String, AddressPoolObject>,
    communities: Index<String, CommunityObject>,
    config_dirty: bool,
    pub(crate) derived: Derived,
    pub(crate) attempts: u64,
    convergences: u64,
}

/// What follows from the indexes and from what was done since the lead was taken.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    pub(crate) allocator: Allocator,
    in_force: BTreeMap<PoolName, Pool>,
    held: BTreeMap<PoolName, Pool>,
    /// Objects that cannot even be read.
    frozen: BTreeSet<PoolName>,
    compiled_once: bool,
    /// What was reported about pool objects and still holds.
    reported: BTreeSet<ObjectReport>,
    errors: Vec<String>,
    pub(crate) dirty: BTreeSet<ServiceKey>,
    pub(crate) waiting: Waiting,
    pub(crate) progress: BTreeMap<ServiceKey, Progress>,
    /// What we wrote last of each Service's addresses, and how often somebody replaced it.
    pub(crate) written: BTreeMap<ServiceKey, Written>,
    /// Events that waited for a write.
    pub(crate) released: Vec<Action>,
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
            communities: Index::new(),
            config_dirty: true,
            derived: Derived::default(),
            attempts: 0,
            convergences: 0,
        }
    }

    /// The Lease is ours. What the leader before us wrote last may not be in the indexes: they begin anew, with the fresh
    /// streams whose lists must all come in before [`State::settle`] does anything. So a term begins like a start.
    pub fn lead(&mut self) {
        self.services = Services::default();
        self.namespaces = Index::new();
        self.pools = Index::new();
        self.address_pools = Index::new();
        self.communities = Index::new();
        self.forget_everything_derived();
        self.leading = true;
    }

    /// The Lease is not ours any more. Writes under way are forgotten; how they end changes nothing.
    pub fn follow(&mut self) {
        self.forget_everything_derived();
        self.leading = false;
    }

    fn forget_everything_derived(&mut self) {
        self.derived = Derived::default();
        self.config_dirty = true;
    }

    /// Whether this controller gives out addresses.
    pub fn is_leading(&self) -> bool {
        self.leading
    }

    /// Whether [`State::errors`] is complete. Addresses do not wait for the Communities, which do not concern them.
    pub fn is_judged(&self) -> bool {
        self.is_synced() && self.communities.is_synced()
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
        &self.derived.allocator
    }

    /// Whether some pool object is not in force as it stands in the API.
    pub fn is_config_stale(&self) -> bool {
        !self.derived.reported.is_empty()
    }

    /// All errors of the configuration in MetalLB's words, the one that MetalLB would name first; empty while following.
    pub fn errors(&self) -> &[String] {
        &self.derived.errors
    }

    /// How many times a Service or the configuration was looked at.
    pub fn convergences(&self) -> u64 {
        self.convergences
    }

    /// How many Services wait for an address.
    pub fn waiting(&self) -> usize {
        self.derived.waiting.len()
    }

    pub(crate) fn count_convergence(&mut self) {
        self.convergences += 1;
    }

    /// Looks at all waiting Services again, as if something had become available for each of them. There is never a need
    /// to: tests use it to show that nothing comes of it.
    pub fn wake_all(&mut self) {
        self.derived.dirty.extend(self.derived.waiting.keys().cloned());
    }

    /// Takes in one event.
    pub fn apply(&mut self, input: Input) {
        match input {
            Input::Service(event) => {
                let changes = self.services.apply(event);
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
            Input::Community(event) => {
                let event = runtime::index::map_event(event, |community| (community.name.clone(), community));
                let changes = self.communities.apply(event);
                self.config_dirty |= changed(&changes);
            }
        }
    }

    pub(crate) fn take_in(&mut self, changes: services::Changes) {
        if !self.leading {
            return;
        }
        for key in &changes.removed {
            self.forget(key);
        }
        for key in changes.upserted {
            if let Some(progress) = self.derived.progress.get_mut(&key) {
                progress.sent.clear();
            }
            if let Some(service) = self.services.get(&key) {
                let shown = service.shown();
                let counts = service.is_of_class(self.class.as_deref()) || service.recorded_pool().is_some();
                self.derived.allocator.observe(&key, &shown);
                self.derived.allocator.see(&key, if counts { &shown } else { &[] });
            }
            self.derived.dirty.insert(key);
        }
    }

    /// A Service is gone, or another one took its name.
    fn forget(&mut self, key: &ServiceKey) {
        self.derived.allocator.release(key, &[]);
        self.derived.allocator.see(key, &[]);
        self.derived.progress.remove(key);
        self.derived.written.remove(key);
        self.derived.waiting.remove(key);
        self.derived.dirty.remove(key);
    }

    /// Puts the pool objects in force if they changed. Objects that cannot be used keep what was given of them.
    pub(crate) fn recompile(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::take(&mut self.config_dirty) {
            return;
        }
        self.convergences += 1;
        let resources = Resources {
            pools: self.pools.values().filter_map(PoolObject::resource).collect(),
            address_pools: self.address_pools.values().filter_map(AddressPoolObject::resource).collect(),
            communities: self.communities.values().filter_map(CommunityObject::resource).collect(),
            namespaces: self.namespaces.values().cloned().collect(),
            ..Resources::default()
        };
        let Compiled { config: Config { pools, held, .. }, findings } = config::compile(&resources);
        let names = self.pools.iter().map(|(name, _)| name).chain(self.address_pools.iter().map(|(name, _)| name));
        let frozen: BTreeSet<PoolName> = names
            .map(|name| PoolName::from(name.as_str()))
            .filter(|name| !pools.contains_key(name) && !held.contains_key(name))
            .collect();
        self.report(&findings, actions);
        let derived = &mut self.derived;
        if derived.compiled_once && pools == derived.in_force && held == derived.held && frozen == derived.frozen {
            return;
        }
        let touched = touched(&derived.in_force, &pools);
        let held_touched = derived.held != held || derived.frozen != frozen;
        derived.allocator.set_pools(&pools, &held, frozen.clone());
        (derived.in_force, derived.held, derived.frozen) = (pools, held, frozen);
        // Whoever has no address may get one now, or is refused for another reason; whoever has one from a pool that is as
        // it was keeps it.
        let allocator = &derived.allocator;
        let untouched = |key: &ServiceKey| {
            derived.compiled_once
                && !held_touched
                && !derived.waiting.contains(key)
                && allocator.allocation(key).is_some_and(|have| !touched.contains(&have.pool))
        };
        derived.dirty.extend(self.services.iter().map(|(key, _)| key).filter(|key| !untouched(key)).cloned());
        derived.compiled_once = true;
    }

    fn report(&mut self, findings: &[Finding], actions: &mut Vec<Action>) {
        let errors = findings.iter().filter(|finding| finding.class == Class::Error);
        let mut now: BTreeSet<ObjectReport> = errors.map(|finding| self.locate(finding)).collect();
        let unreadable: Vec<ObjectReport> = self
            .pools
            .values()
            .filter_map(PoolObject::report)
            .chain(self.address_pools.values().filter_map(AddressPoolObject::report))
            .chain(self.communities.values().filter_map(CommunityObject::report))
            .collect();
        self.derived.errors = config::configuration_errors(findings);
        self.derived.errors.extend(unreadable.iter().map(|one| one.text.clone()));
        now.extend(unreadable);
        actions.extend(now.difference(&self.derived.reported).cloned().map(Action::Report));
        self.derived.reported = now;
    }

    fn locate(&self, finding: &Finding) -> ObjectReport {
        let name = &finding.object.name;
        let uid = match finding.object.kind {
            Kind::AddressPool => self.address_pools.get(name).map(|pool| pool.uid.clone()),
            Kind::Community => self.communities.get(name).map(|community| community.uid.clone()),
            Kind::IPAddressPool
            | Kind::L2Advertisement
            | Kind::BGPAdvertisement
            | Kind::BGPPeer
            | Kind::BFDProfile
            | Kind::MetalLB
            | Kind::FRRConfiguration => self.pools.get(name).map(|pool| pool.uid.clone()),
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
        if !self.derived.compiled_once {
            return Vec::new();
        }
        let counted = self.derived.allocator.counters();
        counted.filter_map(|(name, counters)| self.pools.get(&name.0)?.status_write(counters)).collect()
    }
}

/// Pools that are new, gone or other than before.
fn touched(before: &BTreeMap<PoolName, Pool>, after: &BTreeMap<PoolName, Pool>) -> BTreeSet<PoolName> {
    let differ = |name: &&PoolName| before.get(*name) != after.get(*name);
    before.keys().chain(after.keys()).filter(differ).cloned().collect()
}

fn changed<K>(changes: &Changes<K>) -> bool {
    !changes.is_empty()
}
