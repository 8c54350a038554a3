//! Which stored objects can matter to a change. Pure.
//!
//! ```text
//!  Community          ─▶ communities
//!  L2Advertisement    ─▶ pools, L2 advertisements
//!  FRRConfiguration   ─▶ FRRConfigurations, nodes                (rules of their own)
//!  everything else    ─▶ pools, BGP advertisements, peers, BFD profiles, communities, backend, nodes
//!     while no BGP advertisement ties pools to peers:
//!     IPAddressPool       ─▶ pools
//!     BGPPeer, BFDProfile ─▶ peers, BFD profiles, backend, nodes
//! ```
//! What is left out is neither read nor compiled, and its problems are not told to somebody who changes something else.

use config::{Finding, Kind, NodeLabels, Resources, compile, frrk8s};

use crate::object::Object;

/// A set of kinds that are judged together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Communities alone.
    Communities,
    /// Layer 2.
    Layer2,
    /// BGP, and pools for either.
    Routing,
    /// Pools by themselves.
    Pools,
    /// BGP sessions by themselves.
    Sessions,
    /// FRRConfigurations.
    Frr,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Communities, Self::Layer2, Self::Routing, Self::Pools, Self::Sessions, Self::Frr];

    /// Where a change of this kind is judged: among all that [`Scope::of`] says, or among less where nothing ties the rest to it.
    /// `coming` is about to be stored.
    pub fn narrowest(kind: Kind, stored: &Resources, coming: &[&Object]) -> Self {
        let ties = |object: &&Object| matches!(object.kind(), Kind::BGPAdvertisement | Kind::AddressPool);
        // An AddressPool may be an advertisement as well.
        let tied = !stored.bgp_advertisements.is_empty() || !stored.address_pools.is_empty() || coming.iter().any(ties);
        if !tied && kind == Kind::IPAddressPool {
            Self::Pools
        } else if !tied && matches!(kind, Kind::BGPPeer | Kind::BFDProfile) {
            Self::Sessions
        } else {
            Self::of(kind)
        }
    }

    /// Where a kind belongs, whatever is stored.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Community => Self::Communities,
            Kind::L2Advertisement => Self::Layer2,
            Kind::FRRConfiguration => Self::Frr,
            Kind::IPAddressPool
            | Kind::AddressPool
            | Kind::BGPAdvertisement
            | Kind::BGPPeer
            | Kind::BFDProfile
            | Kind::MetalLB => Self::Routing,
        }
    }

    /// The kinds whose objects are looked at.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Communities => &[Kind::Community],
            Self::Layer2 => &[Kind::IPAddressPool, Kind::AddressPool, Kind::L2Advertisement],
            Self::Pools => &[Kind::IPAddressPool],
            Self::Sessions => &[Kind::BGPPeer, Kind::BFDProfile, Kind::MetalLB],
            Self::Frr => &[Kind::FRRConfiguration],
            Self::Routing => &[
                Kind::IPAddressPool,
                Kind::AddressPool,
                Kind::BGPAdvertisement,
                Kind::BGPPeer,
                Kind::BFDProfile,
                Kind::Community,
                Kind::MetalLB,
            ],
        }
    }

    /// Only what is in scope. Where nothing selects nodes by their labels, one node stands for them all.
    pub fn of_resources(self, all: &Resources) -> Resources {
        let mut part = Resources { backend: all.backend, ..Resources::default() };
        match self {
            Self::Communities => part.communities.clone_from(&all.communities),
            Self::Layer2 => {
                part.pools.clone_from(&all.pools);
                part.address_pools.clone_from(&all.address_pools);
                part.l2_advertisements.clone_from(&all.l2_advertisements);
            }
            Self::Pools => part.pools.clone_from(&all.pools),
            Self::Sessions => {
                part.peers.clone_from(&all.peers);
                part.bfd_profiles.clone_from(&all.bfd_profiles);
            }
            Self::Frr => part.frr_configurations.clone_from(&all.frr_configurations),
            Self::Routing => {
                part.pools.clone_from(&all.pools);
                part.address_pools.clone_from(&all.address_pools);
                part.bgp_advertisements.clone_from(&all.bgp_advertisements);
                part.peers.clone_from(&all.peers);
                part.bfd_profiles.clone_from(&all.bfd_profiles);
                part.communities.clone_from(&all.communities);
            }
        }
        part.nodes = if selects_nodes(&part) { all.nodes.clone() } else { vec![NodeLabels::default()] };
        part
    }

    /// Everything there is to say about resources in scope.
    pub fn findings(self, part: &Resources) -> Vec<Finding> {
        match self {
            Self::Communities | Self::Layer2 | Self::Routing | Self::Pools | Self::Sessions => compile(part).findings,
            Self::Frr => frrk8s::check(&part.frr_configurations, &part.nodes),
        }
    }
}

/// Whether some object selects nodes by their labels.
pub fn selects_nodes(resources: &Resources) -> bool {
    let advertisements = &resources.bgp_advertisements;
    resources.peers.iter().any(|it| !it.spec.node_selectors.is_empty())
        || advertisements.iter().any(|it| !it.spec.node_selectors.is_empty() || !it.spec.node_selector.is_empty())
        || resources.frr_configurations.iter().any(|it| it.spec.node_selector.is_some())
}
