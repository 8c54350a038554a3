//! The flat manifest and one MetalLB resource bring up everything; deleting the resource takes it away again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::install::{METALLB, NAMESPACE, install, metallb_is, pods_gone};
use e2e::suite::Suite;
use e2e::testbed::Testbed;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("one metallb resource brings up a controller and a speaker on every node", |bed| async move {
            install(&bed).await?;
            metallb_is(&bed, "Progressing", "False").await?;
            metallb_is(&bed, "Degraded", "False").await
        }),
        suite.trial("installing again changes nothing and breaks nothing", |bed| async move { again(&bed).await }),
        suite.trial("every container is read-only and has no capability but the speaker's net_raw", |bed| async move {
            confined(&bed).await
        }),
    ]
}

/// Runs last: deletes what the others use.
pub fn removal(suite: &Suite) -> Vec<Trial> {
    vec![suite.trial(
        "deleting the metallb resource removes all it made and making it again brings all back",
        |bed| async move { removed(&bed).await },
    )]
}

async fn product_pods(bed: &Testbed) -> Result<Vec<Pod>> {
    Ok(Api::<Pod>::namespaced(bed.api(), NAMESPACE).list(&ListParams::default()).await?.items)
}

async fn again(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let names = |pods: Vec<Pod>| pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    let before = names(product_pods(bed).await?);
    install(bed).await?;
    let after = names(product_pods(bed).await?);
    ensure!(before == after, "the pods changed from {before:?} to {after:?}");
    Ok(())
}

async fn confined(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    for pod in product_pods(bed).await? {
        let name = pod.name_any();
        let spec = pod.spec.context("a pod without spec")?;
        for container in spec.containers {
            let security = container.security_context.with_context(|| format!("{name} has no security context"))?;
            let capabilities = security.capabilities.unwrap_or_default();
            let (added, dropped) = (capabilities.add.unwrap_or_default(), capabilities.drop.unwrap_or_default());
            let allowed: &[&str] = if name.starts_with("speaker-") { &["NET_RAW"] } else { &[] };
            ensure!(security.read_only_root_filesystem == Some(true), "{name} may write its root file system");
            ensure!(security.allow_privilege_escalation == Some(false), "{name} may gain privileges");
            ensure!(dropped == ["ALL"], "{name} drops {dropped:?}");
            ensure!(added == allowed, "{name} adds {added:?}");
        }
    }
    Ok(())
}

async fn removed(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    bed.delete(METALLB).await?;
    for component in ["controller", "speaker"] {
        pods_gone(bed, &format!("app=metallb,component={component}")).await?;
    }
    let left = [
        "-n",
        NAMESPACE,
        "get",
        "deployment/controller",
        "daemonset/speaker",
        "serviceaccount/controller",
        "serviceaccount/speaker",
        "configmap/metallb-excludel2",
        "--ignore-not-found",
        "-o",
        "name",
    ];
    e2e::wait::until("everything the resource made to be gone", Duration::from_secs(60), || async {
        let left = bed.kubectl(&left).await?.success()?;
        ensure!(left.is_empty(), "left: {}", left.trim().replace('\n', ", "));
        Ok(())
    })
    .await?;
    install(bed).await
}
