//! Command lines in Go's form.
//!
//! ```text
//!  -log-level info  ──go_style──▶  --log-level info  ──clap──▶  Args
//!  --webhook-http2=false                                (booleans take an optional =value)
//! ```
//! MetalLB's manifests and charts write flags the Go way: one or two dashes, `--flag` or `--flag=true` for booleans, and
//! environment variables that are set but empty mean "not set".

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};

/// How much a program says. The names are MetalLB's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    /// Everything, also the steps inside a decision.
    All,
    /// What a developer needs to follow a decision.
    Debug,
    /// What an administrator wants to know. The default.
    #[default]
    Info,
    /// Only what may need attention.
    Warn,
    /// Only what failed.
    Error,
    /// Nothing.
    None,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::None => "none",
        })
    }
}

/// Rewrites `-flag` to `--flag` and leaves everything else alone.
///
/// The first argument (the program's name), single letters (`-h`), negative numbers and what follows a bare `--` stay as
/// they are.
pub fn go_style(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut literal = false;
    args.into_iter()
        .enumerate()
        .map(|(position, argument)| {
            literal |= argument == "--";
            if position == 0 || literal || !is_single_dash_flag(&argument) {
                return argument;
            }
            let mut doubled = OsString::from("-");
            doubled.push(argument);
            doubled
        })
        .collect()
}

fn is_single_dash_flag(argument: &OsStr) -> bool {
    let bytes = argument.as_encoded_bytes();
    let [b'-', first, second, ..] = bytes else { return false };
    first.is_ascii_alphabetic() && *second != b'='
}

/// Parses a boolean the way Go's flag package does: `1 t T true TRUE True` and `0 f F false FALSE False`.
///
/// For use as a clap value parser, together with
/// `num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set`, which makes
/// `--flag`, `--flag=true` and `--flag=false` all work.
///
/// # Errors
/// Any other text.
pub fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(String::from("use true or false")),
    }
}

/// An environment variable; one that is absent, empty or not text counts as not set.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Parses a command line, whose first element is the program's name.
///
/// `program` is the name shown in messages. Flags may be written in Go's form; an `env` attribute of an argument is
/// ignored while its variable is empty.
///
/// # Errors
/// The exit code to end with: 0 after `--help` and `--version` were answered on stdout, 2 after one line on stderr said
/// what is wrong and how to mend it.
pub fn parse<T: Parser>(program: &'static str, args: impl IntoIterator<Item = OsString>) -> Result<T, ExitCode> {
    let outcome = command::<T>(program)
        .try_get_matches_from(go_style(args))
        .and_then(|mut matches| T::from_arg_matches_mut(&mut matches));
    match outcome {
        Ok(parsed) => Ok(parsed),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // A closed stdout (`controller --help | head -1`) is no reason to complain.
            let _ = error.print();
            Err(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{}", one_line(program, &error));
            Err(ExitCode::from(2))
        }
    }
}

fn command<T: CommandFactory>(program: &'static str) -> clap::Command {
    T::command().name(program).bin_name(program).version(crate::version()).mut_args(|argument| {
        let empty = argument.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()));
        if empty { argument.env(Resettable::Reset) } else { argument }
    })
}

/// Folds clap's several lines (`error: ...`, tips, usage) into one.
fn one_line(program: &str, error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut parts: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            continue;
        }
        parts.push(line.trim_start_matches("error: "));
    }
    format!("{program}: {}; run '{program} --help' for the flags it knows", parts.join(" "))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    #[derive(Debug, Parser)]
    struct Args {
        #[arg(long, value_enum, default_value_t = LogLevel::Info)]
        log_level: LogLevel,
        #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
              action = clap::ArgAction::Set, value_parser = go_bool)]
        webhook_http2: bool,
        #[arg(long, default_value_t = 9120)]
        port: u16,
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn parsed(line: &str) -> Result<Args, String> {
        command::<Args>("controller")
            .try_get_matches_from(go_style(words(line)))
            .and_then(|matches| Args::from_arg_matches(&matches))
            .map_err(|error| one_line("controller", &error))
    }

    #[test]
    fn single_and_double_dash_flags_mean_the_same() {
        for line in ["x --log-level=warn", "x -log-level=warn", "x --log-level warn", "x -log-level warn"] {
            assert_eq!(parsed(line).unwrap().log_level, LogLevel::Warn, "{line}");
        }
    }

    #[test]
    fn booleans_work_bare_and_with_a_value() {
        for (line, expected) in [
            ("x", false),
            ("x --webhook-http2", true),
            ("x -webhook-http2", true),
            ("x --webhook-http2=true", true),
            ("x --webhook-http2=F", false),
            ("x --webhook-http2 --port 1", true),
        ] {
            assert_eq!(parsed(line).unwrap().webhook_http2, expected, "{line}");
        }
    }

    #[test]
    fn letters_numbers_and_words_after_two_dashes_stay_as_they_are() {
        let line = words("-prog -h -1 -a=b -- -log-level");
        assert_eq!(go_style(line.clone()), line);
    }

    #[test]
    fn an_unknown_flag_gives_one_line_with_a_remedy() {
        let text = parsed("x --log-lvl=info").unwrap_err();
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("controller: unexpected argument '--log-lvl' found"), "{text}");
        assert!(text.ends_with("run 'controller --help' for the flags it knows"), "{text}");
    }

    #[test]
    fn a_wrong_value_names_the_flag_and_the_choices() {
        let text = parsed("x -log-level loud").unwrap_err();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("--log-level") && text.contains("all, debug, info, warn, error, none"), "{text}");
        let text = parsed("x --port=many").unwrap_err();
        assert!(text.contains("many") && text.contains("--port"), "{text}");
    }
}
