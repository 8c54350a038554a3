//! What to do when somebody else claims an address. Pure: claims and times in, reactions out.
//!
//! ```text
//! claim (ip, mac) --heard--> tell the owner of the decisions?   once a minute per address and hardware address
//!                        `-> defend the address?                once in 10 s per address (RFC 5227 2.4 (c))
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::l2::frames::Claim;

/// Shortest time between two reports of the same conflict.
pub const REPORT: Duration = Duration::from_secs(60);
/// Shortest time between two defences of an address: DEFEND_INTERVAL of RFC 5227.
pub const DEFEND: Duration = Duration::from_secs(10);
/// Most conflicts remembered. A host that changes its hardware address with every claim gets no more reports than this.
const MOST: usize = 4096;
/// Shortest time between two searches for entries that are too old.
const PRUNE: Duration = Duration::from_secs(1);

/// The conflicts of the last minute.
#[derive(Debug, Default)]
pub struct Conflicts {
    reported: Times<(IpAddr, [u8; 6])>,
    defended: Times<IpAddr>,
}

#[derive(Debug)]
struct Times<K> {
    last: BTreeMap<K, Instant>,
    /// When old entries were thrown out.
    pruned: Option<Instant>,
}

impl<K> Default for Times<K> {
    fn default() -> Self {
        Self { last: BTreeMap::new(), pruned: None }
    }
}

/// What to do about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaction {
    /// Report the conflict.
    pub report: bool,
    /// Announce the address once, if it is announced.
    pub defend: bool,
}

impl Conflicts {
    /// Takes in a claim.
    pub fn heard(&mut self, now: Instant, claim: Claim) -> Reaction {
        Reaction {
            report: self.reported.rarely((claim.ip, claim.mac.0), now, REPORT),
            defend: self.defended.rarely(claim.ip, now, DEFEND),
        }
    }
}

impl<K: Ord> Times<K> {
    /// Whether the last time was at least `pause` ago; then this time counts.
    fn rarely(&mut self, key: K, now: Instant, pause: Duration) -> bool {
        let recent = |at: &Instant| now.saturating_duration_since(*at) < pause;
        if self.last.get(&key).is_some_and(recent) {
            return false;
        }
        let full = self.last.len() >= MOST;
        if full && self.pruned.is_none_or(|at| now.saturating_duration_since(at) >= PRUNE) {
            self.pruned = Some(now);
            self.last.retain(|_, at| recent(at));
        }
        if self.last.len() >= MOST {
            return false;
        }
        self.last.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::selection::Mac;

    fn claim(mac: u8) -> Claim {
        Claim { ip: "192.0.2.1".parse().unwrap(), mac: Mac([2, 0, 0, 0, 0, mac]) }
    }

    fn reaction(report: bool, defend: bool) -> Reaction {
        Reaction { report, defend }
    }

    #[test]
    fn a_conflict_is_reported_once_a_minute_and_defended_every_ten_seconds() {
        let (start, mut conflicts) = (Instant::now(), Conflicts::default());
        let mut at = |seconds| conflicts.heard(start + Duration::from_secs(seconds), claim(1));
        assert_eq!(at(0), reaction(true, true));
        assert_eq!(at(9), reaction(false, false));
        assert_eq!(at(10), reaction(false, true));
        assert_eq!(at(59), reaction(false, true));
        assert_eq!(at(60), reaction(true, false));
    }

    #[test]
    fn another_hardware_address_is_another_conflict_but_no_reason_to_say_more() {
        let (start, mut conflicts) = (Instant::now(), Conflicts::default());
        assert_eq!(conflicts.heard(start, claim(1)), reaction(true, true));
        assert_eq!(conflicts.heard(start, claim(2)), reaction(true, false));
    }

    #[test]
    fn a_flood_of_hardware_addresses_is_bounded_in_memory_and_reports() {
        let (start, mut conflicts) = (Instant::now(), Conflicts::default());
        let mut flood = |now: Instant| {
            (0..10_000u32)
                .map(|n| Claim { mac: Mac([2, 0, 0, 0, n.to_be_bytes()[2], n.to_be_bytes()[3]]), ..claim(0) })
                .filter(|claim| conflicts.heard(now, *claim).report)
                .count()
        };
        assert_eq!(flood(start), MOST);
        assert_eq!(flood(start + REPORT), MOST, "and a minute later there is room again");
        assert_eq!(conflicts.reported.last.len(), MOST);
    }
}
