//! Replays the seeds of the fuzz target `objects`.

#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[path = "../../fuzz/src/objects.rs"]
mod target;

#[test]
fn objects_that_were_found_by_fuzzing_do_the_controller_no_harm() {
    replay::seeds("objects", target::run);
}
