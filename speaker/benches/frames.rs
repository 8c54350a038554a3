//! Wall time of what is done for each frame, and of a filter: `cargo bench -p speaker --bench frames`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use criterion::{Criterion, criterion_group, criterion_main};
use speaker::announce::Interfaces;
use speaker::l2::filter::{self, Ranges};
use speaker::l2::frames::{self, Heard};
use speaker::l2::selection::Mac;
use speaker::l2::table::{Standing, Table};

const OURS: Mac = Mac([2, 0, 0, 0, 0, 0xaa]);
const ASKER: Mac = Mac([2, 0, 0, 0, 0, 0xbb]);
const OWNED: u32 = 5000;

fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + number)
}

fn v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number))
}

/// A third of 15,000 addresses, as after an election among three nodes.
fn numbers() -> impl Iterator<Item = u32> {
    (0..OWNED).map(|n| n * 3 + n % 2)
}

fn table() -> Table {
    let table = Table::default();
    for number in numbers() {
        table.set(IpAddr::V4(v4(number)), Interfaces::All, Standing::Answering);
        table.set(IpAddr::V6(v6(number)), Interfaces::All, Standing::Answering);
    }
    table
}

fn arp(table: &Table, frame: &[u8]) -> Heard {
    frames::arp(frame, OURS, |ip| table.answers(IpAddr::V4(ip), "eth0")).unwrap_or_default()
}

fn ndp(table: &Table, frame: &[u8]) -> Heard {
    frames::ndp(frame, OURS, |ip| table.answers(IpAddr::V6(ip), "eth0")).unwrap_or_default()
}

fn hear(criterion: &mut Criterion) {
    let table = table();
    let cases = [
        ("ARP request that is answered", frames::arp_probe(ASKER, v4(300))),
        ("ARP request for somebody else", frames::arp_probe(ASKER, v4(302))),
        ("ARP announcement by somebody else", frames::gratuitous_arp(ASKER, v4(300))[0].clone()),
        ("solicitation that is answered", frames::neighbor_probe(ASKER, v6(300))),
        ("solicitation for somebody else", frames::neighbor_probe(ASKER, v6(302))),
        ("noise", vec![0x55; 60]),
    ];
    let mut group = criterion.benchmark_group("10,000 addresses, one frame");
    for (name, frame) in &cases {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| (black_box(arp(&table, frame)), black_box(ndp(&table, frame))));
        });
    }
    group.finish();
}

fn make(criterion: &mut Criterion) {
    criterion.bench_function("filter for 5,000 addresses", |bencher| {
        bencher.iter(|| black_box(filter::arp(&Ranges::covering(numbers()))));
    });
}

criterion_group!(benches, hear, make);
criterion_main!(benches);
