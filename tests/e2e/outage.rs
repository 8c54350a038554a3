//! What worked goes on working while parts are away: the API server, a speaker.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::install::{NAMESPACE, announced_pool, install, speakers_ready};
use e2e::suite::Suite;
use e2e::testbed::{Testbed, control_plane};
use e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::web::{Web, announcer, fetched, url};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial(
            "a service stays reachable while the api server is down and new ones work afterwards",
            |bed| async move { without_api(&bed).await },
        ),
        suite.trial("an address is answered again after its speaker was killed", |bed| async move {
            without_speaker(&bed).await
        }),
    ]
}

async fn without_api(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    announced_pool(bed).await?;
    let web = Web::start(bed).await?;
    let addresses = web.service(bed, "web", "ipFamilyPolicy: RequireDualStack").await?;
    for address in &addresses {
        fetched(&bed.client(), *address, PATIENCE).await?;
    }
    let server = bed.program("kube-apiserver")?;
    server.kill().await?;
    let meanwhile = async {
        ensure!(bed.kubectl(&["get", "nodes", "--request-timeout=2s"]).await.is_ok_and(|output| !output.ok()));
        for address in &addresses {
            // The client forgets who answered, so that somebody has to answer again.
            bed.client().exec(&["ip", "neigh", "flush", "dev", "eth0"]).await?.success()?;
            bed.client().fetch(&url(*address), Duration::from_secs(5)).await.context("while the API server is down")?;
            announcer(bed, *address).await.context("while the API server is down")?;
        }
        Ok(())
    }
    .await;
    server.restart().await?;
    control_plane::api_ready(&bed.api(), &[server]).await?;
    bed.nodes_ready(Duration::from_secs(60)).await?;
    meanwhile?;
    let later = web.service(bed, "later", "ipFamilies: [IPv4]").await?;
    for address in later {
        fetched(&bed.client(), address, Duration::from_secs(60)).await?;
    }
    web.end(bed).await
}

async fn without_speaker(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    announced_pool(bed).await?;
    let web = Web::start(bed).await?;
    let addresses = web.service(bed, "web", "ipFamilyPolicy: RequireDualStack").await?;
    for address in addresses {
        fetched(&bed.client(), address, PATIENCE).await?;
        let node = announcer(bed, address).await?;
        let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
        let on_node = format!("spec.nodeName={}", node.name());
        let speakers = pods.list(&ListParams::default().labels("component=speaker").fields(&on_node)).await?.items;
        let speaker = speakers.first().with_context(|| format!("{} has no speaker", node.name()))?;
        let pids = bed.pod_processes(&speaker.uid().unwrap_or_default())?;
        let is_speaker =
            |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "speaker");
        let pid = pids.into_iter().find(is_speaker).context("no process of the pod is named speaker")?;
        kill(Pid::from_raw(pid), Signal::SIGKILL).context("kill the speaker")?;
        restarted(&pods, &speaker.name_any(), restarts(speaker)).await?;
        speakers_ready(bed).await?;
        let again = format!("{address} to be answered again");
        wait::until(&again, PATIENCE, || async { announcer(bed, address).await.map(|_| ()) }).await?;
        fetched(&bed.client(), address, PATIENCE).await?;
    }
    web.end(bed).await
}

fn restarts(pod: &Pod) -> i32 {
    let states = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    states.into_iter().flatten().map(|state| state.restart_count).sum()
}

/// Waits until the kubelet has started a pod's container more often than `before`.
async fn restarted(pods: &Api<Pod>, name: &str, before: i32) -> Result<()> {
    wait::object(pods.clone(), name, &format!("{name} to be started again"), PATIENCE, |pod| {
        ensure!(restarts(wait::present(pod)?) > before, "it was not restarted yet");
        Ok(())
    })
    .await
}
