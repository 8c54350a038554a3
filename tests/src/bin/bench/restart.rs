//! A controller that starts again in a cluster whose Services all have their addresses.

use std::time::Duration;

use anyhow::Result;
use e2e::audit::Mark;
use nix::sys::signal::Signal;

use crate::Args;
use crate::cluster::{BENCH, Bench, PATIENCE};
use crate::report::{Report, seconds};
use crate::services;

const PART: &str = "restart";
/// How long a controller that is ready is watched for writes.
const WATCHED: Duration = Duration::from_secs(10);

/// Once with nothing to do, once with one Service that waits.
pub async fn measure(bench: &Bench<'_>, args: &Args, report: &mut Report) -> Result<()> {
    let pod = bench.pod().await?;
    let old = bench.process(&pod, None).await?;
    bench.quiet().await?;
    let mark = Mark::now(bench.bed)?;
    old.signal(Signal::SIGTERM)?;
    let process = bench.process(&pod, Some(old)).await?;
    let ready = bench.ready(&pod).await?.saturating_duration_since(process.started);
    let starting = process.processor_time()?;
    // A span of time that is looked at, not a wait for something.
    tokio::time::sleep(WATCHED).await;
    let (memory, spent) = (process.memory()?, process.processor_time()?);
    let requests = mark.requests()?;
    let writes = mark.writes()?;
    let title = format!("restart with {} settled Services: ", args.services);
    report.judged(
        PART,
        &format!("{title}start of the process to ready"),
        seconds(ready),
        "below 3 s",
        ready < Duration::from_secs(3),
    );
    let listed: Vec<String> = writes.iter().take(10).map(ToString::to_string).collect();
    let examples = if listed.is_empty() { String::new() } else { format!(" ({}, ...)", listed.join(", ")) };
    report.judged(
        PART,
        &format!("{title}writes besides the Lease, until {} s after ready", WATCHED.as_secs()),
        format!("{} of {} requests{examples}", writes.len(), requests.len()),
        "0",
        writes.is_empty(),
    );
    let mebibytes = |kib: u64| kib as f64 / 1024.0;
    report.judged(
        PART,
        &format!("{title}memory"),
        format!(
            "RSS {:.1} MiB, PSS {:.1} MiB, peak {:.1} MiB",
            mebibytes(memory.rss),
            mebibytes(memory.pss),
            mebibytes(memory.peak)
        ),
        "RSS below 40 MB",
        memory.rss * 1024 < 40_000_000,
    );
    report.figure(
        PART,
        &format!("{title}processor time"),
        format!(
            "{} until ready, {} in the {} s after",
            seconds(starting),
            seconds(spent - starting),
            WATCHED.as_secs()
        ),
    );
    waiting(bench, report).await
}

async fn waiting(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    bench.controllers(0).await?;
    let name = services::names("late", 0..1);
    services::create(&bench.bed.api(), BENCH, &name, None).await?;
    bench.controllers(1).await?;
    let pod = bench.pod().await?;
    let process = bench.process(&pod, None).await?;
    let addressed = bench.observer.all(&name, PATIENCE).await?;
    if let Some(addressed) = addressed.first() {
        let took = addressed.saturating_duration_since(process.started);
        report.figure(PART, "the same with one Service that waits: start of the process to its address", seconds(took));
    }
    services::delete(&bench.bed.api(), BENCH, &name).await
}
