//! DaemonSet `speaker`: one pod per node, in the node's network, that makes the network deliver the addresses.

use api::names;
use k8s_openapi_ext::{
    ConfigMapVolumeSourceExt as _, ContainerExt as _, ContainerPortExt as _, DaemonSetExt as _, EnvVarExt as _,
    PodSpecExt as _, SecretVolumeSourceExt as _, ToIntOrString as _, TolerationExt as _, VolumeExt as _,
    VolumeMountExt as _, appsv1, corev1,
};

use super::settings::Settings;
use super::{RenderError, Scope, labels, pod};
use crate::object::{Kind, Rendered};

/// Time to hand addresses over before the pod ends.
const GRACE_SECONDS: i64 = 2;
/// Raw sockets for ARP and NDP. The only capability.
const CAPABILITIES: [&str; 1] = ["NET_RAW"];
/// The key file is read by root only.
const KEY_MODE: i32 = 0o400;
/// Directory of the key that seals the speakers' membership traffic.
const KEY_PATH: &str = "/etc/ml_secret_key";
/// Speakers announce for workers and for control-plane nodes alike.
const TOLERATED: [&str; 2] = ["node-role.kubernetes.io/master", "node-role.kubernetes.io/control-plane"];

pub(super) fn daemon_set(scope: &Scope, settings: &Settings) -> Result<Rendered, RenderError> {
    let volumes = volumes();
    let spec = corev1::PodSpec {
        // Raw sockets take capabilities of root: the program's file carries none. Root without any other capability,
        // on a read-only file system, is as little as it gets.
        security_context: Some(corev1::PodSecurityContext {
            run_as_user: Some(0),
            seccomp_profile: Some(pod::seccomp()),
            ..corev1::PodSecurityContext::default()
        }),
        ..corev1::PodSpec::container(container(scope, settings, &volumes))
            .service_account_name(names::SPEAKER)
            .host_network(true)
            .termination_grace_period_seconds(GRACE_SECONDS)
            .tolerations(TOLERATED.map(|key| corev1::Toleration::no_schedule(key).exists()))
            .volumes(volumes)
    };
    let daemon_set = appsv1::DaemonSet::new(names::SPEAKER)
        .revision_history_limit(3)
        .match_labels(labels::selector(names::SPEAKER))
        .update_strategy(appsv1::DaemonSetUpdateStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(appsv1::RollingUpdateDaemonSet {
                max_unavailable: Some(1.to_int_or_string()),
                max_surge: None,
            }),
        })
        .template(pod::template(names::SPEAKER, spec, &settings.speaker));
    scope.finish(Kind::DaemonSet, names::SPEAKER, daemon_set)
}

/// The membership key, which the controller makes and without which the pod waits, as in MetalLB; and the interface
/// exclusions, which the operator applies before the DaemonSet.
fn volumes() -> [corev1::Volume; 2] {
    [
        corev1::Volume::secret(
            "memberlist",
            corev1::SecretVolumeSource::secret_name(super::MEMBERLIST_SECRET).default_mode(KEY_MODE),
        ),
        corev1::Volume::configmap(
            "metallb-excludel2",
            corev1::ConfigMapVolumeSource::new(names::EXCLUDE_L2_CONFIG_MAP).default_mode(KEY_MODE),
        ),
    ]
}

fn container(scope: &Scope, settings: &Settings, volumes: &[corev1::Volume; 2]) -> corev1::Container {
    let facts = scope.facts;
    let mut args = vec![
        format!("--port={}", facts.metrics_port),
        format!("--health-probe-port={}", facts.liveness_port),
        format!("--log-level={}", settings.log_level),
    ];
    args.extend(settings.load_balancer_class.iter().map(|class| format!("--lb-class={class}")));
    args.extend(settings.l2_ownership.map(|mode| format!("--l2-ownership={}", mode.as_str())));
    let [key, exclusions] = volumes;
    let memberlist = i32::from(facts.memberlist_port);
    let ml_labels =
        labels::selector(names::SPEAKER).iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    let container = pod::container(names::SPEAKER, "/speaker", &facts.speaker_image, &CAPABILITIES)
        .args(args)
        .env([
            corev1::EnvVar::metadata_namespace("METALLB_NAMESPACE"),
            corev1::EnvVar::spec_nodename("METALLB_NODE_NAME"),
            corev1::EnvVar::metadata_name("METALLB_POD_NAME"),
            corev1::EnvVar::status_host_ip("METALLB_HOST"),
            corev1::EnvVar::status_pod_ip("METALLB_ML_BIND_ADDR"),
            corev1::EnvVar::value("METALLB_ML_LABELS", ml_labels.join(",")),
            corev1::EnvVar::value("METALLB_ML_BIND_PORT", memberlist),
            corev1::EnvVar::value("METALLB_ML_SECRET_KEY_PATH", KEY_PATH),
        ])
        .ports([
            pod::metrics_port(facts.metrics_port),
            corev1::ContainerPort::tcp(memberlist).name("memberlist-tcp"),
            corev1::ContainerPort::udp(memberlist).name("memberlist-udp"),
        ])
        .volume_mounts([
            corev1::VolumeMount::new(KEY_PATH, key).read_only(),
            corev1::VolumeMount::new("/etc/metallb", exclusions).read_only(),
        ]);
    // The speaker listens for probes on the loopback address only: its pod shares the node's network.
    pod::with_probes(container, facts.liveness_port, Some("127.0.0.1"))
}
