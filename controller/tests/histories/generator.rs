//! Random histories: steps that carry their own randomness, so that dropping some leaves the meaning of the others.
//!
//! ```text
//! seed ──▶ [Step] ──run──▶ Simulation, judged after every step ──wrong──▶ shorten: drop steps while it stays wrong
//! ```

use crate::api_server::KINDS;
use crate::checks;
use crate::edits::edit;
use crate::model;
use crate::random::Random;
use crate::simulation::{Simulation, Verdict};

/// One step of a history.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What kind of step.
    pub act: Act,
    /// Determines the rest of it.
    pub seed: u64,
}

/// Kinds of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A user changes something.
    Edit,
    /// A controller gets events.
    Deliver,
    /// A watch breaks and lists again.
    Relist,
    /// A write is sent, arrives, or is answered.
    Move,
    /// An answer is lost, or the apiserver refuses a write.
    Harm,
    /// A pause after a failure is over; numbers are written.
    Retry,
    /// A process dies or starts.
    Crash,
    /// The Lease moves.
    Lease,
    /// A leader decides, another one leads and writes, and then the first one, which noticed nothing, tries to.
    Usurp,
    /// Everything comes to rest, and then writes of former leaders arrive.
    Ghosts,
    /// Everything comes to rest.
    Calm,
    /// Everything comes to rest, one thing changes, and the end of it is predicted.
    Single,
    /// All controllers die; things change; a controller starts, and the end of it is predicted.
    Rebuild,
}

/// A history.
pub fn history(seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    let length = 12 + random.below(28);
    let mut steps: Vec<Step> = (0..4 + random.below(4)).map(|_| Step { act: Act::Edit, seed: random.next() }).collect();
    // Some histories are about many small changes, others about disorder.
    let orderly = random.one_in(2);
    for _ in 0..length {
        let act = match random.below(100) {
            0..24 => Act::Edit,
            24..44 => Act::Deliver,
            44..47 => Act::Relist,
            47..65 => Act::Move,
            65..70 => Act::Harm,
            70..74 => Act::Retry,
            74..77 => Act::Crash,
            77..83 => Act::Lease,
            83..85 => Act::Usurp,
            85 => Act::Ghosts,
            86..89 => Act::Calm,
            89..97 => Act::Single,
            _ => Act::Rebuild,
        };
        let act = if orderly && matches!(act, Act::Deliver | Act::Harm | Act::Crash | Act::Relist) {
            Act::Single
        } else {
            act
        };
        steps.push(Step { act, seed: random.next() });
    }
    steps.push(Step { act: Act::Calm, seed: 0 });
    steps
}

/// Runs a history in a fresh world.
pub fn run(steps: &[Step], story: bool) -> (Simulation, Verdict) {
    let mut simulation = Simulation::new(story);
    simulation.api.now = 1_700_000_000;
    simulation.api.put_namespace("a", Some("gold"));
    simulation.api.put_namespace("b", None);
    for slot in [0, 1] {
        simulation.start(slot);
    }
    for step in steps {
        if let Err(wrong) = perform(&mut simulation, *step) {
            return (simulation, Err(wrong));
        }
    }
    (simulation, Ok(()))
}

/// The shortest history found that is still wrong.
pub fn shorten(mut steps: Vec<Step>) -> Vec<Step> {
    let mut index = 0;
    let mut dropped = false;
    while index < steps.len() || std::mem::take(&mut dropped) {
        index = if index < steps.len() { index } else { 0 };
        let mut fewer = steps.clone();
        fewer.remove(index);
        if run(&fewer, false).1.is_err() {
            steps = fewer;
            dropped = true;
        } else {
            index += 1;
        }
    }
    steps
}

fn perform(simulation: &mut Simulation, step: Step) -> Verdict {
    let mut random = Random::new(step.seed);
    let random = &mut random;
    let slot = random.below(2);
    match step.act {
        Act::Edit => {
            if random.one_in(3) {
                simulation.api.now += 1;
            }
            edit(simulation, random);
            Ok(())
        }
        Act::Deliver => {
            let kind = random.of(KINDS);
            let count = if random.one_in(2) { 100 } else { 1 + random.below(3) };
            simulation.deliver(slot, kind, count, random.one_in(4))
        }
        Act::Relist => {
            let kind = random.of(KINDS);
            if let Some(process) = &mut simulation.processes[slot] {
                process.relist(kind, &simulation.api);
                simulation.tell(|| format!("the watch of {kind:?} of controller {slot} lists again"));
            }
            Ok(())
        }
        Act::Move => {
            simulation.send(slot);
            let flight = random.below(simulation.flights());
            if !random.one_in(4) {
                simulation.arrive(flight, false)?;
            }
            if random.one_in(2) { simulation.end(flight, false) } else { Ok(()) }
        }
        Act::Harm => {
            simulation.send(slot);
            let flight = random.below(simulation.flights());
            match random.below(3) {
                0 => {
                    simulation.arrive(flight, true)?;
                    simulation.end(flight, false)
                }
                1 => {
                    simulation.arrive(flight, false)?;
                    simulation.end(flight, true)
                }
                _ => simulation.end(flight, true),
            }
        }
        Act::Retry => {
            simulation.numbers(slot);
            simulation.retry(slot)
        }
        Act::Crash => {
            if random.one_in(3) {
                simulation.crash(slot);
            } else {
                simulation.start(slot);
            }
            Ok(())
        }
        Act::Lease => {
            match random.below(4) {
                0 => simulation.depose(),
                1 => simulation.notice(slot),
                2 => simulation.win(slot),
                _ => {
                    simulation.depose();
                    simulation.win(slot);
                }
            }
            Ok(())
        }
        Act::Usurp => {
            simulation.rest()?;
            let Some(old) = simulation.lease else { return Ok(()) };
            edit(simulation, random);
            take_in_all(simulation, old)?;
            simulation.depose();
            simulation.win(1 - old);
            for _ in 0..1 + random.below(3) {
                edit(simulation, random);
            }
            take_in_all(simulation, 1 - old)?;
            write_all(simulation, 1 - old)?;
            write_all(simulation, old)
        }
        Act::Ghosts => {
            simulation.rest()?;
            simulation.haunt()
        }
        Act::Calm => simulation.calm(),
        Act::Single => {
            simulation.rest()?;
            let determined = edit(simulation, random);
            settle_as_predicted(simulation, determined)
        }
        Act::Rebuild => {
            simulation.rest()?;
            for slot in [0, 1] {
                simulation.crash(slot);
            }
            for _ in 0..1 + random.below(4) {
                edit(simulation, random);
            }
            simulation.start(slot);
            settle_as_predicted(simulation, true)
        }
    }
}

fn take_in_all(simulation: &mut Simulation, slot: usize) -> Verdict {
    KINDS.into_iter().try_for_each(|kind| simulation.deliver(slot, kind, usize::MAX, false))
}

/// What a process has to send arrives and is answered, one after the other.
fn write_all(simulation: &mut Simulation, slot: usize) -> Verdict {
    for _ in 0..20 {
        if !simulation.send(slot) {
            break;
        }
        if let Some(last) = simulation.flights().checked_sub(1) {
            simulation.arrive(last, false)?;
            simulation.end(last, false)?;
        }
    }
    Ok(())
}

fn settle_as_predicted(simulation: &mut Simulation, determined: bool) -> Verdict {
    let predicted = if determined { model::predict(&simulation.api.stored) } else { None };
    simulation.calm()?;
    predicted.map_or(Ok(()), |predicted| checks::as_predicted(&simulation.api, &predicted))
}
