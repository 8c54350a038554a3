//! Replays the seeds of the fuzz target `frames`.

#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[path = "../../fuzz/src/frames.rs"]
mod target;

#[test]
fn frames_that_were_found_by_fuzzing_are_answered_or_ignored() {
    replay::seeds("frames", target::run);
}
