//! Wall time of `compile` on huge configurations: `cargo bench -p config --bench compile_10k`.
//!
//! The first shape has a promise: 10,000 pools with 100,000 ranges in less than 100 ms on one core.

mod shapes;

use std::cell::LazyCell;
use std::hint::black_box;

use config::{Resources, compile};
use criterion::{Criterion, criterion_group, criterion_main};

/// A name and how to make it.
type Shape = (&'static str, fn() -> Resources);

fn huge(criterion: &mut Criterion) {
    let shapes: [Shape; 5] = [
        ("10,000 pools, 100,000 ranges", shapes::pools),
        ("10,000 pools that overlap", shapes::overlaps),
        ("10,000 advertisements", shapes::advertisements),
        ("1,000 peers on 1,000 nodes", shapes::peers),
        ("10,000 Communities", shapes::communities),
    ];
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(20);
    for (name, shape) in shapes {
        // Made only when this one is selected.
        let resources = LazyCell::new(shape);
        group.bench_function(name, |bencher| bencher.iter_with_large_drop(|| compile(black_box(&resources))));
    }
    group.finish();
}

criterion_group!(benches, huge);
criterion_main!(benches);
