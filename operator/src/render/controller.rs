//! Deployment `controller`: one pod that gives Services their addresses.

use api::names;
use k8s_openapi_ext::{ContainerExt as _, DeploymentExt as _, EnvVarExt as _, PodSpecExt as _, appsv1, corev1};

use super::settings::Settings;
use super::{RenderError, Scope, labels, pod};
use crate::object::{Kind, Rendered};

/// Time to finish the write in flight.
const GRACE_SECONDS: i64 = 5;

pub(super) fn deployment(scope: &Scope, settings: &Settings) -> Result<Rendered, RenderError> {
    let spec = corev1::PodSpec {
        security_context: Some(pod::unprivileged()),
        ..corev1::PodSpec::container(container(scope, settings))
            .service_account_name(names::CONTROLLER)
            .termination_grace_period_seconds(GRACE_SECONDS)
    };
    let deployment = appsv1::Deployment::new(names::CONTROLLER)
        .replicas(1)
        .revision_history_limit(3)
        .match_labels(labels::selector(names::CONTROLLER))
        // Two controllers must never allocate at the same time, so the old one ends before the new one starts.
        .strategy(appsv1::DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None })
        .template(pod::template(names::CONTROLLER, spec, &settings.controller));
    scope.finish(Kind::Deployment, names::CONTROLLER, deployment)
}

fn container(scope: &Scope, settings: &Settings) -> corev1::Container {
    let facts = scope.facts;
    let mut args = vec![
        format!("--port={}", facts.metrics_port),
        format!("--health-probe-port={}", facts.liveness_port),
        format!("--log-level={}", settings.log_level),
    ];
    args.extend(settings.load_balancer_class.iter().map(|class| format!("--lb-class={class}")));
    let container = pod::container(names::CONTROLLER, "/controller", &facts.controller_image, &[])
        .args(args)
        .env([
            corev1::EnvVar::metadata_namespace("METALLB_NAMESPACE"),
            corev1::EnvVar::metadata_name("METALLB_POD_NAME"),
            corev1::EnvVar::value("METALLB_ML_SECRET_NAME", super::MEMBERLIST_SECRET),
            corev1::EnvVar::value("METALLB_DEPLOYMENT", names::CONTROLLER),
        ])
        .ports([pod::metrics_port(facts.metrics_port)]);
    pod::with_probes(container, facts.liveness_port, None)
}
