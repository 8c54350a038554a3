//! What the webhook counts and measures.

use std::time::Duration;

use config::Kind;
use runtime::metrics::{EncodeLabelSet, Family, GoCounter, Histogram, Registry};

use crate::admit::Operation;

/// Bounds in seconds, closest around the 10 ms that an answer may take.
const BOUNDS: [f64; 13] = [0.0005, 0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.01, 0.015, 0.025, 0.1, 1.0, 5.0];

/// The metrics of admission. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Labels, GoCounter>,
    seconds: Family<KindLabel, Histogram, fn() -> Histogram>,
    lists: GoCounter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    operation: &'static str,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No objection.
    Allowed,
    /// Refused because of what it is.
    Denied,
    /// Refused because it could not be judged.
    Failed,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BOUNDS);
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            lists: GoCounter::default(),
        }
    }
}

impl Metrics {
    /// `metallb_webhook_requests_total{kind, operation, verdict}`, `metallb_webhook_admission_seconds{kind}` and
    /// `metallb_webhook_lists_total`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let requests = "Calls of the apiserver by kind, operation and verdict (allowed, denied, failed)";
        registry.register("metallb_webhook_requests_total", requests, metrics.requests.clone());
        let seconds = "Time from the body of a call to its answer";
        registry.register("metallb_webhook_admission_seconds", seconds, metrics.seconds.clone());
        let lists = "Calls that were judged on lists of the apiserver because the watches were behind";
        registry.register("metallb_webhook_lists_total", lists, metrics.lists.clone());
        metrics
    }

    /// Counts and measures a call.
    pub fn answered(&self, kind: Kind, operation: Operation, outcome: Outcome, taken: Duration) {
        let kind = kind.as_str();
        let operation = match operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        };
        let verdict = match outcome {
            Outcome::Allowed => "allowed",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
        };
        self.requests.get_or_create(&Labels { kind, operation, verdict }).inc();
        self.seconds.get_or_create(&KindLabel { kind }).observe(taken.as_secs_f64());
    }

    /// Counts a call that watches could not serve.
    pub fn listed(&self) {
        self.lists.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_verdict_and_measured_by_kind() {
        let mut registry = Registry::new();
        let metrics = Metrics::register(&mut registry);
        let taken = Duration::from_millis(5);
        metrics.answered(Kind::IPAddressPool, Operation::Create, Outcome::Denied, taken);
        metrics.listed();
        let text = registry.encode();
        for line in [
            r#"metallb_webhook_requests_total{kind="IPAddressPool",operation="CREATE",verdict="denied"} 1"#,
            r#"metallb_webhook_admission_seconds_bucket{le="0.006",kind="IPAddressPool"} 1"#,
            r#"metallb_webhook_admission_seconds_bucket{le="0.004",kind="IPAddressPool"} 0"#,
            "metallb_webhook_lists_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
