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
        let heard = ndp(&self.frame(), OURS, |ip| ip == VIP6).ok()?;
        heard.answer.map(|answer| read(&answer.frame))
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

fn asked(frame: &[u8]) -> Option<Answer> {
    heard(frame).ok()?.answer
}

fn heard(frame: &[u8]) -> Result<Heard, Malformed> {
    arp(frame, OURS, |ip| ip == VIP)
}

fn heard6(frame: &[u8]) -> Result<Heard, Malformed> {
    ndp(frame, OURS, |ip| ip == VIP6)
}

fn claimed(ip: impl Into<IpAddr>, mac: Mac) -> Result<Heard, Malformed> {
    Ok(Heard { answer: None, claim: Some(Claim { ip: ip.into(), mac }) })
}

#[test]
fn a_broadcast_request_is_answered_to_the_asker_alone() {
    let answer = asked(&request(ArpOperation::Request, Mac::BROADCAST, (ASKER, CLIENT), VIP)).unwrap();
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
    assert!(asked(&request(ArpOperation::Request, OURS, (ASKER, CLIENT), VIP)).is_some());
    assert!(asked(&request(ArpOperation::Request, Mac::BROADCAST, (ASKER, Ipv4Addr::UNSPECIFIED), VIP)).is_some());
}

#[test]
fn what_does_not_concern_us_means_nothing() {
    let other = Ipv4Addr::new(192, 0, 2, 11);
    for (name, frame) in [
        ("a reply", request(ArpOperation::Reply, OURS, (ASKER, CLIENT), VIP)),
        ("another address", request(ArpOperation::Request, Mac::BROADCAST, (ASKER, CLIENT), other)),
        ("a copy for another host", request(ArpOperation::Request, Mac([2, 0, 0, 0, 0, 0xcc]), (ASKER, CLIENT), VIP)),
        ("a claim for another host", request(ArpOperation::Reply, Mac([2, 0, 0, 0, 0, 0xcc]), (ASKER, VIP), CLIENT)),
        ("our own request", request(ArpOperation::Request, Mac::BROADCAST, (OURS, CLIENT), VIP)),
        ("our own announcement", request(ArpOperation::Request, Mac::BROADCAST, (OURS, VIP), VIP)),
    ] {
        assert_eq!(heard(&frame), Ok(Heard::default()), "{name}");
    }
}

#[test]
fn who_speaks_from_our_address_claims_it() {
    for (name, frame) in [
        ("an announcement", request(ArpOperation::Request, Mac::BROADCAST, (ASKER, VIP), VIP)),
        ("an announcement as reply", request(ArpOperation::Reply, Mac::BROADCAST, (ASKER, VIP), VIP)),
        ("an answer to our question", request(ArpOperation::Reply, OURS, (ASKER, VIP), Ipv4Addr::UNSPECIFIED)),
        ("a question", request(ArpOperation::Request, Mac::BROADCAST, (ASKER, VIP), CLIENT)),
    ] {
        assert_eq!(heard(&frame), claimed(VIP, ASKER), "{name}");
    }
}

#[test]
fn a_question_for_one_of_our_addresses_from_another_one_is_answered_and_noticed() {
    let frame = request(ArpOperation::Request, Mac::BROADCAST, (ASKER, CLIENT), VIP);
    let heard = arp(&frame, OURS, |_| true).unwrap();
    assert_eq!(heard.answer.map(|answer| answer.ip), Some(IpAddr::V4(VIP)));
    assert_eq!(heard.claim, Some(Claim { ip: IpAddr::V4(CLIENT), mac: ASKER }));
}

#[test]
fn malformed_arp_is_known_as_such() {
    let whole = request(ArpOperation::Request, Mac::BROADCAST, (ASKER, CLIENT), VIP);
    for length in 0..whole.len() {
        assert_eq!(heard(&whole[..length]), Err(Malformed), "{length} bytes");
    }
    for (name, sender) in [("broadcast", Mac::BROADCAST), ("no", Mac([0; 6]))] {
        let frame = request(ArpOperation::Request, Mac::BROADCAST, (sender, CLIENT), VIP);
        assert_eq!(heard(&frame), Err(Malformed), "{name} hardware address");
    }
    for (position, value) in [(14, 9), (16, 9), (18, 8), (19, 16)] {
        let mut frame = whole.clone();
        frame[position] = value;
        assert_eq!(heard(&frame), Err(Malformed), "byte {position}");
    }
}

#[test]
fn a_probe_names_no_sender_so_that_nobody_learns_from_it() {
    let probe = arp_probe(OURS, VIP);
    assert_eq!((&probe[..6], &probe[6..12]), (&[0xff; 6][..], OURS.as_bytes()));
    assert_eq!((&probe[20..22], &probe[28..32], &probe[38..42]), (&[0, 1][..], &[0; 4][..], &VIP.octets()[..]));
    assert!(arp(&probe, ASKER, |ip| ip == VIP).unwrap().answer.is_some(), "who has the address answers");
    let probe = neighbor_probe(OURS, VIP6);
    let answer = ndp(&probe, ASKER, |ip| ip == VIP6).unwrap().answer;
    assert_eq!(answer.unwrap().frame[..6], [0x33, 0x33, 0, 0, 0, 1], "who has the address answers to all nodes");
    assert_eq!(ndp(&probe, ASKER, |_| false), Ok(Heard::default()));
}

#[test]
fn a_multicast_solicitation_is_answered_solicited_and_overriding() {
    let expected = Advertisement {
        to: ASKER,
        source: VIP6,
        destination: CLIENT6,
        hop_limit: 255,
        flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
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
fn what_breaks_the_rules_of_neighbour_discovery_is_malformed() {
    let unspecified = Ipv6Addr::UNSPECIFIED;
    for (name, question) in [
        ("routed", Solicitation { hop_limit: 254, ..Solicitation::default() }),
        ("multicast source", Solicitation { source: ALL_NODES, ..Solicitation::default() }),
        ("multicast target", Solicitation { target: ALL_NODES, ..Solicitation::default() }),
        ("probe with link-layer address", Solicitation { source: unspecified, ..Solicitation::default() }),
        (
            "probe to the address itself",
            Solicitation { source: unspecified, link_layer: None, destination: VIP6, ..Solicitation::default() },
        ),
        ("broadcast link-layer address", Solicitation { link_layer: Some(Mac::BROADCAST), ..Solicitation::default() }),
    ] {
        assert_eq!(heard6(&question.frame()), Err(Malformed), "{name}");
    }
}

#[test]
fn solicitations_that_do_not_concern_us_mean_nothing() {
    for (name, question) in [
        ("another address", Solicitation { target: CLIENT6, ..Solicitation::default() }),
        ("copy for another host", Solicitation { to: Mac([2, 0, 0, 0, 0, 0xcc]), ..Solicitation::default() }),
    ] {
        assert_eq!(heard6(&question.frame()), Ok(Heard::default()), "{name}");
    }
}

#[test]
fn truncated_or_damaged_solicitations_are_malformed() {
    let whole = Solicitation::default().frame();
    assert!(heard6(&whole).unwrap().answer.is_some());
    for length in 0..whole.len() {
        assert_eq!(heard6(&whole[..length]), Err(Malformed), "{length} bytes");
    }
    // From the ICMPv6 type on, every flipped bit breaks the checksum.
    for position in 54..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x10;
        assert_eq!(heard6(&damaged), Err(Malformed), "byte {position}");
    }
}

#[test]
fn code_length_and_options_are_checked_as_the_standard_asks() {
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut frame = Solicitation::default().frame();
        change(&mut frame);
        heard6(&with_checksum(frame))
    };
    assert!(changed(|_| {}).unwrap().answer.is_some());
    assert_eq!(changed(|frame| frame[55] = 1), Err(Malformed), "code");
    assert_eq!(changed(|frame| frame[79] = 0), Err(Malformed), "an option of length zero");
    assert_eq!(changed(|frame| frame[79] = 3), Err(Malformed), "an option longer than the message");
    assert_eq!(changed(|frame| frame.truncate(76)), Err(Malformed), "no whole target");
    let unknown = changed(|frame| frame.extend([200, 1, 0, 0, 0, 0, 0, 0]));
    assert!(unknown.unwrap().answer.is_some(), "unknown options are ignored");
}

/// The frame with length and checksum as they should be.
fn with_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let mut packet = Ipv6Packet::new_unchecked(&mut frame[14..]);
    let length = packet.as_ref().len() - 40;
    packet.set_payload_len(u16::try_from(length).unwrap());
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    Icmpv6Packet::new_unchecked(packet.payload_mut()).fill_checksum(&source, &destination);
    frame
}

fn advertisement(to: Mac, destination: Ipv6Addr, owner: Mac, flags: NdiscNeighborFlags) -> Vec<u8> {
    advertisement_frame(owner, (to, destination), VIP6, flags)
}

#[test]
fn advertisements_of_our_address_by_others_claim_it() {
    let all = multicast_mac(ALL_NODES);
    let unsolicited = advertisement(all, ALL_NODES, ASKER, NdiscNeighborFlags::OVERRIDE);
    assert_eq!(heard6(&unsolicited), claimed(VIP6, ASKER));
    let solicited = advertisement(OURS, CLIENT6, ASKER, NdiscNeighborFlags::SOLICITED);
    assert_eq!(heard6(&solicited), claimed(VIP6, ASKER));
    assert_eq!(ndp(&unsolicited, OURS, |_| false), Ok(Heard::default()), "another address");
    assert_eq!(heard6(&unsolicited_advertisement(OURS, VIP6)), Ok(Heard::default()), "our own");
    let wrong = advertisement(all, ALL_NODES, ASKER, NdiscNeighborFlags::SOLICITED);
    assert_eq!(heard6(&wrong), Err(Malformed), "solicited, and to everybody");
}

#[test]
fn a_solicitation_from_our_address_claims_it() {
    let from_ours = Solicitation { source: VIP6, target: CLIENT6, ..Solicitation::default() };
    assert_eq!(heard6(&from_ours.frame()), claimed(VIP6, ASKER));
    let for_itself = Solicitation { source: VIP6, ..Solicitation::default() };
    assert_eq!(heard6(&for_itself.frame()), claimed(VIP6, ASKER));
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

/// Whether nobody gets an answer and nobody is suspected.
fn nothing(heard: Result<Heard, Malformed>) -> bool {
    heard.unwrap_or_default() == Heard::default()
}

proptest! {
    #[test]
    fn random_bytes_never_crash_and_never_make_us_claim_an_address(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(nothing(arp(&frame, OURS, |_| false)));
        prop_assert!(nothing(ndp(&frame, OURS, |_| false)));
        let _ = (arp(&frame, OURS, |_| true), ndp(&frame, OURS, |_| true));
    }

    #[test]
    fn damaged_questions_never_crash_and_only_announced_addresses_are_claimed(frame in mutated()) {
        prop_assert!(nothing(arp(&frame, OURS, |_| false)));
        prop_assert!(nothing(ndp(&frame, OURS, |_| false)));
        if let Some(answer) = heard(&frame).unwrap_or_default().answer {
            prop_assert_eq!(answer.ip, IpAddr::V4(VIP));
            prop_assert_eq!(&answer.frame[28..32], &VIP.octets()[..]);
        }
        if let Some(answer) = heard6(&frame).unwrap_or_default().answer {
            prop_assert_eq!(answer.ip, IpAddr::V6(VIP6));
            prop_assert_eq!(read(&answer.frame).target, VIP6);
        }
    }
}
