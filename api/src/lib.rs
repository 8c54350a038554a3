//! Custom resource types, slim views of core kinds, and the names everything is known by. No logic.
//!
//! ```text
//! v1beta1, v1beta2, frrk8s   what users and programs write            crds()  what is installed for them
//! slim                       what is read of Service, Node, Pod, ...  names   labels, annotations, object names
//! ```
//! The attribute `cfg_attr(all(), serde(default))` on a kind makes its `spec` optional: kube's derive takes no serde
//! attributes for the type it generates, and this is how one gets there.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod crds;
mod defaults;
mod schema;

pub mod frrk8s;
pub mod names;
pub mod slim;
pub mod v1beta1;
pub mod v1beta2;

pub use crds::crds;
