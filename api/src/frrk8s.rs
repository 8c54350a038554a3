//! frrk8s.metallb.io/v1beta1: what the FRR daemon on each node is told, and what it reports.
//!
//! ```text
//! FRRConfiguration (people, speaker) --> FRR daemon of each node --> FRRNodeState, BGPSessionState
//! ```

mod configuration;
mod evpn;
mod neighbor;
mod settings;
mod state;

pub use configuration::{
    BFDProfile, BGPConfig, FRRConfiguration, FRRConfigurationSpec, FRRConfigurationStatus, Import, RawConfig, Router,
};
pub use evpn::{AdvertiseVnis, AdvertisedFamily, EvpnConfig, L2Vni, L3Vni};
pub use neighbor::{
    AddressFamily, Advertise, AllowMode, AllowedInPrefixes, AllowedOutPrefixes, CommunityPrefixes, DynamicAsn,
    LocalPrefPrefixes, Neighbor, NextHop, PrefixSelector, Receive,
};
pub use settings::{FRRK8sConfiguration, FRRK8sConfigurationSpec, FRRK8sConfigurationStatus};
pub use state::{
    BGPSessionState, BGPSessionStateSpec, BGPSessionStateStatus, FRRNodeState, FRRNodeStateSpec, FRRNodeStateStatus,
};
