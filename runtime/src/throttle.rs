//! A pause of all writes while the apiserver asks for one.
//!
//! ```text
//!  429, 503 ──refused──▶ nobody writes for Retry-After, or 1 s, 2 s, 4 s ... 30 s ──accepted──▶ as fast as before
//! ```
//! Back-off per object is not enough: ten thousand objects that each wait a little still ask all the time.

use std::time::{Duration, Instant};

/// First pause.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause, also when more is asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When writes may go on.
#[derive(Debug, Default)]
pub struct Throttle {
    refusals: u32,
    until: Option<Instant>,
}

impl Throttle {
    /// Takes in a failed request: `code` is its HTTP status, `asked` what the apiserver wants us to wait. Only 429 and 503
    /// slow down; refusals during a pause belong to requests that were under way and do not make it longer.
    pub fn refused(&mut self, now: Instant, code: Option<u16>, asked: Option<Duration>) {
        if !matches!(code, Some(429 | 503)) || self.ready_at(now).is_some() {
            return;
        }
        let pause = PAUSE.saturating_mul(2u32.saturating_pow(self.refusals)).max(asked.unwrap_or_default());
        self.refusals = self.refusals.saturating_add(1);
        self.until = Some(now + pause.min(LONGEST_PAUSE));
    }

    /// Takes in that a request was served.
    pub fn accepted(&mut self) {
        self.refusals = 0;
    }

    /// When writes may go on; `None` when they may at `now`.
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

/// How long the apiserver asks to wait, if it does.
pub fn asked(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overloaded_apiserver_is_left_alone_longer_each_time() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..7 {
            throttle.refused(now, Some(429), None);
            let until = throttle.ready_at(now).unwrap();
            pauses.push((until - now).as_secs());
            throttle.refused(now, Some(429), None);
            assert_eq!(throttle.ready_at(now), Some(until), "one that was under way changes nothing");
            now = until;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        throttle.accepted();
        throttle.refused(now, Some(503), None);
        assert_eq!(throttle.ready_at(now), Some(now + PAUSE));
    }

    #[test]
    fn what_the_apiserver_asks_for_counts_up_to_half_a_minute() {
        let now = Instant::now();
        for (asked, waits) in [(7, 7), (3600, 30)] {
            let mut throttle = Throttle::default();
            throttle.refused(now, Some(503), Some(Duration::from_secs(asked)));
            assert_eq!(throttle.ready_at(now), Some(now + Duration::from_secs(waits)));
        }
    }

    #[test]
    fn other_refusals_slow_nobody_down() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for code in [None, Some(404), Some(409), Some(500)] {
            throttle.refused(now, code, Some(Duration::from_secs(9)));
        }
        assert_eq!(throttle.ready_at(now), None);
    }
}
