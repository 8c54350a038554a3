//! The one program of the image. It is controller, speaker, webhook or operator, by the name it is called with.
//!
//! ```text
//! /controller --log-level=info     a symlink to /metallb: the file name chooses
//! /metallb controller --log-level=info     the first argument chooses
//! ```
//!
//! One program instead of four keeps the image small: they share nearly all of their code.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// A program: its arguments, its own name first, to the code it ends with.
type Program = fn(Vec<OsString>) -> ExitCode;

const PROGRAMS: &[(&str, Program)] = &[("operator", operator::run), ("speaker", speaker::run)];

fn main() -> ExitCode {
    match choose(std::env::args_os().collect()) {
        Choice::Run(program, args) => program(args),
        Choice::Version => {
            eprintln!("metallb-rs {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Choice::Unknown(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

/// What the command line asks for.
enum Choice {
    Run(Program, Vec<OsString>),
    Version,
    Unknown(String),
}

fn choose(args: Vec<OsString>) -> Choice {
    if let Some(program) = args.first().and_then(|own| find(own)) {
        return Choice::Run(program, args);
    }
    let rest = args.get(1..).unwrap_or_default();
    let asked = rest.first().map(|name| name.to_string_lossy().into_owned());
    match (asked.as_deref(), rest.first().and_then(|name| find(name))) {
        (_, Some(program)) => Choice::Run(program, rest.to_vec()),
        (Some("--version" | "-V"), None) => Choice::Version,
        (Some(other), None) => Choice::Unknown(format!("metallb: unknown program {other:?}: {}", usage())),
        (None, None) => Choice::Unknown(format!("metallb: no program named: {}", usage())),
    }
}

fn find(called: &OsString) -> Option<Program> {
    let name = Path::new(called).file_name()?;
    PROGRAMS.iter().find(|(known, _)| name == *known).map(|(_, program)| *program)
}

fn usage() -> String {
    let names: Vec<&str> = PROGRAMS.iter().map(|(name, _)| *name).collect();
    format!("call it as metallb {} [flags], or --version", names.join("|"))
}
