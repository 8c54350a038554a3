//! Flags of the operator. The names are MetalLB's; Go's single-dash form works too.

use clap::{ArgAction, Parser};
use runtime::args::{LogLevel, go_bool};

/// Default port of the probes.
pub const READY_PORT: u16 = 8080;

/// Brings up and keeps up what the MetalLB resource asks for.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Plain HTTP port for /healthz and /readyz, on all addresses; 0 turns it off.
    #[arg(long, default_value_t = READY_PORT)]
    pub port: u16,

    /// How much to log.
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,

    /// Accepted for manifests of MetalLB's operator. One replica runs at a time, so there is no election.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          action = ArgAction::Set, value_parser = go_bool)]
    pub enable_leader_election: bool,
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::process::ExitCode;

    use super::*;

    fn parse(line: &str) -> Result<Args, ExitCode> {
        runtime::args::parse("operator", line.split(' ').map(OsString::from))
    }

    #[test]
    fn flags_of_metallbs_operator_are_understood_in_both_forms() {
        for line in [
            "operator --port=9 --log-level=debug --enable-leader-election",
            "operator -port 9 -log-level debug -enable-leader-election=true",
        ] {
            let args = parse(line).unwrap();
            assert_eq!((args.port, args.log_level, args.enable_leader_election), (9, LogLevel::Debug, true), "{line}");
        }
    }

    #[test]
    fn a_wrong_flag_ends_the_program_with_code_2() {
        for line in ["operator --prot=9", "operator --port=x", "operator --log-level=loud"] {
            assert_eq!(parse(line).unwrap_err(), ExitCode::from(2), "{line}");
        }
    }
}
