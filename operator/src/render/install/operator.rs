//! Deployment `metallb-operator-controller-manager`.

use api::names;
use k8s_openapi_ext::{
    ContainerExt as _, ContainerPortExt as _, DeploymentExt as _, EnvVarExt as _, PodSpecExt as _,
    PodTemplateSpecExt as _, ProbeExt as _, appsv1, corev1, resource,
};
use serde_json::Value;

use super::Install;
use crate::args;
use crate::render::{RenderError, pod};

/// Selects the operator's pods; an upgrade contract.
const SELECTOR: [(&str, &str); 1] = [("control-plane", "controller-manager")];
/// Time to finish a removal that is under way.
const GRACE_SECONDS: i64 = 10;

pub(super) fn objects(install: &Install) -> Result<Vec<Value>, RenderError> {
    let spec = corev1::PodSpec {
        security_context: Some(pod::unprivileged()),
        ..corev1::PodSpec::container(container(install))
            .service_account_name(names::OPERATOR_DEPLOYMENT)
            .node_selector(pod::linux())
            .termination_grace_period_seconds(GRACE_SECONDS)
    };
    let deployment = appsv1::Deployment::new(names::OPERATOR_DEPLOYMENT)
        .replicas(1)
        .revision_history_limit(3)
        .match_labels(SELECTOR)
        // One at a time, instead of a leader election between the old pod and the new one.
        .strategy(appsv1::DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None })
        .template(corev1::PodTemplateSpec::new().labels(SELECTOR).pod_spec(spec));
    Ok(vec![install.finish(true, None, deployment)?])
}

fn container(install: &Install) -> corev1::Container {
    let port = args::READY_PORT;
    let probe =
        |path: &str| corev1::Probe::http_get(path, port).period_seconds(10).timeout_seconds(1).failure_threshold(3);
    pod::container("manager", "/operator", &install.image, &[])
        .env([
            corev1::EnvVar::metadata_namespace("OPERATOR_NAMESPACE"),
            corev1::EnvVar::value("CONTROLLER_IMAGE", &install.image),
            corev1::EnvVar::value("SPEAKER_IMAGE", &install.image),
        ])
        .ports([corev1::ContainerPort::tcp(i32::from(port)).name("probes")])
        .resource_requests([
            ("cpu".to_owned(), resource::Quantity("50m".to_owned())),
            ("memory".to_owned(), resource::Quantity("20Mi".to_owned())),
        ])
        .liveness_probe(probe("/healthz").initial_delay_seconds(15))
        .readiness_probe(probe("/readyz").initial_delay_seconds(1).period_seconds(2))
}
