//! Which failures of a repeated action deserve a line in the log.
//!
//! ```text
//!  refused, refused, refused, forbidden, forbidden, ok
//!  line                       line                  line "works again"
//! ```
//! A loop that retries every few seconds must not fill the log, and must not fall silent for ever either.

use std::time::{Duration, Instant};

/// After this long the same failure is worth saying again.
const REMINDER: Duration = Duration::from_secs(600);

/// The failures of one action, told apart by their text.
#[derive(Debug, Default)]
pub struct Repeats {
    last: Option<(String, Instant)>,
}

impl Repeats {
    /// Notes a failure; true when it should be logged.
    pub fn failed(&mut self, text: &str, now: Instant) -> bool {
        let known = self
            .last
            .as_ref()
            .is_some_and(|(last, since)| last == text && now.saturating_duration_since(*since) < REMINDER);
        if !known {
            self.last = Some((text.to_owned(), now));
        }
        !known
    }

    /// Notes a success; true when failures came before it.
    pub fn succeeded(&mut self) -> bool {
        self.last.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_until_it_changes_or_grows_old() {
        let mut repeats = Repeats::default();
        let now = Instant::now();
        assert!(repeats.failed("refused", now));
        assert!(!repeats.failed("refused", now + Duration::from_secs(1)));
        assert!(repeats.failed("forbidden", now + Duration::from_secs(2)));
        assert!(!repeats.failed("forbidden", now + Duration::from_secs(3)));
        assert!(repeats.failed("forbidden", now + Duration::from_secs(2) + REMINDER));
    }

    #[test]
    fn the_first_success_after_failures_is_told() {
        let mut repeats = Repeats::default();
        assert!(!repeats.succeeded());
        repeats.failed("refused", Instant::now());
        assert!(repeats.succeeded());
        assert!(!repeats.succeeded());
    }
}
