//! What the pods of controller and speaker have in common: hardening, probes, and the user's wishes.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi_ext::{
    ContainerExt as _, ContainerPortExt as _, PodSpecExt as _, PodTemplateSpecExt as _, ProbeExt as _, corev1, label,
    metav1,
};

use super::labels;
use super::settings::PodSettings;

/// Name of the HTTPS metrics port. Monitors and tests find the port by it.
pub(super) const METRICS_PORT_NAME: &str = "metricshttps";
/// The unprivileged user and group of everything that needs no root.
pub(super) const NOBODY: i64 = 65534;

/// A container that may do nothing but what `capabilities` lists.
pub(super) fn container(name: &str, command: &str, image: &str, capabilities: &[&str]) -> corev1::Container {
    let container = corev1::Container::new(name)
        .image(image)
        .image_pull_policy("IfNotPresent")
        .command([command])
        .allow_privilege_escalation(false)
        .read_only_root_filesystem(true)
        .drop_capabilities(["ALL"]);
    if capabilities.is_empty() { container } else { container.add_capabilities(capabilities) }
}

/// Liveness and readiness on the probe port; `host` for programs that listen on one address only.
pub(super) fn with_probes(container: corev1::Container, port: u16, host: Option<&str>) -> corev1::Container {
    let probe = |path: &str| {
        let mut probe = corev1::Probe::http_get(Path::new(path), port)
            .initial_delay_seconds(1)
            .period_seconds(10)
            .timeout_seconds(1)
            .success_threshold(1)
            .failure_threshold(3);
        if let Some(get) = &mut probe.http_get {
            get.host = host.map(str::to_owned);
        }
        probe
    };
    container
        .liveness_probe(probe("/healthz").initial_delay_seconds(10))
        .readiness_probe(probe("/readyz").period_seconds(2))
}

pub(super) fn metrics_port(port: u16) -> corev1::ContainerPort {
    corev1::ContainerPort::tcp(i32::from(port)).name(METRICS_PORT_NAME)
}

/// Runs as nobody, in the runtime's default seccomp profile.
pub(super) fn unprivileged() -> corev1::PodSecurityContext {
    corev1::PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NOBODY),
        run_as_group: Some(NOBODY),
        fs_group: Some(NOBODY),
        seccomp_profile: Some(seccomp()),
        ..corev1::PodSecurityContext::default()
    }
}

pub(super) fn seccomp() -> corev1::SeccompProfile {
    corev1::SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

/// The node selector every operand has; the user's is merged over it.
pub(super) fn linux() -> BTreeMap<String, String> {
    BTreeMap::from([(label::KUBERNETES_IO_OS.to_owned(), "linux".to_owned())])
}

/// The template of a component's pods: `spec` plus what the user asked for. The user's resources go to the first
/// container, which is the component's own.
pub(super) fn template(component: &str, mut spec: corev1::PodSpec, wishes: &PodSettings) -> corev1::PodTemplateSpec {
    let mut selector = linux();
    selector.extend(wishes.node_selector.clone());
    spec = spec.node_selector(selector);
    if !wishes.tolerations.is_empty() {
        spec.tolerations.get_or_insert_default().extend(wishes.tolerations.iter().cloned());
    }
    spec.priority_class_name = wishes.priority_class_name.clone();
    spec.runtime_class_name = wishes.runtime_class_name.clone();
    spec.affinity = wishes.affinity.clone();
    if let Some(container) = spec.containers.first_mut() {
        container.resources = wishes.resources.clone();
    }
    let mut template = corev1::PodTemplateSpec::new().labels(labels::selector(component)).pod_spec(spec);
    if !wishes.annotations.is_empty() {
        template.metadata.get_or_insert_with(metav1::ObjectMeta::default).annotations =
            Some(wishes.annotations.clone());
    }
    template
}
