//! Whether this node may send layer 2 frames at this moment.
//!
//! ```text
//! owner of the decisions --renew(until), every ~100 ms--> Permit (one moment) <--is_valid(now), per frame-- responders
//! ```
//! A process that was stopped finds its permit expired when it goes on, and says nothing until the owner has looked at the
//! world again: the frames that wait in its sockets are not answered. The clock is the boot clock, which goes on while the
//! machine sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runtime::clock::Moment;

/// Leave to send frames, until a moment. Clones share it.
#[derive(Clone, Debug)]
pub struct Permit(Arc<AtomicU64>);

impl Permit {
    /// No leave, until it is given.
    pub fn withheld() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }

    /// Frames may be sent before `until`. This replaces what held before, so an earlier moment takes leave back.
    pub fn renew(&self, until: Moment) {
        self.0.store(until.nanos(), Ordering::SeqCst);
    }

    /// Whether a frame may be sent at `now`.
    pub fn is_valid(&self, now: Moment) -> bool {
        now.nanos() < self.0.load(Ordering::SeqCst)
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
    fn leave_is_withheld_until_it_is_given_and_ends_at_its_moment() {
        let permit = Permit::withheld();
        assert!(!permit.is_valid(at(0)));
        permit.renew(at(500));
        assert!(permit.is_valid(at(499)));
        assert!(!permit.is_valid(at(500)));
    }

    #[test]
    fn leave_can_be_taken_back_and_clones_see_it() {
        let (permit, clone) = {
            let permit = Permit::withheld();
            (permit.clone(), permit)
        };
        permit.renew(at(500));
        assert!(clone.is_valid(at(100)));
        permit.renew(Moment::default());
        assert!(!clone.is_valid(at(100)));
    }

    #[test]
    fn a_clock_that_the_kernel_refuses_gives_no_leave() {
        let permit = Permit::withheld();
        permit.renew(Moment::FAR_FUTURE);
        assert!(permit.is_valid(at(1)));
        assert!(!permit.is_valid(Moment::FAR_FUTURE));
    }
}
