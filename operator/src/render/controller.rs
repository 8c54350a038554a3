//! Deployment `controller`: the pod that gives Services their addresses, and those that stand by.

use api::names;
use k8s_openapi_ext::{ContainerExt as _, DeploymentExt as _, EnvVarExt as _, PodSpecExt as _, appsv1, corev1};

use serde_json::json;

use super::settings::Settings;
use super::{RenderError, Scope, labels, pod, recast};
use crate::object::{Kind, Rendered};

/// Time to finish the writes under way and to give the Lease back.
const GRACE_SECONDS: i64 = 5;

pub(super) fn deployment(scope: &Scope, settings: &Settings) -> Result<Rendered, RenderError> {
    let mut template = pod_template(scope, settings);
    if settings.controllers > 1
        && let Some(spec) = &mut template.spec
        && spec.affinity.is_none()
    {
        spec.affinity = Some(apart()?);
    }
    let deployment = appsv1::Deployment::new(names::CONTROLLER)
        .replicas(settings.controllers)
        .revision_history_limit(3)
        .match_labels(labels::selector(names::CONTROLLER))
        // MetalLB's own controller knows no Lease, so the old pods end before the new ones start, however many there are.
        .strategy(appsv1::DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None })
        .template(template);
    scope.finish(Kind::Deployment, names::CONTROLLER, deployment)
}

/// Two controllers on one node would end together.
fn apart() -> Result<corev1::Affinity, RenderError> {
    recast(
        "controllerConfig.affinity",
        &json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100,
            "podAffinityTerm": {
                "topologyKey": names::LABEL_HOSTNAME,
                "labelSelector": {"matchLabels": labels::selector(names::CONTROLLER)},
            },
        }]}}),
    )
}

fn pod_template(scope: &Scope, settings: &Settings) -> corev1::PodTemplateSpec {
    let spec = corev1::PodSpec {
        security_context: Some(pod::unprivileged()),
        ..corev1::PodSpec::container(container(scope, settings))
            .service_account_name(names::CONTROLLER)
            .termination_grace_period_seconds(GRACE_SECONDS)
    };
    pod::template(names::CONTROLLER, spec, &settings.controller)
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
