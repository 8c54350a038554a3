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
use controller::state::{Action, Input, Outcome, ServiceWrite, State};
use runtime::watch::Event;

use crate::api_server::{ApiServer, KINDS, Kind, Told};
use crate::world::{Key, Svc, View};

/// A write with what its decision was based on.
#[derive(Debug, Clone)]
pub struct Decided {
    pub write: ServiceWrite,
    pub key: Key,
    pub version: u64,
    pub shown: Vec<IpAddr>,
    pub mark: Option<String>,
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

    /// How many events of a kind wait.
    pub fn waiting(&self, kind: Kind) -> usize {
        self.inbox[kind as usize].len()
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
        let actions = self.state.settle();
        let writes: Vec<ServiceWrite> = actions
            .into_iter()
            .filter_map(|action| if let Action::Write(write) = action { Some(write) } else { None })
            .collect();
        if writes.is_empty() {
            return Vec::new();
        }
        let known = self.view.services.iter().map(|(key, svc)| (key.clone(), (svc.uid, svc.version)));
        let known = Arc::new(known.collect::<BTreeMap<_, _>>());
        let decided = writes.into_iter().map(|write| Decided {
            key: write.key.as_str().to_owned(),
            version: write.resource_version.parse().expect("a version"),
            shown: write.write.ingress.iter().map(|entry| entry.ip.parse().expect("an address")).collect(),
            mark: write.write.pool.as_ref().map(|pool| pool.0.clone()),
            known: known.clone(),
            write,
        });
        decided.collect()
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
