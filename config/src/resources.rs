//! The input of compile: stored objects and the few facts about nodes, namespaces and Secrets that rules need.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use api::{frrk8s, v1beta1, v1beta2};

/// Everything that is stored, in any order. Objects of other namespaces than the product's own do not belong here.
///
/// Objects are shared: the same ones with one change are as cheap as the change.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// Which BGP implementation will run; some rules differ.
    pub backend: Backend,
    /// IPAddressPool objects.
    pub pools: Vec<Arc<v1beta1::IPAddressPool>>,
    /// AddressPool objects of early operators: each is a pool and its advertisements in one.
    pub address_pools: Vec<Arc<v1beta1::AddressPool>>,
    /// L2Advertisement objects.
    pub l2_advertisements: Vec<Arc<v1beta1::L2Advertisement>>,
    /// BGPAdvertisement objects.
    pub bgp_advertisements: Vec<Arc<v1beta1::BGPAdvertisement>>,
    /// BGPPeer objects; both versions have one schema.
    pub peers: Vec<Arc<v1beta2::BGPPeer>>,
    /// BFDProfile objects.
    pub bfd_profiles: Vec<Arc<v1beta1::BFDProfile>>,
    /// Community objects.
    pub communities: Vec<Arc<v1beta1::Community>>,
    /// FRRConfiguration objects. [`compile`](crate::compile) leaves them to [`frrk8s::check`](crate::frrk8s::check).
    pub frr_configurations: Vec<Arc<frrk8s::FRRConfiguration>>,
    /// Judge as the speaker of this node does: BGPPeers and BGPAdvertisements whose node selectors do not match it are as
    /// good as absent, so what is wrong with them concerns only the nodes they select. `None` judges everything.
    pub viewpoint: Option<String>,
    /// Nodes; with none known, peers are assumed to share one.
    pub nodes: Vec<NodeLabels>,
    /// Namespaces, for the namespace selectors of pools.
    pub namespaces: Vec<NamespaceLabels>,
    /// Secrets that peers may name; `None` when the caller cannot see Secrets, then references are not checked.
    pub secrets: Option<Vec<SecretFacts>>,
}

/// A node's name and labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeLabels {
    /// Node name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A namespace's name and labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceLabels {
    /// Namespace name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What rules need to know of a Secret; never its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretFacts {
    /// Secret name, in the product's namespace.
    pub name: String,
    /// Its `type`.
    pub type_: String,
    /// Whether the key `password` is there.
    pub has_password: bool,
}

/// The BGP implementations, named as in `spec.bgpBackend` of the MetalLB resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// In the speaker's own process.
    #[default]
    Native,
    /// An FRR container beside the speaker.
    Frr,
    /// frr-k8s, deployed by the operator.
    FrrK8s,
    /// frr-k8s, deployed by somebody else.
    FrrK8sExternal,
}

impl Backend {
    /// The name used in the API and in `METALLB_BGP_TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Frr => "frr",
            Self::FrrK8s => "frr-k8s",
            Self::FrrK8sExternal => "frr-k8s-external",
        }
    }

    /// Whether FRR speaks BGP, whoever runs it.
    pub fn is_frr(self) -> bool {
        self != Self::Native
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A backend name that is none of the four.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid BGP Backend, must be one of native, frr, frr-k8s, frr-k8s-external")]
pub struct UnknownBackend;

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        [Self::Native, Self::Frr, Self::FrrK8s, Self::FrrK8sExternal]
            .into_iter()
            .find(|backend| backend.as_str() == text)
            .ok_or(UnknownBackend)
    }
}
