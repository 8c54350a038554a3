//! A sliding window over the counters of one sender in one life, as IPsec has it (RFC 4303, section 3.4.3).

/// Remembers which of the last [`Window::WIDTH`] counters were taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    top: u64,
    /// Bit i: counter `top - i` was taken.
    taken: u64,
}

impl Window {
    /// Counters below the highest one by this much or more are stale.
    pub(crate) const WIDTH: u64 = 64;

    /// A window that begins at `counter`: it and all before it are taken.
    pub(crate) fn starting_at(counter: u64) -> Self {
        Self { top: counter, taken: u64::MAX }
    }

    /// Takes `counter`; false when it was taken before or is too old to tell.
    pub(crate) fn take(&mut self, counter: u64) -> bool {
        if counter > self.top {
            let ahead = counter - self.top;
            self.taken = if ahead >= Self::WIDTH { 0 } else { self.taken << ahead };
            self.taken |= 1;
            self.top = counter;
            return true;
        }
        let behind = self.top - counter;
        if behind >= Self::WIDTH || self.taken >> behind & 1 == 1 {
            return false;
        }
        self.taken |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_came_before_the_start_is_never_taken() {
        let mut window = Window::starting_at(100);
        assert!(!window.take(100));
        assert!(!window.take(99));
        assert!(!window.take(0));
        assert!(window.take(101));
    }

    #[test]
    fn counters_may_overtake_one_another_within_the_window() {
        let mut window = Window::starting_at(0);
        assert!(window.take(64));
        assert!(window.take(1));
        assert!(window.take(65));
        assert!(!window.take(1), "65 - 1 is the width: too old to tell");
        assert!(window.take(2));
        assert!(!window.take(2));
        assert!(window.take(u64::MAX));
    }

    proptest! {
        #[test]
        fn no_counter_is_taken_twice_and_new_ones_always_are(counters in prop::collection::vec(1_u64..300, 0..300)) {
            let mut window = Window::starting_at(0);
            let (mut taken, mut top) = (BTreeSet::new(), 0);
            for counter in counters {
                let fresh = !taken.contains(&counter) && counter + Window::WIDTH > top;
                prop_assert_eq!(window.take(counter), fresh);
                if fresh {
                    taken.insert(counter);
                    top = top.max(counter);
                }
            }
        }
    }
}
