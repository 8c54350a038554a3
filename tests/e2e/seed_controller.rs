//! What published guides promise about pools, their status and waiting Services, seen with kubectl. The number in front of a
//! name is the statement's number in the list of such statements.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::install::{NAMESPACE, install, kind};
use e2e::suite::Suite;
use e2e::testbed::Testbed;
use e2e::wait;
use kube::Api;
use kube::api::DynamicObject;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::balancers::{Balancers, PATIENCE, no_pool, pool};

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("s0_4 the status of a fresh pool shows four numbers, also those that are zero", |bed| async move {
            fresh_pool(&bed).await
        }),
        suite.trial(
            "s0_8 the deprecated annotation chooses the pool and an event says it is deprecated",
            |bed| async move { deprecated(&bed).await },
        ),
        suite.trial("s0_9 the status of a pool follows an allocation within a second", |bed| async move {
            follows(&bed).await
        }),
        suite.trial("a status of a pool that somebody edits is put right", |bed| async move { edited(&bed).await }),
        suite.trial("s0_22 kubectl lists the configuration states with result and summary", |bed| async move {
            states(&bed).await
        }),
        suite.trial(
            "s0_23 the configuration state of the controller has exactly the documented shape",
            |bed| async move { controller_state(&bed).await },
        ),
        suite.trial(
            "s0_29 every configuration state has a result for jsonpath",
            |bed| async move { results(&bed).await },
        ),
        suite
            .trial("s1_71 a service that wants an address of no pool waits and its event says why", |bed| async move {
                not_assignable(&bed).await
            }),
        suite.trial("s1_73 a service that names an unknown pool waits and its event says why", |bed| async move {
            unknown_pool(&bed).await
        }),
    ]
}

async fn kubectl(bed: &Testbed, argv: &[&str]) -> Result<String> {
    bed.kubectl(argv).await?.success()
}

/// The status of a pool as kubectl prints it.
async fn status(bed: &Testbed, pool: &str) -> Result<Value> {
    let argv = ["-n", NAMESPACE, "get", "ipaddresspools.metallb.io", pool, "-o", "jsonpath={.status}"];
    let text = kubectl(bed, &argv).await?;
    serde_json::from_str(&text).with_context(|| format!("the status is {text:?}"))
}

fn numbers(assigned: u64, available: u64) -> Value {
    json!({"assignedIPv4": assigned, "assignedIPv6": 0, "availableIPv4": available, "availableIPv6": 0})
}

async fn status_is(bed: &Testbed, pool: &str, wanted: &Value) -> Result<()> {
    wait::until(&format!("the status of pool {pool}"), Duration::from_secs(10), || async {
        let now = status(bed, pool).await?;
        ensure!(now == *wanted, "it is {now}, not {wanted}");
        Ok(())
    })
    .await
}

const RANGE: &str = "192.168.122.200-192.168.122.220";

async fn fresh_pool(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    pool(bed, "doc-example", RANGE).await?;
    status_is(bed, "doc-example", &numbers(0, 21)).await?;
    let argv =
        ["-n", NAMESPACE, "get", "ipaddresspools.metallb.io", "doc-example", "-o", "jsonpath={.metadata.generation}"];
    let generation = kubectl(bed, &argv).await?;
    ensure!(generation == "1", "writing the status made generation {generation}");
    no_pool(bed, "doc-example").await
}

async fn deprecated(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    pool(bed, "doc-example-l2", RANGE).await?;
    let balancers = Balancers::new(bed).await?;
    balancers.create(bed, "web", "metallb.universe.tf/address-pool: doc-example-l2", "").await?;
    let addresses = balancers.addresses(bed, "web").await?;
    ensure!(addresses.iter().map(ToString::to_string).eq(["192.168.122.200"]), "it has {addresses:?}");
    let words = "Service uses deprecated annotation metallb.universe.tf/address-pool";
    let event = balancers.event(bed, "web", "deprecatedAnnotation", words).await?;
    ensure!(event.starts_with("Warning deprecatedAnnotation metallb-controller "), "{event}");
    balancers.end(bed).await?;
    no_pool(bed, "doc-example-l2").await
}

async fn follows(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    pool(bed, "doc-example", RANGE).await?;
    status_is(bed, "doc-example", &numbers(0, 21)).await?;
    let balancers = Balancers::new(bed).await?;
    let pools: Api<DynamicObject> = Api::namespaced_with(bed.api(), NAMESPACE, &kind("IPAddressPool"));
    let seen = tokio::spawn(async move {
        wait::object(pools, "doc-example", "the pool's status to count", PATIENCE, |pool| {
            let status = &wait::present(pool)?.data["status"];
            ensure!(*status == numbers(1, 20), "it is {status}");
            Ok(Instant::now())
        })
        .await
    });
    balancers.create(bed, "web", "metallb.io/address-pool: doc-example", "").await?;
    balancers.addresses(bed, "web").await?;
    let addressed = Instant::now();
    let counted = seen.await.context("the watch crashed")??;
    let late = counted.saturating_duration_since(addressed);
    ensure!(late <= Duration::from_secs(1), "the status followed {} ms after the address", late.as_millis());
    balancers.end(bed).await?;
    status_is(bed, "doc-example", &numbers(0, 21)).await?;
    no_pool(bed, "doc-example").await
}

async fn edited(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    pool(bed, "doc-example", RANGE).await?;
    status_is(bed, "doc-example", &numbers(0, 21)).await?;
    for edit in [r#"{"status": {"assignedIPv4": 7}}"#, r#"{"status": null}"#] {
        let pool = "ipaddresspools.metallb.io/doc-example";
        let argv = ["-n", NAMESPACE, "patch", pool, "--subresource=status", "--type=merge", "-p", edit];
        kubectl(bed, &argv).await?;
        status_is(bed, "doc-example", &numbers(0, 21)).await.with_context(|| format!("after {edit}"))?;
    }
    no_pool(bed, "doc-example").await
}

async fn states(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let mut names = vec!["controller".to_owned()];
    names.extend(bed.nodes().iter().map(|node| format!("speaker-{}", node.name())));
    wait::until("the configuration states", PATIENCE, || async {
        let table = kubectl(bed, &["-n", NAMESPACE, "get", "configurationstates"]).await?;
        let mut lines = table.lines();
        let head: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
        ensure!(head == ["NAME", "RESULT", "ERRORSUMMARY", "AGE"], "the columns are {head:?}");
        let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
        let found: Vec<&str> = rows.iter().filter_map(|row| row.first().copied()).collect();
        ensure!(found == names, "there are {found:?}");
        ensure!(rows.iter().all(|row| row.get(1) == Some(&"Valid")), "{table}");
        Ok(())
    })
    .await
}

async fn controller_state(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    wait::until("the controller's configuration state", PATIENCE, || async {
        let text = kubectl(bed, &["-n", NAMESPACE, "get", "configurationstate", "controller", "-o", "json"]).await?;
        let state: Value = serde_json::from_str(&text).context("understand kubectl")?;
        let labels = &state["metadata"]["labels"];
        ensure!(*labels == json!({"metallb.io/component-type": "controller"}), "its labels are {labels}");
        let status = &state["status"];
        ensure!(status["result"] == "Valid", "{status}");
        let conditions = status["conditions"].as_array().context("it has no conditions")?;
        let own = conditions.iter().find(|one| one["type"] == "poolReconcilerValid").context("its own is missing")?;
        for (field, wanted) in [("status", "True"), ("reason", "Reconciled"), ("message", "")] {
            ensure!(own[field] == wanted, "{field} is {}", own[field]);
        }
        Ok(())
    })
    .await
}

async fn results(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let path = "jsonpath={range .items[*]}{.metadata.name}{\"\\t\"}{.status.result}{\"\\n\"}{end}";
    wait::until("a result in every configuration state", PATIENCE, || async {
        let told = kubectl(bed, &["-n", NAMESPACE, "get", "configurationstates", "-o", path]).await?;
        let wanted = 1 + bed.nodes().len();
        let lines: Vec<(&str, &str)> = told.lines().filter_map(|line| line.split_once('\t')).collect();
        ensure!(lines.len() == wanted, "there are {} of {wanted}", lines.len());
        ensure!(lines.iter().all(|(_, result)| ["Valid", "Invalid", "Unknown"].contains(result)), "{told}");
        Ok(())
    })
    .await
}

/// A Service that waits shows `<pending>`, one event that says why, and a condition with the same words.
async fn waits(bed: &Testbed, name: &str, annotations: &str, spec: &str, why: &str) -> Result<()> {
    install(bed).await?;
    pool(bed, "doc-example", RANGE).await?;
    let balancers = Balancers::new(bed).await?;
    balancers.create(bed, name, annotations, spec).await?;
    let words = format!("Failed to allocate IP for \"{}/{name}\": {why}", balancers.namespace);
    let event = balancers.event(bed, name, "AllocationFailed", &words).await?;
    ensure!(event.starts_with("Warning AllocationFailed metallb-controller "), "{event}");
    let table = kubectl(bed, &["-n", &balancers.namespace, "get", "service", name]).await?;
    ensure!(table.contains("<pending>"), "{table}");
    balancers.end(bed).await?;
    no_pool(bed, "doc-example").await
}

async fn not_assignable(bed: &Testbed) -> Result<()> {
    waits(bed, "invalid-request", "", "loadBalancerIP: 4.4.4.4", "[\"4.4.4.4\"] is not allowed in config").await
}

async fn unknown_pool(bed: &Testbed) -> Result<()> {
    let annotation = "metallb.io/address-pool: no-such-pool";
    waits(bed, "unknown-pool", annotation, "", "unknown pool \"no-such-pool\"").await
}
