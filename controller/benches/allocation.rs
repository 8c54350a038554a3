//! Wall time of the core: `cargo bench -p controller --bench allocation`.

mod shapes;

use std::hint::black_box;

use controller::allocator::Allocator;
use controller::allocator::family::Wanted;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

use shapes::{Asker, Churn, V4, V6};

fn allocate(criterion: &mut Criterion) {
    type Case = (&'static str, fn() -> Allocator, &'static str, Wanted);
    let cases: [Case; 4] = [
        ("a /8 with 100,000 gaps", shapes::fragmented, "", V4),
        ("a /64 with 100,000 addresses in use", shapes::slash_64, "", V6),
        ("100,000 sharing keys", shapes::many_keys, "k50000", V4),
        ("one sharing key on 100,000 addresses", shapes::one_key, "k", V4),
    ];
    let mut group = criterion.benchmark_group("allocate and release");
    for (name, make, key, wanted) in cases {
        let (mut allocator, asker) = (make(), Asker::new("asks", key));
        group.bench_function(name, |bencher| bencher.iter(|| asker.take_and_release(&mut allocator, &wanted)));
    }
    group.finish();
}

fn controller(criterion: &mut Criterion) {
    let services = shapes::services(10_000, 0);
    criterion.bench_function("import of 10,000 Services", |bencher| {
        let import = |services| black_box(shapes::import(services, 10_000));
        bencher.iter_batched(|| services.clone(), import, BatchSize::LargeInput);
    });
    let mut churn = Churn::new();
    criterion.bench_function("one Service goes and comes, 10,000 settled, 10,000 waiting", |bencher| {
        bencher.iter(|| churn.turn());
    });
}

criterion_group!(benches, allocate, controller);
criterion_main!(benches);
