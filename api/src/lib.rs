//! Custom resource types, slim views of core kinds, and the names everything is known by. No logic.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod defaults;
mod schema;

pub mod names;
pub mod slim;
pub mod v1beta1;
pub mod v1beta2;
