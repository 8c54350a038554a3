//! controller: gives LoadBalancer Services their addresses.
//!
//! ```text
//!  watches ──Event──▶ state ──dirty──▶ plan ──▶ Decision ──▶ apply ──▶ services/status, Events
//!  Service, Namespace, IPAddressPool,    │ asks
//!  AddressPool                           ▼
//!                                    allocator (who has which address) ──counters──▶ pool_status, metrics
//! ```
//! `allocator/`, `state.rs` and `plan.rs` are pure: a function of what the API shows, without clock or IO.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod allocator;
pub mod plan;
pub mod pool_objects;
pub mod service;
pub mod state;
#[cfg(test)]
mod fixtures;
