//! Writes what was decided: status and annotation of Services in one conditional request, Events, log lines.
//!
//! ```text
//!  Action::Write ──queue──▶ at most LIMIT requests under way ──▶ Done (to State::written)
//!                                │ refused or failed
//!                                └──▶ retry later, longer each time (to State::retry); others go on, unless the
//!                                     apiserver asks for a pause of all (429, 503)
//! ```
//! One strategic merge patch of `services/status` writes all: the apiserver (tried with 1.36) takes changes of metadata
//! through the status subresource, refuses the patch with 409 when `metadata.resourceVersion` is not the stored one, merges
//! conditions by their type, and asks for no right but `patch` on `services/status`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use api::names::{ANNOTATION_IP_ALLOCATED_FROM_POOL, FIELD_MANAGER_CONTROLLER};
use api::slim;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use runtime::client::{explain, http_code, was_fenced};
use runtime::events::{EventType, Publisher, reference};
use runtime::throttle::{Throttle, asked};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::allocator::ServiceKey;
use crate::plan::{ConditionWrite, Note, Severity, StatusWrite, Step, Write};
use crate::pool_objects::ObjectReport;
use crate::service::{ANNOTATION_IP_ALLOCATED_FROM_POOL_DEPRECATED, CONDITION_IP_ALLOCATED, Service};
use crate::state::{Outcome, ServiceWrite, Subject};

/// Requests under way at once. More would not be faster: the apiserver stores one after the other.
const LIMIT: usize = 16;
/// How long a request may take before its outcome counts as unknown.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// First pause after a failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How one write ended.
#[derive(Debug)]
pub struct Done {
    /// Which write.
    pub attempt: u64,
    /// Of which Service.
    pub key: ServiceKey,
    /// How it ended.
    pub outcome: Outcome,
}

/// What the writer has to tell.
#[derive(Debug)]
pub enum Next {
    /// A write ended.
    Done(Done),
    /// The pause after a failure is over.
    Retry(ServiceKey),
}

/// What the apiserver answered in place of storing: its code, and the pause it asks for.
type Refusal = (Option<u16>, Option<Duration>);

/// The writer.
pub struct Apply {
    client: Client,
    events: Publisher,
    queue: VecDeque<ServiceWrite>,
    running: JoinSet<(Done, Option<Refusal>)>,
    throttle: Throttle,
    failures: BTreeMap<ServiceKey, u32>,
    retries: BTreeSet<(Instant, ServiceKey)>,
}

impl Apply {
    /// A writer with nothing to do.
    pub fn new(client: Client, events: Publisher) -> Self {
        Self {
            client,
            events,
            queue: VecDeque::new(),
            running: JoinSet::new(),
            throttle: Throttle::default(),
            failures: BTreeMap::new(),
            retries: BTreeSet::new(),
        }
    }

    /// Queues a write and starts it when there is room.
    pub fn write(&mut self, write: ServiceWrite) {
        self.queue.push_back(write);
        self.start();
    }

    fn start(&mut self) {
        if self.paused_until().is_some() {
            return;
        }
        while self.running.len() < LIMIT
            && let Some(write) = self.queue.pop_front()
        {
            let api: Api<slim::Service> = Api::namespaced(self.client.clone(), write.key.namespace());
            self.running.spawn(async move {
                let (outcome, refusal) = send(&api, &write).await;
                (Done { attempt: write.attempt, key: write.key, outcome }, refusal)
            });
        }
    }

    /// When queued writes may go on, if they have to wait.
    fn paused_until(&self) -> Option<Instant> {
        self.throttle.ready_at(Instant::now().into_std()).map(Instant::from_std)
    }

    fn answered(&mut self, done: &Done, refusal: Option<Refusal>) {
        if let Some((code, asked)) = refusal {
            self.throttle.refused(Instant::now().into_std(), code, asked);
        }
        if let Outcome::Stored(_) = done.outcome {
            self.throttle.accepted();
            self.failures.remove(&done.key);
        }
    }

    /// The next write that ended or the next Service to look at again. Waits for ever while there is neither; safe to drop
    /// and call again.
    pub async fn next(&mut self) -> Next {
        loop {
            let resume = self.paused_until().filter(|_| !self.queue.is_empty());
            let next = tokio::select! {
                (done, refusal) = ended(&mut self.running) => {
                    self.answered(&done, refusal);
                    Some(Next::Done(done))
                }
                key = due(&mut self.retries) => Some(Next::Retry(key)),
                () = reached(resume) => None,
            };
            self.start();
            if let Some(next) = next {
                return next;
            }
        }
    }

    /// Arranges for a Service to be looked at again, later after each failure in a row.
    pub fn retry_later(&mut self, key: ServiceKey) {
        let failures = self.failures.entry(key.clone()).or_default();
        let pause = PAUSE.saturating_mul(2u32.saturating_pow(*failures)).min(LONGEST_PAUSE);
        *failures = failures.saturating_add(1);
        self.retries.insert((Instant::now() + pause, key));
    }

    /// Arranges for a Service to be looked at again after this time.
    pub fn later(&mut self, key: ServiceKey, pause: Duration) {
        self.retries.insert((Instant::now() + pause, key));
    }

    /// Publishes an Event about a Service.
    pub fn note(&self, subject: &Subject, note: &Note) {
        let key = (subject.key.namespace(), subject.key.name());
        let object = reference("v1", "Service", key, &subject.uid, &subject.resource_version);
        let kind = match note.severity {
            Severity::Normal => EventType::Normal,
            Severity::Warning => EventType::Warning,
        };
        self.events.publish(&object, kind, note.reason, &note.text);
    }

    /// Tells that a pool object cannot be used.
    pub fn report(&self, report: &ObjectReport) {
        let ObjectReport { kind, namespace, name, uid, text } = report;
        tracing::error!(event = "invalidConfiguration", kind, namespace, name, "{text}");
        let object = reference("metallb.io/v1beta1", kind, (namespace, name), uid, "");
        self.events.publish(&object, EventType::Warning, "ConfigurationError", text);
    }
}

async fn reached(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

async fn ended(running: &mut JoinSet<(Done, Option<Refusal>)>) -> (Done, Option<Refusal>) {
    loop {
        match running.join_next().await {
            Some(Ok(done)) => return done,
            // A request that panicked ends the process in release builds; in tests its Service stays busy.
            Some(Err(error)) => tracing::error!(event = "bug", "a write crashed: {error}"),
            None => std::future::pending().await,
        }
    }
}

async fn due(retries: &mut BTreeSet<(Instant, ServiceKey)>) -> ServiceKey {
    let Some((when, key)) = retries.first().cloned() else { return std::future::pending().await };
    sleep_until(when).await;
    retries.remove(&(when, key.clone()));
    key
}

/// Logs a step in MetalLB's words.
pub fn log(key: &ServiceKey, step: &Step) {
    let service = key.as_str();
    match step {
        Step::Assigned(addresses) => {
            let ip = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            tracing::info!(event = "ipAllocated", service, ip, "IP address assigned by controller");
        }
        Step::AssignedAdditional(address) => {
            let ip = address.to_string();
            tracing::info!(event = "ipAllocated", service, ip, "Additional IP address assigned by controller");
        }
        Step::Cleared(reason) => {
            tracing::info!(event = "clearAssignment", service, reason, "the service gives up its address");
        }
        Step::Failed(error) => {
            tracing::error!(event = "allocationFailed", service, op = "allocateIPs", error, "IP allocation failed");
        }
    }
}

async fn send(api: &Api<slim::Service>, write: &ServiceWrite) -> (Outcome, Option<Refusal>) {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER_CONTROLLER.to_owned()), ..PatchParams::default() };
    let body = Patch::Strategic(body(&write.resource_version, &write.write, Timestamp::now()));
    let service = write.key.as_str();
    match timeout(WRITE_TIMEOUT, api.patch_status(write.key.name(), &params, &body)).await {
        Ok(Ok(object)) => {
            let stored = Service::from_slim(object);
            (stored.map_or(Outcome::Unknown, |stored| Outcome::Stored(Box::new(stored))), None)
        }
        Ok(Err(error)) => {
            let code = http_code(&error);
            let reason = explain(&error);
            match code {
                // Somebody changed or deleted it meanwhile: the watch will show what there is now.
                Some(404 | 409) => tracing::debug!(event = "serviceChanged", service, reason, "write refused"),
                // The term is over, which was logged; the next leader does it.
                _ if was_fenced(&error) => tracing::debug!(event = "updateFailed", service, reason, "not sent"),
                _ => tracing::error!(
                    event = "updateFailed",
                    service,
                    reason,
                    "cannot write the status of the service; trying again until it works"
                ),
            }
            let refused = code.is_some_and(|code| (400..500).contains(&code));
            (if refused { Outcome::Refused } else { Outcome::Unknown }, Some((code, asked(&error))))
        }
        Err(_) => {
            let seconds = WRITE_TIMEOUT.as_secs();
            tracing::error!(
                event = "updateFailed",
                service,
                "the apiserver did not answer a status write within {seconds} s; trying again until it does"
            );
            (Outcome::Unknown, None)
        }
    }
}

/// The patch: `null` removes. Conditions are merged by type, so that those of others stay.
fn body(resource_version: &str, write: &Write, now: Timestamp) -> Value {
    let mut metadata = json!({"resourceVersion": resource_version});
    let mut status = json!({});
    if let Some(StatusWrite { ingress, pool, remove_deprecated_record }) = &write.status {
        let pool = pool.as_ref().map_or(Value::Null, |pool| Value::from(pool.0.as_str()));
        let mut annotations = Map::from_iter([(ANNOTATION_IP_ALLOCATED_FROM_POOL.to_owned(), pool)]);
        if *remove_deprecated_record {
            annotations.insert(ANNOTATION_IP_ALLOCATED_FROM_POOL_DEPRECATED.to_owned(), Value::Null);
        }
        metadata["annotations"] = Value::Object(annotations);
        let entries: Vec<Value> = ingress
            .iter()
            .map(|entry| match &entry.ip_mode {
                Some(mode) => json!({"ip": entry.ip, "ipMode": mode.as_str()}),
                None => json!({"ip": entry.ip}),
            })
            .collect();
        status["loadBalancer"] = if entries.is_empty() { Value::Null } else { json!({"ingress": entries}) };
    }
    match &write.condition {
        None => {}
        Some(ConditionWrite::Remove) => {
            status["conditions"] = json!([{"$patch": "delete", "type": CONDITION_IP_ALLOCATED}]);
        }
        Some(ConditionWrite::Set { reason, message, observed_generation, transition }) => {
            let mut condition =
                json!({"type": CONDITION_IP_ALLOCATED, "status": "False", "reason": reason, "message": message});
            if *observed_generation > 0 {
                condition["observedGeneration"] = Value::from(*observed_generation);
            }
            if *transition {
                condition["lastTransitionTime"] = Value::from(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            }
            status["conditions"] = json!([condition]);
        }
    }
    json!({"metadata": metadata, "status": status})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Ingress, IpMode};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn one_patch_holds_version_annotation_and_addresses() {
        let ingress = vec![
            Ingress { ip: "192.0.2.1".into(), has_hostname: false, ip_mode: Some(IpMode::Vip) },
            Ingress { ip: "2001:db8::1".into(), ..Ingress::default() },
        ];
        let status = StatusWrite { ingress, pool: Some("p".into()), remove_deprecated_record: true };
        let write = Write { status: Some(status), condition: Some(ConditionWrite::Remove) };
        let expected = json!({
            "metadata": {"resourceVersion": "7", "annotations": {
                "metallb.io/ip-allocated-from-pool": "p", "metallb.universe.tf/ip-allocated-from-pool": null,
            }},
            "status": {
                "loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}, {"ip": "2001:db8::1"}]},
                "conditions": [{"$patch": "delete", "type": "metallb.io/IPAllocated"}],
            },
        });
        assert_eq!(body("7", &write, at(0)), expected);
    }

    #[test]
    fn clearing_removes_the_annotation_and_the_whole_load_balancer_status() {
        let status = StatusWrite { ingress: Vec::new(), pool: None, remove_deprecated_record: false };
        let expected = json!({
            "metadata": {"resourceVersion": "7", "annotations": {"metallb.io/ip-allocated-from-pool": null}},
            "status": {"loadBalancer": null},
        });
        assert_eq!(body("7", &Write { status: Some(status), condition: None }, at(0)), expected);
    }

    #[test]
    fn a_condition_alone_touches_neither_annotations_nor_addresses() {
        let set = |observed_generation, transition| Write {
            status: None,
            condition: Some(ConditionWrite::Set {
                reason: "AllocationFailed",
                message: "no".into(),
                observed_generation,
                transition,
            }),
        };
        let condition =
            json!({"type": "metallb.io/IPAllocated", "status": "False", "reason": "AllocationFailed", "message": "no"});
        let patch = |condition| json!({"metadata": {"resourceVersion": "7"}, "status": {"conditions": [condition]}});
        assert_eq!(body("7", &set(0, false), at(0)), patch(condition.clone()));
        let mut full = condition;
        full["observedGeneration"] = json!(3);
        full["lastTransitionTime"] = json!("2026-01-02T03:04:05Z");
        assert_eq!(body("7", &set(3, true), at(1_767_323_045)), patch(full));
    }
}
