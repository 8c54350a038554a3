//! Tells people why nobody announces a Service: an event, once it has lasted.
//!
//! ```text
//!  owner ──Mailbox { Service: Complaint | none }──▶ Complaints (pure) ──due──▶ Event notAnnounced
//! ```
//! A Service that was just made waits for its pods, and during a hand-over there is nobody for a moment. That is in the metric
//! and in the log; an event comes of what holds for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use runtime::events::{EventType, Publisher};

use crate::mailbox::Mailbox;
use crate::state::ServiceKey;

/// How long a Service must be silent for the same reason before an event tells so.
const HOLD: Duration = Duration::from_secs(3);
/// Most events told in one go, and the time until more follow: thousands of Services without pods are in the metric, and their
/// events must not keep the apiserver busy or crowd out others.
const PORTION: usize = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// Reason of the event.
const REASON: &str = "notAnnounced";

/// Why nobody announces a Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Complaint {
    /// The Service.
    pub object: ObjectReference,
    /// The sentence to tell.
    pub text: String,
}

/// Where complaints are left, or taken back.
pub type Complaints = Mailbox<ServiceKey, Option<Complaint>>;

/// Publishes what holds long enough, for as long as the future is polled.
pub async fn tell(complaints: Complaints, events: Publisher) {
    let mut notes = Notes::default();
    loop {
        let wake = notes.wake();
        tokio::select! {
            () = complaints.arrival() => {
                let now = Instant::now();
                complaints.drain().into_iter().for_each(|(service, complaint)| notes.note(service, complaint, now));
            }
            () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => {
                for Complaint { object, text } in notes.due(Instant::now()) {
                    // While nodes disagree about who is alive, two of them may tell; together they make one event.
                    events.publish_with_others(&object, EventType::Warning, REASON, &text);
                }
            }
        }
    }
}

/// What is to be told, and what was.
#[derive(Debug, Default)]
struct Notes {
    waiting: BTreeMap<ServiceKey, (Instant, Complaint)>,
    order: BTreeSet<(Instant, ServiceKey)>,
    told: BTreeMap<ServiceKey, Complaint>,
    /// Nothing is told before this moment, see [`PORTION`].
    pause: Option<Instant>,
}

impl Notes {
    fn note(&mut self, service: ServiceKey, complaint: Option<Complaint>, now: Instant) {
        let Some(complaint) = complaint else {
            self.drop_waiting(&service);
            self.told.remove(&service);
            return;
        };
        if self.waiting.get(&service).is_some_and(|(_, known)| *known == complaint) {
            return;
        }
        self.drop_waiting(&service);
        if self.told.get(&service) != Some(&complaint) {
            self.order.insert((now + HOLD, service.clone()));
            self.waiting.insert(service, (now + HOLD, complaint));
        }
    }

    fn drop_waiting(&mut self, service: &ServiceKey) {
        if let Some((when, _)) = self.waiting.remove(service) {
            self.order.remove(&(when, service.clone()));
        }
    }

    fn wake(&self) -> Option<Instant> {
        let (when, _) = self.order.first()?;
        Some(self.pause.map_or(*when, |pause| pause.max(*when)))
    }

    fn due(&mut self, now: Instant) -> Vec<Complaint> {
        let mut due = Vec::new();
        if self.pause.is_some_and(|pause| pause > now) {
            return due;
        }
        while due.len() < PORTION
            && let Some((when, service)) = self.order.first().cloned()
            && when <= now
        {
            self.order.pop_first();
            if let Some((_, complaint)) = self.waiting.remove(&service) {
                due.push(complaint.clone());
                self.told.insert(service, complaint);
            }
        }
        self.pause = (due.len() == PORTION).then(|| now + PAUSE);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ServiceKey {
        ServiceKey { namespace: "default".to_owned(), name: "web".to_owned() }
    }

    fn complaint(text: &str) -> Option<Complaint> {
        Some(Complaint { object: ObjectReference::default(), text: text.to_owned() })
    }

    fn texts(notes: &mut Notes, now: Instant) -> Vec<String> {
        notes.due(now).into_iter().map(|complaint| complaint.text).collect()
    }

    #[test]
    fn what_lasts_is_told_once_and_again_when_it_comes_back() {
        let (mut notes, start) = (Notes::default(), Instant::now());
        notes.note(key(), complaint("no endpoint"), start);
        assert_eq!(texts(&mut notes, start + HOLD / 2), [""; 0]);
        notes.note(key(), complaint("no endpoint"), start + HOLD / 2);
        assert_eq!(texts(&mut notes, start + HOLD), ["no endpoint"], "the same again does not start anew");
        notes.note(key(), complaint("no endpoint"), start + HOLD * 2);
        assert!(notes.wake().is_none() && notes.due(start + HOLD * 9).is_empty());
        notes.note(key(), None, start + HOLD * 10);
        notes.note(key(), complaint("no endpoint"), start + HOLD * 11);
        assert_eq!(texts(&mut notes, start + HOLD * 12), ["no endpoint"]);
    }

    #[test]
    fn thousands_are_told_a_portion_at_a_time() {
        let (mut notes, start) = (Notes::default(), Instant::now());
        for number in 0..PORTION * 2 + 1 {
            notes.note(ServiceKey { name: number.to_string(), ..key() }, complaint("no endpoint"), start);
        }
        let mut told = Vec::new();
        let mut now = start;
        while let Some(wake) = notes.wake() {
            now = wake;
            told.push(notes.due(now).len());
        }
        assert_eq!((told, now), (vec![PORTION, PORTION, 1], start + HOLD + PAUSE * 2));
    }

    #[test]
    fn what_passes_or_changes_in_time_is_not_told() {
        let (mut notes, start) = (Notes::default(), Instant::now());
        notes.note(key(), complaint("no endpoint"), start);
        notes.note(key(), complaint("no speaker"), start + HOLD / 2);
        assert_eq!(texts(&mut notes, start + HOLD), [""; 0]);
        notes.note(key(), None, start + HOLD);
        assert!(notes.wake().is_none() && notes.due(start + HOLD * 9).is_empty());
    }
}
