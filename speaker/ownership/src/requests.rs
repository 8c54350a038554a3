//! What is written and read when.
//!
//! ```text
//!  written   at once when the claims changed; every `renew` while there are any; once more on leaving
//!  read      at once when a claim was stored or our own Lease is in doubt; every `poll` while something is waited for;
//!            every `idle` otherwise
//! ```
//! At most one write and one read are under way, side by side: a slow read must not delay a renewal.

use std::sync::Arc;

use crate::Millis;
use crate::claims::Claims;
use crate::lease::{Core, Draft, Expect, Output, PendingRead, PendingWrite, Stage};

impl Core {
    /// When to call [`Core::handle`] next, even if nothing happens, and what for.
    pub fn deadline(&self) -> Option<(Millis, &'static str)> {
        if self.left {
            return None;
        }
        let answer = self.tuning.answer;
        let leave = |by: Millis| if self.now < by { by } else { by + answer };
        [
            self.until().filter(|at| *at > self.now).map(|at| (at, "the permit ends")),
            self.write.as_ref().map(|write| (write.start + answer, "a write gets no answer")),
            self.read.as_ref().map(|read| (read.start + answer, "a read gets no answer")),
            self.write_due().map(|at| (at, "a write is due")),
            self.read_due().map(|at| (at, "a read is due")),
            self.settle_at.map(|at| (at, "claims are due")),
            self.leaving.map(|by| (leave(by), "leaving takes too long")),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Sends what is due.
    pub(crate) fn send(&mut self, out: &mut Vec<Output>) {
        if let Some(by) = self.leaving
            && !self.left
            && (self.now >= by + self.tuning.answer || (self.own.is_none() && self.stale.is_empty()))
        {
            self.leave(out);
        }
        if self.left {
            return;
        }
        if self.write_due().is_some_and(|at| self.now >= at) {
            self.send_write(out);
        }
        if self.read_due().is_some_and(|at| self.now >= at) {
            self.send_read(out);
        }
    }

    /// Nothing is claimed any more, and nothing is to be.
    fn says_farewell(&self) -> bool {
        self.leaving.is_some() && self.claims.is_empty() && self.stale.is_empty()
    }

    fn write_due(&self) -> Option<Millis> {
        if self.write.is_some() {
            return None;
        }
        let at = match &self.own {
            _ if self.vacancy.is_some() => Millis(0),
            None => return None,
            Some(own) if own.doubtful => return None,
            Some(_) if self.changed || self.says_farewell() => Millis(0),
            Some(_) if self.claims.is_empty() => return None,
            Some(_) => self.renewed.map_or(Millis(0), |renewed| renewed + self.tuning.renew),
        };
        Some(at.max(self.next_write))
    }

    fn read_due(&self) -> Option<Millis> {
        if self.read.is_some() {
            return None;
        }
        let (tuning, rules) = (&self.tuning, self.rules);
        let expiry = self.sights.next_expiry(tuning, rules);
        let occupied = self.occupant.as_ref().map(|occupant| occupant.expires(tuning, rules));
        let soon = |expiry: Option<Millis>| {
            let poll = self.last_read + tuning.poll;
            expiry.filter(|at| *at > self.last_read).map_or(poll, |at| at.min(poll))
        };
        let stored = || self.claims.values().any(|stage| *stage == Stage::Stored);
        let at = match &self.own {
            _ if self.look => Millis(0),
            Some(own) if own.doubtful && self.write.is_none() => Millis(0),
            Some(_) if stored() => Millis(0),
            Some(_) if self.waiting => soon(expiry),
            // A new Lease is being written.
            None if self.vacancy.is_some() || self.write.is_some() => self.last_read + tuning.poll,
            None if self.occupant.is_some() => soon(occupied),
            None => Millis(0),
            Some(_) => self.last_read + tuning.idle(self.sights.len() + 1),
        };
        Some(at.max(self.next_read))
    }

    fn send_write(&mut self, out: &mut Vec<Output>) {
        let vacancy = self.vacancy.take();
        let (expect, since) = match (vacancy, &self.own) {
            (Some(vacancy), _) => (vacancy.expect, vacancy.since),
            (None, Some(own)) => (Expect::Version(Arc::clone(&own.version)), None),
            (None, None) => return,
        };
        let farewell = self.own.is_some() && self.says_farewell();
        let claims = if self.own.is_some() { self.content() } else { Claims::default() };
        let holder = if farewell { "".into() } else { Arc::clone(&self.holder) };
        self.ids += 1;
        self.changed = false;
        self.next_write = self.now + self.tuning.gap;
        if let Some(read) = &mut self.read {
            read.conclusive = false;
        }
        self.write = Some(PendingWrite { id: self.ids, start: self.now, claims: claims.clone(), since, farewell });
        out.push(Output::Write { id: self.ids, draft: Draft { expect, holder, claims } });
    }

    fn send_read(&mut self, out: &mut Vec<Output>) {
        self.ids += 1;
        self.look = false;
        self.last_read = self.now;
        for stage in self.claims.values_mut().filter(|stage| **stage == Stage::Stored) {
            *stage = Stage::Asked;
        }
        self.read = Some(PendingRead { id: self.ids, start: self.now, conclusive: self.write.is_none() });
        out.push(Output::Read { id: self.ids });
    }
}
