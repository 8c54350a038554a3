//! Who is asked for a sign of life when, and what silence means.
//!
//! ```text
//!  round ─▶ watched owners, successors, one at random ─▶ ping ─ answered ──▶ done
//!                                                          └── not within ANSWER ──▶ ping every URGENT
//!                                                                 RAISE  ──▶ suspected: all are told
//!                                                                 ACCUSE ──▶ lost for us, if we watch it
//!                                                                 SUSPICION after it was suspected ──▶ lost
//! ```
//! Silence is counted from the first ping that was not answered, never from the last sign of life: a member that nobody asked
//! owes no answer. Time in which our own process did not run is not counted either.

use std::collections::BTreeSet;

use crate::core::{Core, Loss, Output};
use crate::name::NodeName;
use crate::peer::{Peer, Probe, Standing};
use crate::time::Millis;
use crate::tuning::{
    ACCUSE, ANSWER, JITTER, PERIOD, PULL, RAISE, RETRIES, RETRY, SAMPLES, SMALL, SUCCESSORS, SUSPICION, URGENT,
};
use crate::wire::{Body, Kind};

impl Core {
    /// Begins a round of probes. `on_time` says whether it begins when it should.
    pub(crate) fn begin_round(&mut self, now: Millis, on_time: bool, out: &mut Vec<Output>) {
        if on_time && std::mem::take(&mut self.answered) {
            self.health.improve();
        }
        for name in self.targets() {
            let idle = self.peers.get(&name).is_some_and(|peer| peer.probe.is_none());
            if idle {
                self.begin_probe(now, &name, out);
            }
        }
        self.knock(now, out);
        self.pull(now, out);
        self.round_at = now + (PERIOD - self.dice.below(JITTER + 1));
    }

    fn targets(&mut self) -> BTreeSet<NodeName> {
        let live = |name: &&NodeName| self.peers.get(*name).is_some_and(Peer::is_live);
        let mut targets: BTreeSet<_> = self.watched.iter().filter(live).cloned().collect();
        targets.extend(self.ring.iter().filter(live).take(SUCCESSORS).cloned());
        targets.extend(self.next_of_tour());
        targets
    }

    /// Goes through all live members in random order, each once before anyone twice (SWIM, section 4.3).
    fn next_of_tour(&mut self) -> Option<NodeName> {
        if self.tour.is_empty() {
            self.tour = self.ring.clone();
            self.dice.shuffle(&mut self.tour);
        }
        while let Some(name) = self.tour.pop() {
            if self.peers.get(&name).is_some_and(Peer::is_live) {
                return Some(name);
            }
        }
        None
    }

    /// Asks a live member for a sign of life and begins to wait.
    pub(crate) fn begin_probe(&mut self, now: Millis, name: &NodeName, out: &mut Vec<Output>) {
        let next = now + self.health.patience(ANSWER);
        if let Some(peer) = self.peers.get_mut(name) {
            peer.probe = Some(Probe { since: now, next, vouched: false });
            self.busy.insert(name.clone());
            self.ask_for_life(now, name, out);
        }
    }

    /// Pings a peer, or greets it when boot numbers were not exchanged yet: the answer to either is a sign of life.
    fn ask_for_life(&mut self, now: Millis, name: &NodeName, out: &mut Vec<Output>) {
        if self.peers.get(name).is_some_and(|peer| peer.session.is_some()) {
            let news = self.news_to_add();
            self.send(name, Body::Ping { stamp: now.0, news }, out);
        } else {
            self.greet(now, name, out);
        }
    }

    /// Knocks at some of those that are not alive.
    fn knock(&mut self, now: Millis, out: &mut Vec<Output>) {
        let spread = (self.peers.len() / SMALL).max(1) as u64;
        for _ in 0..RETRIES.min(self.absent.len()) {
            let Some(name) = self.absent.pop_front() else { return };
            let Some(peer) = self.peers.get_mut(&name) else { continue };
            if peer.is_live() {
                peer.queued = false;
                continue;
            }
            let due = now >= peer.retry_at;
            if due {
                peer.retry_at = now + RETRY * spread;
            }
            self.absent.push_back(name.clone());
            if due {
                self.ask_for_life(now, &name, out);
            }
        }
    }

    /// Asks a random member for all it knows, so that news that was lost on every way is not lost for ever.
    fn pull(&mut self, now: Millis, out: &mut Vec<Output>) {
        if now < self.pull_at {
            return;
        }
        self.pull_at = now + PULL;
        let known: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.is_live() && peer.session.is_some()).collect();
        let at = usize::try_from(self.dice.below(known.len() as u64)).unwrap_or(0);
        if let Some(name) = known.get(at).map(|(name, _)| (*name).clone()) {
            self.send(&name, Body::Pull, out);
        }
    }

    /// Does what the time has come for with each peer that a probe or a suspicion runs for.
    pub(crate) fn judge(&mut self, now: Millis, out: &mut Vec<Output>) {
        let names: Vec<_> = self.busy.iter().cloned().collect();
        for name in names {
            self.judge_silence(now, &name, out);
        }
    }

    fn judge_silence(&mut self, now: Millis, name: &NodeName, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        if let Some(probe) = peer.probe.as_mut().filter(|probe| now >= probe.next) {
            probe.next = now + (URGENT - self.dice.below(JITTER / 3 + 1));
            self.ask_for_life(now, name, out);
        }
        let Some(peer) = self.peers.get(name) else { return };
        let has_come = |at: Option<Millis>| at.is_some_and(|at| now >= at);
        match peer.standing {
            Standing::Alive => {
                if has_come(self.raise_at(peer)) {
                    self.suspect(now, name);
                }
            }
            Standing::Suspect { until, accused, .. } => {
                if now >= until {
                    self.give_up(now, name);
                } else if !accused && has_come(self.accuse_at(name)) {
                    self.accuse(name);
                }
            }
            Standing::Unknown | Standing::Lost | Standing::Left => {}
        }
    }

    /// Takes a suspected owner that we stand behind for gone, for ourselves alone: the others go on waiting.
    fn accuse(&mut self, name: &NodeName) {
        if let Some(Peer { standing: Standing::Suspect { accused, .. }, .. }) = self.peers.get_mut(name) {
            *accused = true;
        }
        self.settle(name, Loss::ProbeMissed);
    }

    fn suspect(&mut self, now: Millis, name: &NodeName) {
        let until = now + self.health.patience(SUSPICION);
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.standing = Standing::Suspect { base: peer.seen, until, accused: false };
        self.spread(Kind::Suspect, name, true);
    }

    fn give_up(&mut self, now: Millis, name: &NodeName) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.standing = Standing::Lost;
        peer.retry_at = now + RETRY;
        self.settle(name, Loss::Suspected);
    }

    /// When the time comes to do something about a peer.
    pub(crate) fn next_verdict(&self, name: &NodeName) -> Option<Millis> {
        let peer = self.peers.get(name)?;
        let ping = peer.probe.map(|probe| probe.next);
        let verdict = match peer.standing {
            Standing::Alive => self.raise_at(peer),
            Standing::Suspect { until, accused: false, .. } => {
                Some(self.accuse_at(name).map_or(until, |accuse| accuse.min(until)))
            }
            Standing::Suspect { until, accused: true, .. } => Some(until),
            Standing::Unknown | Standing::Lost | Standing::Left => None,
        };
        ping.into_iter().chain(verdict).min()
    }

    /// When a peer that owes us an answer is suspected. Where others hear it and we do not, the suspicion is raised seldom.
    fn raise_at(&self, peer: &Peer) -> Option<Millis> {
        let probe = peer.probe?;
        let raise = if probe.vouched { 3 * RAISE } else { RAISE };
        Some(probe.since + self.health.patience(raise) + peer.answers.allowance())
    }

    /// When we, as its watcher, take a suspected peer for gone. Never when somebody else has heard it since.
    fn accuse_at(&self, name: &NodeName) -> Option<Millis> {
        let peer = self.peers.get(name).filter(|_| self.watched.contains(name))?;
        let probe = peer.probe.filter(|probe| !probe.vouched && peer.answers.measured >= SAMPLES)?;
        Some(probe.since + self.health.patience(ACCUSE) + peer.answers.allowance())
    }

    /// We were late ourselves: what was due in that time is put off by it.
    pub(crate) fn forgive(&mut self, late: u64) {
        for name in &self.busy {
            let Some(peer) = self.peers.get_mut(name) else { continue };
            if let Some(probe) = &mut peer.probe {
                probe.since += late;
                // The next ping stays due: it is what brings certainty.
            }
            if let Standing::Suspect { until, .. } = &mut peer.standing {
                *until += late;
            }
        }
    }
}
