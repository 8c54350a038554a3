//! The frames of ARP (RFC 826, 5227) and neighbour discovery (RFC 4861): questions in, answers out. Pure, and safe on any bytes.
//!
//! ```text
//! bytes from the wire --arp, ndp--> Heard { answer to a question?, somebody else's claim? } | Malformed
//! (mac, ip) --gratuitous_arp, unsolicited_advertisement--> "it is here", for everybody
//! (mac, ip) --arp_probe, neighbor_probe-----------------> "does anybody have it?", says nothing about us
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
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

/// Somebody else uses an announced address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub ip: IpAddr,
    /// The hardware address it is said to be at.
    pub mac: Mac,
}

/// What a frame means to us. Usually nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// It asks for an announced address.
    pub answer: Option<Answer>,
    /// Its sender says that it has an announced address.
    pub claim: Option<Claim>,
}

/// The frame breaks the rules of its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed ARP or neighbour discovery frame")]
pub struct Malformed;

impl Heard {
    fn claim(ip: impl Into<IpAddr>, mac: Mac) -> Option<Claim> {
        Some(Claim { ip: ip.into(), mac })
    }
}

/// Reads an ARP frame (RFC 826, 5227) on a port with the hardware address `mac`.
///
/// It must be addressed to everybody or to `mac`: copies for others reach bonds and promiscuous interfaces too. Requests for an
/// announced address are answered with `mac`, probes (sender 0.0.0.0) as well. Any frame from an announced address claims it,
/// also a request for another one (RFC 5227 2.4); announcements ask for their own address and are no questions.
///
/// # Errors
/// Truncated, not for IPv4 on Ethernet, or from a hardware address that no host has.
pub fn arp(frame: &[u8], mac: Mac, announced: impl Fn(Ipv4Addr) -> bool) -> Result<Heard, Malformed> {
    let frame = EthernetFrame::new_checked(frame).map_err(|_| Malformed)?;
    let to_us = frame.dst_addr().is_broadcast() || frame.dst_addr() == mac;
    if frame.ethertype() != EthernetProtocol::Arp || !to_us {
        return Ok(Heard::default());
    }
    let packet = ArpPacket::new_checked(frame.payload()).map_err(|_| Malformed)?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: asker,
        source_protocol_addr: asker_ip,
        target_protocol_addr: ip,
        ..
    } = ArpRepr::parse(&packet).map_err(|_| Malformed)?
    else {
        return Err(Malformed);
    };
    if asker == mac {
        return Ok(Heard::default());
    }
    if !is_host(asker) {
        return Err(Malformed);
    }
    let claim = if announced(asker_ip) { Heard::claim(asker_ip, asker) } else { None };
    if operation != ArpOperation::Request || asker_ip == ip || !announced(ip) {
        return Ok(Heard { answer: None, claim });
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: mac,
        source_protocol_addr: ip,
        target_hardware_addr: asker,
        target_protocol_addr: asker_ip,
    };
    Ok(Heard { answer: Some(Answer { ip: IpAddr::V4(ip), frame: arp_frame(mac, asker, &reply) }), claim })
}

/// Reads a neighbour solicitation or advertisement (RFC 4861) on a port with the hardware address `mac`.
///
/// Multicast and unicast solicitations are answered, with and without the asker's link-layer address; without it the answer goes
/// to where the frame came from. The answer comes from the address itself, as from any host that has it; some tools and guards
/// take no other. The flags are those of 7.2.4 for the one owner of a unicast address: Solicited, Override, not Router. A
/// duplicate address probe (source `::`) is answered to all nodes and not Solicited, so that nobody else takes the address.
/// Advertisements of an announced address, and solicitations from one, claim it.
///
/// # Errors
/// The frame must be discarded by 7.1.1 or 7.1.2, or is truncated.
pub fn ndp(frame: &[u8], mac: Mac, announced: impl Fn(Ipv6Addr) -> bool) -> Result<Heard, Malformed> {
    let frame = EthernetFrame::new_checked(frame).map_err(|_| Malformed)?;
    let to_us = frame.dst_addr().is_multicast() || frame.dst_addr() == mac;
    if frame.ethertype() != EthernetProtocol::Ipv6 || !to_us || frame.src_addr() == mac {
        return Ok(Heard::default());
    }
    let packet = Ipv6Packet::new_checked(frame.payload()).map_err(|_| Malformed)?;
    let sender = packet.src_addr();
    if packet.version() != 6 || sender.is_multicast() || !is_host(frame.src_addr()) {
        return Err(Malformed);
    }
    if packet.next_header() != IpProtocol::Icmpv6 {
        return Ok(Heard::default());
    }
    if packet.hop_limit() != HOP_LIMIT {
        return Err(Malformed);
    }
    let message = Icmpv6Packet::new_checked(packet.payload()).map_err(|_| Malformed)?;
    let parsed = Icmpv6Repr::parse(&sender, &packet.dst_addr(), &message, &ChecksumCapabilities::default());
    let Icmpv6Repr::Ndisc(message) = parsed.map_err(|_| Malformed)? else { return Ok(Heard::default()) };
    let from = |stated: Option<RawHardwareAddress>| match stated {
        Some(address) => {
            let stated = address.as_bytes().try_into().map(Mac).map_err(|_| Malformed)?;
            if is_host(stated) { Ok(stated) } else { Err(Malformed) }
        }
        None => Ok(frame.src_addr()),
    };
    match message {
        NdiscRepr::NeighborSolicit { target_addr: ip, .. } if ip.is_multicast() => Err(Malformed),
        NdiscRepr::NeighborSolicit { target_addr: ip, lladdr } if sender.is_unspecified() => {
            // A probe goes to the solicited-node group and carries no link-layer address.
            if lladdr.is_some() || packet.dst_addr() != solicited_node(ip) {
                return Err(Malformed);
            }
            let answer = announced(ip).then(|| {
                let frame =
                    advertisement_frame(mac, (multicast_mac(ALL_NODES), ALL_NODES), ip, NdiscNeighborFlags::OVERRIDE);
                Answer { ip: IpAddr::V6(ip), frame }
            });
            Ok(Heard { answer, claim: None })
        }
        NdiscRepr::NeighborSolicit { target_addr: ip, lladdr } => {
            let asker = from(lladdr)?;
            if asker == mac {
                return Ok(Heard::default());
            }
            let claim = if announced(sender) { Heard::claim(sender, asker) } else { None };
            let answer = (sender != ip && announced(ip)).then(|| {
                let flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
                Answer { ip: IpAddr::V6(ip), frame: advertisement_frame(mac, (asker, sender), ip, flags) }
            });
            Ok(Heard { answer, claim })
        }
        NdiscRepr::NeighborAdvert { flags, target_addr: ip, lladdr } => {
            let solicited = flags.contains(NdiscNeighborFlags::SOLICITED);
            if ip.is_multicast() || (packet.dst_addr().is_multicast() && solicited) {
                return Err(Malformed);
            }
            let owner = from(lladdr)?;
            let claim = if owner != mac && announced(ip) { Heard::claim(ip, owner) } else { None };
            Ok(Heard { answer: None, claim })
        }
        NdiscRepr::RouterSolicit { .. } | NdiscRepr::RouterAdvert { .. } | NdiscRepr::Redirect { .. } => {
            Ok(Heard::default())
        }
    }
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
    advertisement_frame(mac, (multicast_mac(ALL_NODES), ALL_NODES), ip, NdiscNeighborFlags::OVERRIDE)
}

/// Asks everybody whether they have `ip`, without saying that we have it: no host learns from it (RFC 5227 2.1.1).
pub fn arp_probe(mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac,
        source_protocol_addr: Ipv4Addr::UNSPECIFIED,
        target_hardware_addr: Mac([0; 6]),
        target_protocol_addr: ip,
    };
    arp_frame(mac, Mac::BROADCAST, &repr)
}

/// As [`arp_probe`], for IPv6 (RFC 4862 5.4.2).
pub fn neighbor_probe(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(ip);
    let message = NdiscRepr::NeighborSolicit { target_addr: ip, lladdr: None };
    ndisc_frame(mac, multicast_mac(group), Ipv6Addr::UNSPECIFIED, group, message)
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

/// `to` is the receiver's hardware and IPv6 address.
fn advertisement_frame(from: Mac, to: (Mac, Ipv6Addr), ip: Ipv6Addr, flags: NdiscNeighborFlags) -> Vec<u8> {
    ndisc_frame(from, to.0, ip, to.1, NdiscRepr::NeighborAdvert { flags, target_addr: ip, lladdr: Some(from.into()) })
}

fn ndisc_frame(from: Mac, to: Mac, source: Ipv6Addr, destination: Ipv6Addr, message: NdiscRepr<'_>) -> Vec<u8> {
    let message = Icmpv6Repr::Ndisc(message);
    let header = Ipv6Repr {
        src_addr: source,
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
    message.emit(&source, &destination, &mut icmp, &ChecksumCapabilities::default());
    bytes
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
