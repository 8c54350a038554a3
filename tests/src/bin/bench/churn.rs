//! Services that come and go at a steady rate, whether the controller keeps up or not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use tokio::task::JoinSet;

use crate::Args;
use crate::cluster::{BENCH, Bench, PATIENCE};
use crate::report::{Report, milliseconds, percentile};
use crate::services;

const PART: &str = "churn";
/// 1,000 a minute.
const BETWEEN: Duration = Duration::from_millis(60);
/// A Service goes when this many have come after it.
const LIFE: usize = 100;

/// Creations at fixed times; each Service is deleted some seconds later.
pub async fn measure(bench: &Bench<'_>, args: &Args, report: &mut Report) -> Result<()> {
    let client = bench.bed.api();
    let api: Api<Service> = Api::namespaced(client, BENCH);
    let number = usize::try_from(u128::from(args.churn_seconds) * 1000 / BETWEEN.as_millis()).unwrap_or(0);
    let names = services::names("churn", 0..number);
    let mut ticks = tokio::time::interval(BETWEEN);
    let mut tasks = JoinSet::new();
    let mut asked = Vec::new();
    let mut seen: Vec<Option<Instant>> = vec![None; number];
    for (at, name) in names.iter().enumerate() {
        ticks.tick().await;
        asked.push(Instant::now());
        let (creator, service) = (api.clone(), services::service(name, None)?);
        tasks.spawn(async move {
            creator.create(&PostParams::default(), &service).await.context("create")?;
            Ok(Some((at, Instant::now())))
        });
        if let Some(old) = at.checked_sub(LIFE) {
            seen[old] = bench.observer.of(&names[old]);
            let (deleter, old) = (api.clone(), names[old].clone());
            tasks.spawn(async move {
                deleter.delete(&old, &DeleteParams::default()).await.context("delete")?;
                Ok(None)
            });
        }
    }
    let mut created: Vec<Option<Instant>> = vec![None; number];
    while let Some(done) = tasks.join_next().await {
        let done: Result<Option<(usize, Instant)>> = done.context("a request crashed")?;
        if let Some((at, when)) = done? {
            created[at] = Some(when);
        }
    }
    let last = number.saturating_sub(LIFE);
    for (at, addressed) in bench.observer.all(&names[last..], PATIENCE).await?.into_iter().enumerate() {
        seen[last + at] = Some(addressed);
    }
    let title =
        format!("{} creations and deletions a minute with {} Services: ", 60_000 / BETWEEN.as_millis(), args.services);
    let spans = |from: &dyn Fn(usize) -> Option<Instant>, to: &dyn Fn(usize) -> Option<Instant>| {
        let span = |at: usize| Some(to(at)?.saturating_duration_since(from(at)?));
        let mut spans: Vec<Duration> = (0..number).filter_map(span).collect();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(&mut spans, share));
        (p99, format!("p50 {}, p99 {}, longest {}", milliseconds(p50), milliseconds(p99), milliseconds(max)))
    };
    let (asked, created, seen) =
        (|at: usize| asked.get(at).copied(), |at: usize| created.get(at).copied()?, |at: usize| seen.get(at).copied()?);
    report.figure(
        PART,
        &format!("{title}the API server's own part, creation asked for to answered"),
        spans(&asked, &created).1,
    );
    report.figure(PART, &format!("{title}creation asked for to address seen"), spans(&asked, &seen).1);
    let lost = (0..number).filter(|at| seen(*at).is_none()).count();
    let (p99, value) = spans(&created, &seen);
    report.judged(
        PART,
        &format!("{title}creation answered to address seen"),
        format!(
            "{value}, {lost} of {number} not within {} s",
            (BETWEEN * u32::try_from(LIFE).unwrap_or(u32::MAX)).as_secs()
        ),
        "p99 below 250 ms",
        lost == 0 && p99 < Duration::from_millis(250),
    );
    services::delete(&bench.bed.api(), BENCH, &names[last..]).await
}
