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

const PROGRAMS: &[(&str, Program)] = &[
    ("controller", controller::run),
    ("speaker", speaker::run),
    ("webhook", webhook::run),
    ("operator", operator::run),
];

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
    if let Some(program) = args.first().and_then(find) {
        return Choice::Run(program, args);
    }
    let rest = args.get(1..).unwrap_or_default();
    let asked = rest.first().map(|name| name.to_string_lossy().into_owned());
    match (asked.as_deref(), rest.first().and_then(find)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(line: &[&str]) -> String {
        match choose(line.iter().map(OsString::from).collect()) {
            Choice::Run(_, args) => format!("runs {args:?}"),
            Choice::Version => "version".to_owned(),
            Choice::Unknown(text) => text,
        }
    }

    #[test]
    fn the_name_it_is_called_with_chooses_the_program() {
        assert_eq!(chosen(&["/controller", "--log-level=info"]), r#"runs ["/controller", "--log-level=info"]"#);
        assert_eq!(chosen(&["/metallb", "speaker", "-v"]), r#"runs ["speaker", "-v"]"#);
    }

    #[test]
    fn a_wrong_call_gets_one_line_with_the_remedy() {
        let usage = "call it as metallb controller|speaker|webhook|operator [flags], or --version";
        assert_eq!(chosen(&["/metallb"]), format!("metallb: no program named: {usage}"));
        assert_eq!(chosen(&["/metallb", "frr"]), format!("metallb: unknown program \"frr\": {usage}"));
        assert_eq!(chosen(&[]), format!("metallb: no program named: {usage}"));
        assert_eq!(chosen(&["/metallb", "--version"]), "version");
    }
}
