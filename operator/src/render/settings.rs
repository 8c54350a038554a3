//! The MetalLB resource, read once: defaults filled in, types of the renderer, only backends that can run.

use std::collections::BTreeMap;
use std::fmt;

use api::v1beta1::{ComponentConfig, L2Ownership, MetalLBSpec};
use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi_ext::corev1;

use super::{RenderError, recast};

/// A BGP backend by its name in `spec.bgpBackend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// BGP and BFD inside the speaker. The default.
    Native,
    /// FRR beside the speaker, in its pod.
    Frr,
    /// FRR in a DaemonSet of its own, brought by the operator.
    FrrK8s,
    /// FRR in a DaemonSet of its own, brought by someone else.
    FrrK8sExternal,
}

impl Backend {
    fn parse(name: &str) -> Result<Self, RenderError> {
        match name {
            "" | "native" => Ok(Self::Native),
            "frr" => Ok(Self::Frr),
            "frr-k8s" => Ok(Self::FrrK8s),
            "frr-k8s-external" => Ok(Self::FrrK8sExternal),
            other => Err(RenderError::BackendUnknown(other.to_owned())),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Frr => "frr",
            Self::FrrK8s => "frr-k8s",
            Self::FrrK8sExternal => "frr-k8s-external",
        })
    }
}

/// What the user wants.
pub(super) struct Settings {
    /// Value of `--log-level`.
    pub log_level: String,
    /// Value of `--lb-class`, when set.
    pub load_balancer_class: Option<String>,
    /// How many controllers run.
    pub controllers: i32,
    /// Value of `--l2-ownership`, when set.
    pub l2_ownership: Option<L2Ownership>,
    /// The controller's pods.
    pub controller: PodSettings,
    /// The speakers' pods.
    pub speaker: PodSettings,
}

/// What the user wants of one component's pods.
#[derive(Default)]
pub(super) struct PodSettings {
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<corev1::Toleration>,
    pub priority_class_name: Option<String>,
    pub runtime_class_name: Option<String>,
    pub affinity: Option<corev1::Affinity>,
    pub annotations: BTreeMap<String, String>,
    pub resources: Option<corev1::ResourceRequirements>,
}

impl Settings {
    /// Reads a specification.
    ///
    /// # Errors
    /// A backend this version does not run, or a field that no object can carry.
    pub(super) fn read(spec: &MetalLBSpec) -> Result<Self, RenderError> {
        match Backend::parse(spec.bgp_backend.as_deref().unwrap_or_default())? {
            Backend::Native => {}
            other @ (Backend::Frr | Backend::FrrK8s | Backend::FrrK8sExternal) => {
                return Err(RenderError::BackendUnavailable(other));
            }
        }
        let controller = spec.controller_config.as_ref();
        let speaker = spec.speaker_config.as_ref();
        Ok(Self {
            l2_ownership: speaker.and_then(|config| config.l2_ownership),
            controllers: controller.and_then(|config| config.replicas).unwrap_or(1),
            log_level: spec.log_level.unwrap_or_default().as_str().to_owned(),
            load_balancer_class: spec.load_balancer_class.clone().filter(|class| !class.is_empty()),
            controller: PodSettings::read(
                &spec.controller_node_selector,
                ("controllerTolerations", &spec.controller_tolerations),
                ("controllerConfig", controller.map(|config| &config.component)),
            )?,
            speaker: PodSettings::read(
                &spec.node_selector,
                ("speakerTolerations", &spec.speaker_tolerations),
                ("speakerConfig", speaker.map(|config| &config.component)),
            )?,
        })
    }
}

impl PodSettings {
    fn read(
        node_selector: &BTreeMap<String, String>,
        tolerations: (&'static str, &Vec<Toleration>),
        config: (&'static str, Option<&ComponentConfig>),
    ) -> Result<Self, RenderError> {
        let mut settings = Self {
            node_selector: node_selector.clone(),
            tolerations: recast(tolerations.0, tolerations.1)?,
            ..Self::default()
        };
        if let (field, Some(config)) = config {
            settings.priority_class_name = config.priority_class_name.clone();
            settings.runtime_class_name = config.runtime_class_name.clone();
            settings.affinity = recast(field, &config.affinity)?;
            settings.annotations = config.annotations.clone();
            settings.resources = recast(field, &config.resources)?;
        }
        Ok(settings)
    }
}
