//! Instructions that `compile` takes on huge configurations: `cargo bench -p config --bench compile_instructions`.
//!
//! Counts repeat on a busy machine, unlike times. It needs valgrind and the program gungraun-runner.

#![allow(unused_qualifications, reason = "what the macros write")]

mod shapes;

use std::hint::black_box;

use config::{Compiled, Resources, compile};
use gungraun::prelude::*;

fn made(shape: fn() -> Resources) -> Resources {
    shape()
}

#[library_benchmark(setup = made)]
#[bench::pools(shapes::pools)]
#[bench::overlaps(shapes::overlaps)]
#[bench::advertisements(shapes::advertisements)]
#[bench::peers(shapes::peers)]
#[bench::communities(shapes::communities)]
fn huge(resources: Resources) -> (Resources, Compiled) {
    let compiled = compile(black_box(&resources));
    (resources, compiled)
}

library_benchmark_group!(name = benches, benchmarks = huge);
main!(library_benchmark_groups = benches);
