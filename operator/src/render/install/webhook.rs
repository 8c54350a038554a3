//! Deployment `metallb-operator-webhook-server`, the two Services in front of it, and what keeps one replica up.
//!
//! Two replicas on two nodes: a node may fail or be drained and changes are still judged. Each of them remembers what it has
//! just admitted, so the calls of one apiserver that come shortly after each other go to the same one.

use std::collections::BTreeMap;

use api::names;
use k8s_openapi_ext::{
    ContainerExt as _, ContainerPortExt as _, DeploymentExt as _, EnvVarExt as _, PodSpecExt as _,
    PodTemplateSpecExt as _, ServiceExt as _, ServicePortExt as _, ToIntOrString as _, appsv1, corev1, metav1,
    policyv1,
};
use serde_json::Value;

use super::Install;
use crate::render::{RenderError, labels, pod};

/// Port of the admission server in the pod.
const PORT: u16 = 9443;
/// Port the apiserver calls.
pub(super) const SERVICE_PORT: u16 = 443;
const PORT_NAME: &str = "webhook-server";
/// Metrics and probes have the same ports in every program.
const METRICS_PORT: u16 = 9120;
const PROBE_PORT: u16 = 17472;
/// How long an apiserver stays with a replica after its last new connection. Longer than changes that one user makes one
/// after the other, shorter than a call to a node that is gone takes to fail: the next try may go elsewhere.
const AFFINITY_SECONDS: i32 = 5;
const REPLICAS: i32 = 2;
/// Time to answer the requests in flight.
const GRACE_SECONDS: i64 = 10;

pub(super) fn objects(install: &Install) -> Result<Vec<Value>, RenderError> {
    let component = Some(names::WEBHOOK_SERVER);
    let selector = labels::selector(names::WEBHOOK_SERVER);
    let mut objects = Vec::new();
    for name in [names::WEBHOOK_SERVICE, names::OPERATOR_WEBHOOK_SERVICE] {
        let port = corev1::ServicePort::tcp(PORT_NAME, i32::from(SERVICE_PORT)).target_port(PORT_NAME.to_owned());
        let mut service =
            <corev1::Service as k8s_openapi_ext::ServiceExt>::cluster_ip(name, [port]).selector(selector.clone());
        if let Some(spec) = &mut service.spec {
            spec.session_affinity = Some("ClientIP".to_owned());
            let timeout = corev1::ClientIPConfig { timeout_seconds: Some(AFFINITY_SECONDS) };
            spec.session_affinity_config = Some(corev1::SessionAffinityConfig { client_ip: Some(timeout) });
        }
        objects.push(install.finish(true, component, service)?);
    }
    let spec = corev1::PodSpec {
        affinity: Some(apart(&selector)),
        security_context: Some(pod::unprivileged()),
        ..corev1::PodSpec::container(container(install))
            .service_account_name(names::WEBHOOK_DEPLOYMENT)
            .node_selector(pod::linux())
            .termination_grace_period_seconds(GRACE_SECONDS)
    };
    let mut deployment = appsv1::Deployment::new(names::WEBHOOK_DEPLOYMENT)
        .replicas(REPLICAS)
        .revision_history_limit(3)
        .match_labels(selector.clone())
        .template(corev1::PodTemplateSpec::new().labels(selector.clone()).pod_spec(spec));
    if let Some(spec) = &mut deployment.spec {
        spec.strategy = Some(one_more_before_one_less());
    }
    objects.push(install.finish(true, component, deployment)?);
    let budget = policyv1::PodDisruptionBudget {
        metadata: <policyv1::PodDisruptionBudget as k8s_openapi_ext::ResourceBuilder>::metadata(
            names::WEBHOOK_DEPLOYMENT,
        ),
        spec: Some(policyv1::PodDisruptionBudgetSpec {
            // Unlike a minimum, this never holds up the drain of a node for ever.
            max_unavailable: Some(1.to_int_or_string()),
            selector: Some(selects(&selector)),
            ..policyv1::PodDisruptionBudgetSpec::default()
        }),
        ..policyv1::PodDisruptionBudget::default()
    };
    objects.push(install.finish(true, component, budget)?);
    Ok(objects)
}

fn selects(selector: &BTreeMap<String, String>) -> metav1::LabelSelector {
    metav1::LabelSelector { match_labels: Some(selector.clone()), ..metav1::LabelSelector::default() }
}

/// On different nodes where there are any.
fn apart(selector: &BTreeMap<String, String>) -> corev1::Affinity {
    let term = corev1::PodAffinityTerm {
        label_selector: Some(selects(selector)),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..corev1::PodAffinityTerm::default()
    };
    let preferred = corev1::WeightedPodAffinityTerm { weight: 100, pod_affinity_term: term };
    corev1::Affinity {
        pod_anti_affinity: Some(corev1::PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![preferred]),
            ..corev1::PodAntiAffinity::default()
        }),
        ..corev1::Affinity::default()
    }
}

/// An update never leaves fewer replicas than before.
fn one_more_before_one_less() -> appsv1::DeploymentStrategy {
    appsv1::DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(appsv1::RollingUpdateDeployment {
            max_unavailable: Some(0.to_int_or_string()),
            max_surge: Some(1.to_int_or_string()),
        }),
    }
}

fn container(install: &Install) -> corev1::Container {
    let container = pod::container("webhook-server", "/webhook", &install.image, &[])
        .args(["--log-level=info"])
        .env([corev1::EnvVar::metadata_namespace("METALLB_NAMESPACE")])
        .ports([corev1::ContainerPort::tcp(i32::from(PORT)).name(PORT_NAME), pod::metrics_port(METRICS_PORT)]);
    pod::with_probes(container, PROBE_PORT, None)
}
