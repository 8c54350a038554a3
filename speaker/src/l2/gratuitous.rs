//! When to tell the network unasked that an address lives here now. Pure: times in, addresses out.
//!
//! ```text
//! takeover at t: t   t+1.1s   t+2.2s   t+3.3s   t+4.4s   (MetalLB behaviour: every 1100 ms for 5 s)
//!                |      |        |        |        |
//!               due    due      due      due      due      then silence until the next takeover
//! ```
//! Unlike MetalLB, nothing is sent when a Service is merely looked at again: only a takeover or a change of the interfaces
//! starts a burst.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Time between two rounds for one address.
pub const INTERVAL: Duration = Duration::from_millis(1100);
/// How long a burst lasts.
pub const BURST: Duration = Duration::from_secs(5);

/// The bursts under way.
#[derive(Debug, Default)]
pub struct Schedule {
    queue: BTreeSet<(Instant, IpAddr)>,
    bursts: BTreeMap<IpAddr, Burst>,
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    next: Instant,
    until: Instant,
}

impl Schedule {
    /// Starts a burst for `ip`, or starts it afresh: the first round is due at once.
    pub fn start(&mut self, now: Instant, ip: IpAddr) {
        self.stop(ip);
        self.bursts.insert(ip, Burst { next: now, until: now + BURST });
        self.queue.insert((now, ip));
    }

    /// Ends the burst of `ip`, if one is under way.
    pub fn stop(&mut self, ip: IpAddr) {
        if let Some(burst) = self.bursts.remove(&ip) {
            self.queue.remove(&(burst.next, ip));
        }
    }

    /// The addresses whose next round is due, oldest first and at most `limit` of them; what is left over stays due. Each
    /// address returned counts as sent.
    pub fn due(&mut self, now: Instant, limit: usize) -> Vec<IpAddr> {
        let mut due = Vec::new();
        while due.len() < limit {
            let Some(&(at, ip)) = self.queue.first() else { break };
            if at > now {
                break;
            }
            self.queue.pop_first();
            due.push(ip);
            let Some(burst) = self.bursts.get_mut(&ip) else { continue };
            // Counted from now, not from when it was due: rounds that were late must not bunch up.
            burst.next = now + INTERVAL;
            if burst.next >= burst.until {
                self.bursts.remove(&ip);
            } else {
                self.queue.insert((burst.next, ip));
            }
        }
        due
    }

    /// When the next round is due; `None` while no burst is under way.
    pub fn deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Runs the schedule to its end and returns the times of all rounds in milliseconds after `start`.
    fn rounds(schedule: &mut Schedule, start: Instant) -> Vec<u128> {
        let mut times = Vec::new();
        while let Some(at) = schedule.deadline() {
            for _ in schedule.due(at, 10) {
                times.push(at.duration_since(start).as_millis());
            }
        }
        times
    }

    #[test]
    fn a_takeover_is_told_at_once_and_every_1100_ms_for_five_seconds() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.start(start, ip("192.0.2.1"));
        assert_eq!(rounds(&mut schedule, start), [0, 1100, 2200, 3300, 4400]);
    }

    #[test]
    fn a_second_takeover_starts_the_burst_afresh() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.start(start, ip("192.0.2.1"));
        assert_eq!(schedule.due(start, 10), [ip("192.0.2.1")]);
        schedule.start(start + Duration::from_secs(3), ip("192.0.2.1"));
        assert_eq!(rounds(&mut schedule, start), [3000, 4100, 5200, 6300, 7400]);
    }

    #[test]
    fn a_withdrawn_address_falls_silent() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.start(start, ip("192.0.2.1"));
        schedule.start(start, ip("2001:db8::1"));
        schedule.stop(ip("192.0.2.1"));
        assert_eq!(schedule.due(start, 10), [ip("2001:db8::1")]);
        schedule.stop(ip("2001:db8::1"));
        assert_eq!(schedule.deadline(), None);
    }

    #[test]
    fn many_takeovers_at_once_come_in_bounded_portions_and_none_is_lost() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let all: BTreeSet<IpAddr> =
            (0..1000u32).map(|n| IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + n))).collect();
        for ip in &all {
            schedule.start(start, *ip);
        }
        let mut seen = BTreeSet::new();
        for portion in 0..4 {
            let due = schedule.due(start + Duration::from_millis(portion * 20), 256);
            assert!(due.len() <= 256);
            seen.extend(due);
        }
        assert_eq!(seen, all);
    }
}
