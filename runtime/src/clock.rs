//! A clock that only goes forward and goes on while the machine sleeps.
//!
//! ```text
//!  CLOCK_REALTIME   jumps when somebody sets it        no
//!  CLOCK_MONOTONIC  stands still while suspended       no: a machine that wakes up would believe its old leadership
//!  CLOCK_BOOTTIME   time since boot, sleep included    Moment
//! ```

use std::ops::Add;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A point in time on this machine's boot clock. Moments of different machines cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// After every other moment.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// Now. Where the kernel refuses the clock (it never does on Linux) this is [`Moment::FAR_FUTURE`], so that every
    /// deadline counts as past.
    pub fn now() -> Self {
        match clock_gettime(ClockId::CLOCK_BOOTTIME) {
            Ok(time) => Self::from_boot(Duration::from(time)),
            Err(_) => Self::FAR_FUTURE,
        }
    }

    /// The moment this long after boot; saturates after 584 years.
    pub fn from_boot(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Nanoseconds since boot.
    pub fn nanos(self) -> u64 {
        self.0
    }

    /// The moment this many nanoseconds after boot.
    pub fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Time from now until this moment; zero when it is past.
    pub fn after(self, now: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_forward() {
        let first = Moment::now();
        assert!(first > Moment::default() && first < Moment::FAR_FUTURE);
        assert!(Moment::now() >= first);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Moment::FAR_FUTURE + Duration::from_secs(1), Moment::FAR_FUTURE);
        assert_eq!(Moment::default().after(Moment::now()), Duration::ZERO);
        assert_eq!((Moment::default() + Duration::from_secs(2)).after(Moment::default()), Duration::from_secs(2));
    }
}
