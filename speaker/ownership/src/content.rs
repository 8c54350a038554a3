//! What our Lease is to claim.
//!
//! ```text
//!                       nobody claims it     others ask for it               somebody owns it
//!  rank 0, not ours     claim                claim if our name is smaller    claim, and wait
//!  rank 0, granted      keep                 keep
//!  rank n, not ours     claim after n s      leave it                        leave it
//!  rank n, granted      keep                 withdraw                        withdraw
//!  not wanted           withdraw             withdraw                        withdraw
//! ```
//! Of several who ask, all but the one with the smallest name take their claim back, whatever they believe about the election;
//! then that one is granted it, or waits for the owner alone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::Millis;
use crate::claims::{Claims, Standing, longest};
use crate::lease::{Core, Output, Stage};
use crate::rules::Rule;
use crate::sights::Rival;

impl Core {
    /// Whether a read sent at `at` can grant anything: nothing can be in force that we never saw, and our Lease has been there
    /// long enough for others to have seen it.
    pub(crate) fn is_rested(&self, at: Millis) -> bool {
        self.rested_from().is_some_and(|from| at >= from)
    }

    fn rested_from(&self) -> Option<Millis> {
        let own = self.own.as_ref()?;
        let knows = self.sights.knows(&self.tuning)?;
        if !self.rules.hold(Rule::Rest) {
            return Some(Millis(0));
        }
        Some(knows.max(own.since + self.tuning.duration + self.tuning.margin))
    }

    /// Lets the claims follow what is wanted and what others claim.
    pub(crate) fn settle(&mut self, out: &mut Vec<Output>) {
        let due = self.settle_at.is_some_and(|at| self.now >= at) || self.leaving.is_some_and(|by| self.now >= by);
        if !self.unsettled && !due {
            return;
        }
        (self.unsettled, self.settle_at) = (false, None);
        if self.own.is_none() {
            self.waiting = false;
            return;
        }
        let rested = self.is_rested(self.now);
        self.drop_claims(rested, out);
        if rested && self.leaving.is_none() {
            self.add_claims(out);
        } else if !rested {
            self.settle_at = self.rested_from();
        }
        let unmet = |(address, rank): (&IpAddr, &u16)| *rank == 0 && self.claims.get(address) != Some(&Stage::Granted);
        let asks = self.claims.values().any(|stage| !matches!(stage, Stage::Granted | Stage::Withdrawing));
        let leaves = self.leaving.is_some() && !self.claims.is_empty();
        self.waiting = asks || leaves || (rested && self.wants.iter().any(unmet));
    }

    /// The rank at which we want an address.
    fn rank(&self, address: &IpAddr) -> Option<u16> {
        let rank = *self.wants.get(address)?;
        match self.leaving {
            None => Some(rank),
            Some(by) => (self.now < by).then_some(rank.max(1)),
        }
    }

    fn drop_claims(&mut self, rested: bool, out: &mut Vec<Output>) {
        let mut withdrawn = BTreeSet::new();
        let mut dropped = Vec::new();
        for (address, stage) in &self.claims {
            let (rank, rival) = (self.rank(address), self.rivals.claims.get(address));
            let asked_by_first = || rival.is_some_and(|rival| self.is_before_us(rival));
            match (stage, rank) {
                (Stage::Withdrawing, _) | (Stage::Granted, Some(0)) => {}
                (Stage::Granted, Some(_)) if rival.is_none() => {}
                (Stage::Granted, Some(_) | None) => _ = withdrawn.insert(*address),
                (Stage::Intended | Stage::Stored | Stage::Asked, None) => dropped.push(*address),
                (Stage::Intended | Stage::Stored | Stage::Asked, Some(rank)) => {
                    let owned = rank > 0 && rival.is_some_and(|rival| rival.owned);
                    if !rested || self.leaving.is_some() || owned || asked_by_first() {
                        dropped.push(*address);
                    }
                }
            }
        }
        self.changed |= !dropped.is_empty();
        for address in dropped {
            self.claims.remove(&address);
        }
        for address in &withdrawn {
            if self.rules.hold(Rule::SilenceFirst) {
                self.claims.insert(*address, Stage::Withdrawing);
            } else {
                self.claims.remove(address);
                self.changed = true;
            }
        }
        if !withdrawn.is_empty() {
            out.push(Output::Withdraw(withdrawn));
        }
    }

    fn add_claims(&mut self, out: &mut Vec<Output>) {
        let mut new = Vec::new();
        for (address, rank) in self.wants.iter().filter(|(address, _)| !self.claims.contains_key(address)) {
            match (self.rivals.claims.get(address), rank) {
                (None, 0) => new.push((*rank, *address)),
                (Some(rival), 0) if !self.is_before_us(rival) => new.push((*rank, *address)),
                (Some(_), _) => {}
                (None, _) => {
                    let Some(since) = self.unclaimed.get(address) else { continue };
                    let at = *since + self.tuning.patience.saturating_mul(u64::from(*rank));
                    if self.now >= at {
                        new.push((*rank, *address));
                    } else {
                        self.settle_at = Some(self.settle_at.map_or(at, |before| before.min(at)));
                    }
                }
            }
        }
        new.sort_unstable();
        let fitting = self.fitting(&new);
        let left_out = new.len() - fitting;
        if left_out != self.left_out {
            self.left_out = left_out;
            out.push(Output::LeftOut { addresses: left_out, room: self.tuning.room });
        }
        new.truncate(fitting);
        self.changed |= !new.is_empty();
        self.claims.extend(new.into_iter().map(|(_, address)| (address, Stage::Intended)));
    }

    /// How many of the new claims our Lease has room for, beside what it claims already.
    fn fitting(&self, new: &[(u16, IpAddr)]) -> usize {
        let mut all = self.content();
        all.0.extend(new.iter().map(|(_, address)| (*address, Standing::Asked)));
        if Claims::fit(&all, self.tuning.room) {
            return new.len();
        }
        let mut bytes: usize = self.claims.keys().map(longest).sum();
        new.iter()
            .take_while(|(_, address)| {
                bytes += longest(address);
                bytes <= self.tuning.room
            })
            .count()
    }

    /// Whether somebody asks whose name is smaller than ours.
    fn is_before_us(&self, rival: &Rival) -> bool {
        rival.asks.as_ref().is_some_and(|name| *name < self.node)
    }
}
