//! The programs, run by a small interpreter, against what they promise.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::l2::frames;
use crate::l2::selection::Mac;

const FOREIGN: Mac = Mac([2, 0, 0, 0, 0, 0xbb]);

/// What the kernel does with the program. `direction` is the frame's packet type.
fn run(program: &[Step], frame: &[u8], direction: u32) -> bool {
    let (mut position, mut accumulator) = (0usize, 0u32);
    loop {
        let step = program[position];
        position += 1;
        let load = |width: usize| {
            let start = usize::try_from(step.operand).unwrap();
            let bytes = frame.get(start..start + width)?;
            Some(bytes.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)))
        };
        let skip = |holds: bool| usize::from(if holds { step.if_true } else { step.if_false });
        let loaded = match step.code {
            LOAD_WORD if step.operand == PACKET_TYPE => Some(direction),
            LOAD_WORD => load(4),
            LOAD_HALF => load(2),
            LOAD_BYTE => load(1),
            LOAD_LENGTH => Some(u32::try_from(frame.len()).unwrap()),
            JUMP => {
                position += usize::try_from(step.operand).unwrap();
                Some(accumulator)
            }
            JUMP_IF_EQUAL => {
                position += skip(accumulator == step.operand);
                Some(accumulator)
            }
            JUMP_IF_AT_LEAST => {
                position += skip(accumulator >= step.operand);
                Some(accumulator)
            }
            RETURN => return step.operand > 0,
            other => panic!("operation {other:#x}"),
        };
        // A load behind the frame's end drops it.
        let Some(value) = loaded else { return false };
        accumulator = value;
    }
}

fn request(sender: u32, target: u32) -> Vec<u8> {
    let mut frame = frames::gratuitous_arp(FOREIGN, Ipv4Addr::from(target))[0].clone();
    frame[28..32].copy_from_slice(&sender.to_be_bytes());
    frame
}

fn holds(ranges: &Ranges, number: u32) -> bool {
    ranges.0.iter().any(|(start, end)| (*start..=*end).contains(&number))
}

fn ranges(addresses: &[[u8; 4]]) -> Ranges {
    Ranges::covering(addresses.iter().map(|address| u32::from_be_bytes(*address)))
}

fn number(address: [u8; 4]) -> u32 {
    u32::from_be_bytes(address)
}

#[test]
fn questions_about_our_addresses_and_frames_from_them_pass_and_nothing_else() {
    let program = arp(&ranges(&[[192, 0, 2, 10], [192, 0, 2, 20]]));
    let (ours, between, host) = (number([192, 0, 2, 10]), number([192, 0, 2, 15]), number([192, 0, 2, 1]));
    assert!(run(&program, &request(host, ours), 1));
    assert!(run(&program, &request(host, number([192, 0, 2, 20])), 0));
    assert!(run(&program, &request(ours, host), 1), "somebody asks from our address");
    assert!(!run(&program, &request(host, between), 1));
    assert!(!run(&program, &request(host, ours), 3), "a copy for another host");
    assert!(!run(&program, &request(host, ours), 4), "our own frame");
    let mut reply = request(ours, ours);
    reply[21] = 2;
    assert!(run(&program, &reply, 1), "somebody announces our address");
    reply[21] = 3;
    assert!(!run(&program, &reply, 1), "neither request nor reply");
    reply[12] = 0x09;
    assert!(!run(&program, &reply, 1), "not ARP");
}

#[test]
fn solicitations_and_advertisements_for_our_addresses_pass_and_nothing_else() {
    let ours: Ipv6Addr = "2001:db8::12:3456".parse().unwrap();
    let program = ndp(&Ranges::covering([0x0012_3456]));
    for frame in [frames::unsolicited_advertisement(FOREIGN, ours), frames::neighbor_probe(FOREIGN, ours)] {
        assert!(run(&program, &frame, 2));
        assert!(!run(&program, &frame, 4), "our own frame");
        for (position, value) in [(12, 0x08), (20, 17), (54, 134), (54, 128), (77, 0x57)] {
            let mut other = frame.clone();
            other[position] = value;
            assert!(!run(&program, &other, 2), "byte {position} is {value}");
        }
    }
}

#[test]
fn frames_too_short_to_tell_pass_and_are_counted_by_the_reader() {
    let ours: Ipv6Addr = "2001:db8::12:3456".parse().unwrap();
    let question = request(1, number([192, 0, 2, 10]));
    let solicitation = frames::neighbor_probe(FOREIGN, ours);
    let (arp, ndp) = (arp(&ranges(&[[192, 0, 2, 10]])), ndp(&Ranges::covering([0x0012_3456])));
    for length in 14..question.len() {
        assert!(run(&arp, &question[..length], 1), "{length} bytes");
    }
    for length in 21..solicitation.len() {
        assert!(run(&ndp, &solicitation[..length], 1), "{length} bytes");
    }
}

#[test]
fn with_nothing_announced_nothing_passes() {
    assert!(!run(&arp(&Ranges::default()), &request(1, 2), 1));
    assert!(!run(&ndp(&Ranges::default()), &frames::neighbor_probe(FOREIGN, Ipv6Addr::LOCALHOST), 1));
}

#[test]
fn a_pool_shared_by_three_nodes_takes_few_ranges_and_lets_nothing_outside_the_pool_through() {
    let pool = number([10, 0, 0, 0]);
    let ranges = Ranges::covering(
        (0..15_000).filter(|n| (n * 2_654_435_761_u64).is_multiple_of(3)).map(|n| pool + u32::try_from(n).unwrap()),
    );
    assert!(ranges.0.len() <= MOST_RANGES);
    assert!(!holds(&ranges, pool - 1) && !holds(&ranges, pool + 15_000));
    let program = arp(&ranges);
    assert!(program.len() < 900, "{} steps", program.len());
}

proptest! {
    #[test]
    fn ranges_hold_every_number_and_close_the_narrowest_gaps(numbers in prop::collection::vec(any::<u32>(), 0..300)) {
        let ranges = Ranges::covering(numbers.clone());
        prop_assert!(ranges.0.len() <= MOST_RANGES);
        for number in &numbers {
            prop_assert!(holds(&ranges, *number));
        }
        if numbers.len() <= MOST_RANGES {
            let more = numbers.iter().flat_map(|n| [n.wrapping_sub(1), n.wrapping_add(1)]).filter(|n| !numbers.contains(n));
            for number in more {
                prop_assert!(!holds(&ranges, number));
            }
        }
    }

    #[test]
    fn a_program_passes_exactly_its_ranges(
        numbers in prop::collection::vec(prop_oneof![any::<u32>(), 0u32..200, (u32::MAX - 50)..=u32::MAX], 1..200),
        other in any::<u32>(),
    ) {
        let ranges = Ranges::covering(numbers.clone());
        let program = arp(&ranges);
        let outside = (0..).find(|n| !holds(&ranges, *n));
        for number in numbers.iter().flat_map(|n| [*n, n.wrapping_add(1), n.wrapping_sub(1)]).chain([other]) {
            if let Some(outside) = outside {
                prop_assert_eq!(run(&program, &request(outside, number), 1), holds(&ranges, number));
                prop_assert_eq!(run(&program, &request(number, outside), 1), holds(&ranges, number));
            }
        }
    }
}
