//! Who leads, decided from what the Lease shows and from time that passes here. Pure.
//!
//! ```text
//!            Lease released, or unchanged for 8 s
//!  Follow ───────────────conditional write───────────────▶ Lead until (sent + 5 s)
//!    ▲                                                       │  renewed every 2 s
//!    └──── 5 s since the last renewal was sent, or the ──────┘
//!          Lease names somebody else
//! ```
//! An absent Lease has no version, so it cannot be taken conditionally: unless we are alone it is made without a holder first,
//! which stops whoever led before, and then it is like any other. Whoever lost it rests until nothing that was sent can take effect any more, as everybody else does.
//!
//! Why two never lead at once: our time runs from *before* the renewal was sent, theirs from *after* they saw it, and theirs
//! is longer. So clocks are never compared; they need only run at about the same speed. Every write carries the version it
//! was decided on, so of two that reach for the Lease one gets it.

use std::time::Duration;

use crate::clock::Moment;

/// Others may take the Lease when it did not change for this long.
pub const LEASE: Duration = Duration::from_secs(8);
/// We lead until this long after the last renewal was sent. What the fence lets pass before that moment ends in [`LEASE`]:
/// a second to deliver it, [`PATIENCE`] to carry it out.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// How long the apiserver may work on a write of the leader; whole seconds.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// From one renewal to the next.
const RENEW: Duration = Duration::from_secs(2);
/// How long a request for the Lease may take; then its outcome counts as unknown.
const ANSWER: Duration = Duration::from_secs(2);
/// From a failed request to the next.
const RETRY: Duration = Duration::from_millis(500);
/// From a refused request to the next: somebody else writes the Lease as well.
const REFUSED: Duration = Duration::from_millis(100);
/// The longest duration of somebody else's Lease that is believed.
const LONGEST: Duration = Duration::from_secs(60);
/// After the deadline of a term: what was sent before it has taken effect by then or never will.
pub const AFTERMATH: Duration = Duration::from_secs(3);
/// How often an unanswered release is tried.
const RELEASES: u32 = 2;

/// A Lease as the apiserver stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its resource version.
    pub version: String,
    /// Who leads; empty when nobody does.
    pub holder: String,
    /// How long the holder may be silent. A holder that stopped in good order leaves one second or less, as Go's client does.
    pub duration: Duration,
    /// How often the holder changed.
    pub transitions: i32,
}

impl Record {
    /// Whether the last holder gave it back: then nothing of that holder is under way. A holder emptied by hand does not
    /// count; whoever led may not know yet.
    fn is_released(&self) -> bool {
        self.holder.is_empty() && self.duration <= Duration::from_secs(1)
    }

    fn number(&self) -> Option<u64> {
        self.version.parse().ok()
    }
}

/// What comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The watch shows the Lease, or that there is none.
    Seen(Option<Record>),
    /// The request with this number ended.
    Answered(u64, Answer),
    /// We are able to lead from now on.
    Compete {
        /// Nobody else is there who could lead: then a Lease that never was is ours at once.
        alone: bool,
    },
    /// Stop. Nothing is written any more.
    Stop {
        /// Every write was answered, so the Lease can be given back; otherwise it has to expire.
        give_back: bool,
    },
    /// Time passed.
    Tick,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The write was stored as this.
    Stored(Record),
    /// What a read found.
    Read(Option<Record>),
    /// The Lease is not as it was expected; nothing was stored.
    Refused,
    /// The Lease to change is not there.
    Absent,
    /// Nobody knows.
    Failed,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a request; it replaces the one before, whose answer does not matter any more.
    Send(u64, Request),
    /// We lead until this moment.
    Lead(Moment),
    /// We led and do not any more.
    Lost(&'static str),
    /// The answer to [`Input::Stop`]: nothing is left to do.
    Stopped,
}

/// A request about the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Create it, held by us.
    Create,
    /// Create it, held by nobody.
    Open,
    /// Make it ours, if it still has this version. The holder changes: raise the transitions to this number.
    Take(String, i32),
    /// Renew it, if it still has this version.
    Renew(String),
    /// Give it back, if it still has this version.
    Release(String),
    /// Read it.
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Follow,
    Lead { until: Moment, renew_at: Moment },
    Stop { tries: u32 },
    Stopped,
}

/// What is asked for by the request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    number: u64,
    sent: Moment,
    /// It finds out whether the Lease is still ours.
    doubt: bool,
}

/// What we know about the Lease.
#[derive(Clone, Debug)]
struct Sight {
    record: Option<Record>,
    /// When we first saw it like this.
    since: Moment,
    /// It was absent whenever we looked.
    untouched: bool,
}

/// One who wants to lead.
#[derive(Debug)]
pub struct Candidate {
    identity: String,
    competes: bool,
    alone: bool,
    role: Role,
    sight: Option<Sight>,
    pending: Option<Pending>,
    /// No request before this.
    not_before: Moment,
    /// When nothing of our own last term can take effect any more.
    rested: Moment,
    sent: u64,
}

impl Candidate {
    /// A candidate that follows. `identity` differs from that of every other process there ever was.
    pub fn new(identity: impl Into<String>) -> Self {
        Self {
            identity: identity.into(),
            competes: false,
            alone: false,
            role: Role::Follow,
            sight: None,
            pending: None,
            not_before: Moment::default(),
            rested: Moment::default(),
            sent: 0,
        }
    }

    /// Who holds the Lease, as far as we know.
    pub fn holder(&self) -> Option<&str> {
        let record = self.sight.as_ref()?.record.as_ref()?;
        Some(record.holder.as_str()).filter(|holder| !holder.is_empty())
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        match input {
            Input::Seen(record) => self.seen(now, record, false, &mut outputs),
            Input::Answered(number, answer) => self.answered(now, number, answer, &mut outputs),
            Input::Compete { alone } => (self.competes, self.alone) = (true, alone),
            Input::Stop { give_back } => {
                if !matches!(self.role, Role::Stop { .. } | Role::Stopped) {
                    self.role = Role::Stop { tries: if give_back { 0 } else { RELEASES } };
                }
            }
            Input::Tick => {}
        }
        if let Role::Lead { until, .. } = self.role
            && now >= until
        {
            self.lose("the Lease could not be renewed in time", &mut outputs);
        }
        if let Some(Pending { sent, doubt, .. }) = self.pending
            && now >= sent + ANSWER
        {
            self.pending = None;
            self.unanswered(doubt, &mut outputs);
        }
        if self.pending.is_none() {
            self.act(now, &mut outputs);
        }
        outputs
    }

    /// When to call [`Candidate::handle`] next, even if nothing happens.
    pub fn deadline(&self) -> Option<Moment> {
        let answer = self.pending.map(|pending| pending.sent + ANSWER);
        let act = self.pending.is_none().then(|| self.wanted_at()).flatten();
        let fence = if let Role::Lead { until, .. } = self.role { Some(until) } else { None };
        [answer, act, fence].into_iter().flatten().min()
    }

    /// When the next request is due.
    fn wanted_at(&self) -> Option<Moment> {
        let at = match self.role {
            Role::Follow if self.competes => self.free_at()?.max(self.rested),
            Role::Follow | Role::Stopped => return None,
            Role::Lead { renew_at, .. } => renew_at,
            Role::Stop { .. } => Moment::default(),
        };
        Some(at.max(self.not_before))
    }

    /// When the Lease is anybody's.
    fn free_at(&self) -> Option<Moment> {
        let sight = self.sight.as_ref()?;
        Some(match &sight.record {
            None if sight.untouched => sight.since,
            // Its leader, if there is one, makes it again.
            None => sight.since + DEADLINE,
            // Ours although we do not lead: the answer was late or lost.
            Some(record) if record.holder == self.identity || record.is_released() => sight.since,
            Some(record) => sight.since + record.duration.clamp(LEASE, LONGEST),
        })
    }

    fn act(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        if self.wanted_at().is_none_or(|at| now < at) {
            return;
        }
        let record = self.sight.as_ref().and_then(|sight| sight.record.as_ref());
        // A leader that finds no Lease does not know whose it is until it made it again.
        let doubt = record.is_none();
        let untouched = self.sight.as_ref().is_some_and(|sight| sight.untouched);
        let request = match (&mut self.role, record) {
            (Role::Stop { tries }, Some(record)) if record.holder == self.identity && *tries < RELEASES => {
                *tries += 1;
                Request::Release(record.version.clone())
            }
            (Role::Stop { .. }, _) => {
                self.role = Role::Stopped;
                outputs.push(Output::Stopped);
                return;
            }
            (Role::Lead { .. }, None) => Request::Create,
            (_, None) if untouched && self.alone => Request::Create,
            (_, None) => Request::Open,
            (_, Some(record)) if record.holder == self.identity => Request::Renew(record.version.clone()),
            (_, Some(record)) => Request::Take(record.version.clone(), record.transitions.saturating_add(1)),
        };
        self.send(now, request, doubt, outputs);
    }

    fn send(&mut self, now: Moment, request: Request, doubt: bool, outputs: &mut Vec<Output>) {
        self.sent += 1;
        self.pending = Some(Pending { number: self.sent, sent: now, doubt });
        self.not_before = now + RETRY;
        outputs.push(Output::Send(self.sent, request));
    }

    fn answered(&mut self, now: Moment, number: u64, answer: Answer, outputs: &mut Vec<Output>) {
        let Some(Pending { sent, doubt, .. }) = self.pending.filter(|pending| pending.number == number) else { return };
        self.pending = None;
        match answer {
            Answer::Stored(record) => {
                let ours = record.holder == self.identity;
                self.not_before = now;
                self.sight = Some(Sight { record: Some(record), since: now, untouched: false });
                let until = sent + DEADLINE;
                let may = match self.role {
                    Role::Lead { .. } => true,
                    Role::Follow => now >= self.rested,
                    Role::Stop { .. } | Role::Stopped => false,
                };
                let leads = ours && may && now < until;
                if leads {
                    self.role = Role::Lead { until, renew_at: sent + RENEW };
                    outputs.push(Output::Lead(until));
                }
            }
            Answer::Read(record) => {
                self.not_before = now + REFUSED;
                self.seen(now, record, true, outputs);
            }
            // Only a look at the Lease tells what to do next.
            Answer::Refused => self.send(now, Request::Read, true, outputs),
            Answer::Absent => {
                self.not_before = now + REFUSED;
                self.seen(now, None, true, outputs);
            }
            Answer::Failed => self.unanswered(doubt, outputs),
        }
    }

    fn unanswered(&mut self, doubt: bool, outputs: &mut Vec<Output>) {
        if doubt && matches!(self.role, Role::Lead { .. }) {
            self.lose("somebody else wrote the Lease, and it cannot be read", outputs);
        }
    }

    /// `surely`: the answer to a read, which is never older than what we know.
    fn seen(&mut self, now: Moment, record: Option<Record>, surely: bool, outputs: &mut Vec<Output>) {
        let known = self.sight.as_ref().and_then(|sight| sight.record.as_ref());
        if let (Some(known), Some(new)) = (known, &record) {
            let older = !surely && new.number().zip(known.number()).is_some_and(|(new, known)| new < known);
            if new.version == known.version || older {
                return;
            }
        }
        if let Role::Lead { until, .. } = self.role {
            match &record {
                Some(record) if record.holder != self.identity => self.lose("the Lease names another leader", outputs),
                // Somebody deleted it, or the watch shows an old deletion: writing it finds out.
                None => self.role = Role::Lead { until, renew_at: now },
                Some(_) => {}
            }
        }
        // Absence that is seen again waits again: it may have been there in between.
        let untouched = record.is_none() && self.sight.as_ref().is_none_or(|sight| sight.untouched);
        self.sight = Some(Sight { record, since: now, untouched });
    }

    fn lose(&mut self, reason: &'static str, outputs: &mut Vec<Output>) {
        if let Role::Lead { until, .. } = self.role {
            self.rested = until + AFTERMATH;
        }
        self.role = Role::Follow;
        outputs.push(Output::Lost(reason));
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
