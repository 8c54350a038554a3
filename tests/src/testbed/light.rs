//! Light nodes: a Node object that the testbed keeps Ready, and a namespace in which a program under test runs. No kubelet,
//! no containers: for tests that need many nodes.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::testbed::layout::Place;

/// Keeps pods away: nothing would run them.
pub const TAINT: &str = "testbed.metallb.io/light";
/// How often the heartbeat is written; the controller manager gives a node
/// [`GRACE_SECONDS`](super::control_plane::GRACE_SECONDS).
const HEARTBEAT: Duration = Duration::from_secs(2);

/// A light node's heartbeat; the node becomes NotReady a few seconds after it is dropped.
#[derive(Debug)]
pub struct Heartbeat(JoinHandle<()>);

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes the Node object, Ready, and starts its heartbeat.
pub async fn join(client: &Client, place: &Place) -> Result<Heartbeat> {
    let name = &place.name;
    let node: Node = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}, {"key": TAINT, "effect": "NoExecute"}]},
    }))
    .context("describe a light node")?;
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &node).await.with_context(|| format!("create Node {name}"))?;
    let addresses = place.addresses().map(|address| json!({"type": "InternalIP", "address": address}));
    let now = Timestamp::now().to_string();
    let status = json!({"status": {
        "addresses": addresses,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Testbed", "message": "kept ready by the testbed",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
    }});
    let patch = Patch::Merge(&status);
    nodes.patch_status(name, &PatchParams::default(), &patch).await.with_context(|| format!("make {name} Ready"))?;
    beat(client, name).await?;
    let (client, name) = (client.clone(), name.clone());
    Ok(Heartbeat(tokio::spawn(async move {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            // A beat that is lost (API server restarted by a test) is followed by the next.
            let _ = beat(&client, &name).await;
        }
    })))
}

async fn beat(client: &Client, name: &str) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 8, "renewTime": MicroTime(Timestamp::now())},
    });
    let params = PatchParams::apply("testbed").force();
    leases.patch(name, &params, &Patch::Apply(&lease)).await.with_context(|| format!("renew the lease of {name}"))?;
    Ok(())
}
