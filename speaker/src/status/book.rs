//! What the ServiceL2Statuses say and what they should say. Pure.
//!
//! ```text
//!  decisions ──stand──▶ ┐
//!  live speakers ─────▶ ├ Book ──due──▶ Services to look at ──difference──▶ the next write for each, if any
//!  watch, answers ────▶ ┘
//! ```
//! One object per announced Service. The node that announces removes what others left behind for the Service; what a dead
//! node left for Services that nobody announces, or that are gone, is removed by the one speaker that tells about them.

use std::collections::{BTreeMap, BTreeSet};

use runtime::watch::Event;

use crate::announce::l2::teller;
use crate::state::ServiceKey;
use crate::status::object::{Identity, Named, Seen, Write};

/// More deleted objects than this are not remembered; only the latest can still turn up.
const GRAVES: usize = 8192;

/// How this node stands to a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// It announces it, on these interfaces; none means all.
    Ours(Vec<String>),
    /// Another node announces it or may do so.
    Others,
    /// It is certain that nobody announces it, and it is up to this node to say so.
    Nobody,
}

/// All that is known.
#[derive(Debug)]
pub struct Book {
    identity: Identity,
    stands: BTreeMap<ServiceKey, Stand>,
    /// Names of the objects that this node should have.
    own: BTreeMap<String, ServiceKey>,
    seen: BTreeMap<String, Seen>,
    about: BTreeMap<ServiceKey, BTreeSet<String>>,
    /// Objects that were deleted, name and uid: a watch that lags may still show them, and so may the answer to a write that
    /// came before the end and is read after it.
    deleted: BTreeMap<String, String>,
    /// The list under way.
    listed: BTreeSet<String>,
    is_listed: bool,
    live: Option<BTreeSet<String>>,
    due: BTreeSet<ServiceKey>,
}

impl Book {
    /// Nothing is known yet.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            stands: BTreeMap::new(),
            own: BTreeMap::new(),
            seen: BTreeMap::new(),
            about: BTreeMap::new(),
            deleted: BTreeMap::new(),
            listed: BTreeSet::new(),
            is_listed: false,
            live: None,
            due: BTreeSet::new(),
        }
    }

    /// Who writes.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Puts a decision in force; `None` when there is no such Service.
    pub fn stand(&mut self, service: ServiceKey, stand: Option<Stand>) {
        let name = self.identity.name(&service);
        if matches!(stand, Some(Stand::Ours(_))) {
            // What tells nothing of itself is looked at again under the name it has.
            self.own.insert(name, service.clone());
        } else {
            self.own.remove(&name);
        }
        self.due.insert(service.clone());
        match stand {
            Some(stand) => drop(self.stands.insert(service, stand)),
            None => drop(self.stands.remove(&service)),
        }
    }

    /// Takes in which speakers are alive; the first call says that all decisions were made once.
    pub fn live(&mut self, speakers: BTreeSet<String>) {
        if self.live.as_ref() != Some(&speakers) {
            self.live = Some(speakers);
            self.look_at_all();
        }
    }

    fn look_at_all(&mut self) {
        self.due.extend(self.stands.keys().cloned());
        self.due.extend(self.about.keys().cloned());
    }

    /// Takes in an event of the watch.
    pub fn watched(&mut self, event: Event<Seen>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(seen) => {
                self.listed.insert(seen.name.clone());
                self.take(seen);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone: Vec<String> = self.seen.keys().filter(|name| !listed.contains(*name)).cloned().collect();
                gone.iter().for_each(|name| self.forget(name));
                self.deleted.clear();
                if !std::mem::replace(&mut self.is_listed, true) {
                    self.look_at_all();
                }
            }
            Event::Apply(seen) => self.take(seen),
            Event::Delete(seen) => {
                if self.seen.get(&seen.name).is_some_and(|known| known.uid == seen.uid) {
                    self.forget(&seen.name);
                }
                self.bury(seen.name, seen.uid);
            }
        }
    }

    /// Takes in what a write left.
    pub fn stored(&mut self, seen: Seen) {
        self.take(seen);
    }

    /// Takes in that this object is not there any more.
    pub fn gone(&mut self, name: &str) {
        if let Some(uid) = self.seen.get(name).map(|known| known.uid.clone()) {
            self.bury(name.to_owned(), uid);
        }
        self.forget(name);
    }

    fn bury(&mut self, name: String, uid: String) {
        if self.deleted.len() >= GRAVES {
            self.deleted.clear();
        }
        self.deleted.insert(name, uid);
    }

    /// Has the Service looked at again.
    pub fn again(&mut self, service: ServiceKey) {
        self.due.insert(service);
    }

    fn take(&mut self, seen: Seen) {
        if self.deleted.get(&seen.name).is_some_and(|uid| *uid == seen.uid) {
            return;
        }
        if let Some(known) = self.seen.get(&seen.name) {
            // The watch may lag behind the answers to our own writes.
            if *known == seen || (known.uid == seen.uid && seen.version < known.version) {
                return;
            }
        }
        self.forget(&seen.name);
        let (name, service) = (seen.name.clone(), seen.service());
        self.due.extend(self.own.get(&name).cloned());
        self.about.entry(service.clone()).or_default().insert(name.clone());
        self.seen.insert(name, seen);
        self.due.insert(service);
    }

    fn forget(&mut self, name: &str) {
        let Some(seen) = self.seen.remove(name) else { return };
        let service = seen.service();
        if let Some(names) = self.about.get_mut(&service) {
            names.remove(name);
            if names.is_empty() {
                self.about.remove(&service);
            }
        }
        self.due.extend(self.own.get(name).cloned());
        self.due.insert(service);
    }

    /// The Services that something happened to since the last call; none before everything is known once.
    pub fn due(&mut self) -> BTreeSet<ServiceKey> {
        if self.is_listed && self.live.is_some() { std::mem::take(&mut self.due) } else { BTreeSet::new() }
    }

    /// The next write for a Service. `None` when its objects are as they should be, or nothing can be done.
    pub fn difference(&self, service: &ServiceKey) -> Option<Write> {
        let name = self.identity.name(service);
        let delete = |seen: &Seen| Write::Delete { name: seen.name.clone(), uid: seen.uid.clone() };
        let Some(Stand::Ours(interfaces)) = self.stands.get(service) else {
            let unfinished = self.seen.get(&name).filter(|seen| seen.node().is_none());
            let mut leftovers = self.objects(service).chain(unfinished);
            return leftovers.find(|seen| self.is_leftover(service, seen)).map(delete);
        };
        let Some(own) = self.seen.get(&name) else { return Some(Write::Create { name }) };
        let wanted = Named::of(&self.identity.node, service);
        if own.ending {
            return None;
        }
        if own.status.contradicts(&wanted) {
            // These fields are immutable.
            return Some(delete(own));
        }
        if own.status != wanted || own.interfaces != *interfaces {
            return Some(Write::Fill { name, interfaces: interfaces.clone() });
        }
        // Before ours gets its labels, so that at no time two are found.
        if let Some(other) = self.objects(service).find(|seen| seen.name != name && !seen.ending) {
            return Some(delete(other));
        }
        let owned = self.identity.owner.as_ref().is_none_or(|owner| own.owners == BTreeSet::from([owner.uid.clone()]));
        (own.labels != self.identity.labels(service) || !owned).then_some(Write::Describe { name })
    }

    /// The objects that tell of a Service, without those that are ours for another one.
    fn objects(&self, service: &ServiceKey) -> impl Iterator<Item = &Seen> {
        let names = self.about.get(service).into_iter().flatten();
        names
            .filter(move |name| self.own.get(*name).is_none_or(|owner| owner == service))
            .filter_map(|name| self.seen.get(name))
    }

    /// Whether an object about a Service that this node does not announce is to be deleted by this node.
    fn is_leftover(&self, service: &ServiceKey, seen: &Seen) -> bool {
        let of_our_pod = || self.identity.owner.as_ref().is_some_and(|owner| seen.owners.contains(&owner.uid));
        if seen.ending {
            return false;
        }
        if seen.node() == Some(&self.identity.node) || (seen.node().is_none() && of_our_pod()) {
            return true;
        }
        match self.stands.get(service) {
            Some(Stand::Nobody) => true,
            Some(Stand::Ours(_) | Stand::Others) => false,
            None => {
                // The Service is gone: the node removes it, or, if it cannot, the one speaker that the others leave it to.
                let live = self.live.iter().flatten().map(String::as_str);
                let is_dead = seen.node().is_some_and(|node| live.clone().all(|alive| alive != node));
                is_dead && teller(live, service) == Some(&self.identity.node)
            }
        }
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
