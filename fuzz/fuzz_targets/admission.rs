//! See src/admission.rs.
#![no_main]

#[path = "../src/admission.rs"]
mod admission;

libfuzzer_sys::fuzz_target!(|data: &[u8]| admission::run(data));
