//! Services that wait when the controller starts, beside raw PATCHes of as many Services.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::audit::Mark;

use crate::Args;
use crate::cluster::{BENCH, Bench, PATIENCE};
use crate::report::{Report, seconds};
use crate::services;

const PART: &str = "allocation";

/// Raw, allocation, raw: the server of the same minute on both sides.
pub async fn measure(bench: &Bench<'_>, args: &Args, report: &mut Report) -> Result<()> {
    bench.settle(args.settled).await?;
    bench.quiet().await?;
    let raw = services::names("raw", 0..args.pending);
    let raw = services::unserved(&bench.bed.api(), BENCH, &raw).await?;
    let (raw, before) = services::raw(&bench.controller, raw, 201).await?;

    bench.controllers(0).await?;
    let pending = services::names("pending", 0..args.pending);
    services::create(&bench.bed.api(), BENCH, &pending, None).await?;
    let mark = Mark::now(bench.bed)?;
    bench.controllers(1).await?;
    let pod = bench.pod().await?;
    let process = bench.process(&pod, None).await?;
    let addressed = bench.observer.all(&pending, PATIENCE).await?;
    let spent = process.processor_time()?;
    let writes = mark.writes()?;
    let first = addressed.iter().min().context("no Service waited")?;
    let last = addressed.iter().max().context("no Service waited")?;
    let whole = last.saturating_duration_since(process.started);
    let writing = last.saturating_duration_since(*first);

    let (raw, after) = services::raw(&bench.controller, raw, 202).await?;
    let rate = |time: Duration| args.pending as f64 / time.as_secs_f64();
    let mean = (before + after) / 2;
    report.figure(
        PART,
        &format!("raw PATCHes of {} Service statuses, {} at once", args.pending, services::WRITERS),
        format!("{} and {}: {:.0}/s", seconds(before), seconds(after), rate(mean)),
    );
    let ratio = whole.as_secs_f64() / mean.as_secs_f64();
    report.judged(
        PART,
        &format!(
            "{} pending Services at start, {} settled: start of the process to the last address",
            args.pending, args.settled
        ),
        format!("{}: {ratio:.2} times raw", seconds(whole)),
        "1.5 times raw",
        ratio <= 1.5,
    );
    let ratio = writing.as_secs_f64() / mean.as_secs_f64();
    report.figure(
        PART,
        "the same, first to last address",
        format!("{}: {:.0}/s, {ratio:.2} times raw", seconds(writing), rate(writing)),
    );
    let statuses = writes.iter().filter(|request| request.resource == "services/status").count();
    let events = writes.iter().filter(|request| request.resource == "events").count();
    report.figure(
        PART,
        "its requests that store something",
        format!("{statuses} statuses, {events} events, {} others", writes.len() - statuses - events),
    );
    report.figure(PART, "its processor time", seconds(spent));
    let raw: Vec<String> = raw.into_iter().filter_map(|service| service.metadata.name).collect();
    services::delete(&bench.bed.api(), BENCH, &raw).await
}
