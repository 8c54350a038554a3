//! The table of bad objects, judged without a cluster: every row has its text and its class, and what stands beside the bad
//! object stays in force.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::{node, resources};
use config::{Class, Config, Finding, Kind, compile, frrk8s, metallb};
use serde::Deserialize;
use serde_json::Value;

/// See the head of the file for the fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    class: String,
    text: Option<String>,
    schema: Option<String>,
    #[serde(default)]
    transient: bool,
    #[serde(default)]
    admission_only: bool,
    operation: Option<String>,
    #[serde(default)]
    given: Vec<Value>,
    object: Value,
}

fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tables/bad_objects.yaml");
    let text = std::fs::read_to_string(path).expect("the table");
    serde_saphyr::from_str(&text).expect("a list of rows")
}

/// What the programs find in these objects, and what is in force.
fn judged(documents: &[Value]) -> (Vec<Finding>, Config) {
    let read = |kind: &str| -> Vec<&Value> { documents.iter().filter(|document| document["kind"] == kind).collect() };
    let known = |document: &Value| !matches!(document["kind"].as_str(), Some("MetalLB" | "FRRConfiguration"));
    // Without a node no advertisement reaches anybody.
    let mut stored = vec![node("n1", Value::Null)];
    stored.extend(documents.iter().filter(|document| known(document)).cloned());
    let compiled = compile(&resources(&stored));
    let mut findings = compiled.findings;
    for document in read("MetalLB") {
        let resource = serde_json::from_value(document.clone()).expect("a MetalLB");
        findings.extend(metallb::check(&resource, None));
    }
    let frr: Vec<_> = read("FRRConfiguration")
        .into_iter()
        .map(|document| Arc::new(serde_json::from_value(document.clone()).expect("an FRRConfiguration")))
        .collect();
    findings.extend(frrk8s::check(&frr, &[]));
    (findings, compiled.config)
}

#[test]
fn names_of_rows_are_unique_and_every_kind_has_rows() {
    let rows = rows();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len());
    let kinds: BTreeSet<&str> = rows.iter().filter_map(|row| row.object["kind"].as_str()).collect();
    let all = [
        Kind::IPAddressPool,
        Kind::AddressPool,
        Kind::L2Advertisement,
        Kind::BGPAdvertisement,
        Kind::BGPPeer,
        Kind::BFDProfile,
        Kind::Community,
        Kind::MetalLB,
        Kind::FRRConfiguration,
    ];
    assert_eq!(kinds, all.map(Kind::as_str).into_iter().collect());
}

#[test]
fn every_bad_object_has_its_finding_and_harms_no_other() {
    let faults: Vec<String> =
        rows().iter().filter_map(|row| Some(format!("{}: {}", row.name, fault(row).err()?))).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is wrong with a row.
fn fault(row: &Row) -> Result<(), String> {
    let ensure = |holds: bool, text: &str| if holds { Ok(()) } else { Err(text.to_owned()) };
    let (before, good) = judged(&row.given);
    // The peer of a deleted profile names what is not there.
    let before: Vec<_> = before.into_iter().filter(|finding| finding.class == Class::Error).collect();
    ensure(before.is_empty() || row.operation.is_some(), &format!("what is given is bad: {before:?}"))?;
    let Some(text) = &row.text else { return ensure(row.schema.is_some(), "nothing refuses it") };
    let class = match row.class.as_str() {
        "error" => Class::Error,
        "policy" => Class::Policy,
        "warning" => Class::Warning,
        other => return Err(format!("unknown class {other}")),
    };
    if row.admission_only {
        return Ok(());
    }
    let documents: Vec<Value> = row.given.iter().chain([&row.object]).cloned().collect();
    let (findings, config) = judged(&documents);
    let (bad, kind) = (row.object["metadata"]["name"].as_str(), row.object["kind"].as_str());
    let found = findings.iter().find(|finding| finding.text.contains(text.as_str()));
    let found = found.ok_or_else(|| format!("not found among {findings:#?}"))?;
    ensure((found.class, found.transient) == (class, row.transient), &format!("another class: {found:?}"))?;
    let named = (Some(found.object.name.as_str()), Some(found.object.kind.as_str()));
    ensure(named == (bad, kind), &format!("another object: {found:?}"))?;
    ensure(!found.field.is_empty(), "no field is named")?;
    let blamed = |finding: &&Finding| finding.class == Class::Error && finding.object != found.object;
    ensure(findings.iter().filter(blamed).count() == 0, &format!("others are blamed: {findings:#?}"))?;
    for (pool, value) in &good.pools {
        let entries = config.pools.get(pool).map(|pool| &pool.entries);
        ensure(entries == Some(&value.entries), &format!("pool {pool} suffers"))?;
    }
    ensure(good.peers.keys().all(|peer| config.peers.contains_key(peer)), "a peer suffers")?;
    let bad = bad.unwrap_or_default();
    let in_force = match found.object.kind {
        Kind::IPAddressPool => config.pools.contains_key(&bad.into()),
        Kind::BGPPeer => config.peers.contains_key(bad),
        Kind::BFDProfile => config.bfd_profiles.contains_key(bad),
        Kind::AddressPool
        | Kind::L2Advertisement
        | Kind::BGPAdvertisement
        | Kind::Community
        | Kind::MetalLB
        | Kind::FRRConfiguration => return Ok(()),
    };
    ensure(in_force == (class != Class::Error), &format!("in force: {in_force}"))
}
