//! Bytes from the wire: ARP, neighbour solicitations and advertisements.

use std::net::IpAddr;

use speaker::l2::frames::{Heard, arp, arp_probe, gratuitous_arp, ndp, neighbor_probe, unsolicited_advertisement};
use speaker::l2::selection::Mac;

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// Asks for answers to the bytes as they are, and with the checksum that a fuzzer cannot guess.
pub fn run(data: &[u8]) {
    ask(data);
    ask(&with_checksum(data));
}

/// The frame with the ICMPv6 checksum (RFC 4443 2.3) put right, if it is one of neighbour discovery.
fn with_checksum(data: &[u8]) -> Vec<u8> {
    let mut frame = data.to_vec();
    let Some(message) = data.get(54..).filter(|message| message.len() >= 4 && data[12..14] == [0x86, 0xdd]) else {
        return frame;
    };
    let length = u32::try_from(message.len()).unwrap_or_default();
    let pseudo = [&data[22..54], &length.to_be_bytes(), &[0, 0, 0, 58]].concat();
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let mut sum: u32 = 0;
    for pair in [pseudo, message].concat().chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default());
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    let payload = u16::try_from(length).unwrap_or_default();
    frame[18..20].copy_from_slice(&payload.to_be_bytes());
    frame[56..58].copy_from_slice(&(!u16::try_from(sum).unwrap_or_default()).to_be_bytes());
    frame
}

fn ask(data: &[u8]) {
    for heard in both(data, true) {
        if let Some(claim) = heard.claim {
            assert_ne!(claim.mac, OURS, "we claim nothing from ourselves");
            assert_eq!(claim.mac.0[0] & 1, 0, "a group has no address: {claim:?}");
        }
        let Some(answer) = heard.answer else { continue };
        assert!((42..=128).contains(&answer.frame.len()), "{answer:?}");
        assert_eq!(answer.frame[6..12], OURS.0, "the answer comes from us");
        assert_ne!(answer.frame[..6], OURS.0, "and goes to others");
        // An answer is no question, and a claim to everybody but ourselves: two speakers never talk to each other.
        assert_eq!(both(&answer.frame, true), [Heard::default(), Heard::default()], "{answer:?}");
        let announcements = match answer.ip {
            IpAddr::V4(ip) => [gratuitous_arp(OURS, ip).to_vec(), vec![arp_probe(OURS, ip)]].concat(),
            IpAddr::V6(ip) => vec![unsolicited_advertisement(OURS, ip), neighbor_probe(OURS, ip)],
        };
        for frame in announcements {
            assert_eq!(both(&frame, true), [Heard::default(), Heard::default()], "{answer:?}");
        }
    }
    assert_eq!(both(data, false), [Heard::default(), Heard::default()], "nothing is announced");
}

/// What the frame means; the bytes are given to both parsers.
fn both(data: &[u8], announced: bool) -> [Heard; 2] {
    [arp(data, OURS, |_| announced), ndp(data, OURS, |_| announced)].map(Result::unwrap_or_default)
}
