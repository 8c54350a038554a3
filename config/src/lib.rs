//! config: from the custom resources as stored to the configuration that is in force.
//!
//! ```text
//!                     +-------------------------------------------------------+
//!  Resources -------->| address_pools -> pools -> l2_advertisements           |----> Config   (only valid values)
//!  (any order)        | bfd -> peers             bgp_advertisements           |
//!                     | communities              cross_checks                 |----> findings (every error at once)
//!                     +-------------------------------------------------------+
//! ```
//!
//! One function serves webhook, controller, speaker, operator and offline linter, so a configuration is judged the same
//! everywhere. It never fails: an object with an error disables itself and nothing else, and every error is reported.
//! The crate is pure: no clock, no environment, no sockets. Texts are MetalLB's, because users and their tests grep for
//! them; what we add comes after them ([`Finding::detail`]).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address_pools;
mod attachment;
mod bfd;
mod bgp_advertisements;
pub mod communities;
mod compile;
pub mod duration;
pub mod family;
pub mod finding;
mod frr_claims;
mod frr_neighbor;
mod frr_nodes;
mod frr_object;
mod frr_prefixes;
pub mod frrk8s;
mod hygiene;
mod l2_advertisements;
mod label_index;
mod local_preferences;
pub mod metallb;
pub mod model;
mod peer_pairs;
mod peer_timers;
mod peers;
mod pools;
pub mod range;
pub mod resources;
pub mod selector;
mod service_allocation;
mod source;

mod quote;

pub use compile::compile;
pub use family::Family;
pub use finding::{Class, Compiled, Finding, Kind, ObjectId, configuration_errors};
pub use model::*;
pub use resources::{Backend, NamespaceLabels, NodeLabels, Resources, SecretFacts};
