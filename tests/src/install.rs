//! The product, installed as a user installs it: flat manifest, one MetalLB resource.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::Config;
use kube::{Api, ResourceExt};

use crate::testbed::{Testbed, artifacts, layout};
use crate::wait;

/// Namespace of the product.
pub const NAMESPACE: &str = "metallb-system";
/// How long a Deployment may take to be available.
const PATIENCE: Duration = Duration::from_secs(120);

/// The resource that brings up controller and speaker.
pub const METALLB: &str = "
apiVersion: metallb.io/v1beta1
kind: MetalLB
metadata: {name: metallb, namespace: metallb-system}
";

/// The flat manifest of the repository.
pub fn manifest() -> Result<String> {
    let path = artifacts::repository().join("manifests/metallb-operator.yaml");
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// Installs the operator and brings up controller and speaker. Does nothing that is done already.
pub async fn install(bed: &Testbed) -> Result<()> {
    ensure!(artifacts::image("metallb-rs").exists(), "target/image/metallb-rs.tar is missing: run make image");
    bed.apply(&manifest()?).await?;
    available(bed, "metallb-operator-controller-manager").await?;
    available(bed, "metallb-operator-webhook-server").await?;
    apply(bed, METALLB).await?;
    metallb_is(bed, "Available", "True").await?;
    speakers_ready(bed).await
}

/// Applies objects that a webhook of the product judges. A refusal is final. An unreachable webhook is tried again: the
/// endpoints of one that just became ready reach the API server a moment later, and a webhook configuration that was
/// replaced gets its authority back after a moment, too.
pub async fn apply(bed: &Testbed, yaml: &str) -> Result<()> {
    wait::until("the webhook to be reachable", Duration::from_secs(20), || async {
        let output = bed.try_apply(yaml).await?;
        if output.stderr.contains("failed calling webhook") {
            anyhow::bail!("{output}");
        }
        Ok(output)
    })
    .await?
    .success()?;
    Ok(())
}

/// Waits until a Deployment of the product is available.
pub async fn available(bed: &Testbed, name: &str) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(bed.api(), NAMESPACE);
    let waited = wait::object(deployments, name, &format!("Deployment {name} to be available"), PATIENCE, |found| {
        let found = wait::present(found)?;
        let status = found.status.clone().unwrap_or_default();
        ensure!(status.observed_generation == found.metadata.generation, "its newest form is not seen yet");
        let (wanted, updated) = (found.spec.as_ref().and_then(|spec| spec.replicas), status.updated_replicas);
        ensure!(updated == wanted, "{} of {} pods are of its newest form", updated.unwrap_or(0), wanted.unwrap_or(1));
        let (all, ready) = (status.replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
        ensure!(ready == all, "{ready} of {all} pods are available");
        Ok(())
    })
    .await;
    explained(bed, waited).await
}

/// Waits until a speaker is ready on every node.
pub async fn speakers_ready(bed: &Testbed) -> Result<()> {
    let sets: Api<DaemonSet> = Api::namespaced(bed.api(), NAMESPACE);
    let wanted = i32::try_from(bed.nodes().len()).unwrap_or(i32::MAX);
    let waited = wait::object(sets, "speaker", "a ready speaker on every node", PATIENCE, |found| {
        let found = wait::present(found)?;
        let status = found.status.clone().unwrap_or_default();
        ensure!(status.observed_generation == found.metadata.generation, "its newest form is not seen yet");
        ensure!(status.updated_number_scheduled == Some(wanted), "not every speaker is of the newest form");
        ensure!(status.number_ready == wanted, "{} of {wanted} are ready", status.number_ready);
        Ok(())
    })
    .await;
    explained(bed, waited).await
}

/// Waits until a condition of the MetalLB resource has this status.
pub async fn metallb_is(bed: &Testbed, condition: &str, status: &str) -> Result<()> {
    let api: Api<DynamicObject> = Api::namespaced_with(bed.api(), NAMESPACE, &kind("MetalLB"));
    let waited = wait::object(api, "metallb", &format!("MetalLB to be {condition}={status}"), PATIENCE, |found| {
        let found = wait::present(found)?;
        let conditions = found.data.pointer("/status/conditions").and_then(|list| list.as_array());
        let conditions = conditions.context("it has no conditions")?;
        let same = |one: &&serde_json::Value| one["type"] == condition;
        let one = conditions.iter().find(same).with_context(|| format!("no condition {condition}"))?;
        ensure!(one["status"] == status, "it is {}: {} {}", one["status"], one["reason"], one["message"]);
        Ok(())
    })
    .await;
    explained(bed, waited).await
}

/// A kind of group metallb.io, version v1beta1.
pub fn kind(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("metallb.io", "v1beta1", kind))
}

/// A pool named `lan` with addresses of both families, announced on the segment. One pool: the addresses of a dual-stack
/// Service come from the same.
pub async fn announced_pool(bed: &Testbed) -> Result<()> {
    let ranges = [layout::POOL_V4, layout::POOL_V6].join("\", \"");
    let yaml = format!(
        "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\n\
         metadata: {{name: lan, namespace: {NAMESPACE}}}\nspec: {{addresses: [\"{ranges}\"]}}\n---\n\
         apiVersion: metallb.io/v1beta1\nkind: L2Advertisement\nmetadata: {{name: lan, namespace: {NAMESPACE}}}\n"
    );
    apply(bed, &yaml).await
}

/// Adds to a failed wait what the product's pods say: the reason is mostly there.
async fn explained<T>(bed: &Testbed, waited: Result<T>) -> Result<T> {
    let Err(error) = waited else { return waited };
    let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
    let mut text = format!("{error:#}");
    for pod in pods.list(&kube::api::ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
        let states = pod.status.as_ref().and_then(|status| status.container_statuses.clone()).unwrap_or_default();
        for state in states.into_iter().filter(|state| !state.ready) {
            text += &format!("\n{}: not ready, {} restarts", pod.name_any(), state.restart_count);
            let tail = bed.kubectl(&["-n", NAMESPACE, "logs", "--tail=3", &pod.name_any()]).await?;
            text += &format!("\n  {}", tail.stdout.trim().replace('\n', "\n  "));
        }
    }
    Err(anyhow::Error::msg(text))
}

/// Waits until the product has no pod with these labels.
pub async fn pods_gone(bed: &Testbed, selector: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
    let what = format!("the pods with {selector} to be gone");
    wait::objects(pods, Config::default().labels(selector), &what, PATIENCE, |pods| {
        ensure!(pods.is_empty(), "{} left", pods.keys().cloned().collect::<Vec<_>>().join(", "));
        Ok(())
    })
    .await
}
