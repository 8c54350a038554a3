//! Bookkeeping of a watch: which objects are there, and what a re-list took away.
//!
//! ```text
//!  Init            a new list begins; what was known stays
//!  InitApply(k,v)  seen in the new list
//!  InitDone        known but not seen again ──▶ removed; the first one makes the index synced
//!  Apply / Delete  one object changed
//! ```
//! A watch that lost its place lists again, and objects deleted meanwhile are only missing from that list. Every consumer
//! of a watch needs this logic, so it lives once, here, and without any IO.

use std::collections::{BTreeMap, BTreeSet};

use crate::watch::Event;

/// Objects by key, kept in step with a watch.
#[derive(Clone, Debug)]
pub struct Index<K, V> {
    known: BTreeMap<K, V>,
    /// Keys of the list under way.
    seen: BTreeSet<K>,
    synced: bool,
}

/// What one event changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<K> {
    /// Keys that are new or whose value differs from before.
    pub upserted: BTreeSet<K>,
    /// Keys that are gone.
    pub removed: BTreeSet<K>,
    /// Whether this event made the index complete for the first time.
    pub became_synced: bool,
}

impl<K> Default for Changes<K> {
    fn default() -> Self {
        Self { upserted: BTreeSet::new(), removed: BTreeSet::new(), became_synced: false }
    }
}

impl<K> Changes<K> {
    /// Whether no key changed.
    pub fn is_empty(&self) -> bool {
        self.upserted.is_empty() && self.removed.is_empty()
    }
}

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), seen: BTreeSet::new(), synced: false }
    }
}

impl<K: Ord + Clone, V: PartialEq> Index<K, V> {
    /// An empty index that is not synced.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one event of the watch (see [`map_event`] to get from objects to keys and values).
    ///
    /// Objects of a list under way are visible at once; what the list lacks goes away when it is complete.
    pub fn apply(&mut self, event: Event<(K, V)>) -> Changes<K> {
        let mut changes = Changes::default();
        match event {
            Event::Init => self.seen.clear(),
            Event::InitApply((key, value)) => {
                self.seen.insert(key.clone());
                self.upsert(key, value, &mut changes);
            }
            Event::InitDone => {
                let seen = std::mem::take(&mut self.seen);
                changes.removed = self.known.keys().filter(|key| !seen.contains(key)).cloned().collect();
                for key in &changes.removed {
                    self.known.remove(key);
                }
                changes.became_synced = !std::mem::replace(&mut self.synced, true);
            }
            Event::Apply((key, value)) => self.upsert(key, value, &mut changes),
            Event::Delete((key, _)) => {
                if self.known.remove(&key).is_some() {
                    changes.removed.insert(key);
                }
            }
        }
        changes
    }

    fn upsert(&mut self, key: K, value: V, changes: &mut Changes<K>) {
        if self.known.get(&key) != Some(&value) {
            changes.upserted.insert(key.clone());
            self.known.insert(key, value);
        }
    }

    /// Whether a complete list was seen since the start.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.known.get(key)
    }

    /// All keys and values in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.known.iter()
    }

    /// All values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.known.values()
    }

    /// How many objects are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no object is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// Applies a function to the object inside an event.
pub fn map_event<A, B>(event: Event<A>, f: impl FnOnce(A) -> B) -> Event<B> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(f(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(f(object)),
        Event::Delete(object) => Event::Delete(f(object)),
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use proptest::prelude::*;

    use super::*;

    fn run(index: &mut Index<u8, u8>, events: Vec<Event<(u8, u8)>>) -> Vec<Changes<u8>> {
        futures::executor::block_on(futures::stream::iter(events).map(|event| index.apply(event)).collect())
    }

    fn changes(upserted: &[u8], removed: &[u8]) -> Changes<u8> {
        Changes {
            upserted: upserted.iter().copied().collect(),
            removed: removed.iter().copied().collect(),
            became_synced: false,
        }
    }

    #[test]
    fn the_first_complete_list_makes_the_index_synced() {
        let mut index = Index::new();
        let all = run(&mut index, vec![Event::Init, Event::InitApply((1, 10))]);
        assert_eq!(all[1], changes(&[1], &[]));
        assert!(!index.is_synced());
        assert!(run(&mut index, vec![Event::InitDone])[0].became_synced);
        assert!(index.is_synced());
        assert!(!run(&mut index, vec![Event::Init, Event::InitApply((1, 10)), Event::InitDone])[2].became_synced);
    }

    #[test]
    fn objects_missing_from_a_later_list_are_removed() {
        let mut index = Index::new();
        let list = |keys: &[u8]| {
            let mut events = vec![Event::Init];
            events.extend(keys.iter().map(|key| Event::InitApply((*key, 0))));
            events.push(Event::InitDone);
            events
        };
        run(&mut index, list(&[1, 2, 3]));
        let all = run(&mut index, list(&[2]));
        assert_eq!(*all.last().unwrap(), changes(&[], &[1, 3]));
        assert_eq!(index.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_list_that_begins_anew_forgets_what_the_broken_one_saw() {
        let mut index = Index::new();
        let events =
            vec![Event::Init, Event::InitApply((1, 0)), Event::Init, Event::InitApply((2, 0)), Event::InitDone];
        assert_eq!(run(&mut index, events).last().unwrap().removed, BTreeSet::from([1]));
    }

    #[test]
    fn an_unchanged_object_and_an_unknown_deletion_change_nothing() {
        let mut index = Index::new();
        let all = run(&mut index, vec![Event::Apply((1, 1)), Event::Apply((1, 1)), Event::Delete((2, 0))]);
        assert_eq!(all, [changes(&[1], &[]), changes(&[], &[]), changes(&[], &[])]);
        assert_eq!(run(&mut index, vec![Event::Delete((1, 9))]), [changes(&[], &[1])]);
        assert!(index.is_empty());
    }

    proptest! {
        #[test]
        fn replaying_the_changes_gives_the_same_keys_as_the_index(steps in prop::collection::vec((0u8..5, 0u8..4, 0u8..3), 0..60)) {
            let mut index = Index::new();
            let mut mirror = BTreeSet::new();
            for (kind, key, value) in steps {
                let event = match kind {
                    0 => Event::Init,
                    1 => Event::InitApply((key, value)),
                    2 => Event::InitDone,
                    3 => Event::Apply((key, value)),
                    _ => Event::Delete((key, value)),
                };
                let changes = index.apply(event);
                mirror.extend(changes.upserted);
                mirror.retain(|key| !changes.removed.contains(key));
            }
            prop_assert_eq!(mirror.into_iter().collect::<Vec<_>>(), index.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        }
    }
}
