//! speaker: makes the network deliver the addresses of Services to the node that should serve them.
//!
//! ```text
//!  apiserver --watches--> state --Dirty--> plan --Actions--> apply --> l2 (ARP, NDP)   events   metrics
//!  netlink ---interfaces----^                 |                `--> status (ServiceL2Status)   tell (why nobody announces)
//!  other speakers --members-^                 `-- announce: who owns what, and why
//!                                             permit: none of it while this process is out of date
//! ```
//! What can come in is in `state`, what is decided in `announce` and `plan`, what is done in `apply` and `l2`, how it is wired in
//! `wiring`. `unsafe` is only in `sys`.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod announce;
pub mod apply;
pub mod args;
mod configuration_state;
pub mod disputes;
pub mod electorate;
pub mod handover;
pub mod l2;
pub mod mailbox;
pub mod members;
mod membership_task;
pub mod metrics;
pub mod plan;
pub mod problem;
pub mod renewal;
mod renewal_task;
pub mod sharing;
pub mod slices;
pub mod standings;
pub mod state;
pub mod status;
#[allow(unsafe_code)]
pub mod sys;
pub mod tell;
mod wiring;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the speaker with this command line (the first element is the program's name) until it is told to stop.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match runtime::args::parse::<args::Args>("speaker", args) {
        Ok(args) => runtime::main("speaker", args.log_level, wiring::speak(args)),
        Err(code) => code,
    }
}
