//! Address entries: from `192.0.2.0/24` or `192.0.2.1-192.0.2.9` to CIDRs.
//!
//! ```text
//! "192.0.2.1-192.0.2.4"  -->  192.0.2.1/32  192.0.2.2/31  192.0.2.4/32     minimal, ascending
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Subnets};
use thiserror::Error;

use crate::quote::quoted;

/// Why an entry of `spec.addresses` cannot be used, in MetalLB's words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RangeError {
    /// No range, and no CIDR either (a bare address is not enough).
    #[error("invalid CIDR {}", quoted(.0))]
    Cidr(String),
    /// The text before the dash is no address.
    #[error("invalid IP range {}: invalid start IP {}", quoted(.range), quoted(.start))]
    Start {
        /// The whole entry.
        range: String,
        /// The bad part.
        start: String,
    },
    /// The text after the dash is no address.
    #[error("invalid IP range {}: invalid end IP {}", quoted(.range), quoted(.end))]
    End {
        /// The whole entry.
        range: String,
        /// The bad part.
        end: String,
    },
    /// The two ends are of different families.
    #[error("invalid IP range {}: start IP {} and end IP {} are of different IP families", quoted(.range), quoted(&.start.to_string()), quoted(&.end.to_string()))]
    Mixed {
        /// The whole entry.
        range: String,
        /// First address.
        start: IpAddr,
        /// Last address.
        end: IpAddr,
    },
    /// Part of an IPv6 range is IPv4 addresses in IPv6 spelling, `::ffff:0:0/96`: once written, nobody can tell them from IPv4.
    #[error("invalid IP range {}: it contains IPv4-mapped IPv6 addresses (::ffff:0:0/96)", quoted(.0))]
    Mapped(String),
    /// The range runs backwards.
    #[error("invalid IP range {}: start IP {} is after the end IP {}", quoted(.range), quoted(&.start.to_string()), quoted(&.end.to_string()))]
    Backwards {
        /// The whole entry.
        range: String,
        /// First address.
        start: IpAddr,
        /// Last address.
        end: IpAddr,
    },
}

/// The CIDRs that cover exactly one entry, minimal and ascending. Host bits of a CIDR are cut off; spaces around the dash
/// of a range are allowed.
///
/// # Errors
/// See [`RangeError`].
pub fn parse_entry(entry: &str) -> Result<Vec<IpNet>, RangeError> {
    let dash = entry.bytes().position(|byte| byte == b'-');
    let Some((start, end)) = dash.and_then(|dash| Some((entry.get(..dash)?, entry.get(dash + 1..)?))) else {
        return parse_cidr(entry).map(|cidr| vec![cidr]).ok_or_else(|| RangeError::Cidr(entry.to_owned()));
    };
    // What nearly every range is, read in one go.
    if let (Some(first), Some(last)) = (plain_v4(start), plain_v4(end))
        && first <= last
    {
        return Ok(v4_pieces(first, last));
    }
    let (start, end, range) = (start.trim(), end.trim(), || entry.to_owned());
    let Ok(first) = start.parse::<IpAddr>() else {
        return Err(RangeError::Start { range: range(), start: start.to_owned() });
    };
    let Ok(last) = end.parse::<IpAddr>() else {
        return Err(RangeError::End { range: range(), end: end.to_owned() });
    };
    match (first.to_canonical(), last.to_canonical()) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => Ok(v4_pieces(first.into(), last.into())),
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            let pieces: Vec<_> = Ipv6Subnets::new(first, last, 0).collect();
            if pieces.iter().any(|piece| piece.prefix_len() >= 96 && piece.network().to_ipv4_mapped().is_some()) {
                return Err(RangeError::Mapped(range()));
            }
            Ok(pieces.into_iter().map(IpNet::V6).collect())
        }
        (start @ IpAddr::V4(_), end @ IpAddr::V4(_)) | (start @ IpAddr::V6(_), end @ IpAddr::V6(_)) => {
            Err(RangeError::Backwards { range: range(), start, end })
        }
        (start, end) => Err(RangeError::Mixed { range: range(), start, end }),
    }
}

/// Four decimal numbers without a leading zero and nothing else; `None` also for other spellings of an address.
fn plain_v4(text: &str) -> Option<u32> {
    let (mut address, mut octet, mut digits, mut dots) = (0_u32, 0_u32, 0, 0);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' if digits < 3 && !(digits > 0 && octet == 0) => {
                octet = octet * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && octet <= 255 && dots < 3 => {
                address = address << 8 | octet;
                (octet, digits, dots) = (0, 0, dots + 1);
            }
            _ => return None,
        }
    }
    (dots == 3 && digits > 0 && octet <= 255).then_some(address << 8 | octet)
}

/// The fewest CIDRs from `first` to `last`, both included. The plain way over numbers: there can be very many ranges.
fn v4_pieces(mut first: u32, last: u32) -> Vec<IpNet> {
    let mut pieces = Vec::with_capacity(4);
    while first <= last {
        // As wide as the lowest address allows, and no wider than what is left.
        let left = (u64::from(last - first) + 1).ilog2();
        let host_bits = first.trailing_zeros().min(left);
        let length = u8::try_from(32 - host_bits).unwrap_or(32);
        if let Ok(piece) = Ipv4Net::new(Ipv4Addr::from(first), length) {
            pieces.push(IpNet::V4(piece));
        }
        match u32::try_from(u64::from(first) + (1 << host_bits)) {
            Ok(next) => first = next,
            Err(_) => break,
        }
    }
    pieces
}

/// A CIDR with its host bits cut off; IPv4 written inside IPv6 (`::ffff:192.0.2.0/120`) becomes IPv4.
fn parse_cidr(text: &str) -> Option<IpNet> {
    // Not ipnet's own parser: it takes 010.0.0.0 for 10.0.0.0, which other programs take for 8.0.0.0.
    let (address, length) = text.split_once('/')?;
    if length.is_empty() || length.len() > 3 || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let net = IpNet::new(address.parse().ok()?, length.parse().ok()?).ok()?.trunc();
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(96)) {
        (IpAddr::V4(address), Some(length)) if matches!(net, IpNet::V6(_)) => {
            Ipv4Net::new(address, length).ok().map(|net| IpNet::V4(net.trunc()))
        }
        _ => Some(net),
    }
}

/// The addresses of a CIDR, lowest first. Unlike a list of hosts it holds the first and the last address too.
#[derive(Debug, Clone)]
pub struct Addresses {
    next: Option<u128>,
    last: u128,
    v4: bool,
}

impl Addresses {
    /// All addresses of the CIDR.
    pub fn of(cidr: &IpNet) -> Self {
        let (first, last) = bounds(cidr);
        Self { next: Some(first), last, v4: matches!(cidr, IpNet::V4(_)) }
    }
}

impl Iterator for Addresses {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        let number = self.next?;
        self.next = if number < self.last { Some(number + 1) } else { None };
        Some(match u32::try_from(number) {
            Ok(number) if self.v4 => IpAddr::V4(Ipv4Addr::from(number)),
            _ => IpAddr::V6(Ipv6Addr::from(number)),
        })
    }
}

/// First and last address of a CIDR as numbers of its own family.
pub(crate) fn bounds(cidr: &IpNet) -> (u128, u128) {
    match cidr {
        IpNet::V4(net) => (u32::from(net.network()).into(), u32::from(net.broadcast()).into()),
        IpNet::V6(net) => (net.network().into(), net.broadcast().into()),
    }
}
