//! Bytes from the wire: ARP requests and neighbour solicitations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use speaker::l2::frames::{arp_reply, gratuitous_arp, neighbor_advertisement, unsolicited_advertisement};
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
    let answers = [arp_reply(data, OURS, |_| true), neighbor_advertisement(data, OURS, |_| true)];
    for answer in answers.into_iter().flatten() {
        assert!((42..=128).contains(&answer.frame.len()), "{answer:?}");
        assert_eq!(answer.frame[6..12], OURS.0, "the answer comes from us");
        assert_ne!(answer.frame[..6], OURS.0, "and goes to others");
        // An answer is no question: two speakers never talk to each other.
        assert_eq!(arp_reply(&answer.frame, OURS, |_| true), None, "{answer:?}");
        assert_eq!(neighbor_advertisement(&answer.frame, OURS, |_| true), None, "{answer:?}");
        let unknown = match answer.ip {
            IpAddr::V4(_) => arp_reply(data, OURS, |_: Ipv4Addr| false),
            IpAddr::V6(_) => neighbor_advertisement(data, OURS, |_: Ipv6Addr| false),
        };
        assert_eq!(unknown, None, "an answer for an address that is not announced");
        let announcements = match answer.ip {
            IpAddr::V4(ip) => gratuitous_arp(OURS, ip).to_vec(),
            IpAddr::V6(ip) => vec![unsolicited_advertisement(OURS, ip)],
        };
        for frame in announcements {
            assert_eq!(arp_reply(&frame, OURS, |_| true), None);
            assert_eq!(neighbor_advertisement(&frame, OURS, |_| true), None);
        }
    }
}
