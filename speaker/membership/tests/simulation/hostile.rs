//! Datagrams from others: replayed, damaged, sealed with another key, from other addresses.

use membership::seal::Seal;
use membership::wire::{Body, Message};
use membership::{Dropped, Input};
use proptest::prelude::*;

use crate::world::{Datagram, World, addr, name};

/// Three nodes that sealed and recorded all they sent, of which node 0 has died and is missed by all.
fn after_a_death(seed: u64) -> World {
    let mut world = World::new(3, seed);
    world.seal = Some(Seal::new(b"secret").unwrap());
    world.recording = true;
    world.run(3_000);
    world.kill(0);
    world.run(2_000);
    assert!(world.agrees());
    world.recording = false;
    world
}

#[test]
fn a_dead_node_does_not_rise_by_a_replay_of_all_it_ever_said() {
    let mut world = after_a_death(1);
    let recorded = world.recorded.clone();
    let begin = world.now;
    for datagram in recorded.iter().filter(|datagram| datagram.from == 0) {
        world.inject(datagram.clone());
        // To the other one as well.
        world.inject(Datagram { to: 3 - datagram.to, ..datagram.clone() });
        world.run(1);
    }
    world.run(2_000);
    assert!((1..3).all(|node| world.nodes[node].changes.iter().all(|(at, _)| *at < begin)));
    assert!(world.nodes[1].drops[&Dropped::Replayed] > 10);
}

#[test]
fn what_was_held_back_until_after_a_restart_is_not_taken() {
    // Node 0 speaks, but nothing it says arrives; all of it is kept.
    let mut world = World::new(3, 2);
    world.seal = Some(Seal::new(b"secret").unwrap());
    world.run(3_000);
    world.recording = true;
    world.network.cut.extend([(0, 1), (0, 2)]);
    world.run(1_000);
    world.recording = false;
    let held: Vec<_> = world.recorded.drain(..).filter(|datagram| datagram.from == 0).collect();
    assert!(held.len() > 20);
    // It restarts, is known again, and dies.
    world.network.cut.clear();
    world.kill(0);
    world.start(0);
    world.run(2_000);
    assert!(world.agrees());
    world.kill(0);
    world.run(2_000);
    let begin = world.now;
    for datagram in held {
        world.inject(datagram);
        world.run(1);
    }
    world.run(1_000);
    assert_eq!(world.nodes[1].changes.iter().filter(|(at, _)| *at >= begin).count(), 0);
    assert!(world.nodes[1].drops[&Dropped::WrongSender] > 0, "{:?}", world.nodes[1].drops);
}

#[test]
fn nothing_said_to_a_process_before_its_restart_is_taken_after() {
    let mut world = after_a_death(3);
    let recorded = world.recorded.clone();
    world.kill(1);
    world.kill(2);
    world.start(1);
    // Node 1 is alone: whatever it comes to believe, it believes because of the replay.
    for datagram in recorded.iter().filter(|datagram| datagram.to == 1) {
        world.inject(datagram.clone());
        world.run(1);
    }
    world.run(2_000);
    assert_eq!(world.alive(1), [name(1)].into());
}

#[test]
fn a_flood_of_replays_is_answered_at_a_bounded_rate() {
    let mut world = after_a_death(4);
    let hello = world.recorded.iter().find(|datagram| datagram.from == 0 && datagram.to == 1).unwrap().clone();
    let before = world.sent;
    world.run(1_000);
    let usual = world.sent - before;
    for _ in 0..1_000 {
        (0..10).for_each(|_| world.inject(hello.clone()));
        world.run(1);
    }
    let flooded = world.sent - before - usual;
    assert!(flooded < usual + 60, "{flooded} datagrams in a second with 10,000 replays, {usual} without");
}

#[test]
fn the_name_of_a_member_counts_only_with_its_address_and_no_stranger_counts() {
    let mut world = World::new(3, 5);
    world.run(3_000);
    let begin = world.now;
    let message = |sender: usize| Message {
        sender: name(sender),
        boot: 77,
        receiver_boot: 0,
        counter: 1,
        body: Body::Hello { nonce: 5 },
    };
    let bytes = message(1).encode();
    world.give(0, Input::Datagram { from: addr(2), bytes: bytes.clone() });
    assert_eq!(world.nodes[0].drops[&Dropped::WrongAddress], 1);
    world.give(0, Input::Datagram { from: addr(9), bytes: message(9).encode() });
    assert_eq!(world.nodes[0].drops[&Dropped::Stranger], 1);
    world.give(1, Input::Datagram { from: addr(1), bytes });
    assert_eq!(world.nodes[1].drops[&Dropped::Ourselves], 1);
    world.give(0, Input::Datagram { from: addr(1), bytes: vec![0; 40] });
    assert_eq!(world.nodes[0].drops[&Dropped::Malformed], 1);
    world.run(2_000);
    assert!(world.nodes.iter().all(|node| node.changes.iter().all(|(at, _)| *at < begin)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_repeated_and_wrongly_sealed_datagrams_change_no_view(
        seed in 0_u64..4,
        attacks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..5, 0_usize..3), 1..60),
    ) {
        let mut world = after_a_death(seed);
        let foreign = Seal::new(b"another secret").unwrap();
        let ours = Seal::new(b"secret").unwrap();
        let recorded = world.recorded.clone();
        let begin = world.now;
        for (which, at, kind, to) in attacks {
            let mut datagram = which.get(&recorded).clone();
            let at = at.index(datagram.bytes.len());
            match kind {
                0 => {}
                1 => datagram.bytes.truncate(at),
                2 => datagram.bytes[at] ^= 1 << (at % 8),
                3 => {
                    let mut opened = datagram.bytes.clone();
                    let message = ours.open(&mut opened).unwrap();
                    datagram.bytes = foreign.seal([9; 12], message).unwrap();
                }
                _ => datagram.to = to,
            }
            world.inject(datagram);
            world.run(3);
        }
        world.run(1_000);
        prop_assert!(world.agrees());
        for node in &world.nodes {
            prop_assert!(node.changes.iter().all(|(at, _)| *at < begin));
        }
    }
}
