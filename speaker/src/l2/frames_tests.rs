//! Hand-made questions, their answers byte by byte, and hostile bytes.

use proptest::prelude::*;

use super::*;

const OURS: Mac = Mac([0x02, 0, 0, 0, 0, 0xaa]);
const ASKER: Mac = Mac([0x02, 0, 0, 0, 0, 0xbb]);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

fn request(operation: ArpOperation, to: Mac, sender: (Mac, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: sender.0,
        source_protocol_addr: sender.1,
        target_hardware_addr: Mac([0; 6]),
        target_protocol_addr: target,
    };
    arp_frame(sender.0, to, &repr)
}

struct Solicitation {
    to: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    link_layer: Option<Mac>,
    hop_limit: u8,
}

impl Default for Solicitation {
    fn default() -> Self {
        let group = solicited_node(VIP6);
        Self {
            to: multicast_mac(group),
            source: CLIENT6,
            destination: group,
            target: VIP6,
            link_layer: Some(ASKER),
            hop_limit: 255,
        }
    }
}

impl Solicitation {
    fn frame(&self) -> Vec<u8> {
        let message = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
            target_addr: self.target,
            lladdr: self.link_layer.map(Into::into),
        });
        let header = Ipv6Repr {
            src_addr: self.source,
            dst_addr: self.destination,
            next_header: IpProtocol::Icmpv6,
            payload_len: message.buffer_len(),
            hop_limit: self.hop_limit,
        };
        let mut bytes = vec![0; 14 + 40 + message.buffer_len()];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        EthernetRepr { src_addr: ASKER, dst_addr: self.to, ethertype: EthernetProtocol::Ipv6 }.emit(&mut frame);
        let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
        header.emit(&mut packet);
        let mut icmp = Icmpv6Packet::new_unchecked(packet.payload_mut());
        message.emit(&self.source, &self.destination, &mut icmp, &ChecksumCapabilities::default());
        bytes
    }

    fn answer(&self) -> Option<Advertisement> {
        neighbor_advertisement(&self.frame(), OURS, |ip| ip == VIP6).map(|answer| read(&answer.frame))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Advertisement {
    to: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    flags: NdiscNeighborFlags,
    target: Ipv6Addr,
    link_layer: Option<Mac>,
}

fn read(bytes: &[u8]) -> Advertisement {
    let frame = EthernetFrame::new_checked(bytes).unwrap();
    assert_eq!(frame.src_addr(), OURS);
    let packet = Ipv6Packet::new_checked(frame.payload()).unwrap();
    let icmp = Icmpv6Packet::new_checked(packet.payload()).unwrap();
    let parsed = Icmpv6Repr::parse(&packet.src_addr(), &packet.dst_addr(), &icmp, &ChecksumCapabilities::default());
    let Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr, lladdr }) = parsed.unwrap() else {
        panic!("not an advertisement")
    };
    Advertisement {
        to: frame.dst_addr(),
        source: packet.src_addr(),
        destination: packet.dst_addr(),
        hop_limit: packet.hop_limit(),
        flags,
        target: target_addr,
        link_layer: lladdr.map(|address| Mac(address.as_bytes().try_into().unwrap())),
    }
}

fn arp(frame: &[u8]) -> Option<Answer> {
    arp_reply(frame, OURS, |ip| ip == VIP)
}

#[test]
fn a_broadcast_request_is_answered_to_the_asker_alone() {
    let answer = arp(&request(ArpOperation::Request, Mac::BROADCAST, (ASKER, CLIENT), VIP)).unwrap();
    assert_eq!(answer.ip, IpAddr::V4(VIP));
    #[rustfmt::skip]
    assert_eq!(answer.frame, [
        0x02, 0, 0, 0, 0, 0xbb, 0x02, 0, 0, 0, 0, 0xaa, 0x08, 0x06,
        0, 1, 0x08, 0x00, 6, 4, 0, 2,
        0x02, 0, 0, 0, 0, 0xaa, 192, 0, 2, 10,
        0x02, 0, 0, 0, 0, 0xbb, 192, 0, 2, 1,
    ]);
}

#[test]
fn unicast_requests_and_address_probes_are_answered_too() {
    assert!(arp(&request(ArpOperation::Request, OURS, (ASKER, CLIENT), VIP)).is_some());
    assert!(arp(&request(ArpOperation::Request, Mac::BROADCAST, (ASKER, Ipv4Addr::UNSPECIFIED), VIP)).is_some());
}

#[test]
fn what_is_no_question_to_us_gets_no_arp_answer() {
    let other = Ipv4Addr::new(192, 0, 2, 11);
    for (name, frame) in [
        ("a reply", request(ArpOperation::Reply, Mac::BROADCAST, (ASKER, CLIENT), VIP)),
        ("another address", request(ArpOperation::Request, Mac::BROADCAST, (ASKER, CLIENT), other)),
        ("a copy for another host", request(ArpOperation::Request, Mac([2, 0, 0, 0, 0, 0xcc]), (ASKER, CLIENT), VIP)),
        ("somebody announces the address", request(ArpOperation::Request, Mac::BROADCAST, (ASKER, VIP), VIP)),
        ("our own request", request(ArpOperation::Request, Mac::BROADCAST, (OURS, CLIENT), VIP)),
        ("broadcast as sender", request(ArpOperation::Request, Mac::BROADCAST, (Mac::BROADCAST, CLIENT), VIP)),
        ("no sender", request(ArpOperation::Request, Mac::BROADCAST, (Mac([0; 6]), CLIENT), VIP)),
    ] {
        assert_eq!(arp(&frame), None, "{name}");
    }
}

#[test]
fn truncated_arp_gets_no_answer() {
    let whole = request(ArpOperation::Request, Mac::BROADCAST, (ASKER, CLIENT), VIP);
    for length in 0..whole.len() {
        assert_eq!(arp(&whole[..length]), None, "{length} bytes");
    }
}

#[test]
fn a_multicast_solicitation_is_answered_solicited_without_override() {
    let expected = Advertisement {
        to: ASKER,
        source: VIP6,
        destination: CLIENT6,
        hop_limit: 255,
        flags: NdiscNeighborFlags::SOLICITED,
        target: VIP6,
        link_layer: Some(OURS),
    };
    assert_eq!(Solicitation::default().answer(), Some(expected));
}

#[test]
fn reachability_probes_sent_to_the_address_itself_are_answered() {
    let unicast = Solicitation { to: OURS, destination: VIP6, ..Solicitation::default() };
    assert_eq!(unicast.answer().unwrap().to, ASKER);
}

#[test]
fn a_solicitation_without_link_layer_address_is_answered_to_the_frames_sender() {
    let bare = Solicitation { link_layer: None, ..Solicitation::default() };
    assert_eq!(bare.answer().unwrap().to, ASKER);
}

#[test]
fn a_duplicate_address_probe_is_answered_to_all_nodes() {
    let probe = Solicitation { source: Ipv6Addr::UNSPECIFIED, link_layer: None, ..Solicitation::default() };
    let answer = probe.answer().unwrap();
    assert_eq!(answer.destination, ALL_NODES);
    assert_eq!(answer.to, Mac([0x33, 0x33, 0, 0, 0, 1]));
    assert_eq!(answer.flags, NdiscNeighborFlags::OVERRIDE);
}

#[test]
fn what_breaks_the_rules_of_neighbour_discovery_gets_no_answer() {
    let unspecified = Ipv6Addr::UNSPECIFIED;
    for (name, question) in [
        ("routed", Solicitation { hop_limit: 254, ..Solicitation::default() }),
        ("another address", Solicitation { target: CLIENT6, ..Solicitation::default() }),
        ("multicast source", Solicitation { source: ALL_NODES, ..Solicitation::default() }),
        ("copy for another host", Solicitation { to: Mac([2, 0, 0, 0, 0, 0xcc]), ..Solicitation::default() }),
        ("probe with link-layer address", Solicitation { source: unspecified, ..Solicitation::default() }),
        (
            "probe to the address itself",
            Solicitation { source: unspecified, link_layer: None, destination: VIP6, ..Solicitation::default() },
        ),
        ("broadcast link-layer address", Solicitation { link_layer: Some(Mac::BROADCAST), ..Solicitation::default() }),
    ] {
        assert_eq!(question.answer(), None, "{name}");
    }
}

#[test]
fn truncated_or_damaged_solicitations_get_no_answer() {
    let whole = Solicitation::default().frame();
    let answered = |bytes: &[u8]| neighbor_advertisement(bytes, OURS, |ip| ip == VIP6).is_some();
    assert!(answered(&whole));
    for length in 0..whole.len() {
        assert!(!answered(&whole[..length]), "{length} bytes");
    }
    // From the ICMPv6 type on, every flipped bit breaks the checksum.
    for position in 54..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x10;
        assert!(!answered(&damaged), "byte {position}");
    }
}

#[test]
fn gratuitous_arp_comes_as_request_and_as_reply() {
    for (frame, operation) in gratuitous_arp(OURS, VIP).iter().zip([1, 2]) {
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[20..22], [0, operation]);
        assert_eq!((&frame[22..28], &frame[28..32]), (OURS.as_bytes(), &VIP.octets()[..]));
        assert_eq!((&frame[32..38], &frame[38..42]), (&[0xff; 6][..], &VIP.octets()[..]));
    }
}

#[test]
fn an_unsolicited_advertisement_goes_to_all_nodes_and_overrides() {
    let answer = read(&unsolicited_advertisement(OURS, VIP6));
    assert_eq!((answer.destination, answer.flags, answer.hop_limit), (ALL_NODES, NdiscNeighborFlags::OVERRIDE, 255));
    assert_eq!((answer.target, answer.link_layer), (VIP6, Some(OURS)));
}

#[test]
fn the_solicited_node_group_is_made_of_the_last_three_bytes() {
    assert_eq!(solicited_node(VIP6), "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
}

/// Valid questions with some bytes overwritten: they get much deeper into the parsers than random bytes.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let seeds = prop_oneof![
        Just(request(ArpOperation::Request, Mac::BROADCAST, (ASKER, CLIENT), VIP)),
        Just(Solicitation::default().frame()),
        Just(Solicitation { link_layer: None, ..Solicitation::default() }.frame()),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (seeds, changes, 0usize..40, prop::collection::vec(any::<u8>(), 0..64)).prop_map(|(seed, changes, cut, tail)| {
        let mut frame = seed;
        for (index, value) in changes {
            let position = index.index(frame.len());
            frame[position] = value;
        }
        frame.truncate(frame.len() - cut);
        frame.extend(tail);
        frame
    })
}

proptest! {
    #[test]
    fn random_bytes_never_crash_and_never_make_us_claim_an_address(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(arp_reply(&frame, OURS, |_| false), None);
        prop_assert_eq!(neighbor_advertisement(&frame, OURS, |_| false), None);
        let _ = (arp_reply(&frame, OURS, |_| true), neighbor_advertisement(&frame, OURS, |_| true));
    }

    #[test]
    fn damaged_questions_never_crash_and_only_announced_addresses_are_claimed(frame in mutated()) {
        prop_assert_eq!(arp_reply(&frame, OURS, |_| false), None);
        prop_assert_eq!(neighbor_advertisement(&frame, OURS, |_| false), None);
        if let Some(answer) = arp_reply(&frame, OURS, |ip| ip == VIP) {
            prop_assert_eq!(answer.ip, IpAddr::V4(VIP));
            prop_assert_eq!(&answer.frame[28..32], &VIP.octets()[..]);
        }
        if let Some(answer) = neighbor_advertisement(&frame, OURS, |ip| ip == VIP6) {
            prop_assert_eq!(answer.ip, IpAddr::V6(VIP6));
            prop_assert_eq!(read(&answer.frame).target, VIP6);
        }
    }
}
