//! How often something may be done: a few times at once, then at a steady pace. Pure.

use std::time::{Duration, Instant};

/// Allows `burst` times at once and one more for each `every` that passes.
#[derive(Clone, Debug)]
pub struct Pace {
    burst: u32,
    every: Duration,
    used: u32,
    /// When the first of the used ones comes back.
    since: Option<Instant>,
}

impl Pace {
    /// Nothing was taken yet.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, used: 0, since: None }
    }

    /// Takes one, or says how long to wait for the next.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(since) = self.since {
            let passed = now.saturating_duration_since(since);
            let back = u32::try_from(passed.as_nanos() / self.every.as_nanos().max(1)).unwrap_or(u32::MAX);
            self.used = self.used.saturating_sub(back);
            self.since = (self.used > 0).then(|| since + self.every.saturating_mul(back));
        }
        if self.used >= self.burst {
            let passed = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            return Err(self.every.saturating_sub(passed));
        }
        self.used += 1;
        self.since.get_or_insert(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_free_and_then_one_at_a_time() {
        let (start, mut pace) = (Instant::now(), Pace::new(2, SECOND));
        assert_eq!(pace.take(start), Ok(()));
        assert_eq!(pace.take(start), Ok(()));
        assert_eq!(pace.take(start + SECOND / 4), Err(SECOND * 3 / 4));
        assert_eq!(pace.take(start + SECOND), Ok(()));
        assert!(pace.take(start + SECOND).is_err());
        for _ in 0..2 {
            assert_eq!(pace.take(start + SECOND * 3600), Ok(()), "a rest gives the burst back, not more");
        }
        assert!(pace.take(start + SECOND * 3600).is_err());
    }

    #[test]
    fn once_a_second_is_never_delayed_by_a_pace_of_twice_a_second() {
        let (start, mut pace) = (Instant::now(), Pace::new(3, SECOND / 2));
        for second in 0..10_000 {
            assert_eq!(pace.take(start + SECOND * second), Ok(()));
        }
    }
}
