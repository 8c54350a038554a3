//! `gen` writes the generated files; `gen --check` only names the stale ones and fails when there are any.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::bail;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "gen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        other => bail!("unknown arguments {other:?}; run it without arguments to write, or with --check to compare"),
    };
    let root = r#gen::repository();
    let artifacts = r#gen::artifacts()?;
    let mut out = io::stdout().lock();
    if check {
        let stale = r#gen::stale(&root, &artifacts)?;
        for path in &stale {
            writeln!(out, "stale: {}", path.display())?;
        }
        if !stale.is_empty() {
            bail!("{} generated files are stale; run `make gen` and commit the result", stale.len());
        }
        writeln!(out, "{} generated files are fresh", artifacts.len())?;
    } else {
        let changed = r#gen::write(&root, &artifacts)?;
        for path in &changed {
            writeln!(out, "updated: {}", path.display())?;
        }
        writeln!(out, "{} generated files, {} updated", artifacts.len(), changed.len())?;
    }
    Ok(ExitCode::SUCCESS)
}
