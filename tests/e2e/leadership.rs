//! Two controllers: one leads, and whatever happens to it, no address is given twice and no Service is lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::audit::Mark;
use e2e::hostile::Seen;
use e2e::install::{METALLB, NAMESPACE, apply, available, install};
use e2e::process::Process;
use e2e::suite::Suite;
use e2e::testbed::Testbed;
use e2e::{account, hostile::Hostile, wait};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::balancers::{Balancers, PATIENCE, Watchman, no_pool, pool};
use crate::outside::Outside;

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial(
            "r3 only one of two controllers writes and the other takes over when it is killed",
            |bed| async move { killed(&bed).await },
        ),
        suite.trial("r3 a lease that is deleted by hand costs no service its address", |bed| async move {
            deleted_lease(&bed).await
        }),
        suite.trial("r3 a leader that was paused for a minute writes nothing when it goes on", |bed| async move {
            paused(&bed).await
        }),
    ]
}

const LEASE: &str = "metallb-controller";
const FROM_POOL: &str = "metallb.io/address-pool: contested";
const TWO: &str = "
apiVersion: metallb.io/v1beta1
kind: MetalLB
metadata: {name: metallb, namespace: metallb-system}
spec: {controllerConfig: {replicas: 2}}
";

/// 16 addresses are held, three Services wait for one.
async fn contested(bed: &Testbed) -> Result<(Balancers, Watchman)> {
    pool(bed, "contested", "10.63.0.0/28").await?;
    let balancers = Balancers::new(bed).await?;
    let held: Vec<String> = (1..=16).map(|number| format!("held-{number}")).collect();
    balancers.create_all(bed, &held, FROM_POOL).await?;
    balancers.served(bed, 16, PATIENCE).await?;
    // One after another: who waits longest is served first.
    for number in 1..=3 {
        balancers.create(bed, &format!("waiting-{number}"), FROM_POOL, "").await?;
    }
    let watchman = Watchman::start(bed, &balancers);
    Ok((balancers, watchman))
}

async fn two_controllers(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    apply(bed, TWO).await?;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(bed.api(), NAMESPACE);
    wait::object(deployments, "controller", "the operator to want two controllers", PATIENCE, |found| {
        let wanted = wait::present(found)?.spec.as_ref().and_then(|spec| spec.replicas);
        ensure!(wanted == Some(2), "it wants {wanted:?}");
        Ok(())
    })
    .await?;
    available(bed, "controller").await
}

async fn one_controller(bed: &Testbed) -> Result<()> {
    apply(bed, METALLB).await?;
    available(bed, "controller").await?;
    no_pool(bed, "contested").await
}

/// Who leads, in the Lease's words; empty when nobody does.
async fn holder(bed: &Testbed) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(bed.api(), NAMESPACE);
    let lease = leases.get_opt(LEASE).await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default())
}

async fn led(bed: &Testbed) -> Result<String> {
    wait::until("a controller to lead", PATIENCE, || async {
        let holder = holder(bed).await?;
        ensure!(!holder.is_empty(), "nobody does");
        Ok(holder)
    })
    .await
}

/// The pod that leads.
async fn leader(bed: &Testbed) -> Result<Pod> {
    let holder = led(bed).await?;
    let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
    let pods = pods.list(&ListParams::default().labels("app=metallb,component=controller")).await?.items;
    ensure!(pods.len() == 2, "there are {} controllers", pods.len());
    let leader = pods.into_iter().find(|pod| holder.starts_with(&pod.name_any()));
    leader.with_context(|| format!("{holder} leads, but no pod has that name"))
}

/// When the watch saw the address; it may lag behind other requests.
async fn given(watchman: &Watchman, name: &str) -> Result<Instant> {
    wait::until(&format!("the watch to see the address of {name}"), PATIENCE, || async {
        watchman.given(name).context("it has not seen it")
    })
    .await
}

async fn killed(bed: &Testbed) -> Result<()> {
    two_controllers(bed).await?;
    let leading = leader(bed).await?;
    let mark = Mark::now(bed)?;
    let (balancers, watchman) = contested(bed).await?;
    let others: Vec<String> = mark
        .writes()?
        .into_iter()
        .filter(|request| request.account == "controller" && request.pod != leading.name_any())
        .map(|request| format!("{} {request}", request.pod))
        .collect();
    ensure!(others.is_empty(), "{} leads and yet others write: {}", leading.name_any(), others.join(", "));

    let process = Process::in_pod(bed, &leading, "controller")?;
    let dead = Instant::now();
    process.signal(Signal::SIGKILL)?;
    balancers.delete(bed, "held-1").await?;
    balancers.addresses(bed, "waiting-1").await?;
    let took = given(&watchman, "waiting-1").await?.duration_since(dead);
    eprintln!("leader killed: an address was given out again after {:.1} s", took.as_secs_f64());
    balancers.served(bed, 16, PATIENCE).await?;
    watchman.nothing_broken()?;

    // In good order it is quicker: the Lease is given back.
    available(bed, "controller").await?;
    let leading = leader(bed).await?;
    let gone = Instant::now();
    let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
    pods.delete(&leading.name_any(), &kube::api::DeleteParams::default()).await?;
    balancers.delete(bed, "held-2").await?;
    balancers.addresses(bed, "waiting-2").await?;
    let took = given(&watchman, "waiting-2").await?.duration_since(gone);
    eprintln!("leader stopped in good order: an address was given out again after {:.1} s", took.as_secs_f64());
    ensure!(took < Duration::from_secs(4), "after {:.1} s", took.as_secs_f64());
    watchman.nothing_broken()?;
    balancers.end(bed).await?;
    one_controller(bed).await
}

async fn deleted_lease(bed: &Testbed) -> Result<()> {
    two_controllers(bed).await?;
    let (balancers, watchman) = contested(bed).await?;
    for round in 1..=3 {
        led(bed).await?;
        bed.kubectl(&["-n", NAMESPACE, "delete", "lease", LEASE]).await?.success()?;
        balancers.delete(bed, &format!("held-{round}")).await?;
        balancers.addresses(bed, &format!("waiting-{round}")).await?;
        watchman.nothing_broken()?;
    }
    balancers.served(bed, 16, PATIENCE).await?;
    balancers.end(bed).await?;
    one_controller(bed).await
}

/// How long the leader stands still; its Lease lasts a fraction of that.
const PAUSE: Duration = Duration::from_secs(60);

/// Both controllers outside of pods: a kubelet would not let a program stand still for a minute.
async fn paused(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let (balancers, watchman) = contested(bed).await?;
    let first = Outside::start(bed, Outside::prepare(bed).await?).await?;
    first.ready(bed, PATIENCE).await?;
    let old = led(bed).await?;
    let rights = account::client(bed, NAMESPACE, "controller").await?;
    let second = Outside::start(bed, Hostile::start(rights).await?).await?;
    second.ready(bed, PATIENCE).await?;

    first.program.pause().await?;
    let began = Instant::now();
    balancers.delete(bed, "held-1").await?;
    balancers.addresses(bed, "waiting-1").await?;
    let took = given(&watchman, "waiting-1").await?.duration_since(began);
    eprintln!("leader paused: an address was given out again after {:.1} s", took.as_secs_f64());
    ensure!(led(bed).await? != old, "{old} stands still and yet leads");
    balancers.delete(bed, "held-2").await?;
    balancers.addresses(bed, "waiting-2").await?;
    tokio::time::sleep(PAUSE.saturating_sub(began.elapsed())).await;
    let resumed = Instant::now();
    first.program.resume().await?;
    // It has work to do, if it still thought that it leads.
    balancers.delete(bed, "held-3").await?;
    balancers.addresses(bed, "waiting-3").await?;
    first.ready(bed, PATIENCE).await?;
    let after = |seen: &Seen| seen.asked > resumed && seen.is_write();
    let written: Vec<String> = first.server.seen().into_iter().filter(after).map(|seen| seen.path).collect();
    ensure!(written.is_empty(), "the old leader wrote when it went on: {}", written.join(", "));
    balancers.served(bed, 16, PATIENCE).await?;
    watchman.nothing_broken()?;
    first.end().await?;
    second.end().await?;
    balancers.end(bed).await?;
    install(bed).await?;
    no_pool(bed, "contested").await
}
