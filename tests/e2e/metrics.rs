//! Metrics over HTTPS: who may read them, and that their names are the ones that dashboards ask for.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::install::{NAMESPACE, announced_pool, install};
use e2e::suite::Suite;
use e2e::testbed::{Output, Testbed};
use e2e::{account, exposition, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use libtest_mimic::Trial;

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite
            .trial("metrics need a token and the right to read them and have the documented names", |bed| async move {
                guarded(&bed).await
            }),
    ]
}

/// Two accounts; one of them may read metrics.
pub const READERS: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: metallb-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: stranger, namespace: metallb-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: metrics-reader}
rules: [{nonResourceURLs: [/metrics], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: metrics-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: metrics-reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: metallb-system}]
";

/// Of both programs.
const COMMON: &[&str] = &[
    "metallb_k8s_client_updates_total",
    "metallb_k8s_client_update_errors_total",
    "metallb_k8s_client_config_loaded_bool",
    "metallb_k8s_client_config_stale_bool",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
];
/// Of the controller, for each pool.
const POOLS: &[&str] = &[
    "metallb_allocator_addresses_in_use_total",
    "metallb_allocator_addresses_total",
    "metallb_allocator_ipv4_addresses_in_use_total",
    "metallb_allocator_ipv4_addresses_total",
    "metallb_allocator_ipv6_addresses_in_use_total",
    "metallb_allocator_ipv6_addresses_total",
];

async fn guarded(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    announced_pool(bed).await?;
    bed.apply(READERS).await?;
    let reader = account::token(bed, NAMESPACE, "reader").await?;
    let stranger = account::token(bed, NAMESPACE, "stranger").await?;
    for component in ["controller", "speaker"] {
        let url = url(bed, component).await?;
        for (token, wanted) in [(None, "401"), (Some("nonsense"), "401"), (Some(stranger.as_str()), "403")] {
            let output = scrape(bed, &url, token).await?;
            let (_, code) = split(&output)?;
            ensure!(code == wanted, "{component} answers {code} where {wanted} is right: {output}");
        }
        // A right that was just given reaches the API server's authorizer a moment later.
        let page = wait::until(&format!("metrics of the {component}"), Duration::from_secs(20), || async {
            let output = scrape(bed, &url, Some(&reader)).await?;
            let (page, code) = split(&output)?;
            ensure!(code == "200", "it answers {code}: {page}");
            Ok(page.to_owned())
        })
        .await?;
        let samples = exposition::parse(&page);
        let names: BTreeSet<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
        for name in COMMON {
            ensure!(names.contains(name), "{component} has no {name}:\n{page}");
        }
        let of_lan = |name: &str| samples.iter().any(|one| one.name == name && one.label("pool") == "lan");
        for name in POOLS.iter().filter(|_| component == "controller") {
            ensure!(of_lan(name), "{name} has no value for the pool:\n{page}");
        }
    }
    bed.delete(READERS).await?;
    Ok(())
}

async fn url(bed: &Testbed, component: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
    let labels = format!("app=metallb,component={component}");
    let pods = pods.list(&ListParams::default().labels(&labels)).await?.items;
    let address = pods.iter().find_map(|pod| pod.status.as_ref()?.pod_ip.clone());
    Ok(format!("https://{}:9120/metrics", address.with_context(|| format!("no {component} has an address"))?))
}

/// The page, and behind its last line the status.
pub async fn scrape(bed: &Testbed, url: &str, token: Option<&str>) -> Result<Output> {
    let header = token.map(|token| format!("Authorization: Bearer {token}"));
    let mut argv = vec!["curl", "--silent", "--insecure", "--noproxy", "*", "--max-time", "10", "-w", "\n%{http_code}"];
    if let Some(header) = &header {
        argv.extend(["--header", header]);
    }
    argv.push(url);
    bed.hub().exec(&argv).await
}

pub fn split(output: &Output) -> Result<(&str, &str)> {
    output.stdout.rsplit_once('\n').with_context(|| format!("no answer: {output}"))
}
