//! Which addresses are in use under each sharing key, and which of them is the first one that has certain ports left.
//!
//! ```text
//! key ──▶ Group { (pool, family) ─▶ positions in hand-out order
//!               , (pool, family, ports) ─▶ cursor: everything before it lacks one of the ports }
//! ```
//! Thousands of Services may share one key and all want port 443. Without the cursor each of them would look at the
//! addresses of all the others.

use std::collections::{BTreeMap, BTreeSet};

use config::Family;

use super::pick::Position;
use super::pools::PoolId;
use super::sharing::{Port, SharingKey};

/// An address as its pool sees it.
pub type Place = (PoolId, Family, Position);

/// Cursors kept per key; more kinds of ports than that start from the beginning.
const CURSORS: usize = 32;

/// Addresses in use by sharing key, for keys that allow sharing.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    groups: BTreeMap<SharingKey, Group>,
}

#[derive(Debug, Clone, Default)]
struct Group {
    places: BTreeMap<(PoolId, Family), BTreeSet<Position>>,
    cursors: BTreeMap<(PoolId, Family), BTreeMap<Vec<Port>, Position>>,
}

impl Group {
    /// Something became available there.
    fn step_back(&mut self, (pool, family, position): Place) {
        for cursor in self.cursors.get_mut(&(pool, family)).into_iter().flat_map(BTreeMap::values_mut) {
            *cursor = position.min(*cursor);
        }
    }
}

impl Shared {
    /// An address is used under this key.
    pub fn insert(&mut self, key: &SharingKey, place: Place) {
        if key.sharing.is_empty() {
            return;
        }
        if !self.groups.contains_key(key) {
            self.groups.insert(key.clone(), Group::default());
        }
        let Some(group) = self.groups.get_mut(key) else { return };
        let (pool, family, position) = place;
        if group.places.entry((pool, family)).or_default().insert(position) {
            group.step_back(place);
        }
    }

    /// An address is not used under this key any more.
    pub fn remove(&mut self, key: &SharingKey, (pool, family, position): Place) {
        let Some(group) = self.groups.get_mut(key) else { return };
        if let Some(positions) = group.places.get_mut(&(pool, family)) {
            positions.remove(&position);
            if positions.is_empty() {
                group.places.remove(&(pool, family));
                group.cursors.remove(&(pool, family));
            }
        }
        if group.places.is_empty() {
            self.groups.remove(key);
        }
    }

    /// A port of an address under this key is free again.
    pub fn port_freed(&mut self, key: &SharingKey, place: Place) {
        if let Some(group) = self.groups.get_mut(key) {
            group.step_back(place);
        }
    }

    /// Pools that have addresses of this family under the key.
    pub fn pools(&self, key: &SharingKey, family: Family) -> impl Iterator<Item = PoolId> {
        let places = self.groups.get(key).into_iter().flat_map(|group| group.places.keys());
        places.filter(move |(_, of)| *of == family).map(|(pool, _)| *pool)
    }

    /// The first address under the key that admits these ports.
    pub fn first(
        &mut self,
        key: &SharingKey,
        (pool, family): (PoolId, Family),
        ports: &[Port],
        admits: impl Fn(Position) -> bool,
    ) -> Option<Position> {
        let group = self.groups.get_mut(key)?;
        let positions = group.places.get(&(pool, family))?;
        let cursors = group.cursors.entry((pool, family)).or_default();
        let from = cursors.get(ports).copied().unwrap_or_default();
        let found = positions.range(from..).copied().find(|position| admits(*position));
        if cursors.len() >= CURSORS && !cursors.contains_key(ports) {
            cursors.clear();
        }
        let cursor = found.unwrap_or((usize::MAX, u128::MAX));
        match cursors.get_mut(ports) {
            Some(known) => *known = cursor,
            None => {
                cursors.insert(ports.to_vec(), cursor);
            }
        }
        found
    }
}
