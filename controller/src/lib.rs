//! controller: gives LoadBalancer Services their addresses.
//!
//! ```text
//!  watches ──Event──▶ state ──dirty──▶ plan ──▶ Decision ──▶ apply ──▶ services/status, Events
//!  Service, Namespace, IPAddressPool,    │ asks
//!  AddressPool                           ▼
//!                                    allocator (who has which address) ──counters──▶ pool_status, metrics
//! ```
//! Of two controllers one leads (`leadership.rs`); the other only watches.
//!
//! `allocator/`, `state.rs` and `plan.rs` are pure: a function of what the API shows, without clock or IO.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod allocator;
mod apply;
mod args;
mod configuration_state;
mod difference;
#[cfg(test)]
mod fixtures;
mod leadership;
mod memberlist;
mod metrics;
#[cfg(test)]
mod pending_tests;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod pool_objects;
mod pool_status;
#[cfg(test)]
mod robustness_tests;
#[cfg(test)]
mod seed_tests;
pub mod service;
pub mod services;
mod settle;
pub mod state;
#[cfg(test)]
mod state_tests;
pub mod text_map;
pub mod waiting;
mod wiring;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the controller with this command line (the first element is the program's name) until it is told to stop.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match runtime::args::parse::<args::Args>("controller", args) {
        Ok(args) => runtime::main("controller", args.log_level, wiring::allocate(args)),
        Err(code) => code,
    }
}
