//! The API: Leases, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Draft, Expect, Record, Stored, WriteError};

/// What is stored. Every operation happens at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Store {
    leases: BTreeMap<Arc<str>, Record>,
    /// The time of the last write to each Lease, and how many there were at that time: versions follow from it, so that worlds
    /// with the same future are equal.
    marks: BTreeMap<Arc<str>, (u64, u32)>,
    /// Writes are not checked against what is there: a rule that belongs to the API.
    pub(super) unguarded: bool,
}

impl Store {
    pub(super) fn write(
        &mut self,
        now: u64,
        node: &Arc<str>,
        draft: &Draft,
        duration: u64,
    ) -> Result<Stored, WriteError> {
        let there = self.leases.get(node);
        match (&draft.expect, there) {
            _ if self.unguarded => {}
            (Expect::Absent, None) => {}
            (Expect::Version(version), Some(lease)) if lease.version == *version => {}
            (Expect::Version(_), None) => return Err(WriteError::Absent),
            (Expect::Absent | Expect::Version(_), Some(_)) => return Err(WriteError::Refused),
        }
        let mark = self.marks.entry(Arc::clone(node)).or_default();
        *mark = if mark.0 == now { (now, mark.1 + 1) } else { (now, 0) };
        let version: Arc<str> = format!("{}.{}", mark.0, mark.1).into();
        let uid = there.map_or_else(|| Arc::clone(&version), |lease| Arc::clone(&lease.uid));
        let lease = Record {
            node: Arc::clone(node),
            uid: Arc::clone(&uid),
            version: Arc::clone(&version),
            holder: Arc::clone(&draft.holder),
            duration,
            claims: Some(draft.claims.clone()),
        };
        self.leases.insert(Arc::clone(node), lease);
        Ok(Stored { uid, version })
    }

    pub(super) fn read(&self) -> Vec<Record> {
        self.leases.values().cloned().collect()
    }

    /// Whether a write could still change anything.
    pub(super) fn would_take(&self, node: &Arc<str>, draft: &Draft) -> bool {
        match (&draft.expect, self.leases.get(node)) {
            _ if self.unguarded => true,
            (Expect::Absent, lease) => lease.is_none(),
            (Expect::Version(version), lease) => lease.is_some_and(|lease| lease.version == *version),
        }
    }

    /// By hand.
    pub(super) fn delete(&mut self, node: &Arc<str>) -> bool {
        self.leases.remove(node).is_some()
    }
}
