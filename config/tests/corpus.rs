//! Replays the seeds of the fuzz targets that need no more than this crate.

#[path = "../../fuzz/src/compile.rs"]
mod compile;
#[path = "../../fuzz/src/entries.rs"]
mod entries;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn texts_that_were_found_by_fuzzing_are_read_without_harm() {
    replay::seeds("entries", entries::run);
}

#[test]
fn configurations_that_were_found_by_fuzzing_compile_by_the_laws() {
    replay::seeds("compile", compile::run);
}
