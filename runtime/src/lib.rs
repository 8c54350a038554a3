//! IO plumbing that every program of metallb-rs shares.
//!
//! ```text
//!  flags ──args──▶ program::main ──logging──▶ stdout (one JSON object per line)
//!                      │
//!     shutdown ◀── signals        health ──▶ kubelet probes     metrics, tls, certs ──▶ Prometheus, admission
//!                      │
//!  apiserver ──client──▶ watch ──▶ index ──▶ (the program's own state)      events ──▶ apiserver
//! ```
//! Nothing here knows what MetalLB is about: pools, Services and peers live in the programs.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod args;
pub mod certs;
pub mod client;
pub mod clock;
pub mod events;
pub mod fence;
pub mod health;
pub mod index;
pub mod keeper;
pub mod leader;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod pace;
mod program;
pub mod random;
pub mod repeats;
pub mod shutdown;
pub mod tasks;
pub mod throttle;
pub mod tls;
pub mod watch;

pub use program::main;

/// The version of this build, as the workspace states it (for example `0.1.0`).
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
