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
use k8s_openapi::api::core::v1::Event;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
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
    Warning,
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
        // A warning is one line: what stands on several is joined by other means than in a denial.
        let has = |text: &str| !text.is_empty() && text.lines().all(|line| said.contains(&words(line)));
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
    let admitted = row.transient || row.class == Class::Warning;
    ensure!(stored == admitted, "{}: {output}", if stored { "accepted" } else { "refused" });
    ensure!(row.is_said_by(&output), "the words are missing: {output}");
    let by_webhook = output.stderr.contains("denied the request");
    ensure!(stored || by_webhook || output.stderr.contains(" is invalid: "), "neither webhook nor schema: {output}");
    Ok(())
}

/// A row with names and addresses of its own, so that all rows can be stored at the same time: `bad` becomes `bad-7`,
/// `198.18.` becomes `198.27.`, and so on, in objects and words alike.
fn apart(row: &Row, number: usize) -> Result<Row> {
    let own = |text: &str| own_names(text, number);
    let object = |value: &Value| serde_json::from_str(&own(&value.to_string())).context("rename an object");
    Ok(Row {
        text: own(&row.text),
        given: row.given.iter().map(object).collect::<Result<_>>()?,
        object: object(&row.object)?,
        ..row.clone()
    })
}

fn own_names(text: &str, number: usize) -> String {
    let (mut renamed, mut word) = (String::new(), String::new());
    for c in text.chars().map(Some).chain([None]) {
        if let Some(c) = c.filter(|c| c.is_alphanumeric()) {
            word.push(c);
            continue;
        }
        renamed += &word;
        if ["bad", "another"].contains(&word.as_str()) {
            renamed += &format!("-{number}");
        }
        word.clear();
        renamed.extend(c);
    }
    renamed
        .replace("198.18.", &format!("198.{}.", 20 + number))
        .replace("192.0.2.", &format!("192.{number}.2."))
        .replace("fc00:f:", &format!("fc00:{:x}:", 0x1000 + number))
}

/// Whoever reads these kinds reports elsewhere: the operator in the conditions of MetalLB; FRRConfigurations are read by
/// nobody in this release.
const NOT_IN_STATES: &[&str] = &["MetalLB", "FRRConfiguration"];

async fn without_webhook(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    announced_pool(bed).await?;
    let balancers = Balancers::new(bed).await?;
    balancers.create(bed, "good", "", "").await?;
    let good = balancers.addresses(bed, "good").await?;
    bed.kubectl(&["delete", "validatingwebhookconfigurations", "--all"]).await?.success()?;
    let probe = r#"{"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "spec": {"addresses": ["198.18.0.9-198.18.0.1"]},
        "metadata": {"name": "probe", "namespace": "metallb-system"}}"#;
    wait::until("the API server to call no webhook", Duration::from_secs(30), || bed.apply(probe)).await?;
    bed.delete(probe).await?;

    let storable = rows()?.into_iter().filter(|row| row.operation.is_none() && !row.admission_only);
    let (alone, together): (Vec<Row>, Vec<Row>) = storable.partition(|row| row.kind() == "MetalLB");
    let together: Vec<Row> =
        together.iter().enumerate().map(|(number, row)| apart(row, number)).collect::<Result<_>>()?;
    let given: Vec<&Value> = together.iter().flat_map(|row| &row.given).collect();
    bed.apply(&stream(given.iter().copied())).await.context("the objects given")?;
    let mut stored = Vec::new();
    for row in &together {
        stored.push(store(bed, row).await.with_context(|| row.name.clone())?);
    }
    let reported: Vec<(&Row, &String)> = together
        .iter()
        .zip(&stored)
        .filter_map(|(row, uid)| Some((row, uid.as_ref()?)))
        .filter(|(row, _)| row.class == Class::Error && !NOT_IN_STATES.contains(&row.kind()))
        .collect();
    eprintln!(
        "{} bad objects are stored at once, {} more are refused by the schema alone",
        stored.iter().flatten().count(),
        stored.iter().filter(|uid| uid.is_none()).count()
    );
    works(bed, &balancers, &good).await.context("with every bad object stored")?;
    let told = wait::until("every bad object to be reported", Duration::from_secs(60), || unreported(bed, &reported));
    told.await?;
    works(bed, &balancers, &good).await.context("with every bad object reported")?;
    bed.delete(&stream(together.iter().map(|row| &row.object))).await?;
    bed.delete(&stream(given.into_iter().rev())).await?;

    let mut failures = Vec::new();
    for row in &alone {
        if let Err(error) = resource(bed, row, &balancers, &good).await {
            failures.push(format!("{}: {error:#}", row.name));
        }
    }
    balancers.end(bed).await?;
    install(bed).await?;
    all_good("of MetalLB stop what worked", &failures)
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

/// An error that lists the rows that no ConfigurationState or no event names, or more than one event in the same words.
async fn unreported(bed: &Testbed, rows: &[(&Row, &String)]) -> Result<()> {
    let states: Api<DynamicObject> = Api::namespaced_with(bed.api(), NAMESPACE, &kind("ConfigurationState"));
    let mut said = String::new();
    for state in states.list(&ListParams::default()).await?.items {
        let conditions = state.data.pointer("/status/conditions").and_then(Value::as_array).cloned();
        for condition in conditions.unwrap_or_default() {
            said += &words(condition["message"].as_str().unwrap_or_default());
            said.push('\n');
        }
    }
    let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in Api::<Event>::all(bed.api()).list(&ListParams::default()).await?.items {
        let about = event.involved_object.uid.unwrap_or_default();
        events.entry(about).or_default().push(words(&event.message.unwrap_or_default()));
    }
    let mut missing = Vec::new();
    for (row, uid) in rows {
        let text = words(&row.text);
        let events = events.get(*uid).cloned().unwrap_or_default();
        if !said.contains(&text) {
            missing.push(format!("{}: no ConfigurationState says {text:?}", row.name));
        }
        let mut telling: Vec<&String> = events.iter().filter(|message| message.contains(&text)).collect();
        telling.sort_unstable();
        // Two where the ten minutes within which the speakers tell together end just then.
        if telling.windows(3).any(|three| three[0] == three[2]) {
            missing.push(format!("{}: several events in the same words: {events:?}", row.name));
        }
        if telling.is_empty() {
            missing.push(format!("{}: no event says {text:?}, only {events:?}", row.name));
        }
    }
    ensure!(
        missing.is_empty(),
        "{} reports of {} rows are missing or too many:\n{}",
        missing.len(),
        rows.len(),
        missing.join("\n")
    );
    Ok(())
}

/// A Service that has an address keeps it, a new one gets one.
async fn works(bed: &Testbed, balancers: &Balancers, good: &[IpAddr]) -> Result<()> {
    let (name, services) = ("new", balancers.api(bed));
    balancers.create(bed, name, "", "").await.context("make a new service")?;
    let given = balancers.addresses(bed, name).await;
    services.delete(name, &DeleteParams::default()).await.context("delete the new service")?;
    given.context("a new service")?;
    let now = ingress(&services.get("good").await?)?;
    ensure!(now == good, "the address of a service changed from {good:?} to {now:?}");
    Ok(())
}

/// The one resource that brings up everything: with a bad value in it what runs goes on.
async fn resource(bed: &Testbed, row: &Row, balancers: &Balancers, good: &[IpAddr]) -> Result<()> {
    let stored = store(bed, row).await;
    let outcome = match &stored {
        Ok(Some(_)) => works(bed, balancers, good).await,
        Ok(None) | Err(_) => Ok(()),
    };
    if row.object["metadata"]["name"] == "metallb" {
        bed.kubectl_with(&["replace", "-f", "-"], Some(METALLB)).await?.success()?;
    } else {
        bed.delete(&row.object.to_string()).await?;
    }
    stored?;
    outcome
}
