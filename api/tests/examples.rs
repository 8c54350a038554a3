//! Every YAML example of the documents users follow parses into our types, with no field left over.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[test]
fn every_example_parses_and_no_field_is_unknown() {
    let mut objects = 0;
    for file in files("../tests/examples").into_iter().chain(files("../tests/examples/outputs")) {
        let text = fs::read_to_string(&file).unwrap();
        for document in text.split("\n---\n") {
            check(document).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            objects += 1;
        }
    }
    assert!(objects >= 40, "only {objects} objects found");
}

#[test]
fn a_misspelt_field_is_noticed_by_this_very_check() {
    let text = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: x}\nspec: {addresses: [], autoAsign: true}\n";
    assert_eq!(check(text).unwrap_err(), "unknown field .spec.autoAsign");
}

#[test]
fn communities_that_look_like_numbers_stay_texts() {
    let text = fs::read_to_string("../tests/examples/advertising-bgp-advanced.yaml").unwrap();
    let advertisement = text.split("\n---\n").nth(1).unwrap();
    let advertisement: api::v1beta1::BGPAdvertisement = serde_saphyr::from_str(advertisement).unwrap();
    assert_eq!(advertisement.spec.communities, ["65535:65282"]);
}

fn check(document: &str) -> Result<(), String> {
    let value: Value = serde_saphyr::from_str(document).map_err(|error| error.to_string())?;
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    match (text("apiVersion").as_str(), text("kind").as_str()) {
        ("metallb.io/v1beta1", "AddressPool") => read::<api::v1beta1::AddressPool>(document, &value),
        ("metallb.io/v1beta1", "BFDProfile") => read::<api::v1beta1::BFDProfile>(document, &value),
        ("metallb.io/v1beta1", "BGPAdvertisement") => read::<api::v1beta1::BGPAdvertisement>(document, &value),
        ("metallb.io/v1beta1", "BGPPeer") => read::<api::v1beta1::BGPPeer>(document, &value),
        ("metallb.io/v1beta2", "BGPPeer") => read::<api::v1beta2::BGPPeer>(document, &value),
        ("metallb.io/v1beta1", "ConfigurationState") => read::<api::v1beta1::ConfigurationState>(document, &value),
        ("metallb.io/v1beta1", "IPAddressPool") => read::<api::v1beta1::IPAddressPool>(document, &value),
        ("metallb.io/v1beta1", "L2Advertisement") => read::<api::v1beta1::L2Advertisement>(document, &value),
        ("metallb.io/v1beta1", "MetalLB") => read::<api::v1beta1::MetalLB>(document, &value),
        ("metallb.io/v1beta1", "ServiceBGPStatus") => read::<api::v1beta1::ServiceBGPStatus>(document, &value),
        ("apps/v1", "Deployment") => read::<Deployment>(document, &value),
        ("v1", "Service") => {
            serde_saphyr::from_str::<api::slim::Service>(document).map_err(|error| error.to_string())?;
            read::<Service>(document, &value)
        }
        (version, kind) => Err(format!("{version} {kind} is not expected here")),
    }
}

/// Reads a document as a `K`, writes it again, and looks for what got lost.
fn read<K: DeserializeOwned + Serialize>(document: &str, original: &Value) -> Result<(), String> {
    let object: K = serde_saphyr::from_str(document).map_err(|error| error.to_string())?;
    let written = serde_json::to_value(object).map_err(|error| error.to_string())?;
    lost(original, &written, "")
}

fn lost(original: &Value, written: &Value, path: &str) -> Result<(), String> {
    match (original, written) {
        (Value::Object(original), Value::Object(written)) => original.iter().try_for_each(|(key, value)| {
            let path = format!("{path}.{key}");
            let kept = written.get(key).ok_or_else(|| format!("unknown field {path}"))?;
            lost(value, kept, &path)
        }),
        (Value::Array(original), Value::Array(written)) if original.len() == written.len() => {
            original.iter().zip(written).try_for_each(|(value, kept)| lost(value, kept, path))
        }
        (original, written) if original == written => Ok(()),
        (original, written) => Err(format!("{path} was {original} and became {written}")),
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}
