//! ConfigMap `metallb-excludel2`: interfaces that speakers never announce on, because they lead into pods, tunnels or
//! bridges and never to the network that clients come from.

use api::names;
use k8s_openapi_ext::{ConfigMapExt as _, corev1};

use super::{RenderError, Scope};
use crate::object::{Kind, Rendered};

/// Key of the file in the ConfigMap.
pub(super) const FILE: &str = "excludel2.yaml";

/// MetalLB's list, as unanchored regular expressions on interface names.
const INTERFACES: [&str; 14] = [
    "^docker.*",
    "^cbr.*",
    "^dummy.*",
    "^virbr.*",
    "^lxcbr.*",
    "^veth.*",
    "^lo$",
    "^cali.*",
    "^tunl.*",
    "^flannel.*",
    "^kube-ipvs.*",
    "^cni.*",
    "^nodelocaldns.*",
    "^lxc.*",
];

pub(super) fn exclude_l2(scope: &Scope) -> Result<Rendered, RenderError> {
    let list: String = INTERFACES.iter().map(|interface| format!("- {interface}\n")).collect();
    let file = format!("announcedInterfacesToExclude:\n{list}");
    let object = corev1::ConfigMap::new(names::EXCLUDE_L2_CONFIG_MAP).data([(FILE, file)]);
    scope.finish(Kind::ConfigMap, names::SPEAKER, object)
}
