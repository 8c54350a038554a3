//! The Services as far as they are known: one watch, consistent lists, answers to our own writes; whichever is newest wins.
//!
//! ```text
//!  watch events ─────────┐
//!  answers to writes ────┼─▶ newer than what is known? ──▶ known ──▶ Changes
//!  Listed(version) ──────┘   (versions of one kind can be compared; without a version the event counts as newer)
//! ```
//! After a consistent list was taken in, the watch may still deliver what was before it, for a while. A version from
//! before the list of an object that the list lacks is of an object that is gone, and stays gone.

use std::collections::{BTreeMap, BTreeSet};

use runtime::watch::Event;

use crate::allocator::ServiceKey;
use crate::service::Service;

/// All Services, kept in step with everything that tells about them.
#[derive(Debug, Default)]
pub struct Services {
    known: BTreeMap<ServiceKey, Service>,
    /// Keys of the list of the watch that is under way; `None` when there is none.
    seen: Option<BTreeSet<ServiceKey>>,
    /// Version of the last consistent list.
    floor: u64,
    synced: bool,
}

/// What one event changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Services that are new or differ from before.
    pub upserted: Vec<ServiceKey>,
    /// Services that are gone, or were replaced by others of the same name; forget them before taking in `upserted`.
    pub removed: Vec<ServiceKey>,
}

impl Services {
    /// Takes in one event of the watch.
    pub fn apply(&mut self, event: Event<Service>) -> Changes {
        let mut changes = Changes::default();
        match event {
            Event::Init => self.seen = Some(BTreeSet::new()),
            Event::InitApply(service) => {
                if let Some(seen) = &mut self.seen {
                    seen.insert(service.key.clone());
                }
                self.upsert(service, &mut changes);
            }
            Event::InitDone => {
                let seen = self.seen.take().unwrap_or_default();
                changes.removed = self.remove(|key, _| !seen.contains(key));
                self.synced = true;
            }
            Event::Apply(service) => self.upsert(service, &mut changes),
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

    /// Takes in a consistent list of all Services as of `version`.
    pub fn list(&mut self, version: u64, services: Vec<Service>) -> Changes {
        let mut changes = Changes::default();
        let listed: BTreeSet<ServiceKey> = services.iter().map(|service| service.key.clone()).collect();
        changes.removed = self.remove(|key, known| !listed.contains(key) && known.version() <= Some(version));
        for service in services {
            self.upsert(service, &mut changes);
        }
        // The watch's own list may have begun before this one; it must not remove what it could not know.
        if let Some(seen) = &mut self.seen {
            seen.extend(listed);
        }
        self.floor = self.floor.max(version);
        self.synced = true;
        changes
    }

    fn remove(&mut self, gone: impl Fn(&ServiceKey, &Service) -> bool) -> Vec<ServiceKey> {
        let keys: Vec<ServiceKey> =
            self.known.iter().filter(|(key, service)| gone(key, service)).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.known.remove(key);
        }
        keys
    }

    fn upsert(&mut self, service: Service, changes: &mut Changes) {
        let version = service.version();
        match self.known.get(&service.key) {
            Some(known) if *known == service => return,
            Some(known) if version.is_some() && version < known.version() => return,
            Some(known) if known.uid != service.uid => changes.removed.push(service.key.clone()),
            Some(_) => {}
            None if version.is_some_and(|version| version <= self.floor) => return,
            None => {}
        }
        changes.upserted.push(service.key.clone());
        self.known.insert(service.key.clone(), service);
    }

    /// Whether a complete list was seen since the start.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// One Service.
    pub fn get(&self, key: &ServiceKey) -> Option<&Service> {
        self.known.get(key)
    }

    /// All Services by key.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &Service)> {
        self.known.iter()
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
        out.resource_version = version.to_string();
        out
    }

    fn names(services: &Services) -> Vec<String> {
        services.iter().map(|(key, known)| format!("{} {}@{}", key.name(), known.uid, known.resource_version)).collect()
    }

    #[test]
    fn a_consistent_list_removes_what_it_lacks_and_late_events_bring_nothing_back() {
        let mut services = Services::default();
        for name in ["gone", "stays", "newer"] {
            services.apply(Event::Apply(service(name, "1", 5)));
        }
        services.apply(Event::Apply(service("newer", "1", 30)));
        let changes =
            services.list(20, vec![service("stays", "1", 15), service("newer", "1", 5), service("new", "1", 19)]);
        assert_eq!(changes.removed, [ServiceKey::new("default", "gone")]);
        assert_eq!(names(&services), ["new 1@19", "newer 1@30", "stays 1@15"]);
        for late in [service("gone", "1", 6), service("stays", "1", 14), service("gone", "1", 20)] {
            assert_eq!(services.apply(Event::Apply(late)), Changes::default());
        }
        services.apply(Event::Delete(service("gone", "1", 18)));
        assert_eq!(services.apply(Event::Apply(service("gone", "2", 21))).upserted.len(), 1, "a new one of that name");
    }

    #[test]
    fn the_deletion_of_an_earlier_service_of_the_same_name_changes_nothing() {
        let mut services = Services::default();
        services.list(20, vec![service("a", "second", 19)]);
        assert_eq!(services.apply(Event::Apply(service("a", "first", 7))), Changes::default());
        assert_eq!(services.apply(Event::Delete(service("a", "first", 18))), Changes::default());
        assert_eq!(names(&services), ["a second@19"]);
        assert_eq!(services.apply(Event::Delete(service("a", "second", 25))).removed.len(), 1);
    }

    #[test]
    fn a_list_of_the_watch_that_began_earlier_removes_nothing_of_a_consistent_one() {
        let mut services = Services::default();
        services.apply(Event::Init);
        services.apply(Event::InitApply(service("a", "1", 5)));
        services.list(20, vec![service("a", "1", 5), service("b", "1", 15)]);
        assert_eq!(services.apply(Event::InitDone), Changes::default());
        assert_eq!(names(&services), ["a 1@5", "b 1@15"]);
        services.apply(Event::Init);
        services.apply(Event::InitApply(service("a", "1", 5)));
        assert_eq!(services.apply(Event::InitDone).removed, [ServiceKey::new("default", "b")]);
    }

    #[test]
    fn a_service_that_replaces_another_is_removed_and_upserted() {
        let mut services = Services::default();
        services.apply(Event::Apply(service("a", "first", 5)));
        let changes = services.apply(Event::Apply(service("a", "second", 9)));
        assert_eq!((changes.removed.len(), changes.upserted.len()), (1, 1));
    }
}
