//! The operator: one MetalLB resource to everything that runs.
//!
//! ```text
//!  MetalLB ─┐                                    ┌─▶ apply ─▶ ServiceAccounts, RBAC, ConfigMap, controller, speakers
//!           ├─▶ render ─▶ plan (observed, wanted)┤
//!  watches ─┘    pure      pure                  └─▶ prune
//!     └──────▶ workload, status (pure) ─▶ conditions of the MetalLB resource
//! ```
//! `render`, `plan`, `drift`, `status` and `workload` are pure; `apply` talks to the apiserver, `reconcile` orders the
//! steps, `wiring` connects the streams.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::ffi::OsString;
use std::process::ExitCode;

mod apply;
mod args;
mod drift;
mod facts;
mod object;
mod plan;
mod reconcile;
pub mod render;
mod state;
mod status;
mod wiring;
mod workload;

pub use args::Args;
pub use facts::{Facts, FactsError};
pub use object::{Kind, ObjectId, Owner, Rendered};

/// Runs the operator; the first argument is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    const PROGRAM: &str = "operator";
    let args: Args = match runtime::args::parse(PROGRAM, args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let level = args.log_level;
    runtime::main(PROGRAM, level, async move {
        let facts = Facts::read(runtime::version(), runtime::args::environment)?;
        wiring::run(args, facts).await
    })
}
