//! The Services as far as they are known: one watch, and answers to our own writes; whichever is newer wins.
//!
//! ```text
//!  watch events ──────┐
//!                     ├─▶ newer than what is known? ──▶ known ──▶ Changes
//!  answers to writes ─┘   (versions can be compared; a list is believed whatever its versions, because the apiserver may
//!                          have been restored from a backup, unless an answer came in after the list was asked for)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use runtime::watch::Event;

use crate::allocator::ServiceKey;
use crate::service::Service;

/// All Services.
#[derive(Debug, Default)]
pub struct Services {
    known: BTreeMap<ServiceKey, Box<Service>>,
    /// Keys of the list that is under way.
    seen: BTreeSet<ServiceKey>,
    /// Services of which we got an answer since the list was asked for.
    answered: BTreeSet<ServiceKey>,
    synced: bool,
}

/// What one event changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Services that are gone, or were replaced by others of the same name; forget them before taking in `upserted`.
    pub removed: Vec<ServiceKey>,
    /// Services that are new or differ from before.
    pub upserted: Vec<ServiceKey>,
}

impl Services {
    /// Takes in one event of the watch.
    pub fn apply(&mut self, event: Event<Service>) -> Changes {
        let mut changes = Changes::default();
        match event {
            Event::Init => {
                self.seen.clear();
                self.answered.clear();
            }
            Event::InitApply(service) => {
                self.seen.insert(service.key.clone());
                if !(self.answered.contains(&service.key) && self.knows_newer(&service)) {
                    self.upsert(service, &mut changes);
                }
            }
            Event::InitDone => {
                let seen = std::mem::take(&mut self.seen);
                self.answered.clear();
                changes.removed = self.known.keys().filter(|key| !seen.contains(*key)).cloned().collect();
                for key in &changes.removed {
                    self.known.remove(key);
                }
                self.synced = true;
            }
            Event::Apply(service) => {
                if !self.knows_newer(&service) {
                    self.upsert(service, &mut changes);
                }
            }
            // Of an earlier Service of this name there is nothing left to delete.
            Event::Delete(service) => {
                if self.known.get(&service.key).is_some_and(|known| known.uid == service.uid) {
                    self.known.remove(&service.key);
                    changes.removed.push(service.key);
                }
            }
        }
        changes
    }

    /// Takes in the answer to a write of ours. Without a version that can be compared, only the watch tells what came last.
    pub fn answer(&mut self, service: Service) -> Changes {
        let mut changes = Changes::default();
        let known = self.known.get(&service.key).is_some_and(|known| known.uid == service.uid);
        if known && service.version().is_some() && !self.knows_newer(&service) {
            self.answered.insert(service.key.clone());
            self.upsert(service, &mut changes);
        }
        changes
    }

    fn knows_newer(&self, service: &Service) -> bool {
        let known = self.known.get(&service.key).and_then(|known| known.version());
        matches!((known, service.version()), (Some(known), Some(version)) if known > version)
    }

    fn upsert(&mut self, service: Service, changes: &mut Changes) {
        match self.known.get_mut(&service.key) {
            Some(known) if **known == service => {}
            Some(known) => {
                if known.uid != service.uid {
                    changes.removed.push(service.key.clone());
                }
                changes.upserted.push(service.key.clone());
                **known = service;
            }
            None => {
                changes.upserted.push(service.key.clone());
                self.known.insert(service.key.clone(), Box::new(service));
            }
        }
    }

    /// Whether a complete list was seen since the start.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// One Service.
    pub fn get(&self, key: &ServiceKey) -> Option<&Service> {
        self.known.get(key).map(|service| &**service)
    }

    /// All Services by key.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &Service)> {
        self.known.iter().map(|(key, service)| (key, &**service))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn service(name: &str, uid: &str, version: u64) -> Service {
        let mut out = fixtures::service(name, &["10.96.0.1"]);
        out.uid = uid.into();
        out.resource_version = version.to_string().into();
        out
    }

    fn names(services: &Services) -> Vec<String> {
        services.iter().map(|(key, known)| format!("{} {}@{}", key.name(), known.uid, known.resource_version)).collect()
    }

    #[test]
    fn older_versions_and_deletions_of_an_earlier_service_change_nothing() {
        let mut services = Services::default();
        services.apply(Event::Apply(service("a", "second", 19)));
        assert_eq!(services.apply(Event::Apply(service("a", "first", 7))), Changes::default());
        assert_eq!(services.apply(Event::Delete(service("a", "first", 18))), Changes::default());
        assert_eq!(names(&services), ["a second@19"]);
        assert_eq!(services.apply(Event::Delete(service("a", "second", 25))).removed.len(), 1);
        assert_eq!(services.answer(service("a", "second", 26)), Changes::default(), "nothing comes back");
    }

    #[test]
    fn a_service_that_replaces_another_is_removed_and_upserted() {
        let mut services = Services::default();
        services.apply(Event::Apply(service("a", "first", 5)));
        let changes = services.apply(Event::Apply(service("a", "second", 9)));
        assert_eq!((changes.removed.len(), changes.upserted.len()), (1, 1));
    }

    #[test]
    fn a_list_is_believed_unless_an_answer_came_after_it_was_asked_for() {
        let mut services = Services::default();
        for name in ["a", "b", "c"] {
            services.apply(Event::Apply(service(name, "1", 50)));
        }
        services.answer(service("a", "1", 60));
        services.apply(Event::Init);
        services.answer(service("b", "1", 61));
        // The apiserver was restored from a backup: all versions went back.
        for name in ["a", "b"] {
            services.apply(Event::InitApply(service(name, "1", 40)));
        }
        assert_eq!(services.apply(Event::InitDone).removed, [ServiceKey::new("default", "c")]);
        assert_eq!(names(&services), ["a 1@40", "b 1@61"]);
        for event in [Event::Init, Event::InitApply(service("b", "1", 41)), Event::InitDone] {
            services.apply(event);
        }
        assert_eq!(names(&services), ["b 1@41"]);
    }
}
