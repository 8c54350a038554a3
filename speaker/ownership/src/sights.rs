//! What we have seen of the Leases of other nodes, and what that forbids us.
//!
//! ```text
//!  version changes        since = when the answer came that showed it
//!  read sent later than   since + duration + margin, version still the same    expired: its permit ended before the read
//!  Lease vanished         for that long it may have claimed anything
//!  first look, or one     for that long there may have been a Lease that we never saw
//!  after a gap
//! ```
//! A Lease exists for `duration + margin` before its node uses it, and we look more often than that. So no Lease is ever used
//! that we have not seen, while we have looked without a gap.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::Millis;
use crate::claims::{Claims, Standing};
use crate::rules::{Rule, Rules};
use crate::tuning::Tuning;

/// The longest duration of a Lease that is believed, in milliseconds.
const LONGEST: u64 = 60_000;

/// A Lease as the API stores it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// The node it is named after.
    pub node: Arc<str>,
    /// Its uid: another one means that the Lease was deleted and made anew.
    pub uid: Arc<str>,
    /// Its resource version; different after every write that changed anything.
    pub version: Arc<str>,
    /// Which life of the node wrote it; empty when that one stopped in good order.
    pub holder: Arc<str>,
    /// How long a renewal is good for, in milliseconds.
    pub duration: u64,
    /// What it claims; `None` when that cannot be read, which counts as everything.
    pub claims: Option<Claims>,
}

impl Record {
    /// How long after it was seen the Lease binds others.
    pub(crate) fn grace(&self, tuning: &Tuning, rules: Rules) -> u64 {
        let margin = if rules.hold(Rule::Margin) { tuning.margin } else { 0 };
        self.duration.clamp(tuning.duration, LONGEST.max(tuning.duration)) + margin
    }
}

/// A Lease that somebody else wrote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sight {
    pub(crate) lease: Record,
    /// When the answer came that first showed this version, or first did not show the Lease any more.
    pub(crate) since: Millis,
    gone: bool,
}

impl Sight {
    pub(crate) fn new(lease: Record, since: Millis) -> Self {
        Self { lease, since, gone: false }
    }

    /// When reads that are sent may find it expired.
    pub(crate) fn expires(&self, tuning: &Tuning, rules: Rules) -> Millis {
        self.since + self.lease.grace(tuning, rules)
    }
}

/// Who else claims an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rival {
    /// Somebody owns it.
    pub(crate) owned: bool,
    /// The first by name of those who ask for it.
    pub(crate) asks: Option<Arc<str>>,
}

/// What a read forbids.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rivals {
    /// A Lease that is not there, or cannot be read, may claim anything.
    pub(crate) anything: bool,
    pub(crate) claims: BTreeMap<IpAddr, Rival>,
}

/// The Leases of the other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sights {
    leases: BTreeMap<Arc<str>, Sight>,
    /// Since when nothing can have escaped us.
    covered: Option<Millis>,
    /// When the last read that was answered was sent.
    last: Millis,
}

impl Sights {
    /// Takes in a read that was sent at `start` and answered at `now`. Reads are answered in the order in which they are sent.
    pub(crate) fn read(&mut self, start: Millis, now: Millis, leases: Vec<Record>, tuning: &Tuning, rules: Rules) {
        if self.covered.is_none() || now >= self.last + tuning.duration {
            self.covered = Some(now);
        }
        self.last = start;
        let judged = if rules.hold(Rule::ExpiryAtStart) { start } else { now };
        let seen = if rules.hold(Rule::SeenAtAnswer) { now } else { start };
        let mut before = std::mem::take(&mut self.leases);
        for lease in leases {
            let sight = match before.remove(&lease.node) {
                Some(known) if !known.gone && known.lease.version == lease.version => known,
                Some(_) | None => Sight::new(lease, seen),
            };
            self.leases.insert(Arc::clone(&sight.lease.node), sight);
        }
        for (node, mut sight) in before {
            if !sight.gone {
                (sight.gone, sight.since) = (true, now);
            }
            if rules.hold(Rule::Ghosts) && judged < sight.expires(tuning, rules) {
                self.leases.insert(node, sight);
            }
        }
    }

    /// What the Leases forbid that the last read showed; `judged` is when it was sent.
    pub(crate) fn rivals(&self, judged: Millis, tuning: &Tuning, rules: Rules) -> Rivals {
        let mut rivals = Rivals::default();
        for sight in self.leases.values().filter(|sight| judged < sight.expires(tuning, rules)) {
            match &sight.lease.claims {
                Some(claims) if !sight.gone => {
                    for (address, standing) in &claims.0 {
                        let rival = rivals.claims.entry(*address).or_default();
                        match standing {
                            Standing::Owned => rival.owned = true,
                            Standing::Asked if rival.asks.is_none() => rival.asks = Some(Arc::clone(&sight.lease.node)),
                            Standing::Asked => {}
                        }
                    }
                }
                Some(_) | None => rivals.anything = true,
            }
        }
        rivals
    }

    /// From when on nothing can be in force that we never saw; `None` before the first read.
    pub(crate) fn knows(&self, tuning: &Tuning) -> Option<Millis> {
        self.covered.map(|covered| covered + tuning.duration + tuning.margin)
    }

    /// When the next Lease that forbids anything expires, unless it is renewed.
    pub(crate) fn next_expiry(&self, tuning: &Tuning, rules: Rules) -> Option<Millis> {
        let binding =
            |sight: &&Sight| sight.gone || sight.lease.claims.as_ref().is_none_or(|claims| !claims.0.is_empty());
        let expiries = self.leases.values().filter(binding).map(|sight| sight.expires(tuning, rules));
        expiries.filter(|at| *at > self.last).min()
    }

    pub(crate) fn len(&self) -> usize {
        self.leases.len()
    }
}
