//! What a Lease claims, and how that is written into its annotation.
//!
//! ```text
//!  10.0.0.1,+1,+3?,fd00::1,+2        10.0.0.1, 10.0.0.2 and fd00::1, fd00::3 are owned, 10.0.0.5 is asked for
//! ```
//! Sorted, each address as its distance from the one before where that is shorter. 5,000 addresses that three nodes share
//! take about 5 KB in each Lease, 20,000 about 20 KB; the room of 240 KiB ends at 80,000 neighbouring addresses of one node,
//! or at 6,000 scattered IPv6 addresses. What does not fit is not claimed and so not answered, and the core says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a claim has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// The node answers, or may.
    Owned,
    /// The node wants to answer and does not yet.
    Asked,
}

/// The addresses that a Lease claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claims(pub BTreeMap<IpAddr, Standing>);

/// Why a text is no list of claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("claims must be sorted addresses or distances (10.0.0.1,+1,+3?), not {entry:?}")]
pub struct BadClaims {
    /// The entry that is wrong, at most its first 60 characters.
    pub entry: String,
}

impl Claims {
    /// The text for the annotation.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let mut before = None;
        for (address, standing) in &self.0 {
            if !text.is_empty() {
                text.push(',');
            }
            let (full, step) = (address.to_string(), before.and_then(|before| distance(before, *address)));
            // Writing to a String cannot fail.
            let _ = match step.map(|step| format!("+{step}")).filter(|step| step.len() < full.len()) {
                Some(step) => text.write_str(&step),
                None => text.write_str(&full),
            };
            if *standing == Standing::Asked {
                text.push('?');
            }
            before = Some(*address);
        }
        text
    }

    /// Reads what [`Claims::encode`] wrote.
    ///
    /// # Errors
    /// An entry is neither an address nor a distance, or not above the one before.
    pub fn decode(text: &str) -> Result<Self, BadClaims> {
        let mut claims = BTreeMap::new();
        let mut before = None;
        for entry in text.split(',').filter(|_| !text.is_empty()) {
            let wrong = || BadClaims { entry: entry.chars().take(60).collect() };
            let (value, standing) = match entry.strip_suffix('?') {
                Some(value) => (value, Standing::Asked),
                None => (entry, Standing::Owned),
            };
            let address = match value.strip_prefix('+') {
                Some(step) => before.zip(step.parse().ok()).and_then(|(before, step)| further(before, step)),
                None => value.parse().ok(),
            };
            let address = address.filter(|address| before.is_none_or(|before| before < *address)).ok_or_else(wrong)?;
            claims.insert(address, standing);
            before = Some(address);
        }
        Ok(Self(claims))
    }

    /// Whether the claims have room in so many bytes.
    pub(crate) fn fit(&self, room: usize) -> bool {
        self.0.keys().map(longest).sum::<usize>() <= room || self.encode().len() <= room
    }
}

/// Bytes that an address takes at most, with its mark and the comma.
pub(crate) fn longest(address: &IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => "255.255.255.255?,".len(),
        IpAddr::V6(_) => "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff?,".len(),
    }
}

fn distance(from: IpAddr, to: IpAddr) -> Option<u128> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => u32::from(to).checked_sub(u32::from(from)).map(u128::from),
        (IpAddr::V6(from), IpAddr::V6(to)) => u128::from(to).checked_sub(u128::from(from)),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

fn further(from: IpAddr, step: u128) -> Option<IpAddr> {
    match from {
        IpAddr::V4(from) => {
            u32::from(from).checked_add(u32::try_from(step).ok()?).map(|to| IpAddr::V4(Ipv4Addr::from(to)))
        }
        IpAddr::V6(from) => u128::from(from).checked_add(step).map(|to| IpAddr::V6(Ipv6Addr::from(to))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0_u32..300).prop_map(|low| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + low))),
            any::<u32>().prop_map(|any| IpAddr::V4(Ipv4Addr::from(any))),
            (0_u128..300).prop_map(|low| IpAddr::V6(Ipv6Addr::from((0xfd00 << 112) + low))),
            any::<u128>().prop_map(|any| IpAddr::V6(Ipv6Addr::from(any))),
        ]
    }

    fn standing() -> impl Strategy<Value = Standing> {
        prop_oneof![Just(Standing::Owned), Just(Standing::Asked)]
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(claims in prop::collection::btree_map(address(), standing(), 0..60)) {
            let claims = Claims(claims);
            let text = claims.encode();
            prop_assert!(text.len() <= claims.0.keys().map(longest).sum());
            prop_assert_eq!(Claims::decode(&text), Ok(claims));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f.:,+?x]{0,40}") {
            if let Ok(claims) = Claims::decode(&text) {
                prop_assert_eq!(Claims::decode(&claims.encode()), Ok(claims));
            }
        }
    }

    #[test]
    fn the_text_is_what_the_header_shows() {
        let text = "10.0.0.1,+1,+3?,fd00::1,+2";
        assert_eq!(Claims::decode(text).unwrap().encode(), text);
        assert_eq!(Claims::default().encode(), "");
        assert_eq!(Claims::decode(""), Ok(Claims::default()));
    }

    #[test]
    fn a_wrong_entry_is_named() {
        for (text, entry) in [
            ("+1", "+1"),
            ("10.0.0.1,+0", "+0"),
            ("10.0.0.2,10.0.0.1", "10.0.0.1"),
            ("255.255.255.255,+1", "+1"),
            ("10.0.0.1,", ""),
            ("fd00::1,10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(Claims::decode(text), Err(BadClaims { entry: entry.to_owned() }), "{text}");
        }
        let refused = Claims::decode("10.0.0.1,x").unwrap_err();
        assert_eq!(refused.to_string(), "claims must be sorted addresses or distances (10.0.0.1,+1,+3?), not \"x\"");
    }

    #[test]
    fn thousands_of_addresses_are_a_few_kilobytes() {
        // A third of the addresses, as hashing gives them to one of three nodes.
        let share = |of: u32| {
            let mine = (0..of).filter(|n| n.wrapping_mul(2_654_435_761) % 3 == 0);
            Claims(mine.map(|n| (IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)), Standing::Owned)).collect())
        };
        let (small, large) = (share(5_000).encode().len(), share(20_000).encode().len());
        assert!(small < 6_000 && large < 24_000, "{small} and {large} bytes");
    }

    #[test]
    fn eighty_thousand_neighbours_fit_and_scattered_ones_do_not() {
        let neighbours = (0..80_000_u32).map(|n| (IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)), Standing::Owned));
        assert!(Claims(neighbours.collect()).fit(240 * 1024));
        let scattered = (0..8_000_u128).map(|n| {
            let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) | 1 << 127;
            (IpAddr::V6(Ipv6Addr::from(spread)), Standing::Owned)
        });
        assert!(!Claims(scattered.collect()).fit(240 * 1024));
    }
}
