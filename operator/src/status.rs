//! Conditions of the MetalLB resource: what is true of the operands right now. Pure.
//!
//! ```text
//!  Deployment, DaemonSet ─▶ workload ─┐
//!  their pods ────────────▶ trouble ──┼─▶ judge ─▶ Available Upgradeable Progressing Degraded ─▶ merge ─▶ write, or not
//!  what went wrong here ──────────────┘
//! ```
//! A condition names the object and the cause. Its time moves only when its status changes, and nothing is written when
//! nothing changed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::workload::Workload;

/// Types of the conditions, in the order they are written.
const TYPES: [&str; 4] = ["Available", "Upgradeable", "Progressing", "Degraded"];

/// A failure: a reason in the form conditions allow, and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One CamelCase word.
    pub reason: String,
    /// Object, cause, and where possible a remedy.
    pub message: String,
}

/// One condition before it has a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Type of the condition.
    pub type_: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence, or several joined by `; `.
    pub message: String,
}

impl Finding {
    fn new(type_: &'static str, holds: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { type_, holds, reason: reason.to_owned(), message: message.into() }
    }
}

/// Judges the operands. `workloads` are all that should run; `failures` is what went wrong while making them, in order
/// of weight.
pub fn judge(workloads: &[Workload], failures: &[Failure]) -> [Finding; 4] {
    let waiting: Vec<String> = workloads.iter().filter_map(Workload::waiting_for).collect();
    let ready = waiting.is_empty() && !workloads.is_empty();
    let mut failures = failures.to_vec();
    failures.extend(workloads.iter().filter_map(|workload| workload.trouble.clone()));

    let available = if ready {
        Finding::new("Available", true, "AllComponentsReady", summary(workloads))
    } else if waiting.is_empty() {
        Finding::new("Available", false, "NothingRunning", "no component is running")
    } else {
        Finding::new("Available", false, "ComponentsNotReady", waiting.join("; "))
    };
    let progressing = if waiting.is_empty() {
        Finding::new("Progressing", false, "Settled", "")
    } else {
        Finding::new("Progressing", true, "RollingOut", waiting.join("; "))
    };
    let degraded = match failures.first() {
        None => Finding::new("Degraded", false, "AsExpected", ""),
        Some(first) => {
            let messages: Vec<&str> = failures.iter().map(|failure| failure.message.as_str()).collect();
            Finding::new("Degraded", true, &first.reason, messages.join("; "))
        }
    };
    let upgradeable = match (ready, degraded.holds) {
        (true, false) => Finding::new("Upgradeable", true, "AllComponentsReady", ""),
        (_, true) => Finding::new("Upgradeable", false, "Degraded", "repair what Degraded names before an upgrade"),
        (false, false) => Finding::new("Upgradeable", false, "RollingOut", "wait for the rollout in progress"),
    };
    [available, upgradeable, progressing, degraded]
}

/// The conditions of a resource that brings nothing up.
pub fn refuse(failure: &Failure) -> [Finding; 4] {
    let [available, _, progressing, degraded] = TYPES.map(|type_| match type_ {
        "Degraded" => Finding::new(type_, true, &failure.reason, &failure.message),
        other => Finding::new(other, false, &failure.reason, ""),
    });
    let upgradeable = Finding::new("Upgradeable", false, &failure.reason, "");
    [available, upgradeable, progressing, degraded]
}

fn summary(workloads: &[Workload]) -> String {
    workloads.iter().map(Workload::summary).collect::<Vec<_>>().join("; ")
}

/// Puts findings into conditions. `None` when the resource says all of it already.
///
/// Conditions of other types stay behind these.
pub fn merge(old: &[Condition], findings: &[Finding], generation: Option<i64>, now: Time) -> Option<Vec<Condition>> {
    let mut merged: Vec<Condition> = findings
        .iter()
        .map(|finding| {
            let status = if finding.holds { "True" } else { "False" };
            let before = old.iter().find(|condition| condition.type_ == finding.type_);
            let since = before.filter(|condition| condition.status == status);
            Condition {
                type_: finding.type_.to_owned(),
                status: status.to_owned(),
                reason: finding.reason.clone(),
                message: bounded(&finding.message),
                observed_generation: generation,
                last_transition_time: since.map_or(now.clone(), |condition| condition.last_transition_time.clone()),
            }
        })
        .collect();
    let ours: Vec<&str> = findings.iter().map(|finding| finding.type_).collect();
    merged.extend(old.iter().filter(|condition| !ours.contains(&condition.type_.as_str())).cloned());
    (merged != old).then_some(merged)
}

/// The CRD allows 32768 bytes; a screenful is what anyone reads.
fn bounded(message: &str) -> String {
    const LIMIT: usize = 4096;
    if message.len() <= LIMIT {
        return message.to_owned();
    }
    let mut end = LIMIT;
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &message[..end])
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::object::{Kind, ObjectId};

    fn workload(kind: Kind, ready: i64, desired: i64) -> Workload {
        let name = if kind == Kind::DaemonSet { "speaker" } else { "controller" };
        let id = ObjectId { kind, namespace: "ns".into(), name: name.into() };
        Workload { id, desired, ready, updated: desired, exists: true, observed: true, trouble: None }
    }

    fn time(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn text(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|f| format!("{}={} {}: {}", f.type_, f.holds, f.reason, f.message)).collect()
    }

    #[test]
    fn ready_components_are_available_and_upgradeable() {
        let findings = judge(&[workload(Kind::Deployment, 1, 1), workload(Kind::DaemonSet, 3, 3)], &[]);
        assert_eq!(
            text(&findings),
            [
                "Available=true AllComponentsReady: Deployment controller: 1 of 1 pods ready; DaemonSet speaker: 3 of 3 pods ready",
                "Upgradeable=true AllComponentsReady: ",
                "Progressing=false Settled: ",
                "Degraded=false AsExpected: ",
            ]
        );
    }

    #[test]
    fn a_component_that_is_not_ready_is_named_with_its_numbers() {
        let findings = judge(&[workload(Kind::Deployment, 1, 1), workload(Kind::DaemonSet, 2, 3)], &[]);
        assert_eq!(
            text(&findings),
            [
                "Available=false ComponentsNotReady: DaemonSet speaker: 2 of 3 pods ready",
                "Upgradeable=false RollingOut: wait for the rollout in progress",
                "Progressing=true RollingOut: DaemonSet speaker: 2 of 3 pods ready",
                "Degraded=false AsExpected: ",
            ]
        );
    }

    #[test]
    fn a_failure_degrades_and_ready_operands_stay_available() {
        let failure = Failure { reason: "UnsupportedBGPBackend".into(), message: "use native".into() };
        let findings = judge(&[workload(Kind::Deployment, 1, 1)], &[failure]);
        assert!(findings[0].holds && findings[3].holds && !findings[1].holds);
        assert_eq!(text(&findings)[3], "Degraded=true UnsupportedBGPBackend: use native");
    }

    #[test]
    fn troubles_of_pods_come_after_failures_of_the_operator() {
        let mut broken = workload(Kind::DaemonSet, 0, 1);
        broken.trouble = Some(Failure { reason: "CrashLoop".into(), message: "pod p".into() });
        let failure = Failure { reason: "ApplyFailed".into(), message: "cannot apply Role x".into() };
        assert_eq!(text(&judge(&[broken], &[failure]))[3], "Degraded=true ApplyFailed: cannot apply Role x; pod p");
    }

    #[test]
    fn nothing_running_is_not_available() {
        assert_eq!(text(&judge(&[], &[]))[0], "Available=false NothingRunning: no component is running");
    }

    #[test]
    fn a_refused_resource_says_why_in_degraded_only() {
        let failure = Failure { reason: "IncorrectMetalLBResourceName".into(), message: "Incorrect".into() };
        let findings = refuse(&failure);
        assert_eq!(findings.each_ref().map(|finding| finding.type_), TYPES);
        assert_eq!(findings.each_ref().map(|finding| finding.holds), [false, false, false, true]);
        assert_eq!(findings[3].message, "Incorrect");
    }

    #[test]
    fn time_moves_only_with_the_status_and_unchanged_conditions_are_not_written() {
        let ready = judge(&[workload(Kind::DaemonSet, 3, 3)], &[]);
        let first = merge(&[], &ready, Some(1), time(10)).unwrap();
        assert_eq!(merge(&first, &ready, Some(1), time(20)), None);

        let rolling = judge(&[workload(Kind::DaemonSet, 1, 3)], &[]);
        let second = merge(&first, &rolling, Some(1), time(20)).unwrap();
        let times = |conditions: &[Condition]| -> Vec<i64> {
            conditions.iter().map(|condition| condition.last_transition_time.0.as_second()).collect()
        };
        assert_eq!(times(&second), [20, 20, 20, 10]);

        let more = judge(&[workload(Kind::DaemonSet, 2, 3)], &[]);
        let third = merge(&second, &more, Some(1), time(30)).unwrap();
        assert_eq!(times(&third), [20, 20, 20, 10]);
        assert!(merge(&third, &more, Some(2), time(40)).is_some(), "a new generation is observed");
    }

    #[test]
    fn conditions_of_others_are_kept() {
        let findings = judge(&[workload(Kind::DaemonSet, 3, 3)], &[]);
        let mut old = merge(&[], &findings, None, time(1)).unwrap();
        let foreign = Condition { type_: "Foreign".into(), ..old[0].clone() };
        old.insert(0, foreign.clone());
        let merged = merge(&old, &findings, None, time(2)).unwrap();
        assert_eq!(merged.last(), Some(&foreign));
        assert_eq!(merged.len(), 5);
    }

    #[test]
    fn reasons_have_the_form_the_crd_demands() {
        let all = [
            judge(&[], &[]),
            judge(&[workload(Kind::DaemonSet, 3, 3)], &[]),
            judge(&[workload(Kind::DaemonSet, 1, 3)], &[]),
        ];
        for finding in all.iter().flatten() {
            assert!(
                !finding.reason.is_empty() && finding.reason.chars().all(|c| c.is_ascii_alphanumeric()),
                "{finding:?}"
            );
        }
    }

    #[test]
    fn a_message_has_a_bound() {
        let failure = Failure { reason: "X".into(), message: "ä".repeat(10_000) };
        let merged = merge(&[], &judge(&[], &[failure]), None, time(1)).unwrap();
        assert!(merged[3].message.len() < 5_000);
    }
}
