//! A whole cluster in memory: the apiserver, up to two controller processes, a Lease, and writes on their way.
//!
//! ```text
//! Process ──unsent──▶ fence: only whose Lease it is ──▶ flight ──arrive──▶ ApiServer ──answer or loss──▶ Process
//! ```
//! A write on its way may arrive until the next leader lists; later the apiserver has given it up.

use std::sync::Arc;

use controller::state::Outcome;

use crate::api_server::{ApiServer, KINDS, Kind};
use crate::checks;
use crate::process::{Decided, Process};
use crate::world::Svc;

/// A write that was sent.
struct Flight {
    /// Id of the process.
    from: u64,
    decided: Decided,
    /// What the apiserver did with it, once it arrived.
    arrived: Option<Result<Arc<Svc>, Outcome>>,
    /// The sender still waits for the answer.
    awaited: bool,
}

/// The cluster.
#[derive(Default)]
pub struct Simulation {
    pub api: ApiServer,
    pub processes: [Option<Process>; 2],
    /// Who may write.
    pub lease: Option<usize>,
    flights: Vec<Flight>,
    /// Writes of leaders that were followed by others before they arrived.
    ghosts: Vec<Decided>,
    ids: u64,
    /// What happened, for a replay; `None` while nobody reads it.
    pub story: Option<Vec<String>>,
}

/// Why a history is wrong.
pub type Verdict = Result<(), String>;

impl Simulation {
    /// A cluster without anything; a `story` is kept for whoever reads a replay.
    pub fn new(story: bool) -> Self {
        Self { story: story.then(Vec::new), ..Self::default() }
    }

    /// Notes a line for the reader of a replay.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(line());
        }
    }

    /// Starts a process, in the place of one that may run.
    pub fn start(&mut self, slot: usize) {
        self.crash(slot);
        self.ids += 1;
        self.processes[slot] = Some(Process::start(self.ids, &self.api));
        self.tell(|| format!("controller {slot} starts"));
    }

    /// A process dies; what it had not sent is gone.
    pub fn crash(&mut self, slot: usize) {
        if self.processes[slot].take().is_some() {
            self.tell(|| format!("controller {slot} dies"));
        }
        if self.lease == Some(slot) {
            self.lease = None;
        }
    }

    /// The Lease is lost: from now on nothing more of its holder gets out, whether it noticed or not.
    pub fn depose(&mut self) {
        if let Some(slot) = self.lease.take() {
            self.tell(|| format!("controller {slot} loses the Lease"));
        }
    }

    /// A process notices that the Lease is not its own any more.
    pub fn notice(&mut self, slot: usize) {
        if self.lease != Some(slot)
            && let Some(process) = &mut self.processes[slot]
            && process.state.is_leading()
        {
            process.follow();
            self.tell(|| format!("controller {slot} notices and follows"));
        }
    }

    /// A process wins the free Lease and begins to list. What others sent before should not arrive any more.
    pub fn win(&mut self, slot: usize) {
        self.notice(slot);
        if self.lease.is_some() {
            return;
        }
        let Some(process) = &mut self.processes[slot] else { return };
        process.lead(&self.api);
        self.lease = Some(slot);
        let (arrived, late): (Vec<_>, Vec<_>) = self.flights.drain(..).partition(|flight| flight.arrived.is_some());
        self.flights = arrived;
        self.ghosts.extend(late.into_iter().map(|flight| flight.decided));
        self.tell(|| format!("controller {slot} wins the Lease and leads"));
    }

    /// Writes that nothing could hold back arrive although somebody else leads by now. If that shows an address twice, it
    /// is taken from the Service that got it so, never from the one that had it.
    pub fn haunt(&mut self) -> Verdict {
        for ghost in std::mem::take(&mut self.ghosts) {
            let before = self.api.stored.services.clone();
            let Decided { key, shown, .. } = &ghost;
            if self.api.write(&ghost).is_none() {
                continue;
            }
            self.tell(|| format!("a ghost writes {key} <- {shown:?}"));
            self.calm()?;
            for (other, svc) in before.iter().filter(|(other, _)| *other != key) {
                let now = self.api.stored.services.get(other);
                if !svc.shown.is_empty() && now.is_none_or(|now| now.shown != svc.shown) {
                    return Err(format!("I2: a late write to {key} moves {other}: {svc:?} becomes {now:?}"));
                }
            }
        }
        Ok(())
    }

    /// Delivers up to so many events of a kind, and lets the process decide.
    pub fn deliver(&mut self, slot: usize, kind: Kind, count: usize, twice: bool) -> Verdict {
        let Some(process) = self.processes[slot].as_mut() else { return Ok(()) };
        process.watch(&self.api);
        let mut done = 0;
        while done < count && process.deliver(kind, twice) {
            done += 1;
        }
        if done == 0 {
            return Ok(());
        }
        self.tell(|| format!("controller {slot} gets {done} events of {kind:?}"));
        self.settle(slot)
    }

    /// Lets a process decide and judges what it decides.
    pub fn settle(&mut self, slot: usize) -> Verdict {
        let Some(process) = self.processes[slot].as_mut() else { return Ok(()) };
        let writes = process.settle();
        // What a process decides that does not know yet that another one leads, never leaves it.
        let judged = if self.lease == Some(slot) { checks::decisions(process, &writes) } else { Ok(()) };
        let verdict = judged.and_then(|()| checks::nobody_overslept(process));
        for write in &writes {
            process.sent.entry(write.key.clone()).or_default().extend(&write.shown);
            if let Some(svc) = process.view.services.get(&write.key).filter(|_| !write.shown.is_empty()) {
                process.remembered.insert(write.key.clone(), (svc.uid, write.shown.clone()));
            }
        }
        process.unsent.extend(writes.iter().cloned());
        for write in writes {
            self.tell(|| {
                let Decided { key, version, shown, mark, .. } = &write;
                format!("controller {slot} decides: {key} (version {version}) shows {shown:?} of {mark:?}")
            });
        }
        verdict
    }

    /// A process sends its next write, if the fence lets it.
    pub fn send(&mut self, slot: usize) -> bool {
        let Some(process) = self.processes[slot].as_mut() else { return false };
        let Some(decided) = process.unsent.pop_front() else { return false };
        if self.lease == Some(slot) {
            self.flights.push(Flight { from: process.id, decided, arrived: None, awaited: true });
        } else {
            process.answer(&decided, Err(Outcome::Unknown));
            self.tell(|| format!("the fence stops a write of controller {slot}"));
        }
        true
    }

    /// How many writes are on their way or not answered.
    pub fn flights(&self) -> usize {
        self.flights.len()
    }

    /// A write reaches the apiserver; `fails` if that refuses it for a reason of its own.
    pub fn arrive(&mut self, index: usize, fails: bool) -> Verdict {
        let Some(flight) = self.flights.get_mut(index).filter(|flight| flight.arrived.is_none()) else { return Ok(()) };
        let Decided { key, shown, .. } = &flight.decided;
        let before = self.api.stored.services.get(key).cloned();
        let stored = if fails { None } else { self.api.write(&flight.decided) };
        let line = format!("{key} <- {shown:?}: {}", if stored.is_some() { "stored" } else { "refused" });
        flight.arrived = Some(stored.clone().ok_or(Outcome::Refused));
        let decided = flight.decided.clone();
        self.tell(|| line);
        match (before, stored) {
            (Some(before), Some(after)) => checks::stored(&self.api, &decided, &before, &after),
            _ => Ok(()),
        }
    }

    /// The answer to a write that arrived reaches its process, unless it is `lost`: then nobody knows. Returns
    /// the slot of the process.
    pub fn answer(&mut self, index: usize, lost: bool) -> Option<usize> {
        let flight = self.flights.get_mut(index)?;
        let from = flight.from;
        let answer = match (&flight.arrived, lost) {
            (None, false) => return None,
            (Some(result), false) => result.clone(),
            (_, true) => Err(Outcome::Unknown),
        };
        let awaited = std::mem::replace(&mut flight.awaited, false);
        let decided = flight.decided.clone();
        if flight.arrived.is_some() {
            self.flights.remove(index);
        }
        let is_sender = |slot: &usize| self.processes[*slot].as_ref().is_some_and(|process| process.id == from);
        let slot = (0..2).find(is_sender).filter(|_| awaited)?;
        if lost {
            self.tell(|| format!("nobody knows what became of the write of {}", decided.key));
        }
        self.processes[slot].as_mut()?.answer(&decided, answer);
        Some(slot)
    }

    /// The same, and the process decides at once.
    pub fn end(&mut self, index: usize, lost: bool) -> Verdict {
        self.answer(index, lost).map_or(Ok(()), |slot| self.settle(slot))
    }

    /// A pause after a failure is over.
    pub fn retry(&mut self, slot: usize) -> Verdict {
        if let Some(process) = self.processes[slot].as_mut() {
            process.retry();
        }
        self.settle(slot)
    }

    /// The leader writes the numbers of its pools. Returns whether there was something to write.
    pub fn numbers(&mut self, slot: usize) -> bool {
        if self.lease != Some(slot) {
            return false;
        }
        let Some(process) = self.processes[slot].as_mut() else { return false };
        let writes = process.state.pool_status_writes();
        let any = !writes.is_empty();
        for write in writes {
            let Some(pool) = self.api.stored.pools.get(write.name.as_str()) else { continue };
            let status = &write.status;
            let numbers = [status.assigned_ipv4, status.available_ipv4, status.assigned_ipv6, status.available_ipv6];
            let pool = crate::world::Pool { status: Some(numbers), ..(**pool).clone() };
            self.api.put_pool(pool);
            process.state.pool_status_stored(&write.name, write.status);
        }
        any
    }

    /// Everything that is under way comes to its end; afterwards the world is quiet, and is judged as such.
    pub fn calm(&mut self) -> Verdict {
        self.rest()?;
        checks::quiet(self)
    }

    /// Everything that is under way comes to its end. For steps whose own end is judged.
    pub fn rest(&mut self) -> Verdict {
        self.tell(|| String::from("everything calms down"));
        if self.processes.iter().all(Option::is_none) {
            self.start(0);
        }
        for slot in 0..2 {
            self.notice(slot);
        }
        for slot in [0, 1, 0] {
            self.win(slot);
        }
        for _ in 0..200 {
            let mut moved = false;
            for slot in 0..2 {
                let Some(process) = self.processes[slot].as_mut() else { continue };
                process.watch(&self.api);
                for kind in KINDS {
                    while process.deliver(kind, false) {
                        moved = true;
                    }
                }
                while !process.retries.is_empty() {
                    moved = true;
                    process.retry();
                }
            }
            // What ends in one round is taken in together, so that the outcome depends on the objects only.
            while !self.flights.is_empty() {
                moved = true;
                self.arrive(0, false)?;
                self.answer(0, false);
            }
            for slot in 0..2 {
                self.settle(slot)?;
                while self.send(slot) {
                    moved = true;
                }
                moved |= self.numbers(slot);
            }
            if !moved {
                return Ok(());
            }
        }
        Err(String::from("the controller does not come to rest"))
    }
}
