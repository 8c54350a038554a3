//! One controller process: the product's state, what it was told so far, and the writes it still has to send. What a
//! process was told is kept a second time, in the model's own plain form, so that its decisions can be judged by it.
//!
//! ```text
//! inbox per kind ──deliver──▶ State (the product)  ──settle──▶ unsent writes, each with what was known
//!                     └─────▶ View (the judge's copy)
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use controller::allocator::ServiceKey;
use controller::plan::ConditionWrite;
use controller::state::{Action, Input, Outcome, ServiceWrite, State};
use runtime::watch::Event;

use crate::api_server::{ApiServer, KINDS, Kind, Told};
use crate::world::{Condition, Key, Svc, View};

/// A write with what its decision was based on.
#[derive(Debug, Clone)]
pub struct Decided {
    pub write: ServiceWrite,
    pub key: Key,
    pub version: u64,
    pub shown: Vec<IpAddr>,
    pub mark: Option<String>,
    pub condition: Option<Condition>,
    /// The versions of all Services (uid, version) that the process knew.
    pub known: Arc<BTreeMap<Key, (u64, u64)>>,
}

/// The process.
pub struct Process {
    /// Never used by another process.
    pub id: u64,
    pub state: State,
    /// What it was told.
    pub view: View,
    /// Addresses decided for a Service since it was last seen to change.
    pub sent: BTreeMap<Key, Vec<IpAddr>>,
    /// What each Service showed or was given last (uid, addresses): the product may give that back when somebody wiped the
    /// status, or changed the Service before the write came through.
    pub remembered: BTreeMap<Key, (u64, Vec<IpAddr>)>,
    pub unsent: VecDeque<Decided>,
    pub retries: BTreeSet<Key>,
    inbox: [VecDeque<Told>; 3],
    /// Position in the log of the apiserver up to which the inboxes are filled.
    position: usize,
    /// Names seen in the relist under way.
    seen: [BTreeSet<String>; 3],
    /// Version up to which a kind is known completely.
    floor: [u64; 3],
}

impl Process {
    /// A process that begins to list and watch.
    pub fn start(id: u64, api: &ApiServer) -> Self {
        let mut process = Self {
            id,
            state: State::new(None),
            view: View::default(),
            sent: BTreeMap::new(),
            remembered: BTreeMap::new(),
            unsent: VecDeque::new(),
            retries: BTreeSet::new(),
            inbox: Default::default(),
            position: api.log.len(),
            seen: Default::default(),
            floor: [0; 3],
        };
        process.state.apply(Input::AddressPool(Event::Init));
        process.state.apply(Input::AddressPool(Event::InitDone));
        for kind in KINDS {
            process.inbox[kind as usize].extend(api.list(kind));
        }
        process
    }

    /// Takes what happened into the inboxes.
    pub fn watch(&mut self, api: &ApiServer) {
        for told in &api.log[self.position..] {
            self.inbox[told.kind() as usize].push_back(told.clone());
        }
        self.position = api.log.len();
    }

    /// The watch of a kind broke; it lists again, and what was not delivered is lost.
    pub fn relist(&mut self, kind: Kind, api: &ApiServer) {
        self.watch(api);
        self.inbox[kind as usize] = api.list(kind).into();
    }

    /// Delivers the next event of a kind, `twice` if so. Returns whether there was one.
    pub fn deliver(&mut self, kind: Kind, twice: bool) -> bool {
        let Some(told) = self.inbox[kind as usize].pop_front() else { return false };
        // What a relist consists of is never repeated.
        let twice = twice && !matches!(told, Told::Begin(_) | Told::End(..));
        for _ in 0..=usize::from(twice) {
            self.tell(&told);
        }
        true
    }

    fn tell(&mut self, told: &Told) {
        let listing = self.seen[told.kind() as usize].contains("");
        self.judge_takes(told);
        if let Told::Service(svc) | Told::NoService(svc) = told
            && !listing
        {
            // Events come in order: whatever happened before this one is known.
            let floor = &mut self.floor[Kind::Service as usize];
            *floor = svc.version.max(*floor);
        }
        let input = match told {
            Told::Begin(Kind::Service) => Input::Service(Event::Init),
            Told::Begin(Kind::Namespace) => Input::Namespace(Event::Init),
            Told::Begin(Kind::Pool) => Input::Pool(Event::Init),
            Told::End(Kind::Service, _) => Input::Service(Event::InitDone),
            Told::End(Kind::Namespace, _) => Input::Namespace(Event::InitDone),
            Told::End(Kind::Pool, _) => Input::Pool(Event::InitDone),
            Told::Service(svc) if listing => Input::Service(Event::InitApply(svc.object())),
            Told::Service(svc) => Input::Service(Event::Apply(svc.object())),
            Told::Namespace(namespace) if listing => Input::Namespace(Event::InitApply(namespace.object())),
            Told::Namespace(namespace) => Input::Namespace(Event::Apply(namespace.object())),
            Told::Pool(pool) if listing => Input::Pool(Event::InitApply(pool.object())),
            Told::Pool(pool) => Input::Pool(Event::Apply(pool.object())),
            Told::NoService(svc) => Input::Service(Event::Delete(svc.object())),
            Told::NoNamespace(namespace) => Input::Namespace(Event::Delete(namespace.object())),
            Told::NoPool(pool) => Input::Pool(Event::Delete(pool.object())),
        };
        self.state.apply(input);
    }

    /// The judge's copy: whatever is newest wins.
    fn judge_takes(&mut self, told: &Told) {
        let index = told.kind() as usize;
        match told {
            Told::Begin(_) => self.seen[index] = BTreeSet::from([String::new()]),
            Told::End(kind, version) => {
                let seen = std::mem::take(&mut self.seen[index]);
                let gone = |name: &str, of: u64| of <= *version && !seen.contains(name);
                match kind {
                    Kind::Service => self.view.services.retain(|key, svc| !gone(key, svc.version)),
                    Kind::Namespace => self.view.namespaces.retain(|name, namespace| !gone(name, namespace.version)),
                    Kind::Pool => self.view.pools.retain(|name, pool| !gone(name, pool.version)),
                }
                self.floor[index] = self.floor[index].max(*version);
            }
            Told::Service(svc) => {
                self.seen[index].insert(svc.key.clone());
                let known = self.view.services.get(&svc.key).map(|known| known.version);
                if svc.version > known.unwrap_or(self.floor[index]) {
                    self.view.services.insert(svc.key.clone(), svc.clone());
                    self.sent.remove(&svc.key);
                    if !svc.shown.is_empty() {
                        self.remembered.insert(svc.key.clone(), (svc.uid, svc.shown.clone()));
                    }
                }
            }
            Told::NoService(svc) => {
                if self.view.services.get(&svc.key).is_some_and(|known| known.version < svc.version) {
                    self.view.services.remove(&svc.key);
                    self.sent.remove(&svc.key);
                }
            }
            Told::Namespace(namespace) => {
                self.seen[index].insert(namespace.name.to_owned());
                self.view.namespaces.insert(namespace.name, namespace.clone());
            }
            Told::NoNamespace(namespace) => drop(self.view.namespaces.remove(namespace.name)),
            Told::Pool(pool) => {
                self.seen[index].insert(pool.name.to_owned());
                self.view.pools.insert(pool.name, pool.clone());
            }
            Told::NoPool(pool) => drop(self.view.pools.remove(pool.name)),
        }
    }

    /// The Lease is won: every watch begins anew with a list, and the product leads.
    pub fn lead(&mut self, api: &ApiServer) {
        for kind in KINDS {
            self.relist(kind, api);
            self.seen[kind as usize].clear();
        }
        self.state.lead();
        self.state.apply(Input::AddressPool(Event::Init));
        self.state.apply(Input::AddressPool(Event::InitDone));
        self.sent.clear();
        self.unsent.clear();
        self.retries.clear();
    }

    /// The process notices that the Lease is lost.
    pub fn follow(&mut self) {
        self.state.follow();
        self.unsent.clear();
        self.retries.clear();
        self.sent.clear();
    }

    /// Lets the product decide; its writes are returned.
    pub fn settle(&mut self) -> Vec<Decided> {
        let mut writes: Vec<ServiceWrite> = Vec::new();
        for action in self.state.settle() {
            match action {
                Action::Write(write) => writes.push(write),
                Action::Later(key, _) => drop(self.retries.insert(key.as_str().to_owned())),
                Action::Note(..) | Action::Log(..) | Action::Report(_) => {}
            }
        }
        if writes.is_empty() {
            return Vec::new();
        }
        let known = self.view.services.iter().map(|(key, svc)| (key.clone(), (svc.uid, svc.version)));
        let known = Arc::new(known.collect::<BTreeMap<_, _>>());
        writes.into_iter().map(|write| self.decided(write, known.clone())).collect()
    }

    /// What a write would make of the Service.
    fn decided(&self, write: ServiceWrite, known: Arc<BTreeMap<Key, (u64, u64)>>) -> Decided {
        let key = write.key.as_str().to_owned();
        let before = self.view.services.get(&key);
        let (shown, mark) = match &write.write.status {
            Some(status) => (
                status.ingress.iter().map(|entry| entry.ip.parse().expect("an address")).collect(),
                status.pool.as_ref().map(|pool| pool.0.clone()),
            ),
            None => before.map(|svc| (svc.shown.clone(), svc.mark.clone())).unwrap_or_default(),
        };
        let condition = match &write.write.condition {
            Some(ConditionWrite::Set { reason, message, observed_generation, .. }) => Some(Condition {
                reason: (*reason).to_owned(),
                message: message.clone(),
                generation: *observed_generation,
            }),
            Some(ConditionWrite::Remove) => None,
            None => before.and_then(|svc| svc.condition.clone()),
        };
        let version = write.resource_version.parse().expect("a version");
        Decided { write, key, version, shown, mark, condition, known }
    }

    /// Tells the process how a write ended.
    pub fn answer(&mut self, decided: &Decided, stored: Result<Arc<Svc>, Outcome>) {
        let outcome = match stored {
            Ok(svc) => {
                if self.state.is_leading() {
                    self.judge_takes(&Told::Service(svc.clone()));
                }
                Outcome::Stored(Box::new(svc.object()))
            }
            Err(outcome) => outcome,
        };
        if self.state.written(decided.write.attempt, &decided.write.key, outcome) {
            self.retries.insert(decided.key.clone());
        }
    }

    /// The pause after a failed write is over.
    pub fn retry(&mut self) {
        if let Some(key) = self.retries.pop_first() {
            let (namespace, name) = key.split_once('/').expect("a key");
            self.state.retry(&ServiceKey::new(namespace, name));
        }
    }
}
