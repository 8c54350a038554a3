//! The frames of ARP (RFC 826, 5227) and neighbour discovery (RFC 4861): questions in, answers out. Pure, and safe on any bytes.
//!
//! ```text
//! bytes from the wire --arp_reply / neighbor_advertisement--> Option<Answer { ip, frame }>
//! (mac, ip)           --gratuitous_arp / unsolicited_advertisement--> frames for everybody
//! ```
//! Everything that is not a well-formed question about an announced address gives no answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use crate::l2::selection::Mac;

/// Hop limit of every neighbour discovery packet: proves that it was not routed (RFC 4861 7.1.1).
const HOP_LIMIT: u8 = 255;
/// All nodes on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// An answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The address asked for.
    pub ip: IpAddr,
    /// The Ethernet frame to send.
    pub frame: Vec<u8>,
}

/// Answers an ARP request for an announced address with `mac`.
///
/// The frame must be addressed to everybody or to `mac`: copies for others reach bonds and promiscuous interfaces too. Probes
/// (sender 0.0.0.0, RFC 5227) are answered, announcements (sender asks for its own address) are no questions.
pub fn arp_reply(frame: &[u8], mac: Mac, announced: impl Fn(Ipv4Addr) -> bool) -> Option<Answer> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let to_us = frame.dst_addr().is_broadcast() || frame.dst_addr() == mac;
    if frame.ethertype() != EthernetProtocol::Arp || !to_us {
        return None;
    }
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: asker,
        source_protocol_addr: asker_ip,
        target_protocol_addr: ip,
        ..
    } = ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).ok()?).ok()?
    else {
        return None;
    };
    if !is_host(asker) || asker == mac || asker_ip == ip || !announced(ip) {
        return None;
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: mac,
        source_protocol_addr: ip,
        target_hardware_addr: asker,
        target_protocol_addr: asker_ip,
    };
    Some(Answer { ip: IpAddr::V4(ip), frame: arp_frame(mac, asker, &reply) })
}

/// Answers a neighbour solicitation for an announced address with `mac`.
///
/// The answer comes from the address itself, as from any host that has it; some tools and guards take no other. Multicast and unicast solicitations are answered, with and without the asker's link-layer address. The flags are MetalLB's:
/// Solicited, not Override, not Router. A duplicate address probe (source `::`) is answered to all nodes, not Solicited, with
/// Override (RFC 4861 7.2.4), so that nobody else takes the address.
pub fn neighbor_advertisement(frame: &[u8], mac: Mac, announced: impl Fn(Ipv6Addr) -> bool) -> Option<Answer> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let to_us = frame.dst_addr().is_multicast() || frame.dst_addr() == mac;
    if frame.ethertype() != EthernetProtocol::Ipv6 || !to_us || !is_host(frame.src_addr()) || frame.src_addr() == mac {
        return None;
    }
    let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
    let asker_ip = packet.src_addr();
    let usable = packet.version() == 6
        && packet.next_header() == IpProtocol::Icmpv6
        && packet.hop_limit() == HOP_LIMIT
        && !asker_ip.is_multicast();
    if !usable {
        return None;
    }
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let parsed = Icmpv6Repr::parse(&asker_ip, &packet.dst_addr(), &message, &ChecksumCapabilities::default()).ok()?;
    let Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr: ip, lladdr }) = parsed else { return None };
    if ip.is_multicast() || !announced(ip) {
        return None;
    }
    if asker_ip.is_unspecified() {
        // RFC 4861 7.1.1: a probe goes to the solicited-node group and carries no link-layer address.
        if lladdr.is_some() || packet.dst_addr() != solicited_node(ip) {
            return None;
        }
        let flags = NdiscNeighborFlags::OVERRIDE;
        let frame = advertisement_frame(mac, multicast_mac(ALL_NODES), ALL_NODES, ip, flags);
        return Some(Answer { ip: IpAddr::V6(ip), frame });
    }
    let asker = match lladdr {
        Some(address) => Mac(address.as_bytes().try_into().ok()?),
        None => frame.src_addr(),
    };
    if !is_host(asker) || asker == mac {
        return None;
    }
    let frame = advertisement_frame(mac, asker, asker_ip, ip, NdiscNeighborFlags::SOLICITED);
    Some(Answer { ip: IpAddr::V6(ip), frame })
}

/// The two frames that tell everybody on the link that `ip` is at `mac`: hosts differ in which form they heed.
pub fn gratuitous_arp(mac: Mac, ip: Ipv4Addr) -> [Vec<u8>; 2] {
    [ArpOperation::Request, ArpOperation::Reply].map(|operation| {
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: mac,
            source_protocol_addr: ip,
            target_hardware_addr: Mac::BROADCAST,
            target_protocol_addr: ip,
        };
        arp_frame(mac, Mac::BROADCAST, &repr)
    })
}

/// The frame that tells all nodes on the link that `ip` is at `mac`: not Solicited, Override.
pub fn unsolicited_advertisement(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    advertisement_frame(mac, multicast_mac(ALL_NODES), ALL_NODES, ip, NdiscNeighborFlags::OVERRIDE)
}

/// The multicast group in which hosts ask for `ip` (RFC 4291 2.7.1): many addresses share one.
pub fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The Ethernet address of an IPv6 multicast group (RFC 2464 7).
fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// Whether an answer may be sent to this hardware address. All zeros is no host.
fn is_host(mac: Mac) -> bool {
    mac.is_unicast() && mac != Mac([0; 6])
}

fn arp_frame(from: Mac, to: Mac, repr: &ArpRepr) -> Vec<u8> {
    let ethernet = EthernetRepr { src_addr: from, dst_addr: to, ethertype: EthernetProtocol::Arp };
    let mut bytes = vec![0; EthernetFrame::<&[u8]>::header_len() + repr.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.emit(&mut frame);
    repr.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

fn advertisement_frame(from: Mac, to: Mac, destination: Ipv6Addr, ip: Ipv6Addr, flags: NdiscNeighborFlags) -> Vec<u8> {
    let message = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr: ip, lladdr: Some(from.into()) });
    let header = Ipv6Repr {
        src_addr: ip,
        dst_addr: destination,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    let ethernet = EthernetRepr { src_addr: from, dst_addr: to, ethertype: EthernetProtocol::Ipv6 };
    let length = EthernetFrame::<&[u8]>::header_len() + header.buffer_len() + message.buffer_len();
    let mut bytes = vec![0; length];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.emit(&mut frame);
    let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
    header.emit(&mut packet);
    let mut icmp = Icmpv6Packet::new_unchecked(packet.payload_mut());
    message.emit(&ip, &destination, &mut icmp, &ChecksumCapabilities::default());
    bytes
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
