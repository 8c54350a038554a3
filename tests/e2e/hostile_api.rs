//! The controller in front of an API server that is slow, refuses, forgets or is cut off: addresses stay, and afterwards it
//! catches up without a restart.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::hostile::{Faults, Hostile};
use e2e::install::install;
use e2e::suite::Suite;
use e2e::testbed::{Testbed, control_plane};
use e2e::wait;
use http::StatusCode;
use kube::api::{DeleteParams, PostParams};
use libtest_mimic::Trial;

use crate::balancers::{Balancers, PATIENCE, Watchman, no_pool, pool};
use crate::outside::Outside;

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("r2 nothing is given out before a slow api server has listed the services", |bed| async move {
            slow_list(&bed).await
        }),
        suite.trial("r34 an api server that refuses, cuts and forgets moves no address", |bed| async move {
            faults(&bed).await
        }),
        suite.trial("r1 two hundred restarts with a full pool move nothing", |bed| async move { restarts(&bed).await }),
        suite.trial("r34 an api server that is paused moves no address and is caught up with", |bed| async move {
            paused(&bed).await
        }),
    ]
}

const FROM_POOL: &str = "metallb.io/address-pool: hostile";

/// Two Services hold addresses; the controller outside is not started yet.
async fn scene(bed: &Testbed, addresses: &str, services: usize) -> Result<(Balancers, Watchman, Hostile)> {
    install(bed).await?;
    pool(bed, "hostile", addresses).await?;
    let balancers = Balancers::new(bed).await?;
    let names: Vec<String> = (1..=services).map(|number| format!("held-{number}")).collect();
    balancers.create_all(bed, &names, FROM_POOL).await?;
    balancers.served(bed, services, PATIENCE).await?;
    let watchman = Watchman::start(bed, &balancers);
    let server = Outside::prepare(bed).await?;
    Ok((balancers, watchman, server))
}

async fn end(bed: &Testbed, balancers: Balancers, watchman: &Watchman, outside: Outside) -> Result<()> {
    outside.end().await?;
    watchman.nothing_broken()?;
    balancers.end(bed).await?;
    install(bed).await?;
    no_pool(bed, "hostile").await
}

async fn slow_list(bed: &Testbed) -> Result<()> {
    let late = Duration::from_secs(6);
    let (balancers, watchman, server) = scene(bed, "10.61.0.0/28", 3).await?;
    // The lowest address is free again; whoever knows of no Service would give out one that is taken.
    balancers.delete(bed, "held-1").await?;
    server.set(Faults { services_late: late, ..Faults::default() });
    let outside = Outside::start(bed, server).await?;
    wait::until("the controller to ask for all services", PATIENCE, || async {
        ensure!(outside.server.seen().iter().any(|seen| seen.is_services_list()), "it has not asked");
        Ok(())
    })
    .await?;
    balancers.create(bed, "meanwhile", FROM_POOL, "").await?;
    balancers.addresses(bed, "meanwhile").await?;
    // Every list that was asked for late enough to matter must be answered before the first write is sent.
    let seen = outside.server.seen();
    let written = seen.iter().find(|seen| seen.is_write()).context("the address was given without a write")?;
    let listed = seen.iter().filter(|seen| seen.is_services_list() && seen.status == Some(StatusCode::OK));
    let listed = listed.filter_map(|seen| seen.answered).min().context("no list of services was answered")?;
    ensure!(written.asked >= listed, "{} was sent before the list of services was there", written.path);
    end(bed, balancers, &watchman, outside).await
}

async fn faults(bed: &Testbed) -> Result<()> {
    let (balancers, watchman, server) = scene(bed, "10.61.0.0/27", 3).await?;
    let outside = Outside::start(bed, server).await?;
    outside.ready(bed, PATIENCE).await?;
    let cases: [(&str, Faults); 6] = [
        ("busy", Faults { refuse: Some(StatusCode::TOO_MANY_REQUESTS), ..Faults::default() }),
        ("unavailable", Faults { refuse: Some(StatusCode::SERVICE_UNAVAILABLE), ..Faults::default() }),
        ("failing", Faults { refuse: Some(StatusCode::INTERNAL_SERVER_ERROR), ..Faults::default() }),
        ("forbidden", Faults { refuse: Some(StatusCode::FORBIDDEN), ..Faults::default() }),
        ("forgetful", Faults { too_old: true, cut_watches: Some(Duration::ZERO), ..Faults::default() }),
        ("slow", Faults { late: Duration::from_millis(1500), ..Faults::default() }),
    ];
    for (name, faults) in cases {
        outside.server.set(faults);
        outside.server.forget();
        balancers.create(bed, name, FROM_POOL, "").await?;
        // Until the program felt it: three requests under the fault.
        wait::until(&format!("the controller to feel that the server is {name}"), PATIENCE, || async {
            let felt = outside.server.seen().iter().filter(|seen| seen.answered.is_some()).count();
            ensure!(felt >= 3, "{felt} requests so far");
            Ok(())
        })
        .await?;
        outside.server.set(Faults::default());
        balancers.addresses(bed, name).await.with_context(|| format!("after the server was {name}"))?;
        outside.program.check().await?;
        watchman.nothing_broken()?;
    }
    // Watches that live a moment only: slow, but it works meanwhile.
    outside.server.set(Faults { cut_watches: Some(Duration::from_millis(500)), ..Faults::default() });
    balancers.create(bed, "cut", FROM_POOL, "").await?;
    balancers.addresses(bed, "cut").await.context("while every watch ends after half a second")?;
    end(bed, balancers, &watchman, outside).await
}

const RESTARTS: u64 = 200;

/// A pool of four addresses: four Services hold them, three wait.
async fn restarts(bed: &Testbed) -> Result<()> {
    let (balancers, watchman, server) = scene(bed, "10.61.0.0/30", 4).await?;
    pool(bed, "marks", "10.62.0.0/24").await?;
    let waiting: Vec<String> = (1..=3).map(|number| format!("waiting-{number}")).collect();
    balancers.create_all(bed, &waiting, FROM_POOL).await?;
    let before = balancers.now(bed).await?;
    let outside = Outside::start(bed, server).await?;
    let services = balancers.api(bed);
    for round in 0..RESTARTS {
        // A mark from another pool shows that this start has taken in everything and decided.
        let mark = format!("mark-{round}");
        // Through the client: kubectl takes longer than the controller.
        let service = balancers.object(&mark, &[("metallb.io/address-pool", "marks")])?;
        services.create(&PostParams::default(), &service).await.with_context(|| format!("make {mark}"))?;
        wait::until(&format!("an address after start {round}"), PATIENCE, || async {
            watchman.given(&mark).context("there is none")
        })
        .await?;
        watchman.nothing_broken().with_context(|| format!("start {round}"))?;
        services.delete(&mark, &DeleteParams::default()).await.with_context(|| format!("delete {mark}"))?;
        outside.server.set(Faults { shuffle: Some(round), ..Faults::default() });
        if round % 67 == 66 {
            // Without a chance to give the Lease back: its successor has to wait until it expires.
            outside.program.kill().await?;
        } else {
            outside.program.terminate().await?;
        }
        outside.program.restart().await?;
    }
    outside.ready(bed, PATIENCE).await?;
    let after: std::collections::BTreeMap<_, _> =
        balancers.now(bed).await?.into_iter().filter(|(name, _)| !name.starts_with("mark-")).collect();
    ensure!(before == after, "{before:?} became {after:?}");
    end(bed, balancers, &watchman, outside).await?;
    no_pool(bed, "marks").await
}

/// The real one: its sockets stay open and nothing is answered.
async fn paused(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    pool(bed, "hostile", "10.61.0.0/28").await?;
    let balancers = Balancers::new(bed).await?;
    balancers.create(bed, "before", FROM_POOL, "").await?;
    balancers.addresses(bed, "before").await?;
    let watchman = Watchman::start(bed, &balancers);
    let server = bed.program("kube-apiserver")?;
    server.pause().await?;
    // Longer than the controller's Lease lasts.
    tokio::time::sleep(Duration::from_secs(12)).await;
    server.resume().await?;
    control_plane::api_ready(&bed.api(), &[server]).await?;
    bed.nodes_ready(Duration::from_secs(60)).await?;
    balancers.create(bed, "after", FROM_POOL, "").await?;
    balancers.addresses(bed, "after").await?;
    watchman.nothing_broken()?;
    balancers.end(bed).await?;
    no_pool(bed, "hostile").await
}
