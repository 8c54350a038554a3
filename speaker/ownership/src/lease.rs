//! One node of the mode `lease`, as a machine without input and output of its own.
//!
//! ```text
//!             written                  read, sent later, shows nobody else
//!  Wanted ─▶ Intended ─▶ Stored ─▶ Asked for ─────────────────────────▶ Granted ─▶ Withdrawing ─▶ (no claim)
//!               ▲          │           │                                   │          until it is surely silent
//!               └──────────┴───────────┴── permit over, not renewed ───────┘
//! ```
//! The methods of [`Core`] are spread over the modules by subject: here what answers of the API mean, in `content` what our
//! Lease is to claim, in `requests` what is written and read when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::Millis;
use crate::claims::{Claims, Standing};
use crate::rules::{Rule, Rules};
use crate::sights::{Record, Rivals, Sight, Sights};
use crate::tuning::Tuning;

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The addresses that this node may answer for, each with its place in the election order. 0: it is to own the address.
    /// 1 and more: it keeps the address if it has it, until somebody asks, and steps in when nobody claims it. An address that
    /// is not listed is given up at once.
    Wanted(BTreeMap<IpAddr, u16>),
    /// The write with this number ended.
    WriteDone {
        /// Number of the write.
        id: u64,
        /// What was stored.
        result: Result<Stored, WriteError>,
    },
    /// The read with this number ended.
    ReadDone {
        /// Number of the read.
        id: u64,
        /// All Leases of speakers as they were at one moment between the start of the read and now, our own among them; `None`
        /// when nobody knows.
        leases: Option<Vec<Record>>,
    },
    /// These addresses, of an [`Output::Withdraw`], are answered no more.
    Withdrawn(BTreeSet<IpAddr>),
    /// Something changed at the others: worth a look before the next one is due.
    Look,
    /// This node goes. What it owns it keeps until others ask for it, but not longer than until this moment.
    Leave(Millis),
    /// The moment named by [`Core::deadline`] has come.
    Tick,
}

/// What our Lease is after a write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stored {
    /// Its uid.
    pub uid: Arc<str>,
    /// Its resource version.
    pub version: Arc<str>,
}

/// Why nothing was stored, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WriteError {
    /// The Lease is not as it was expected, or exists already: HTTP 409.
    Refused,
    /// The Lease does not exist: HTTP 404.
    Absent,
    /// Nobody knows the outcome.
    Unknown,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write our Lease.
    Write {
        /// Comes back in [`Input::WriteDone`].
        id: u64,
        /// What to write.
        draft: Draft,
    },
    /// Read the Leases of all speakers, consistently: not from a cache that may be older than this request.
    Read {
        /// Comes back in [`Input::ReadDone`].
        id: u64,
    },
    /// Answer for these addresses as well, while the permit lasts.
    Grant(BTreeSet<IpAddr>),
    /// Do not answer for these any more; then say so by [`Input::Withdrawn`].
    Withdraw(BTreeSet<IpAddr>),
    /// No frame leaves at this moment or later; replaces the permit before, and may be earlier than that. Takes effect at once:
    /// before anything is done that is put out after it.
    Permit(Millis),
    /// The claims that our Lease has no room for: so many of the wanted addresses are not claimed. Zero when all fit again.
    LeftOut {
        /// How many.
        addresses: usize,
        /// Bytes that the claims may have.
        room: usize,
    },
    /// Our Lease is held by another life of this node, or by another machine of the same name; it is waited for.
    Occupied {
        /// Who holds it.
        holder: Arc<str>,
    },
    /// The answer to [`Input::Leave`]: nothing is left to do.
    Left,
}

/// A Lease to be written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Draft {
    /// What must be there, or nothing may be stored.
    pub expect: Expect,
    /// Who writes it; empty in the last write of a node that goes.
    pub holder: Arc<str>,
    /// What it claims.
    pub claims: Claims,
}

/// What a write replaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expect {
    /// No Lease.
    Absent,
    /// The Lease in this version.
    Version(Arc<str>),
}

/// How far a claim of ours has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    /// To be written.
    Intended,
    /// Our Lease says it.
    Stored,
    /// A read was sent since.
    Asked,
    /// That read showed nobody else: it may be answered.
    Granted,
    /// Given up; it may still be answered.
    Withdrawing,
}

/// Our Lease, as we wrote or found it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Own {
    pub(crate) uid: Arc<str>,
    pub(crate) version: Arc<str>,
    /// The outcome of a write is not known, so the version may be another.
    pub(crate) doubtful: bool,
    /// Since when it exists at the latest.
    pub(crate) since: Millis,
}

/// What to write to get a Lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Vacancy {
    pub(crate) expect: Expect,
    /// Since when it exists, if it does.
    pub(crate) since: Option<Millis>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PendingWrite {
    pub(crate) id: u64,
    pub(crate) start: Millis,
    pub(crate) claims: Claims,
    /// The Lease existed since, if we did not make it.
    pub(crate) since: Option<Millis>,
    /// The last one.
    pub(crate) farewell: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PendingRead {
    pub(crate) id: u64,
    pub(crate) start: Millis,
    /// No write of ours was or is under way, so what it shows of our Lease is how it is.
    pub(crate) conclusive: bool,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Core {
    pub(crate) node: Arc<str>,
    pub(crate) holder: Arc<str>,
    pub(crate) tuning: Tuning,
    pub(crate) rules: Rules,
    pub(crate) now: Millis,
    pub(crate) wants: BTreeMap<IpAddr, u16>,
    pub(crate) claims: BTreeMap<IpAddr, Stage>,
    /// Lapsed or lost, and perhaps still in the table of those who answer.
    pub(crate) stale: BTreeSet<IpAddr>,
    pub(crate) own: Option<Own>,
    pub(crate) vacancy: Option<Vacancy>,
    /// Who holds our Lease, when we do not.
    pub(crate) occupant: Option<Sight>,
    /// When the last renewal was sent that succeeded.
    pub(crate) renewed: Option<Millis>,
    /// The permit that was put out last.
    pub(crate) permit: Millis,
    pub(crate) sights: Sights,
    pub(crate) rivals: Rivals,
    /// Wanted by rank 1 or more, and claimed by nobody since.
    pub(crate) unclaimed: BTreeMap<IpAddr, Millis>,
    pub(crate) left_out: usize,
    pub(crate) ids: u64,
    pub(crate) write: Option<PendingWrite>,
    pub(crate) read: Option<PendingRead>,
    pub(crate) next_write: Millis,
    pub(crate) next_read: Millis,
    pub(crate) last_read: Millis,
    /// The claims are to be looked at again.
    pub(crate) unsettled: bool,
    /// And at this moment in any case.
    pub(crate) settle_at: Option<Millis>,
    /// The Lease does not say what it should.
    pub(crate) changed: bool,
    /// Something is waited for that a read will show.
    pub(crate) waiting: bool,
    pub(crate) look: bool,
    pub(crate) leaving: Option<Millis>,
    pub(crate) left: bool,
}

impl Core {
    /// A node that claims nothing and knows nothing. `life` differs from that of every other process there ever was.
    pub fn new(node: &str, life: &str, tuning: Tuning, now: Millis) -> Self {
        Self {
            node: node.into(),
            holder: format!("{node}_{life}").into(),
            tuning,
            rules: Rules::default(),
            now,
            wants: BTreeMap::new(),
            claims: BTreeMap::new(),
            stale: BTreeSet::new(),
            own: None,
            vacancy: None,
            occupant: None,
            renewed: None,
            permit: Millis(0),
            sights: Sights::default(),
            rivals: Rivals::default(),
            unclaimed: BTreeMap::new(),
            left_out: 0,
            ids: 0,
            write: None,
            read: None,
            next_write: Millis(0),
            next_read: Millis(0),
            last_read: Millis(0),
            unsettled: false,
            settle_at: None,
            changed: false,
            waiting: false,
            look: true,
            leaving: None,
            left: false,
        }
    }

    /// The addresses that may be answered while the permit lasts.
    pub fn granted(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.claims.iter().filter(|(_, stage)| **stage == Stage::Granted).map(|(address, _)| *address)
    }

    /// Whether this node could be granted an address that nobody claims: it has a Lease, and has looked for long enough.
    pub fn is_able(&self) -> bool {
        self.is_rested(self.now)
    }

    /// Takes in what happened at `now`, and appends to `out` what is to be done, in this order.
    pub fn handle(&mut self, now: Millis, input: Input, out: &mut Vec<Output>) {
        let now = self.now.max(now);
        self.now = now;
        if self.left {
            return;
        }
        self.lapse(out);
        match input {
            Input::Wanted(wants) => {
                self.unsettled |= wants != self.wants;
                self.wants = wants;
            }
            Input::WriteDone { id, result } => self.written(id, result, out),
            Input::ReadDone { id, leases } => self.was_read(id, leases, out),
            Input::Withdrawn(addresses) => self.withdrawn(&addresses),
            Input::Look => self.look = true,
            Input::Leave(by) => {
                self.unsettled = true;
                self.leaving.get_or_insert(by);
            }
            Input::Tick => {}
        }
        self.give_up_waiting();
        self.lapse(out);
        self.settle(out);
        self.show_permit(out);
        self.send(out);
    }

    /// Until when the last renewal allows to answer.
    pub(crate) fn until(&self) -> Option<Millis> {
        self.renewed.map(|renewed| renewed + self.tuning.duration)
    }

    /// Ends what was granted under a permit that is over. A renewal that succeeds later does not bring it back: meanwhile
    /// somebody else may have got it.
    fn lapse(&mut self, out: &mut Vec<Output>) {
        let over = self.until().is_some_and(|until| self.now >= until);
        if over && self.rules.hold(Rule::LapseIsFinal) {
            self.forget(out);
            self.renewed = None;
        }
    }

    /// Every claim has to be made anew.
    fn forget(&mut self, out: &mut Vec<Output>) {
        let mut silenced = BTreeSet::new();
        for (address, stage) in &mut self.claims {
            match stage {
                Stage::Intended => continue,
                Stage::Stored | Stage::Asked => {}
                Stage::Withdrawing => _ = self.stale.insert(*address),
                Stage::Granted => {
                    self.stale.insert(*address);
                    silenced.insert(*address);
                }
            }
            *stage = Stage::Intended;
            self.changed = true;
            self.unsettled = true;
        }
        if !silenced.is_empty() {
            out.push(Output::Withdraw(silenced));
        }
    }

    /// Our Lease is not ours any more.
    fn lose(&mut self, out: &mut Vec<Output>) {
        if self.permit > self.now {
            self.permit = Millis(0);
            out.push(Output::Permit(self.permit));
        }
        self.forget(out);
        self.claims.clear();
        (self.own, self.vacancy, self.renewed) = (None, None, None);
        self.unsettled = true;
    }

    fn written(&mut self, id: u64, result: Result<Stored, WriteError>, out: &mut Vec<Output>) {
        let Some(write) = self.write.take_if(|write| write.id == id) else { return };
        match result {
            // A write that changed nothing is seen by nobody, so it renews nothing.
            Ok(stored) if self.own.as_ref().is_none_or(|own| own.version != stored.version) => {
                let since = self.own.as_ref().map(|own| own.since).or(write.since).unwrap_or(self.now);
                self.own = Some(Own { uid: stored.uid, version: stored.version, doubtful: false, since });
                self.renewed = Some(if self.rules.hold(Rule::PermitFromStart) { write.start } else { self.now });
                for (address, stage) in &mut self.claims {
                    if *stage == Stage::Intended && write.claims.0.contains_key(address) {
                        *stage = Stage::Stored;
                    }
                }
                self.unsettled = true;
                self.occupant = None;
                if write.farewell {
                    self.leave(out);
                }
            }
            Err(WriteError::Absent) if self.own.is_some() && self.rules.hold(Rule::OwnLeaseGone) => self.lose(out),
            Err(WriteError::Absent) if self.own.is_some() => {
                self.vacancy = Some(Vacancy { expect: Expect::Absent, since: None });
            }
            Ok(_) | Err(WriteError::Refused | WriteError::Absent | WriteError::Unknown) => self.doubt(),
        }
    }

    fn doubt(&mut self) {
        self.changed = true;
        self.next_write = self.now + self.tuning.retry;
        match &mut self.own {
            Some(own) => own.doubtful = true,
            None => self.vacancy = None,
        }
    }

    /// Requests that nobody answered in time.
    fn give_up_waiting(&mut self) {
        let (now, answer) = (self.now, self.tuning.answer);
        let over = |start: Millis| now >= start + answer;
        if self.write.as_ref().is_some_and(|write| over(write.start)) {
            self.write = None;
            self.doubt();
        }
        if self.read.as_ref().is_some_and(|read| over(read.start)) {
            self.read = None;
            self.read_failed();
        }
    }

    fn read_failed(&mut self) {
        self.next_read = self.now + self.tuning.retry;
        for stage in self.claims.values_mut().filter(|stage| **stage == Stage::Asked) {
            *stage = Stage::Stored;
        }
    }

    fn was_read(&mut self, id: u64, leases: Option<Vec<Record>>, out: &mut Vec<Output>) {
        let Some(read) = self.read.take_if(|read| read.id == id) else { return };
        let Some(mut leases) = leases else { return self.read_failed() };
        let ours = leases.iter().position(|lease| lease.node == self.node).map(|index| leases.swap_remove(index));
        let (tuning, rules) = (self.tuning, self.rules);
        self.sights.read(read.start, self.now, leases, &tuning, rules);
        let judged = if rules.hold(Rule::ExpiryAtStart) { read.start } else { self.now };
        self.rivals = self.sights.rivals(judged, &tuning, rules);
        self.unsettled = true;
        if read.conclusive {
            self.find_own(ours, judged, out);
        }
        self.grant(judged, out);
        let free = |address: &IpAddr| {
            !self.rivals.anything && !self.rivals.claims.contains_key(address) && !self.claims.contains_key(address)
        };
        let standing_by = self.wants.iter().filter(|(address, rank)| **rank > 0 && free(address));
        let unclaimed = standing_by.map(|(address, _)| (*address, *self.unclaimed.get(address).unwrap_or(&self.now)));
        self.unclaimed = unclaimed.collect();
    }

    /// What stands under our name, for sure.
    fn find_own(&mut self, found: Option<Record>, judged: Millis, out: &mut Vec<Output>) {
        let Some(lease) = found else {
            if self.own.is_some() && self.rules.hold(Rule::OwnLeaseGone) {
                self.lose(out);
            }
            self.occupant = None;
            self.vacancy = Some(Vacancy { expect: Expect::Absent, since: None });
            return;
        };
        if lease.holder == self.holder {
            self.occupant = None;
            return self.find_ours(lease, out);
        }
        if self.own.is_some() {
            self.lose(out);
        }
        let known = self.occupant.take().filter(|known| known.lease.version == lease.version);
        let occupant = known.unwrap_or_else(|| {
            let holder = Arc::clone(&lease.holder);
            if !holder.is_empty() {
                out.push(Output::Occupied { holder });
            }
            Sight::new(lease, self.now)
        });
        let free = occupant.lease.holder.is_empty()
            || judged >= occupant.expires(&self.tuning, self.rules)
            || !self.rules.hold(Rule::OtherLife);
        self.vacancy = free.then(|| Vacancy {
            expect: Expect::Version(Arc::clone(&occupant.lease.version)),
            since: Some(occupant.since),
        });
        self.occupant = Some(occupant);
    }

    /// Our Lease holds what we wrote, perhaps in a write whose answer was lost; or somebody changed it by hand.
    fn find_ours(&mut self, lease: Record, out: &mut Vec<Output>) {
        let claimed = |address: &IpAddr| lease.claims.as_ref().is_some_and(|claims| claims.0.contains_key(address));
        let missing = self.claims.iter().any(|(address, stage)| *stage != Stage::Intended && !claimed(address));
        let same = self.own.as_ref().is_some_and(|own| own.uid == lease.uid);
        if self.own.is_some() && (!same || missing) {
            self.lose(out);
        }
        let since = self.own.as_ref().map_or(self.now, |own| own.since);
        let known = self.own.as_ref().is_some_and(|own| own.version == lease.version);
        self.changed |= !known;
        self.vacancy = None;
        self.own = Some(Own { uid: lease.uid, version: lease.version, doubtful: false, since });
    }

    /// Grants what the read allows that was sent after the claim was stored.
    fn grant(&mut self, judged: Millis, out: &mut Vec<Output>) {
        let in_force = self.until().is_some_and(|until| self.now < until);
        let silent = self.stale.is_empty() || !self.rules.hold(Rule::LapsedAreSilent);
        if self.rivals.anything || !in_force || !silent || !self.is_rested(judged) {
            return;
        }
        let mut granted = BTreeSet::new();
        for (address, stage) in &mut self.claims {
            let asked = *stage == Stage::Asked || (*stage == Stage::Stored && !self.rules.hold(Rule::ReadAfterWrite));
            if asked && !self.rivals.claims.contains_key(address) {
                *stage = Stage::Granted;
                granted.insert(*address);
            }
        }
        if !granted.is_empty() {
            out.push(Output::Grant(granted));
        }
    }

    fn show_permit(&mut self, out: &mut Vec<Output>) {
        let silent = self.stale.is_empty() || !self.rules.hold(Rule::LapsedAreSilent);
        let Some(until) = self.until().filter(|_| silent) else { return };
        let answers = self.claims.values().any(|stage| matches!(stage, Stage::Granted | Stage::Withdrawing));
        if answers && self.permit != until {
            self.permit = until;
            out.push(Output::Permit(until));
        }
    }

    fn withdrawn(&mut self, addresses: &BTreeSet<IpAddr>) {
        for address in addresses {
            self.stale.remove(address);
            if self.claims.get(address) == Some(&Stage::Withdrawing) {
                self.claims.remove(address);
                (self.changed, self.unsettled) = (true, true);
            }
        }
    }

    pub(crate) fn leave(&mut self, out: &mut Vec<Output>) {
        self.left = true;
        out.push(Output::Left);
    }

    /// What our Lease is to say.
    pub(crate) fn content(&self) -> Claims {
        let standing = |stage: &Stage| match stage {
            Stage::Intended | Stage::Stored | Stage::Asked => Standing::Asked,
            Stage::Granted | Stage::Withdrawing => Standing::Owned,
        };
        Claims(self.claims.iter().map(|(address, stage)| (*address, standing(stage))).collect())
    }
}
