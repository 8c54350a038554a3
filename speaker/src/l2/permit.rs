//! Whether this process may send frames at all.
//!
//! ```text
//!  renewal, every 100 ms ──renew(now + 500 ms)──▶ Permit ──is_valid(now)?──▶ responders, gratuitous frames
//!  process stopped for long ─────────────────────▶ the moment passes by itself: nothing is sent until it is renewed
//! ```
//! Frames wait in the sockets of a stopped process. When it goes on, they would be answered at once, from a picture of the
//! cluster that is old. So whoever sends asks here first, with the time of that very moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runtime::clock::Moment;

/// Leave to send frames until a moment on the boot clock. Clones share it.
#[derive(Debug, Clone)]
pub struct Permit(Arc<AtomicU64>);

impl Permit {
    /// Leave that was never given.
    pub fn withheld() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }

    /// Gives leave until this moment, excluded. A moment before the one in force takes leave back.
    pub fn renew(&self, until: Moment) {
        self.0.store(until.nanos(), Ordering::Release);
    }

    /// Whether frames may be sent now.
    pub fn is_valid(&self, now: Moment) -> bool {
        now.nanos() < self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_boot(Duration::from_millis(millis))
    }

    #[test]
    fn leave_ends_at_its_moment_for_all_clones() {
        let permit = Permit::withheld();
        let other = permit.clone();
        assert!(!other.is_valid(at(0)));
        permit.renew(at(500));
        assert!(other.is_valid(at(499)) && !other.is_valid(at(500)));
        permit.renew(Moment::default());
        assert!(!other.is_valid(at(0)));
    }

    #[test]
    fn without_a_clock_nothing_is_sent() {
        let permit = Permit::withheld();
        permit.renew(Moment::FAR_FUTURE);
        assert!(!permit.is_valid(Moment::FAR_FUTURE));
    }
}
