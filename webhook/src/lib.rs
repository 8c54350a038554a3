//! The admission webhook: keeps bad configuration out.
//!
//! ```text
//!  apiserver ──AdmissionReview──▶ server ──Request──▶ gate ──▶ admit (pure) ──▶ Verdict { denied, warnings }
//!                                                      │          ▲ compile before and after the change
//!                                                      └─reads────┘ Snapshot of what is stored (mirror, kept by watches),
//!                                                                   and what was admitted a moment ago but is not stored yet
//!  Secret metallb-webhook-cert ──▶ TLS, caBundle of both ValidatingWebhookConfigurations ──▶ ready
//! ```
//! `admit` and `object` are pure. Rules and texts are those of `config`, the same that controller and speaker use.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::ffi::OsString;
use std::process::ExitCode;

pub mod admit;
mod args;
pub mod gate;
pub mod metrics;
pub mod mirror;
pub mod object;
pub mod review;
pub mod scope;
pub mod server;
pub mod snapshot;
mod wiring;

pub use args::Args;

/// Runs the webhook; the first argument is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    const PROGRAM: &str = "webhook";
    let args: Args = match runtime::args::parse(PROGRAM, args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    runtime::main(PROGRAM, args.log_level, wiring::run(args))
}
