//! Time as the core sees it.

use std::ops::{Add, AddAssign};

/// Milliseconds since a moment that only the owner of the core knows. The clock behind it must run while the process is
/// stopped and, where the machine can tell, while it sleeps: a pause is recognised by how far the clock has moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// Milliseconds from `earlier` to here; 0 when `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Millis {
    type Output = Self;

    fn add(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

impl AddAssign<u64> for Millis {
    fn add_assign(&mut self, milliseconds: u64) {
        *self = *self + milliseconds;
    }
}
