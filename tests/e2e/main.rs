//! The cluster tests: one file per behaviour, one cluster for all of them.
//!
//! `--list` and a filter that matches nothing start no cluster. Everything else needs root. The trials run one after
//! another, because some of them cut nodes off.
#![forbid(unsafe_code)]

mod admission_table;
mod bad_input;
mod balancers;
mod certificates;
mod controller_restart;
mod crds;
mod hostile_api;
mod idle;
mod install;
mod l2_failover;
mod l2_service;
mod l2_status;
mod leadership;
mod metrics;
mod outage;
mod outside;
mod seed_controller;
mod seed_states;
mod testbed;
mod web;
mod webhook;

use std::process::ExitCode;

use anyhow::Result;
use e2e::sandbox::{self, Sandbox};
use e2e::suite::Suite;
use e2e::testbed::{Options, artifacts};
use libtest_mimic::{Arguments, Trial};

/// In the order in which they run: the testbed, the schemas, the product, its removal.
fn trials(suite: &Suite) -> Vec<Trial> {
    [
        testbed::trials(suite),
        crds::trials(suite),
        install::trials(suite),
        l2_service::trials(suite),
        l2_failover::trials(suite),
        l2_status::trials(suite),
        outage::trials(suite),
        controller_restart::trials(suite),
        seed_controller::trials(suite),
        seed_states::trials(suite),
        metrics::trials(suite),
        idle::trials(suite),
        leadership::trials(suite),
        hostile_api::trials(suite),
        webhook::trials(suite),
        certificates::trials(suite),
        admission_table::trials(suite),
        bad_input::trials(suite),
        install::removal(suite),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn main() -> ExitCode {
    sandbox::main(outside, inside)
}

fn outside() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let all = trials(&Suite::new(None, Options::default())?);
    if arguments.list || !all.iter().any(|trial| selected(&arguments, trial.name())) {
        return Ok(libtest_mimic::run(&arguments, all).exit_code());
    }
    sandbox::enter(&Sandbox::unique(), &artifacts::prepare()?)
}

fn inside(sandbox: Sandbox) -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let product = artifacts::image("metallb-rs");
    let images = if product.exists() { vec![product] } else { Vec::new() };
    let suite = Suite::new(Some(sandbox), Options { images, ..Options::default() })?;
    Ok(libtest_mimic::run(&arguments, trials(&suite)).exit_code())
}

/// As libtest-mimic decides.
fn selected(arguments: &Arguments, name: &str) -> bool {
    let matches = |pattern: &str| if arguments.exact { name == pattern } else { name.contains(pattern) };
    arguments.filter.as_deref().is_none_or(matches) && !arguments.skip.iter().any(|pattern| matches(pattern))
}
