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
        suite.trial("the metallb resource decides where speakers run and how much they log", |bed| async move {
            placed(&bed).await
        }),
        suite.trial("what is deleted or edited is put back within seconds", |bed| async move { repaired(&bed).await }),
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
        // What the kernel grants in the end: CAP_NET_RAW is bit 13.
        let granted = if name.starts_with("speaker-") { "0000000000002000" } else { "0000000000000000" };
        for process in bed.pod_processes(&pod.uid().unwrap_or_default())? {
            let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
            if !status.lines().any(|line| line == "Name:\tpause" || line == "Name:\tprogram") {
                let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t"));
                ensure!(effective == Some(granted), "{name} has the capabilities {effective:?}, not {granted}");
            }
        }
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

/// A selector that only node1 matches and a taint that only a toleration gets past.
const PLACED: &str = "
apiVersion: metallb.io/v1beta1
kind: MetalLB
metadata: {name: metallb, namespace: metallb-system}
spec:
  logLevel: debug
  nodeSelector: {kubernetes.io/hostname: node1}
  speakerTolerations: [{key: guarded, operator: Exists, effect: NoSchedule}]
";

async fn placed(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    bed.kubectl(&["taint", "node", "node1", "guarded=yes:NoSchedule", "--overwrite"]).await?.success()?;
    bed.apply(PLACED).await?;
    let seen = e2e::wait::until("one speaker, on node1, at level debug", Duration::from_secs(60), || async {
        let speakers = ListParams::default().labels("app=metallb,component=speaker");
        let pods = Api::<Pod>::namespaced(bed.api(), NAMESPACE).list(&speakers).await?.items;
        let [pod] = &pods[..] else { anyhow::bail!("there are {} speakers", pods.len()) };
        let spec = pod.spec.clone().context("a pod without spec")?;
        ensure!(spec.node_name.as_deref() == Some("node1"), "it runs on {:?}", spec.node_name);
        let words = spec.containers.iter().flat_map(|container| container.args.iter().flatten());
        ensure!(words.into_iter().any(|word| word == "--log-level=debug"), "it logs at another level");
        let ready = |status: &k8s_openapi::api::core::v1::ContainerStatus| status.ready;
        let states = pod.status.clone().unwrap_or_default().container_statuses.unwrap_or_default();
        ensure!(!states.is_empty() && states.iter().all(ready), "it is not ready");
        Ok(())
    })
    .await;
    bed.kubectl(&["taint", "node", "node1", "guarded-"]).await?.success()?;
    bed.apply(METALLB).await?;
    e2e::install::speakers_ready(bed).await?;
    e2e::install::available(bed, "controller").await?;
    seen
}

async fn repaired(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let uid = "jsonpath={.metadata.uid}";
    for object in [
        "serviceaccount/speaker",
        "clusterrole/metallb:speaker",
        "clusterrolebinding/metallb:speaker",
        "configmap/metallb-excludel2",
        "daemonset/speaker",
        "deployment/controller",
    ] {
        let before = bed.kubectl(&["-n", NAMESPACE, "get", object, "-o", uid]).await?.success()?;
        bed.kubectl(&["-n", NAMESPACE, "delete", object, "--wait=false"]).await?.success()?;
        e2e::wait::until(&format!("{object} to be back"), Duration::from_secs(5), || async {
            let now = bed.kubectl(&["-n", NAMESPACE, "get", object, "-o", uid]).await?.success()?;
            ensure!(now != before, "it is not deleted yet");
            Ok(())
        })
        .await?;
    }
    let argv = ["-n", NAMESPACE, "set", "image", "daemonset/speaker", "speaker=localhost/none:1"];
    bed.kubectl(&argv).await?.success()?;
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    e2e::wait::until("the speaker's image to be back", Duration::from_secs(5), || async {
        let now = bed.kubectl(&["-n", NAMESPACE, "get", "daemonset/speaker", "-o", image]).await?.success()?;
        ensure!(!now.contains("none"), "it is {now}");
        Ok(())
    })
    .await?;
    e2e::install::available(bed, "controller").await?;
    e2e::install::speakers_ready(bed).await
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
        "clusterrole/metallb:controller",
        "clusterrole/metallb:speaker",
        "clusterrolebinding/metallb:controller",
        "clusterrolebinding/metallb:speaker",
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
