//! See src/compile.rs.
#![no_main]

#[path = "../src/compile.rs"]
mod compile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| compile::run(data));
