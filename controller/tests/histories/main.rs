//! Random histories of a cluster, judged by a naive model of MetalLB's allocation.
//!
//! ```text
//!  edits ──▶ api_server ──watches, late, twice, listed again──▶ process (the product's State) ──writes, lost, late──▶ api_server
//!                                                                   │
//!                                               model ──▶ checks ◀──┘      generator: steps, replay, the shortest failure
//! ```
//! `METALLB_HISTORIES` is how many are run, `METALLB_HISTORY_SEED` replays one and tells what happens in it.

mod api_server;
mod brief;
mod checks;
mod edits;
mod generator;
mod model;
mod process;
mod random;
mod simulation;
mod world;

use std::sync::atomic::{AtomicBool, Ordering};

/// Run unless the environment says otherwise: what an unoptimised build does in half a minute of processor time.
const HISTORIES: u64 = 1_000;
const THREADS: u64 = 2;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// What went wrong, with everything needed to see it again.
fn failure(seed: u64) -> Option<String> {
    let steps = generator::history(seed);
    let attempt = || std::panic::catch_unwind(|| generator::run(&generator::history(seed), false).1);
    let wrong = match attempt() {
        Ok(Ok(())) => return None,
        Ok(Err(wrong)) => wrong,
        Err(_) => return Some(format!("the history METALLB_HISTORY_SEED={seed} panics")),
    };
    let steps = generator::shorten(steps);
    let (simulation, shortest) = generator::run(&steps, true);
    let story = simulation.story.unwrap_or_default().join("\n  ");
    let shortest = shortest.err().unwrap_or_default();
    Some(format!("{wrong}\nreplay with METALLB_HISTORY_SEED={seed}\nshortest history:\n  {story}\n  {shortest}"))
}

#[test]
fn in_every_history_addresses_are_given_as_the_model_says() {
    if let Some(seed) = number("METALLB_HISTORY_SEED") {
        if let Some(failure) = failure(seed) {
            panic!("{failure}");
        }
        return;
    }
    let histories = number("METALLB_HISTORIES").unwrap_or(HISTORIES);
    let failed = AtomicBool::new(false);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let failed = &failed;
        let search = move |first: u64| {
            (first..histories).step_by(THREADS as usize).take_while(|_| !failed.load(Ordering::Relaxed)).find_map(
                |seed| {
                    let failure = failure(seed)?;
                    failed.store(true, Ordering::Relaxed);
                    Some(failure)
                },
            )
        };
        let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(move || search(first))).collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("a thread")).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
