//! Brings everything in line: who is looked at, in which order, and what comes of it.
//!
//! ```text
//!  recompile ─▶ import what dirty Services show ─▶ line: dirty Services and the first of each queue that has an opportunity
//!                                                   │  the oldest first
//!                                                   ▼
//!                             converge one ──▶ actions; what it freed brings others into the line
//! ```
//! The line gets shorter with every turn: a Service that was refused is looked at again only when another one gave
//! something up or got what it wanted, and both happen a limited number of times.

use std::collections::{BTreeSet, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use crate::allocator::{Opportunity, ServiceKey};
use crate::plan::{self, ConditionWrite, Note, StatusWrite, Surroundings};
use crate::service::{Ingress, Service};
use crate::state::{Action, Outcome, ServiceWrite, State, Subject};
use crate::waiting::{QueueId, Turn};

/// The pause before a value that somebody else replaced is written again for the second time; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Writes with a condition that may fail before the Event is published without.
const PATIENCE: u8 = 2;

/// What is known about writes and Events of one Service.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Progress {
    /// The write under way.
    writing: Option<u64>,
    /// Addresses of writes since the object was last seen to change: it may come to show them.
    pub(crate) sent: Vec<IpAddr>,
    /// Events of the last convergence; they are not repeated while nothing changes.
    said: BTreeSet<Note>,
    /// Events that follow the write under way.
    after_write: Vec<Note>,
    /// Writes in a row that did not get through.
    failures: u8,
    /// Stands for the addresses of the write under way.
    values: Option<u64>,
}

/// What we wrote of a Service's addresses.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Written {
    /// Stands for the values.
    values: u64,
    /// How often they were replaced.
    replaced: u32,
    /// Whether the next write waits for [`State::retry`].
    paused: bool,
    /// Whether the pause before the next write is over.
    allowed: bool,
}

impl State {
    /// Takes in how a write ended. Returns whether to call [`State::retry`] for this Service after a while.
    pub fn written(&mut self, attempt: u64, key: &ServiceKey, outcome: Outcome) -> bool {
        let progress = self.derived.progress.get_mut(key).filter(|progress| progress.writing == Some(attempt));
        let Some(progress) = progress else { return false };
        progress.writing = None;
        let notes = std::mem::take(&mut progress.after_write);
        match outcome {
            Outcome::Stored(service) => {
                progress.failures = 0;
                if let Some(values) = progress.values.take() {
                    self.derived.written.entry(key.clone()).or_default().stored(values);
                }
                let (uid, resource_version) = (service.uid.clone(), service.resource_version.clone());
                let subject = Subject { key: key.clone(), uid, resource_version };
                progress.said.extend(notes.iter().cloned());
                self.derived.released.extend(notes.into_iter().map(|note| Action::Note(subject.clone(), note)));
                let changes = self.services.answer(*service);
                self.take_in(changes);
                false
            }
            Outcome::Refused | Outcome::Unknown => {
                progress.failures = progress.failures.saturating_add(1);
                true
            }
        }
    }

    /// Looks at a Service again although nothing changed: an earlier write did not get through, or had to wait.
    pub fn retry(&mut self, key: &ServiceKey) {
        if self.leading && self.services.get(key).is_some() {
            if let Some(written) = self.derived.written.get_mut(key) {
                written.allow();
            }
            self.derived.dirty.insert(key.clone());
        }
    }

    /// Brings everything in line and says what has to be done. Does nothing while following, or before every list is in.
    pub fn settle(&mut self) -> Vec<Action> {
        if !self.leading || !self.is_synced() {
            return Vec::new();
        }
        let mut actions = std::mem::take(&mut self.derived.released);
        self.recompile(&mut actions);
        // Services with a write under way stay dirty until it ended.
        let (later, now): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.derived.dirty).into_iter().partition(|key| self.is_busy(key));
        self.derived.dirty = later;
        // The oldest first, as in every queue: so it does not matter whether somebody waits or a controller starts.
        let mut line: BTreeSet<(Turn, Option<QueueId>)> =
            now.iter().filter_map(|key| Some((self.turn(key)?, None))).collect();
        self.import(line.iter().map(|((_, key), _)| key));
        loop {
            self.call_up(&mut line);
            let Some((turn, queue)) = line.pop_first() else { break };
            self.serve(&turn, queue, &mut actions);
            if let Some(queue) = queue {
                line.extend(self.next_in(queue, &turn).map(|next| (next, Some(queue))));
            }
        }
        actions
    }

    /// Takes in what Services show. First those that show something else than we remember, which frees what others show; last
    /// those that are not ours any more, so that none of ours loses what it shares with them.
    fn import<'a>(&mut self, keys: impl Iterator<Item = &'a ServiceKey> + Clone) {
        for (known, ours) in [(true, true), (true, false), (false, true), (false, false)] {
            for key in keys.clone() {
                let sent = self.derived.progress.get(key).is_some_and(|progress| !progress.sent.is_empty());
                if let Some(service) = self.services.get(key)
                    && self.derived.allocator.knows(key) == known
                    // What we sent it may come to show.
                    && !(known && sent)
                    && self.is_ours(service) == ours
                    && (ours || shows_what_we_gave(service))
                {
                    plan::import(service, &mut self.derived.allocator);
                }
            }
        }
    }

    /// Brings into the line whom an opportunity may help.
    fn call_up(&mut self, line: &mut BTreeSet<(Turn, Option<QueueId>)>) {
        for opportunity in self.derived.allocator.take_opportunities() {
            let any = match &opportunity {
                Opportunity::Pool(pool, _) => self.derived.allocator.is_free_for_all(pool),
                Opportunity::Address(_) | Opportunity::Key(_) => false,
            };
            for queue in self.derived.waiting.queues(&opportunity, any) {
                line.extend(self.derived.waiting.first(queue).map(|first| (first.clone(), Some(queue))));
            }
        }
    }

    fn turn(&self, key: &ServiceKey) -> Option<Turn> {
        Some((self.services.get(key)?.created, key.clone()))
    }

    fn is_busy(&self, key: &ServiceKey) -> bool {
        self.derived.progress.get(key).is_some_and(|progress| progress.writing.is_some())
    }

    /// One turn. Somebody with a write under way is dirty and gets its own turn later, unless it has nothing to lose: then
    /// it must not be passed over, and what it gets is written when the other write ended.
    fn serve(&mut self, (_, key): &Turn, queue: Option<QueueId>, actions: &mut Vec<Action>) {
        let waits = queue.is_none() || self.derived.waiting.contains(key);
        let has_none = self.derived.allocator.allocation(key).is_none();
        let empty = |progress: &Progress| progress.sent.is_empty();
        let may = !self.is_busy(key) || (has_none && self.derived.progress.get(key).is_none_or(empty));
        if waits && may {
            self.converge(key, actions);
        }
    }

    /// Who is to be asked after `turn` in a queue: nobody if it was refused, because the others would be too.
    fn next_in(&self, queue: QueueId, turn: &Turn) -> Option<Turn> {
        let waiting = &self.derived.waiting;
        let passed_over = self.is_busy(&turn.1) && self.derived.allocator.allocation(&turn.1).is_some();
        let next = if waiting.names_addresses(queue) || passed_over {
            waiting.behind(queue, turn)
        } else {
            waiting.first(queue).filter(|_| !waiting.is_in(queue, turn))
        };
        next.cloned()
    }

    /// Whether the class of a Service makes it ours. A Service that is no load balancer any more has lost its class, but
    /// what it still has of us is ours to clean up.
    fn is_ours(&self, service: &Service) -> bool {
        let has_ours = || {
            service.recorded_pool().is_some()
                || service.condition.is_some()
                || self.derived.allocator.knows(&service.key)
        };
        service.is_of_class(self.class.as_deref()) || (!service.is_load_balancer && has_ours())
    }

    fn converge(&mut self, key: &ServiceKey, actions: &mut Vec<Action>) {
        let Some(service) = self.services.get(key) else { return };
        if !self.is_ours(service) {
            let shown = service.shown();
            let held = self.derived.allocator.allocation(key).is_some_and(|have| have.addresses == shown);
            if held && shows_what_we_gave(service) {
                plan::reconsider(service, &mut self.derived.allocator);
            } else {
                let visible = if shows_what_we_gave(service) { shown } else { Vec::new() };
                self.derived.allocator.release(key, &visible);
            }
            self.derived.waiting.remove(key);
            return;
        }
        self.count_convergence();
        let Some(service) = self.services.get(key) else { return };
        let before = self.derived.progress.remove(key).unwrap_or_default();
        let mut visible = service.shown();
        visible.extend(&before.sent);
        let around = Surroundings { visible: &visible, allocation_rules: !before.sent.is_empty() };
        let decision = plan::converge(service, &mut self.derived.allocator, around);
        let write = plan::difference(service, &decision);
        let mut progress = before;
        let mut notes = decision.notes;
        if write.as_ref().is_some_and(|write| write.status.is_some()) {
            notes.extend(plan::deprecations(service));
        }
        let subject =
            Subject { key: key.clone(), uid: service.uid.clone(), resource_version: service.resource_version.clone() };
        // The condition is the memory of what was said: whoever leads next does not repeat it.
        let shown = service.condition.as_deref().filter(|condition| condition.is_false);
        let shows = decision.pending.as_ref().is_some_and(|pending| shown.is_some_and(|shown| pending.is_in(shown)));
        let event = decision.pending.as_ref().and_then(|pending| pending.event.as_ref());
        let said_before = std::mem::take(&mut progress.said);
        let said = |note: &Note| said_before.contains(note) || (shows && event == Some(note));
        let news = notes.iter().any(|note| !said(note));
        if news || (notes.is_empty() && write.is_some()) {
            actions.extend(decision.steps.into_iter().map(|step| Action::Log(key.clone(), step)));
        }
        let sets = write.as_ref().is_some_and(|write| matches!(write.condition, Some(ConditionWrite::Set { .. })));
        let with_write = sets && progress.failures < PATIENCE;
        let busy = progress.writing.is_some();
        let values = write.as_ref().and_then(|write| write.status.as_ref()).map(fingerprint);
        let must_wait = !busy
            && self.derived.written.get_mut(key).zip(values).is_some_and(|(written, values)| {
                written.must_wait(values, |pause| actions.push(Action::Later(key.clone(), pause)))
            });
        for note in notes {
            let follows = with_write && event == Some(&note);
            if said(&note) {
                progress.said.insert(note);
            } else if !follows {
                actions.push(Action::Note(subject.clone(), note.clone()));
                progress.said.insert(note);
            } else if !busy && !must_wait {
                progress.after_write.push(note);
            }
        }
        if busy {
            self.derived.dirty.insert(key.clone());
        } else if let Some(write) = write.filter(|_| !must_wait) {
            self.attempts += 1;
            progress.writing = Some(self.attempts);
            if let Some(status) = &write.status {
                progress.sent.extend(status.ingress.iter().filter_map(Ingress::address));
                progress.sent.sort_unstable();
                progress.sent.dedup();
            }
            progress.values = values;
            let resource_version = service.resource_version.clone();
            let attempt = self.attempts;
            actions.push(Action::Write(ServiceWrite { attempt, key: key.clone(), resource_version, write }));
        }
        match decision.wait {
            Some(wait) => {
                let turn = (service.created, key.clone());
                self.derived.waiting.insert(turn, &wait, &service.sharing, &service.ports);
            }
            None => self.derived.waiting.remove(key),
        }
        if progress != Progress::default() {
            self.derived.progress.insert(key.clone(), progress);
        }
    }
}

impl Written {
    /// These values were stored.
    fn stored(&mut self, values: u64) {
        self.replaced = if self.values == values { self.replaced.saturating_add(1) } else { 0 };
        self.values = values;
    }

    /// Whether values must not be written yet, because somebody else keeps replacing them. Asks for the end of the pause.
    fn must_wait(&mut self, values: u64, ask: impl FnOnce(Duration)) -> bool {
        if self.values != values || self.replaced == 0 || std::mem::take(&mut self.allowed) {
            return false;
        }
        if !std::mem::replace(&mut self.paused, true) {
            let factor = 2u32.saturating_pow(self.replaced - 1);
            ask(FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE));
        }
        true
    }

    /// The pause, if there was one, is over.
    fn allow(&mut self) {
        self.allowed |= std::mem::take(&mut self.paused);
    }
}

fn fingerprint(status: &StatusWrite) -> u64 {
    let mut hasher = DefaultHasher::new();
    status.hash(&mut hasher);
    hasher.finish()
}

/// A load balancer that shows an address of one of our pools. If its class is another one now, it is not ours to change, but
/// nobody else may get the address: the class of the controller can change while Services have addresses.
fn shows_what_we_gave(service: &Service) -> bool {
    service.is_load_balancer && service.recorded_pool().is_some() && !service.ingress.is_empty()
}
