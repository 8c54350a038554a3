//! Which Events were written lately. Pure: the clock is an argument.
//!
//! ```text
//!  notice ──known (object, type, reason, message)?──▶ Repeat{name, count}
//!         ──new──▶ Create
//!         ──too many about this object──▶ Drop
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;

use super::EventType;

/// One call of `publish`.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    pub(super) object: ObjectReference,
    pub(super) kind: EventType,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) tellers: Tellers,
}

/// How many programs tell the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tellers {
    /// This one.
    One,
    /// Those of all nodes.
    Many,
}

/// What to do with a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write a new Event, then call [`Ledger::created`].
    Create,
    /// Set the count of the Event with this name.
    Repeat { name: String, count: i32 },
    /// Say nothing.
    Drop,
}

/// An Event that was not repeated for this long is forgotten (Go recorder: 10 minutes).
const MEMORY: Duration = Duration::from_secs(600);
/// How many Events are remembered (Go recorder: 4096).
const CAPACITY: usize = 4096;
/// Events about one object that may follow each other at once (Go recorder: 25).
const BURST: u32 = 25;
/// After the burst, one more per this time (Go recorder: one in 5 minutes).
const REFILL: Duration = Duration::from_secs(300);

type ObjectKey = (String, String, String, String);
type Key = (ObjectKey, EventType, String, String);

#[derive(Debug)]
struct Written {
    name: String,
    count: i32,
    last: Instant,
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: u32,
    since: Instant,
}

/// The memory of the writer.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    written: BTreeMap<Key, Written>,
    buckets: BTreeMap<ObjectKey, Bucket>,
}

impl Ledger {
    /// Decides about a notice at `now`.
    pub(super) fn note(&mut self, notice: &Notice, now: Instant) -> Step {
        if !self.take_token(&object_key(notice), now) {
            return Step::Drop;
        }
        match self.written.get_mut(&key(notice)) {
            Some(written) if now.saturating_duration_since(written.last) < MEMORY => {
                written.count = written.count.saturating_add(1);
                written.last = now;
                Step::Repeat { name: written.name.clone(), count: written.count }
            }
            Some(_) | None => Step::Create,
        }
    }

    /// Remembers that the notice's Event was created under this name.
    pub(super) fn created(&mut self, notice: &Notice, name: String, now: Instant) {
        if self.written.len() >= CAPACITY {
            self.written.retain(|_, written| now.saturating_duration_since(written.last) < MEMORY);
        }
        if self.written.len() >= CAPACITY {
            // The price is a few Events that begin to count from one again.
            self.written.clear();
        }
        self.written.insert(key(notice), Written { name, count: 1, last: now });
    }

    fn take_token(&mut self, object: &ObjectKey, now: Instant) -> bool {
        if self.buckets.len() >= CAPACITY {
            // A bucket that had time to fill up tells nothing.
            self.buckets.retain(|_, bucket| now.saturating_duration_since(bucket.since) < REFILL * BURST);
        }
        if self.buckets.len() >= CAPACITY {
            self.buckets.clear();
        }
        let bucket = self.buckets.entry(object.clone()).or_insert(Bucket { tokens: BURST, since: now });
        let earned = now.saturating_duration_since(bucket.since).as_secs() / REFILL.as_secs();
        if let Ok(earned) = u32::try_from(earned)
            && earned > 0
        {
            bucket.tokens = bucket.tokens.saturating_add(earned).min(BURST);
            bucket.since += REFILL.saturating_mul(earned);
        }
        let allowed = bucket.tokens > 0;
        bucket.tokens = bucket.tokens.saturating_sub(1);
        allowed
    }
}

fn object_key(notice: &Notice) -> ObjectKey {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let object = &notice.object;
    (text(&object.uid), text(&object.kind), text(&object.namespace), text(&object.name))
}

fn key(notice: &Notice) -> Key {
    (object_key(notice), notice.kind, notice.reason.clone(), notice.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(uid: &str, message: &str) -> Notice {
        Notice {
            object: ObjectReference { uid: Some(uid.to_owned()), ..ObjectReference::default() },
            kind: EventType::Normal,
            reason: String::from("nodeAssigned"),
            message: message.to_owned(),
            tellers: Tellers::One,
        }
    }

    #[test]
    fn repeats_count_up_until_they_are_forgotten() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let one = notice("u", "announcing from node \"a\"");
        assert_eq!(ledger.note(&one, now), Step::Create);
        ledger.created(&one, String::from("web.1"), now);
        for count in 2..4 {
            assert_eq!(ledger.note(&one, now), Step::Repeat { name: String::from("web.1"), count });
        }
        assert_eq!(ledger.note(&one, now + MEMORY), Step::Create);
    }

    #[test]
    fn another_object_or_message_is_another_event() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.created(&notice("u", "m"), String::from("web.1"), now);
        assert_eq!(ledger.note(&notice("v", "m"), now), Step::Create);
        assert_eq!(ledger.note(&notice("u", "n"), now), Step::Create);
    }

    #[test]
    fn an_event_that_could_not_be_created_is_tried_again() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        assert_eq!(ledger.note(&notice("u", "m"), now), Step::Create);
        assert_eq!(ledger.note(&notice("u", "m"), now), Step::Create);
    }

    #[test]
    fn a_chatty_object_is_silenced_and_the_others_are_heard() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let steps: Vec<Step> = (0..30).map(|number| ledger.note(&notice("u", &number.to_string()), now)).collect();
        assert_eq!(steps.iter().filter(|step| **step == Step::Create).count(), 25);
        assert_eq!(ledger.note(&notice("v", "m"), now), Step::Create);
        assert_eq!(ledger.note(&notice("u", "x"), now + REFILL), Step::Create);
        assert_eq!(ledger.note(&notice("u", "y"), now + REFILL), Step::Drop);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for number in 0..CAPACITY + 10 {
            let one = notice(&number.to_string(), "m");
            ledger.note(&one, now);
            ledger.created(&one, String::from("x"), now);
        }
        assert!(ledger.written.len() <= CAPACITY && ledger.buckets.len() <= CAPACITY);
    }
}
