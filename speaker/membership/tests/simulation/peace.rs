//! A network that loses nothing: how fast members find one another and miss one another.

use std::time::Instant;

use membership::{Input, Loss};

use crate::world::{World, name};

#[test]
fn all_see_all_soon_after_they_start() {
    for (size, bound) in [(2, 500), (3, 500), (10, 1_000), (50, 3_000)] {
        let worst = (0..5).map(|seed| joined(size, seed)).max().unwrap();
        println!("{size} nodes see one another after {worst} ms at the latest");
        assert!(worst <= bound, "{size} nodes needed {worst} ms");
    }
}

fn joined(size: usize, seed: u64) -> u64 {
    World::new(size, seed).run_until(20_000, World::agrees).expect("all see all")
}

/// How long everybody, and the victim's watcher, needs to notice a death.
fn time_of_death(size: usize, seed: u64) -> (u64, u64) {
    let mut world = World::new(size, seed);
    world.watch(1, 0);
    let wait = 2_000 + world.chance(1_000);
    world.run(wait);
    assert!(world.agrees());
    world.kill(0);
    let died = world.now;
    let all = world.run_until(5_000, World::agrees).expect("a death is noticed");
    let losses = world.losses(0, died);
    let watcher = losses.iter().filter(|(node, ..)| *node == 1).map(|(_, at, _)| at - died).min().unwrap();
    (all, watcher)
}

#[track_caller]
fn deaths_are_noticed(size: usize, seeds: u64) {
    let mut times: Vec<_> = (0..seeds).map(|seed| time_of_death(size, seed)).collect();
    times.sort_unstable();
    let all = times.last().unwrap().0;
    let median = times[times.len() / 2].0;
    let watcher = times.iter().map(|time| time.1).max().unwrap();
    let mean = times.iter().map(|time| time.1).sum::<u64>() / seeds;
    println!(
        "{size} nodes, {seeds} deaths: known to all after {median} ms (median), {all} ms (worst); to the watcher after {mean} ms (mean), {watcher} ms (worst)"
    );
    assert!(all < 700, "a death among {size} nodes took {all} ms to be known");
    assert!(watcher <= 400, "the watcher among {size} nodes needed {watcher} ms");
}

#[test]
fn a_death_among_three_is_known_to_all_within_700_ms_and_to_the_watcher_within_400() {
    deaths_are_noticed(3, 1_000);
}

#[test]
fn a_death_among_ten_is_known_to_all_within_700_ms_and_to_the_watcher_within_400() {
    deaths_are_noticed(10, 100);
}

#[test]
fn two_nodes_alone_notice_a_death_as_fast() {
    deaths_are_noticed(2, 100);
}

#[test]
fn whoever_leaves_is_gone_for_all_within_one_message_delay_and_may_return_at_once() {
    for seed in 0..20 {
        let mut world = World::new(10, seed);
        world.run(3_000);
        world.give(0, Input::Leave);
        let begin = world.now;
        world.run(2);
        let losses = world.losses(0, begin);
        assert_eq!(losses.len(), 9);
        assert!(losses.iter().all(|(.., loss)| *loss == Loss::Left), "{losses:?}");
        world.run(100);
        assert!(world.nodes[0].has_left);
        world.start(0);
        let back = world.run_until(5_000, World::agrees).expect("it is back");
        assert!(back <= 400, "seed {seed}: back after {back} ms");
    }
}

#[test]
fn whoever_restarts_before_it_is_missed_was_never_gone() {
    for seed in 0..20 {
        let mut world = World::new(5, seed);
        world.run(3_000);
        world.kill(0);
        world.run(50);
        world.start(0);
        let begin = world.now;
        world.run(3_000);
        assert!(world.agrees());
        assert_eq!(world.losses(0, begin), []);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::new(5, seed);
        world.network.loss = 100;
        world.network.duplication = 50;
        world.network.detour = 50;
        world.run(5_000);
        (world.fingerprint, world.sent)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn nobody_sends_more_per_second_in_a_large_cluster_than_in_a_small_one() {
    for size in [3, 10, 40] {
        let mut world = World::new(size, 1);
        world.run(5_000);
        let before = world.sent;
        world.run(10_000);
        let each = (world.sent - before) / (10 * size as u64);
        println!("{size} nodes: each sends {each} datagrams per second");
        assert!(each <= 80, "{size} nodes: {each}");
    }
}

/// Nodes of the large run. 300 take 18 s of processor time unoptimised, 1,000 several minutes: too much for every test run.
fn large() -> usize {
    std::env::var("METALLB_MEMBERSHIP_NODES").ok().and_then(|size| size.parse().ok()).unwrap_or(150)
}

#[test]
fn a_large_cluster_finds_itself_and_misses_the_dead() {
    let size = large();
    let begin = Instant::now();
    let mut world = World::new(size, 1);
    let joined = world.run_until(60_000, World::agrees).expect("all see all");
    let datagrams = world.sent;
    world.run(1_000);
    let each = (world.sent - datagrams) / size as u64;
    world.kill(0);
    let died = world.now;
    world.run_until(10_000, World::agrees).expect("the death is noticed");
    let mut times: Vec<_> = world.losses(0, died).iter().map(|(_, at, _)| at - died).collect();
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{size} nodes: all see all after {joined} ms and {datagrams} datagrams; then {each} datagrams/s each; \
         a death is known after {median} ms (median), {worst} ms (all); {} ms of real time",
        begin.elapsed().as_millis()
    );
    assert!(!world.alive(1).contains(&name(0)));
}
