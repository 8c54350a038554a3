//! Instructions that the core takes: `cargo bench -p controller --bench allocation_instructions`.
//!
//! Counts repeat on a busy machine, unlike times. It needs valgrind and the program gungraun-runner.
#![allow(unused_qualifications, reason = "in what the macros make")]

mod shapes;

use std::hint::black_box;

use controller::allocator::Allocator;
use controller::allocator::family::Wanted;
use controller::service::Service;
use controller::state::{Action, State};
use gungraun::prelude::*;

use shapes::{Asker, Churn, V4, V6};

type Situation = (Allocator, Asker, Wanted);

fn situation(make: fn() -> Allocator, key: &str, wanted: Wanted) -> Situation {
    let (mut allocator, asker) = (make(), Asker::new("asks", key));
    // Once before: the first one may have to look around.
    asker.take_and_release(&mut allocator, &wanted);
    (allocator, asker, wanted)
}

#[library_benchmark(setup = situation)]
#[bench::fragmented(shapes::fragmented, "", V4)]
#[bench::slash_64(shapes::slash_64, "", V6)]
#[bench::many_keys(shapes::many_keys, "k50000", V4)]
#[bench::one_key(shapes::one_key, "k", V4)]
fn allocate((mut allocator, asker, wanted): Situation) -> (Allocator, Asker) {
    asker.take_and_release(black_box(&mut allocator), &wanted);
    (allocator, asker)
}

#[library_benchmark(setup = shapes::services)]
#[bench::settled(10_000, 0)]
fn import(services: Vec<Service>) -> (State, Vec<Action>) {
    shapes::import(black_box(services), 10_000)
}

#[library_benchmark(setup = Churn::new)]
#[bench::settled_and_waiting()]
fn churn(mut churn: Churn) -> Churn {
    churn.turn();
    churn
}

library_benchmark_group!(name = benches, benchmarks = [allocate, import, churn]);
main!(library_benchmark_groups = benches);
