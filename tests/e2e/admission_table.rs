//! The table of bad objects, `tests/tables/bad_objects.yaml`, both ways.
//!
//! ```text
//!  with the webhook      kubectl apply ──▶ refused, with the row's words
//!  without it            created ──▶ isolated: named in a ConfigurationState and an event; a Service that has an address
//!                                    keeps it and a new one gets one
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::install::{self, METALLB, NAMESPACE, announced_pool, install, kind};
use e2e::suite::Suite;
use e2e::testbed::{Output, Testbed, artifacts};
use e2e::wait;
use k8s_openapi::api::core::v1::{Event, Service};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::Value;

use crate::balancers::Balancers;
use crate::web::ingress;

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("every row of the table of bad objects is refused with its words", |bed| async move {
            with_webhook(&bed).await
        }),
        suite.trial(
            "r33 without the webhook every bad object is isolated and reported and the rest goes on",
            |bed| async move { without_webhook(&bed).await },
        ),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Class {
    Error,
    Policy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    Delete,
}

/// A row; the head of the file explains the fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    class: Class,
    #[serde(default)]
    text: String,
    #[serde(default)]
    schema: String,
    #[serde(default)]
    transient: bool,
    #[serde(default)]
    admission_only: bool,
    operation: Option<Operation>,
    #[serde(default)]
    given: Vec<Value>,
    object: Value,
}

fn rows() -> Result<Vec<Row>> {
    let path: PathBuf = artifacts::repository().join("tests/tables/bad_objects.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let rows: Vec<Row> = serde_saphyr::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
    ensure!(rows.len() > 100, "{} has only {} rows", path.display(), rows.len());
    Ok(rows)
}

impl Row {
    fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    /// What is stored before; with the bad object itself where the row is about its deletion.
    async fn prepare(&self, bed: &Testbed) -> Result<()> {
        let own = self.operation.is_some().then_some(&self.object);
        let objects: Vec<&Value> = self.given.iter().chain(own).collect();
        if !objects.is_empty() {
            install::apply(bed, &stream(objects.into_iter())).await.context("the objects given")?;
        }
        Ok(())
    }

    /// Removes what [`Row::prepare`] stored, the last first: the others may be in use by it.
    async fn clean(&self, bed: &Testbed) -> Result<()> {
        if !self.given.is_empty() {
            bed.delete(&stream(self.given.iter().rev())).await.context("the objects given")?;
        }
        if self.operation.is_some() {
            bed.delete(&self.object.to_string()).await?;
        }
        Ok(())
    }

    /// What kubectl must say; the row's own words and those of the schema are both fine where the row has both.
    fn is_said_by(&self, output: &Output) -> bool {
        let said = words(&format!("{} {}", output.stdout, output.stderr));
        let has = |text: &str| !text.is_empty() && said.contains(&words(text));
        has(&self.text) || has(&self.schema)
    }
}

/// YAML of several objects.
fn stream<'a>(objects: impl Iterator<Item = &'a Value>) -> String {
    objects.map(|object| format!("{object}\n")).collect::<Vec<_>>().join("---\n")
}

/// One space wherever there is white space: kubectl and the API server break and indent lines as they like.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn all_good(what: &str, failures: &[String]) -> Result<()> {
    ensure!(failures.is_empty(), "{} rows {what}:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

async fn with_webhook(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    announced_pool(bed).await?;
    let mut failures = Vec::new();
    for row in rows()? {
        if let Err(error) = refused(bed, &row).await {
            failures.push(format!("{}: {error:#}", row.name));
        }
    }
    all_good("are not refused as they should", &failures)
}

async fn refused(bed: &Testbed, row: &Row) -> Result<()> {
    let bad = row.object.to_string();
    row.prepare(bed).await?;
    let output = match row.operation {
        Some(Operation::Delete) => bed.kubectl_with(&["delete", "-f", "-"], Some(&bad)).await?,
        None => bed.try_apply(&bad).await?,
    };
    let stored = output.ok();
    // A MetalLB resource that was stored is the one that is in use.
    if stored && row.kind() == "MetalLB" {
        install::apply(bed, METALLB).await?;
    } else if stored && row.operation.is_none() {
        bed.delete(&bad).await?;
    }
    row.clean(bed).await?;
    ensure!(stored == row.transient, "{}: {output}", if stored { "accepted" } else { "refused" });
    ensure!(row.is_said_by(&output), "the words are missing: {output}");
    let by_webhook = output.stderr.contains("denied the request");
    ensure!(stored || by_webhook || output.stderr.contains(" is invalid: "), "neither webhook nor schema: {output}");
    Ok(())
}

async fn without_webhook(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    announced_pool(bed).await?;
    let balancers = Balancers::new(bed).await?;
    balancers.create(bed, "good", "", "").await?;
    let good = balancers.addresses(bed, "good").await?;
    bed.kubectl(&["delete", "validatingwebhookconfigurations", "--all"]).await?.success()?;
    let bare = r#"{"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "spec": {"addresses": ["198.18.0.9-198.18.0.1"]},
        "metadata": {"name": "probe", "namespace": "metallb-system"}}"#;
    wait::until("the API server to call no webhook", Duration::from_secs(30), || bed.apply(bare)).await?;
    bed.delete(bare).await?;
    let (mut failures, mut by_schema) = (Vec::new(), 0);
    for row in rows()?.iter().filter(|row| row.operation.is_none() && !row.admission_only) {
        match isolated(bed, row, &balancers, &good).await {
            Ok(Stored::Yes) => {}
            Ok(Stored::RefusedBySchema) => by_schema += 1,
            Err(error) => failures.push(format!("{}: {error:#}", row.name)),
        }
    }
    eprintln!("{by_schema} rows are refused by the schema also without the webhook");
    balancers.end(bed).await?;
    install(bed).await?;
    all_good("are not isolated as they should", &failures)
}

enum Stored {
    Yes,
    RefusedBySchema,
}

async fn isolated(bed: &Testbed, row: &Row, balancers: &Balancers, good: &[IpAddr]) -> Result<Stored> {
    row.prepare(bed).await?;
    let stored = store(bed, row).await;
    let outcome = match &stored {
        Ok(Some(uid)) => judged(bed, row, uid, balancers, good).await,
        Ok(None) => Ok(()),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    if row.kind() == "MetalLB" && row.object["metadata"]["name"] == "metallb" {
        bed.kubectl_with(&["replace", "-f", "-"], Some(METALLB)).await?.success()?;
    } else {
        bed.delete(&row.object.to_string()).await?;
    }
    row.clean(bed).await?;
    outcome?;
    Ok(if matches!(stored, Ok(Some(_))) { Stored::Yes } else { Stored::RefusedBySchema })
}

/// Stores the object; its uid, or nothing when the schema refuses it.
async fn store(bed: &Testbed, row: &Row) -> Result<Option<String>> {
    let output = bed.try_apply(&row.object.to_string()).await?;
    if !output.ok() {
        ensure!(output.stderr.contains(" is invalid: "), "not stored, but not because of the schema: {output}");
        return Ok(None);
    }
    ensure!(row.schema.is_empty(), "the schema should refuse it: {output}");
    let types: TypeMeta = serde_json::from_value(row.object.clone()).context("a row without kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types).context("a row without version")?);
    let at = &row.object["metadata"];
    let (namespace, name) = (at["namespace"].as_str().unwrap_or_default(), at["name"].as_str().unwrap_or_default());
    let api: Api<DynamicObject> = Api::namespaced_with(bed.api(), namespace, &resource);
    Ok(Some(api.get(name).await?.uid().context("an object without uid")?))
}

/// Whoever reads these kinds reports elsewhere: the operator in the conditions of MetalLB; FRRConfigurations are read by
/// nobody in this release.
const NOT_IN_STATES: &[&str] = &["MetalLB", "FRRConfiguration"];

async fn judged(bed: &Testbed, row: &Row, uid: &str, balancers: &Balancers, good: &[IpAddr]) -> Result<()> {
    if row.class == Class::Error && !NOT_IN_STATES.contains(&row.kind()) {
        let (text, patience) = (words(&row.text), Duration::from_secs(10));
        wait::until("a ConfigurationState to name it", patience, || in_states(bed, &text)).await?;
        wait::until("an event about it", patience, || in_events(bed, uid, &text)).await?;
    }
    // Everything else keeps working.
    let name = "new";
    let services = balancers.api(bed);
    let new: Service = serde_json::from_value(serde_json::json!({
        "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]},
    }))?;
    services.create(&PostParams::default(), &new).await.context("make a new service")?;
    let given = balancers.addresses(bed, name).await;
    services.delete(name, &DeleteParams::default()).await.context("delete the new service")?;
    given.context("a new service")?;
    let now = ingress(&services.get("good").await?)?;
    ensure!(now == good, "the address of a service changed from {good:?} to {now:?}");
    Ok(())
}

async fn in_states(bed: &Testbed, text: &str) -> Result<()> {
    let states: Api<DynamicObject> = Api::namespaced_with(bed.api(), NAMESPACE, &kind("ConfigurationState"));
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for state in states.list(&ListParams::default()).await?.items {
        let conditions = state.data.pointer("/status/conditions").and_then(Value::as_array).cloned();
        let messages = conditions.unwrap_or_default().into_iter();
        let messages = messages.map(|one| words(one["message"].as_str().unwrap_or_default()));
        said.insert(state.name_any(), messages.filter(|message| !message.is_empty()).collect());
    }
    ensure!(said.values().flatten().any(|message| message.contains(text)), "they say {said:?}");
    Ok(())
}

async fn in_events(bed: &Testbed, uid: &str, text: &str) -> Result<()> {
    let events: Api<Event> = Api::all(bed.api());
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    let messages: Vec<String> =
        events.list(&about).await?.items.into_iter().map(|event| words(&event.message.unwrap_or_default())).collect();
    ensure!(messages.iter().any(|message| message.contains(text)), "there are {messages:?}");
    Ok(())
}
