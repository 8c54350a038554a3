//! Time as the core sees it.

use std::ops::Add;

/// Milliseconds since a moment that only the owner of the core knows. The clock behind it must run while the process is
/// stopped and while the machine sleeps, and nobody may set it: CLOCK_BOOTTIME. Round down; the margin of the protocol is
/// hundreds of times what that loses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Add<u64> for Millis {
    type Output = Self;

    fn add(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}
