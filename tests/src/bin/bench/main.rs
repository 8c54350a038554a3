//! `make bench`: how fast and how small the product is, beside what the same API server can do at all.
//!
//! ```text
//!  one node ── controller (image, manifest) ── etcd, API server        no speaker, no kube-proxy: they would only share
//!                    ▲                             ▲                   the processors
//!                    │ address seen by a watch     │ raw PATCHes by a client with the controller's own rights
//!                    └──────────── this program ───┘
//! ```
//! Every figure that depends on the API server is taken beside the raw rate of the same server in the same minute. The
//! table goes to standard output and to `target/bench/` as Markdown and JSON.
#![forbid(unsafe_code)]

mod admission;
mod allocation;
mod churn;
mod cluster;
mod failover;
mod observer;
mod report;
mod restart;
mod services;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use e2e::sandbox::{self, Sandbox};
use e2e::testbed::progress::Progress;
use e2e::testbed::{Options, Testbed, artifacts};

use crate::cluster::Bench;
use crate::report::Report;

/// Measures the product on a cluster of its own and prints one table.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Services that have their address before the controller starts
    #[arg(long, default_value_t = 3300)]
    settled: usize,
    /// Services that wait for one when it starts
    #[arg(long, default_value_t = 1000)]
    pending: usize,
    /// Services in the cluster for restart, memory and churn
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// How long Services come and go
    #[arg(long, default_value_t = 60)]
    churn_seconds: u64,
    /// Pools the webhook knows, and as many peers
    #[arg(long, default_value_t = 1000)]
    objects: usize,
    /// Admissions that are timed, for each kind
    #[arg(long, default_value_t = 1000)]
    admissions: usize,
    /// Numbers of addresses for failover
    #[arg(long, value_delimiter = ',', default_value = "1,100,5000")]
    addresses: Vec<usize>,
    /// How often a node dies, of each kind of death and for each number of addresses
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// Only these parts: allocation, restart, churn, admission (these when none is named), or failover alone
    #[arg(long = "only")]
    only: Vec<String>,
}

impl Args {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == part)
    }

    /// Failover takes a cluster of its own: nodes with speakers and pods.
    fn is_failover(&self) -> bool {
        self.only.iter().any(|one| one == "failover")
    }
}

fn main() -> ExitCode {
    sandbox::main(outside, inside)
}

fn outside() -> Result<ExitCode> {
    Args::parse();
    ensure!(artifacts::image("metallb-rs").exists(), "target/image/metallb-rs.tar is missing: run make image");
    sandbox::enter(&Sandbox::unique(), &artifacts::prepare()?)
}

fn inside(sandbox: Sandbox) -> Result<ExitCode> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the asynchronous runtime")?;
    runtime.block_on(measured(sandbox, &args))?;
    Ok(ExitCode::SUCCESS)
}

async fn measured(sandbox: Sandbox, args: &Args) -> Result<()> {
    let nodes = if args.is_failover() { 3 } else { 1 };
    let options = Options { nodes, images: vec![artifacts::image("metallb-rs")], ..Options::default() };
    let bed = Testbed::start(sandbox, &options).await?;
    let folder = artifacts::repository().join("target/bench");
    let mut report = Report::new(&bed).await?;
    let outcome = if args.is_failover() {
        failover::measure(&bed, args, &mut report).await
    } else {
        parts(&bed, args, &mut report).await
    };
    if outcome.is_err() {
        bed.dump(&folder.join("dump")).await?;
    }
    outcome?;
    report.write(&folder, if args.is_failover() { "failover" } else { "bench" })
}

async fn parts(bed: &Testbed, args: &Args, report: &mut Report) -> Result<()> {
    let mut progress = Progress::new(6);
    let bench = Bench::prepare(bed).await?;
    progress.done("the product runs");
    if args.wants("allocation") {
        allocation::measure(&bench, args, report).await?;
        progress.done("allocation at start");
    }
    if args.wants("restart") || args.wants("churn") {
        bench.settle(args.services).await?;
        progress.done(&format!("{} Services settled", args.services));
    }
    if args.wants("restart") {
        restart::measure(&bench, args, report).await?;
        progress.done("restarts");
    }
    if args.wants("churn") {
        churn::measure(&bench, args, report).await?;
        progress.done("churn");
    }
    if args.wants("admission") {
        admission::measure(&bench, args, report).await?;
        progress.done("admission");
    }
    Ok(())
}
