//! When to ask whether somebody else has an address, before it is announced for the first time (RFC 5227 2.1, RFC 4862 5.4).
//! Pure: times and claims in, questions and verdicts out.
//!
//! ```text
//! start --ask-- 65 ms --ask-- 65 ms --ask-- 65 ms --free--> announce
//!                 `---- somebody else claims it ----> silence, and all over again after 10 s, until it is free
//! ```
//! Much shorter than the RFCs ask for, which spend seconds: a Service is wanted now, and the watch for claims goes on when it
//! is announced. Another host's own probe is no claim: we are faster than it, and then defend the address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Questions per address.
pub const ROUNDS: u8 = 3;
/// Time after each question; together under 200 ms.
pub const SPACING: Duration = Duration::from_millis(65);
/// How long somebody else's address is left alone before it is asked for again.
pub const RETRY: Duration = Duration::from_secs(10);

/// What to do about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Ask everybody for it.
    Ask(IpAddr),
    /// Nobody has it. Whether somebody had it before.
    Free(IpAddr, bool),
}

/// The addresses that are being asked for, or wait to be.
#[derive(Debug, Default)]
pub struct Prober {
    queue: BTreeSet<(Instant, IpAddr)>,
    probes: BTreeMap<IpAddr, Probe>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    next: Instant,
    /// Questions sent.
    asked: u8,
    taken: bool,
}

impl Prober {
    /// Begins to ask for `ip`.
    pub fn start(&mut self, now: Instant, ip: IpAddr) {
        self.put(ip, Probe { next: now, asked: 0, taken: false });
    }

    /// Forgets `ip`.
    pub fn stop(&mut self, ip: IpAddr) {
        if let Some(probe) = self.probes.remove(&ip) {
            self.queue.remove(&(probe.next, ip));
        }
    }

    /// Somebody else claims `ip`. If it was being asked for, it is left alone for [`RETRY`].
    pub fn claimed(&mut self, now: Instant, ip: IpAddr) {
        if self.probes.get(&ip).is_some_and(|probe| probe.asked > 0) {
            self.put(ip, Probe { next: now + RETRY, asked: 0, taken: true });
        }
    }

    /// What is due, at most `limit` turns; what is left over stays due. Each turn returned counts as done.
    pub fn due(&mut self, now: Instant, limit: usize) -> Vec<Turn> {
        let mut turns = Vec::new();
        while turns.len() < limit {
            let Some(&(at, ip)) = self.queue.first() else { break };
            if at > now {
                break;
            }
            let Some(probe) = self.probes.get(&ip).copied() else {
                self.queue.pop_first();
                continue;
            };
            if probe.asked < ROUNDS {
                // Counted from now: an answer to a late question needs its time, too.
                self.put(ip, Probe { next: now + SPACING, asked: probe.asked + 1, ..probe });
                turns.push(Turn::Ask(ip));
            } else {
                self.stop(ip);
                turns.push(Turn::Free(ip, probe.taken));
            }
        }
        turns
    }

    /// When something is due; `None` while nothing is asked for.
    pub fn deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    fn put(&mut self, ip: IpAddr, probe: Probe) {
        self.stop(ip);
        self.queue.insert((probe.next, ip));
        self.probes.insert(ip, probe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    /// Runs until nothing is due before `until`; the turns with their times in milliseconds after `start`.
    fn turns(prober: &mut Prober, start: Instant, until: Duration) -> Vec<(u128, Turn)> {
        let mut seen = Vec::new();
        while let Some(at) = prober.deadline().filter(|at| *at < start + until) {
            seen.extend(prober.due(at, 100).into_iter().map(|turn| ((at - start).as_millis(), turn)));
        }
        seen
    }

    #[test]
    fn an_address_is_asked_for_three_times_and_free_within_200_ms() {
        let (start, mut prober) = (Instant::now(), Prober::default());
        prober.start(start, ip());
        let expected =
            [(0, Turn::Ask(ip())), (65, Turn::Ask(ip())), (130, Turn::Ask(ip())), (195, Turn::Free(ip(), false))];
        assert_eq!(turns(&mut prober, start, Duration::from_secs(60)), expected);
        assert_eq!(prober.deadline(), None);
    }

    #[test]
    fn an_address_that_somebody_has_is_asked_for_again_every_ten_seconds_until_it_is_free() {
        let (start, mut prober) = (Instant::now(), Prober::default());
        prober.start(start, ip());
        assert_eq!(prober.due(start, 10), [Turn::Ask(ip())]);
        prober.claimed(start + Duration::from_millis(3), ip());
        assert_eq!(turns(&mut prober, start, Duration::from_secs(10)), []);
        assert_eq!(prober.due(start + Duration::from_millis(10_003), 10), [Turn::Ask(ip())]);
        prober.claimed(start + Duration::from_millis(10_004), ip());
        let again = turns(&mut prober, start, Duration::from_secs(60));
        assert_eq!(again.first(), Some(&(20_004, Turn::Ask(ip()))));
        assert_eq!(again.last(), Some(&(20_199, Turn::Free(ip(), true))));
    }

    #[test]
    fn claims_of_addresses_that_nobody_asks_for_change_nothing() {
        let (start, mut prober) = (Instant::now(), Prober::default());
        prober.claimed(start, ip());
        assert_eq!(prober.deadline(), None);
        prober.start(start, ip());
        prober.due(start, 1);
        prober.claimed(start, ip());
        let retry = prober.deadline();
        prober.claimed(start + Duration::from_secs(1), ip());
        assert_eq!(prober.deadline(), retry, "while it is left alone, more claims do not put the question off");
        prober.stop(ip());
        assert_eq!(prober.deadline(), None);
    }

    #[test]
    fn many_addresses_are_asked_for_in_bounded_portions() {
        let (start, mut prober) = (Instant::now(), Prober::default());
        for n in 0..100u8 {
            prober.start(start, IpAddr::from([192, 0, 2, n]));
        }
        assert_eq!(prober.due(start, 60).len(), 60);
        assert_eq!(prober.due(start, 60).len(), 40);
        assert_eq!(prober.due(start, 60).len(), 0);
    }
}
