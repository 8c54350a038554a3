//! Local health: how far a node should trust its own judgement of others (Lifeguard, section III A).
//!
//! ```text
//!  own timer late ─┐
//!                  ├─▶ score + 1 ─▶ every timeout × (1 + score)
//!  others heard ───┘                          ▲
//!  whom we missed      score - 1 ─────────────┘ ◀── ten periods on time with an answer in each
//! ```

/// A score from 0 (healthy) to [`Health::WORST`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    score: u64,
    good_periods: u32,
}

impl Health {
    pub(crate) const WORST: u64 = 8;
    const GOOD_PERIODS: u32 = 10;

    pub(crate) fn score(&self) -> u64 {
        self.score
    }

    /// `timeout` as widened by the score.
    pub(crate) fn patience(&self, timeout: u64) -> u64 {
        timeout * (1 + self.score)
    }

    /// Something speaks against us: a timer fired late, or others hear a member that we do not.
    pub(crate) fn worsen(&mut self) {
        self.score = (self.score + 1).min(Self::WORST);
        self.good_periods = 0;
    }

    /// A period began on time and somebody answered in the one before.
    pub(crate) fn improve(&mut self) {
        self.good_periods += 1;
        if self.good_periods >= Self::GOOD_PERIODS {
            self.good_periods = 0;
            self.score = self.score.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_every_fault_up_to_ninefold() {
        let mut health = Health::default();
        assert_eq!(health.patience(100), 100);
        health.worsen();
        assert_eq!(health.patience(100), 200);
        (0..100).for_each(|_| health.worsen());
        assert_eq!(health.patience(100), 900);
    }

    #[test]
    fn ten_good_periods_in_a_row_take_one_fault_back() {
        let mut health = Health::default();
        health.worsen();
        health.worsen();
        (0..9).for_each(|_| health.improve());
        assert_eq!(health.score(), 2);
        health.improve();
        assert_eq!(health.score(), 1);
        (0..9).for_each(|_| health.improve());
        health.worsen();
        (0..9).for_each(|_| health.improve());
        assert_eq!(health.score(), 2, "a fault starts the count anew");
    }
}
