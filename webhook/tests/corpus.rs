//! Replays the seeds of the fuzz target `admission`.

#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[path = "../../fuzz/src/admission.rs"]
mod target;

#[test]
fn calls_that_were_found_by_fuzzing_are_answered() {
    replay::seeds("admission", target::run);
}
