//! When to tell the network unasked, through one port, that an address lives here now. Pure: times in, addresses out.
//!
//! ```text
//! takeover at t: t   t+1.1s   t+2.2s   t+3.3s   t+4.4s   (MetalLB behaviour: every 1100 ms for 5 s)
//!                |      |        |        |        |
//!               due    due      due      due      due      then silence until the next takeover, or the next refresh
//!
//! thousands of takeovers: first rounds 100 addresses in 20 ms, 5,000 are out after a second
//!                         the others    10 addresses in 20 ms: 1,000 frames in a second
//! ```
//! Unlike MetalLB, nothing is sent when a Service is merely looked at again: only a takeover or a change of the port starts a
//! burst. When so many addresses are told that their rounds come late, some are left out; each address gets two at least.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Time between two rounds for one address.
pub const INTERVAL: Duration = Duration::from_millis(1100);
/// How long a burst lasts.
pub const BURST: Duration = Duration::from_secs(5);
/// The time for which the two limits hold.
pub const WINDOW: Duration = Duration::from_millis(20);
/// Most first rounds in a window.
pub const FIRST: usize = 100;
/// Most other rounds in a window.
pub const AGAIN: usize = 10;

/// The bursts under way.
#[derive(Debug, Default)]
pub struct Schedule {
    refresh: Option<Duration>,
    first: Queue,
    again: Queue,
    bursts: BTreeMap<IpAddr, Burst>,
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    next: Instant,
    until: Instant,
    first: bool,
}

/// Rounds in the order of their times, and how many were done in this window.
#[derive(Debug, Default)]
struct Queue {
    rounds: BTreeSet<(Instant, IpAddr)>,
    window: Option<Instant>,
    done: usize,
}

impl Queue {
    /// The next round that is due, if fewer than `limit` were done in this window.
    fn pop(&mut self, now: Instant, limit: usize) -> Option<IpAddr> {
        if self.window.is_none_or(|start| now >= start + WINDOW) {
            (self.window, self.done) = (Some(now), 0);
        }
        let (at, ip) = self.rounds.first().copied()?;
        if at > now || self.done >= limit {
            return None;
        }
        self.rounds.pop_first();
        self.done += 1;
        Some(ip)
    }

    /// When [`Queue::pop`] has something.
    fn deadline(&self, limit: usize) -> Option<Instant> {
        let (at, _) = self.rounds.first()?;
        let window = self.window.filter(|_| self.done >= limit);
        Some(window.map_or(*at, |start| (*at).max(start + WINDOW)))
    }
}

impl Schedule {
    /// No bursts yet. With `refresh`, each address is told once more about every so often after its burst, without end.
    pub fn new(refresh: Option<Duration>) -> Self {
        Self { refresh, ..Self::default() }
    }

    /// Starts a burst for `ip`, or starts it afresh: the first round is due at once.
    pub fn start(&mut self, now: Instant, ip: IpAddr) {
        self.stop(ip);
        self.bursts.insert(ip, Burst { next: now, until: now + BURST, first: true });
        self.first.rounds.insert((now, ip));
    }

    /// Ends the burst of `ip`, if one is under way, and its refreshes.
    pub fn stop(&mut self, ip: IpAddr) {
        if let Some(burst) = self.bursts.remove(&ip) {
            self.queue(burst.first).rounds.remove(&(burst.next, ip));
        }
    }

    /// The addresses whose next round is due, oldest first, as far as the limits allow; what is left over stays due. Each address
    /// returned counts as told.
    pub fn due(&mut self, now: Instant) -> Vec<IpAddr> {
        let mut due = Vec::new();
        for (first, limit) in [(true, FIRST), (false, AGAIN)] {
            while let Some(ip) = self.queue(first).pop(now, limit) {
                due.push(ip);
                self.follow(now, ip);
            }
        }
        due
    }

    /// Puts the round after this one in its queue.
    fn follow(&mut self, now: Instant, ip: IpAddr) {
        let Some(burst) = self.bursts.get_mut(&ip) else { return };
        // Counted from now, not from when it was due: rounds that were late must not bunch up.
        let next = now + INTERVAL;
        let after = if burst.first || next < burst.until {
            Some(next)
        } else {
            self.refresh.map(|time| now + spread(time, ip))
        };
        burst.first = false;
        match after {
            Some(next) => {
                burst.next = next;
                self.again.rounds.insert((next, ip));
            }
            None => {
                self.bursts.remove(&ip);
            }
        }
    }

    /// When the next round is due; `None` while there is none.
    pub fn deadline(&self) -> Option<Instant> {
        [self.first.deadline(FIRST), self.again.deadline(AGAIN)].into_iter().flatten().min()
    }

    fn queue(&mut self, first: bool) -> &mut Queue {
        if first { &mut self.first } else { &mut self.again }
    }
}

/// `time` or up to a tenth less, different for each address: what was taken over together is not refreshed together.
fn spread(time: Duration, ip: IpAddr) -> Duration {
    let mut hasher = DefaultHasher::new();
    ip.hash(&mut hasher);
    time - time / 1000 * u32::try_from(hasher.finish() % 100).unwrap_or_default()
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
            for _ in schedule.due(at) {
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
        assert_eq!(schedule.due(start), [ip("192.0.2.1")]);
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
        assert_eq!(schedule.due(start), [ip("2001:db8::1")]);
        schedule.stop(ip("2001:db8::1"));
        assert_eq!(schedule.deadline(), None);
    }

    /// The addresses told in each millisecond from the start on, for this long.
    fn told(schedule: &mut Schedule, start: Instant, millis: u64) -> Vec<Vec<IpAddr>> {
        (0..millis).map(|milli| schedule.due(start + Duration::from_millis(milli))).collect()
    }

    fn many(count: u32) -> BTreeSet<IpAddr> {
        (0..count).map(|n| IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + n))).collect()
    }

    #[test]
    fn a_hundred_takeovers_are_told_at_once_and_five_thousand_within_a_second() {
        for (count, within) in [(100, 1), (5000, 1000)] {
            let (start, mut schedule) = (Instant::now(), Schedule::default());
            let all = many(count);
            all.iter().for_each(|ip| schedule.start(start, *ip));
            let seen: BTreeSet<IpAddr> = told(&mut schedule, start, within).into_iter().flatten().collect();
            assert_eq!(seen, all);
        }
    }

    #[test]
    fn after_the_first_rounds_at_most_500_addresses_are_told_in_a_second_and_each_one_twice_at_least() {
        let (start, mut schedule) = (Instant::now(), Schedule::default());
        let all = many(5000);
        all.iter().for_each(|ip| schedule.start(start, *ip));
        let rounds = told(&mut schedule, start, 30_000);
        for second in 1..30 {
            let told: usize = rounds[second * 1000..][..1000].iter().map(Vec::len).sum();
            assert!(told <= 500, "{told} in second {second}");
        }
        for ip in &all {
            assert!(rounds.iter().flatten().filter(|told| *told == ip).take(2).count() == 2, "{ip}");
        }
        assert_eq!(schedule.deadline(), None);
    }

    #[test]
    fn a_takeover_during_a_flood_of_repetitions_is_told_at_once() {
        let (start, mut schedule) = (Instant::now(), Schedule::default());
        many(5000).into_iter().for_each(|ip| schedule.start(start, ip));
        told(&mut schedule, start, 3000);
        let now = start + Duration::from_secs(3);
        schedule.start(now, ip("192.0.2.1"));
        assert!(schedule.due(now).contains(&ip("192.0.2.1")));
    }

    #[test]
    fn the_deadline_is_when_something_is_due() {
        let (start, mut schedule) = (Instant::now(), Schedule::default());
        many(300).into_iter().for_each(|ip| schedule.start(start, ip));
        while let Some(at) = schedule.deadline() {
            assert!(!schedule.due(at).is_empty());
            assert!(schedule.deadline().is_none_or(|next| next > at));
        }
    }

    #[test]
    fn addresses_are_refreshed_one_by_one_where_that_is_wanted() {
        let (start, mut schedule) = (Instant::now(), Schedule::new(Some(Duration::from_secs(60))));
        let all = many(10);
        all.iter().for_each(|ip| schedule.start(start, *ip));
        let rounds = told(&mut schedule, start, 66_000);
        let burst: usize = rounds[..5000].iter().map(Vec::len).sum();
        assert_eq!(burst, 50);
        assert_eq!(rounds[5000..58_000].iter().map(Vec::len).sum::<usize>(), 0);
        let refreshed: BTreeSet<IpAddr> = rounds[58_000..].iter().flatten().copied().collect();
        assert_eq!(refreshed, all);
        assert!(rounds[58_000..].iter().all(|told| told.len() < 5), "spread out");
        schedule.stop(ip("10.0.0.0"));
        let next: BTreeSet<IpAddr> = schedule.bursts.keys().copied().collect();
        assert_eq!(next.len(), 9);
    }
}
