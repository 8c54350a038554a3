//! Bad input that got past the webhook: one clear line, and everything else goes on working.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::install::{NAMESPACE, announced_pool, install};
use e2e::suite::Suite;
use e2e::testbed::Testbed;
use e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;

use crate::web::{Web, fetched};

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("a broken pool is named in the log and the other pools go on working", |bed| async move {
            broken_pool(&bed).await
        }),
        suite.trial("a crd that is missing is named with its remedy and what worked goes on", |bed| async move {
            missing_crd(&bed).await
        }),
        suite.trial("a wrong flag gets one line and exit code 2", |bed| async move { wrong_flag(&bed).await }),
        suite.trial("a program without an api server says what is wrong", |bed| async move { no_api(&bed).await }),
    ]
}

const BROKEN: &str = "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, \
    metadata: {name: broken, namespace: metallb-system}, spec: {addresses: [10.77.0.9-10.77.0.1]}}";
const WEBHOOKS: &[&str] = &["metallb-webhook-configuration", "metallb-operator-webhook-configuration"];

async fn broken_pool(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    announced_pool(bed).await?;
    let web = Web::start(bed).await?;
    let before = restarts(bed).await?;
    for webhook in WEBHOOKS {
        bed.kubectl(&["delete", "validatingwebhookconfiguration", webhook]).await?.success()?;
    }
    wait::until("the API server to call no webhook", Duration::from_secs(30), || bed.apply(BROKEN)).await?;
    for program in ["deployment/controller", "daemonset/speaker"] {
        wait::until(&format!("{program} to name the broken pool"), Duration::from_secs(30), || async {
            let log = bed.kubectl(&["-n", NAMESPACE, "logs", program, "--tail=-1"]).await?.success()?;
            let line = log.lines().find(|line| line.contains("broken") && line.contains("10.77.0.9-10.77.0.1"));
            ensure!(line.is_some(), "its log has no line about it");
            Ok(())
        })
        .await?;
    }
    let addresses = web.service(bed, "web", "ipFamilies: [IPv4]").await?;
    for address in addresses {
        fetched(&bed.client(), address, Duration::from_secs(20)).await?;
    }
    bed.delete(BROKEN).await?;
    install(bed).await?;
    let after = restarts(bed).await?;
    ensure!(before == after, "containers were restarted: {before:?} became {after:?}");
    web.end(bed).await
}

async fn missing_crd(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    announced_pool(bed).await?;
    let web = Web::start(bed).await?;
    let before = restarts(bed).await?;
    let addresses = web.service(bed, "web", "ipFamilies: [IPv4]").await?;
    bed.kubectl(&["delete", "crd", "addresspools.metallb.io"]).await?.success()?;
    for program in ["deployment/controller", "daemonset/speaker"] {
        wait::until(&format!("{program} to name the missing CRD"), Duration::from_secs(90), || async {
            let log = bed.kubectl(&["-n", NAMESPACE, "logs", program, "--tail=-1"]).await?.success()?;
            let named = |line: &&str| line.contains("addresspools.metallb.io") && line.contains("apply manifests/");
            ensure!(log.lines().any(|line| named(&line)), "its log has no line about it");
            Ok(())
        })
        .await?;
    }
    let more = web.service(bed, "more", "ipFamilies: [IPv4]").await?;
    for address in addresses.into_iter().chain(more) {
        fetched(&bed.client(), address, Duration::from_secs(20)).await?;
    }
    install(bed).await?;
    let after = restarts(bed).await?;
    ensure!(before == after, "containers were restarted: {before:?} became {after:?}");
    web.end(bed).await
}

/// Restarts of controller and speakers.
async fn restarts(bed: &Testbed) -> Result<Vec<(String, i32)>> {
    let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
    let selected = ListParams::default().labels("component in (controller, speaker)");
    let counted = pods.list(&selected).await?.items.into_iter().map(|pod| {
        let states = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        (pod.name_any(), states.into_iter().flatten().map(|state| state.restart_count).sum())
    });
    Ok(counted.collect())
}

/// The image's program, taken from where the image is built.
async fn product(bed: &Testbed, argv: &[&str]) -> Result<e2e::testbed::Output> {
    let program = e2e::testbed::artifacts::repository().join("target/image/context/metallb-rs/rootfs/metallb");
    let program = program.display().to_string();
    let mut line = vec!["env", "-i", "PATH=/nowhere", program.as_str()];
    line.extend(argv);
    bed.client().exec(&line).await
}

async fn wrong_flag(bed: &Testbed) -> Result<()> {
    for program in ["controller", "speaker", "webhook", "operator"] {
        let output = product(bed, &[program, "--no-such-flag"]).await?;
        let words = format!("{}{}", output.stdout, output.stderr);
        ensure!(output.code == Some(2), "{program}: {output}");
        ensure!(words.trim().lines().count() == 1 && words.contains("--no-such-flag"), "{program}: {words:?}");
    }
    Ok(())
}

async fn no_api(bed: &Testbed) -> Result<()> {
    for program in ["controller", "speaker", "webhook", "operator"] {
        let output = product(bed, &[program]).await?;
        let words = format!("{}{}", output.stdout, output.stderr);
        ensure!(output.code.is_some_and(|code| code != 0), "{program}: {output}");
        ensure!(!words.contains("panicked"), "{program} panics: {words}");
        ensure!(words.trim().lines().count() <= 3, "{program} says more than it has to: {words}");
    }
    Ok(())
}
