//! metallb.io/v1beta1: everything but the current BGPPeer.

mod address_pool;
mod bfd;
mod bgp;
mod community;
mod configuration_state;
mod l2;
mod metallb;
mod peer;
mod pool;
mod service_status;

pub use address_pool::{AddressPool, AddressPoolProtocol, AddressPoolSpec, AddressPoolStatus, LegacyBgpAdvertisement};
pub use bfd::{BFDProfile, BFDProfileSpec, BFDProfileStatus};
pub use bgp::{BGPAdvertisement, BGPAdvertisementSpec, BGPAdvertisementStatus};
pub use community::{Community, CommunityAlias, CommunitySpec, CommunityStatus};
pub use configuration_state::{
    ConfigurationResult, ConfigurationState, ConfigurationStateSpec, ConfigurationStateStatus,
};
pub use l2::{L2Advertisement, L2AdvertisementSpec, L2AdvertisementStatus, PreferredNodeSelector};
pub use metallb::{
    ComponentConfig, ControllerConfig, FrrK8sConfig, L2Ownership, LogLevel, MetalLB, MetalLBSpec, MetalLBStatus,
    SpeakerConfig,
};
pub use peer::{BGPPeer, BGPPeerSpec, BGPPeerStatus};
pub use pool::{IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus, ServiceAllocation};
pub use service_status::{
    InterfaceInfo, ServiceBGPStatus, ServiceBGPStatusSpec, ServiceBGPStatusStatus, ServiceL2Status,
    ServiceL2StatusSpec, ServiceL2StatusStatus,
};
