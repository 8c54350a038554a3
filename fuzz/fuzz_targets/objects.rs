//! See src/objects.rs.
#![no_main]

#[path = "../src/objects.rs"]
mod objects;

libfuzzer_sys::fuzz_target!(|data: &[u8]| objects::run(data));
