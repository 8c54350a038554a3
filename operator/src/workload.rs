//! How far a Deployment or DaemonSet is, and what keeps its pods from starting. Pure.
//!
//! ```text
//!  live object ─▶ Workload { desired, ready, updated, observed }      pods ─▶ trouble: image, crash loop, scheduling
//! ```

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::Value;

use crate::object::{Kind, ObjectId};
use crate::status::Failure;

/// One operand that runs pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its name.
    pub id: ObjectId,
    /// Pods there should be.
    pub desired: i64,
    /// Pods that are ready.
    pub ready: i64,
    /// Pods made from the current template.
    pub updated: i64,
    /// Whether the object is there at all.
    pub exists: bool,
    /// Whether the numbers belong to the current template; until then they are those of the one before.
    pub observed: bool,
    /// What keeps it from becoming ready.
    pub trouble: Option<Failure>,
}

impl Workload {
    /// Reads a live object; `None` is one that is missing.
    pub fn read(id: &ObjectId, live: Option<&Value>) -> Self {
        let Some(live) = live else {
            let id = id.clone();
            return Self { id, desired: 0, ready: 0, updated: 0, exists: false, observed: false, trouble: None };
        };
        let number = |pointer: &str| live.pointer(pointer).and_then(Value::as_i64);
        let status = |field: &str| number(&format!("/status/{field}")).unwrap_or_default();
        let daemon_set = id.kind == Kind::DaemonSet;
        let desired = if daemon_set { status("desiredNumberScheduled") } else { number("/spec/replicas").unwrap_or(1) };
        let generation = number("/metadata/generation").unwrap_or_default();
        let observed = status("observedGeneration") >= generation;
        let mut workload = Self {
            id: id.clone(),
            desired,
            ready: status(if daemon_set { "numberReady" } else { "readyReplicas" }),
            updated: status(if daemon_set { "updatedNumberScheduled" } else { "updatedReplicas" }),
            exists: true,
            observed,
            trouble: None,
        };
        workload.trouble = workload.own_trouble(live);
        workload
    }

    /// Whether pods have to be looked at to say why it is not ready.
    pub fn needs_pods(&self) -> bool {
        self.exists && self.waiting_for().is_some() && self.trouble.is_none()
    }

    /// What it waits for, or `None` when it is as it should be.
    pub fn waiting_for(&self) -> Option<String> {
        if !self.exists {
            return Some(format!("{}: does not exist yet", self.id));
        }
        if !self.observed {
            return Some(format!("{}: the new template is not rolled out yet", self.id));
        }
        if self.desired == 0 {
            return Some(format!("{}: no node runs it", self.id));
        }
        if self.updated < self.desired {
            return Some(format!("{}: {} of {} pods updated", self.id, self.updated, self.desired));
        }
        (self.ready < self.desired).then(|| self.summary())
    }

    /// The numbers in words.
    pub fn summary(&self) -> String {
        format!("{}: {} of {} pods ready", self.id, self.ready, self.desired)
    }

    /// What the object itself says is wrong.
    fn own_trouble(&self, live: &Value) -> Option<Failure> {
        if self.observed && self.desired == 0 {
            return Some(Failure {
                reason: "NoMatchingNode".to_owned(),
                message: format!("{}: no node matches its nodeSelector, affinity and tolerations", self.id),
            });
        }
        let conditions = live.pointer("/status/conditions")?.as_array()?;
        let failure = conditions
            .iter()
            .find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True")?;
        Some(Failure {
            reason: "PodsNotCreated".to_owned(),
            message: format!("{}: {}", self.id, failure["message"].as_str().unwrap_or("its pods cannot be created")),
        })
    }
}

/// Why pods of `id` do not start: the first trouble, pods taken by name, so that the answer does not change by itself.
pub fn trouble(id: &ObjectId, pods: &[Pod]) -> Option<Failure> {
    let mut pods: Vec<&Pod> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    pods.sort_by_key(|pod| pod.metadata.name.clone());
    pods.into_iter().find_map(|pod| {
        let (reason, text) = container_trouble(pod).or_else(|| scheduling_trouble(pod))?;
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let place = node.map(|node| format!(" on node {node}")).unwrap_or_default();
        Some(Failure { reason: reason.to_owned(), message: format!("{id}: pod {name}{place}: {text}") })
    })
}

fn container_trouble(pod: &Pod) -> Option<(&'static str, String)> {
    let status = pod.status.as_ref()?;
    let containers = [&status.init_container_statuses, &status.container_statuses];
    containers.into_iter().flatten().flatten().find_map(|container| {
        let name = &container.name;
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        let message = waiting.and_then(|waiting| waiting.message.clone()).unwrap_or_default();
        match waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default() {
            // One reason for both halves of the kubelet's retry cycle, or the condition would flap.
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => Some((
                "ImagePullFailed",
                format!("container {name} cannot pull image {}: check its name and the registry", container.image),
            )),
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                Some(("ContainerNotCreated", format!("container {name} cannot be created: {message}")))
            }
            _ => crash(container).map(|text| ("CrashLoop", text)),
        }
    })
}

/// A container that is not ready and has failed at least twice; once may be bad luck.
fn crash(container: &ContainerStatus) -> Option<String> {
    let ended = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| state?.terminated.clone();
    let last = ended(container.last_state.as_ref()).or_else(|| ended(container.state.as_ref()))?;
    (!container.ready && container.restart_count >= 2 && last.exit_code != 0)
        .then(|| format!("container {} keeps failing with exit code {}: see its log", container.name, last.exit_code))
}

fn scheduling_trouble(pod: &Pod) -> Option<(&'static str, String)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    let unschedulable = condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable");
    unschedulable.then(|| {
        ("Unschedulable", format!("cannot be scheduled: {}", condition.message.as_deref().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(kind: Kind) -> ObjectId {
        ObjectId { kind, namespace: "ns".into(), name: "x".into() }
    }

    fn daemon_set(generation: i64, observed: i64, desired: i64, updated: i64, ready: i64) -> Value {
        json!({
            "metadata": {"generation": generation},
            "status": {"observedGeneration": observed, "desiredNumberScheduled": desired,
                "updatedNumberScheduled": updated, "numberReady": ready},
        })
    }

    #[test]
    fn a_daemon_set_waits_in_plain_words() {
        let cases = [
            (daemon_set(1, 1, 3, 3, 3), None),
            (daemon_set(2, 1, 3, 3, 3), Some("DaemonSet x: the new template is not rolled out yet")),
            (daemon_set(1, 1, 3, 1, 3), Some("DaemonSet x: 1 of 3 pods updated")),
            (daemon_set(1, 1, 3, 3, 2), Some("DaemonSet x: 2 of 3 pods ready")),
            (daemon_set(1, 1, 0, 0, 0), Some("DaemonSet x: no node runs it")),
        ];
        for (live, expected) in cases {
            assert_eq!(Workload::read(&id(Kind::DaemonSet), Some(&live)).waiting_for().as_deref(), expected, "{live}");
        }
        let missing = Workload::read(&id(Kind::DaemonSet), None);
        assert_eq!(missing.waiting_for().unwrap(), "DaemonSet x: does not exist yet");
        assert!(!missing.needs_pods());
    }

    #[test]
    fn a_daemon_set_without_nodes_is_a_trouble_only_once_it_was_observed() {
        let trouble = Workload::read(&id(Kind::DaemonSet), Some(&daemon_set(1, 1, 0, 0, 0))).trouble.unwrap();
        assert_eq!(trouble.reason, "NoMatchingNode");
        assert_eq!(Workload::read(&id(Kind::DaemonSet), Some(&json!({"metadata": {"generation": 1}}))).trouble, None);
    }

    #[test]
    fn a_deployment_reports_pods_that_quota_or_admission_refuses() {
        let live = json!({
            "metadata": {"generation": 1}, "spec": {"replicas": 1},
            "status": {"observedGeneration": 1, "conditions": [
                {"type": "ReplicaFailure", "status": "True", "message": "pods \"x\" is forbidden: exceeded quota"},
            ]},
        });
        let workload = Workload::read(&id(Kind::Deployment), Some(&live));
        assert_eq!(workload.waiting_for().unwrap(), "Deployment x: 0 of 1 pods updated");
        assert_eq!(workload.trouble.unwrap().message, "Deployment x: pods \"x\" is forbidden: exceeded quota");
    }

    fn pod(name: &str, status: Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": name}, "spec": {"nodeName": "n1", "containers": []}, "status": status}),
        )
        .unwrap()
    }

    fn container(state: Value, last: Value, restarts: i32) -> Value {
        json!({"containerStatuses": [{"name": "speaker", "image": "img:1", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state, "lastState": last}]})
    }

    #[test]
    fn troubles_of_pods_name_pod_node_container_and_cause() {
        let waiting = |reason: &str| json!({"waiting": {"reason": reason, "message": "m"}});
        let failed = json!({"terminated": {"exitCode": 1}});
        let pull =
            "DaemonSet x: pod p on node n1: container speaker cannot pull image img:1: check its name and the registry";
        let crash = "DaemonSet x: pod p on node n1: container speaker keeps failing with exit code 1: see its log";
        let cases = [
            (container(waiting("ErrImagePull"), json!({}), 0), Some(("ImagePullFailed", pull))),
            (container(waiting("ImagePullBackOff"), json!({}), 0), Some(("ImagePullFailed", pull))),
            (container(waiting("CrashLoopBackOff"), failed.clone(), 2), Some(("CrashLoop", crash))),
            (container(json!({"running": {}}), failed.clone(), 3), Some(("CrashLoop", crash))),
            (container(json!({"running": {}}), failed, 1), None),
            (container(waiting("ContainerCreating"), json!({}), 0), None),
            (
                container(waiting("CreateContainerConfigError"), json!({}), 0),
                Some(("ContainerNotCreated", "DaemonSet x: pod p on node n1: container speaker cannot be created: m")),
            ),
            (
                json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "message": "0/3 nodes are available"}]}),
                Some(("Unschedulable", "DaemonSet x: pod p on node n1: cannot be scheduled: 0/3 nodes are available")),
            ),
        ];
        for (status, expected) in cases {
            let found = trouble(&id(Kind::DaemonSet), &[pod("p", status.clone())]);
            let found = found.as_ref().map(|failure| (failure.reason.as_str(), failure.message.as_str()));
            assert_eq!(found, expected, "{status}");
        }
    }

    #[test]
    fn the_first_pod_by_name_speaks_for_all() {
        let status = container(json!({"waiting": {"reason": "ErrImagePull"}}), json!({}), 0);
        let pods = [pod("b", status.clone()), pod("a", status)];
        assert!(trouble(&id(Kind::DaemonSet), &pods).unwrap().message.contains("pod a "));
    }
}
