//! Deployment `metallb-operator-webhook-server` and the two Services in front of it.

use api::names;
use k8s_openapi_ext::{
    ContainerExt as _, ContainerPortExt as _, DeploymentExt as _, EnvVarExt as _, PodSpecExt as _,
    PodTemplateSpecExt as _, ServiceExt as _, ServicePortExt as _, appsv1, corev1,
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
/// Time to answer the requests in flight.
const GRACE_SECONDS: i64 = 10;

pub(super) fn objects(install: &Install) -> Result<Vec<Value>, RenderError> {
    let component = Some(names::WEBHOOK_SERVER);
    let selector = labels::selector(names::WEBHOOK_SERVER);
    let mut objects = Vec::new();
    for name in [names::WEBHOOK_SERVICE, names::OPERATOR_WEBHOOK_SERVICE] {
        let port = corev1::ServicePort::tcp(PORT_NAME, i32::from(SERVICE_PORT)).target_port(PORT_NAME.to_owned());
        let service =
            <corev1::Service as k8s_openapi_ext::ServiceExt>::cluster_ip(name, [port]).selector(selector.clone());
        objects.push(install.finish(true, component, service)?);
    }
    let spec = corev1::PodSpec {
        security_context: Some(pod::unprivileged()),
        ..corev1::PodSpec::container(container(install))
            .service_account_name(names::WEBHOOK_DEPLOYMENT)
            .node_selector(pod::linux())
            .termination_grace_period_seconds(GRACE_SECONDS)
    };
    let deployment = appsv1::Deployment::new(names::WEBHOOK_DEPLOYMENT)
        .replicas(1)
        .revision_history_limit(3)
        .match_labels(selector.clone())
        .template(corev1::PodTemplateSpec::new().labels(selector).pod_spec(spec));
    objects.push(install.finish(true, component, deployment)?);
    Ok(objects)
}

fn container(install: &Install) -> corev1::Container {
    let container = pod::container("webhook-server", "/webhook", &install.image, &[])
        .args(["--log-level=info"])
        .env([corev1::EnvVar::metadata_namespace("METALLB_NAMESPACE")])
        .ports([corev1::ContainerPort::tcp(i32::from(PORT)).name(PORT_NAME), pod::metrics_port(METRICS_PORT)]);
    pod::with_probes(container, PROBE_PORT, None)
}
