//! The files in the repository are what the code generates, and the program says so when they are not.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

#[test]
fn generated_files_are_fresh() {
    let stale = r#gen::stale(&r#gen::repository(), &r#gen::artifacts().unwrap()).unwrap();
    assert!(stale.is_empty(), "run `make gen` and commit the result; stale: {stale:?}");
}

#[test]
fn generating_twice_gives_equal_bytes() {
    assert_eq!(r#gen::artifacts().unwrap(), r#gen::artifacts().unwrap());
}

#[test]
fn every_path_is_generated_once_and_inside_the_repository() {
    let artifacts = r#gen::artifacts().unwrap();
    let paths: BTreeSet<_> = artifacts.iter().map(|artifact| artifact.path.clone()).collect();
    assert_eq!(paths.len(), artifacts.len());
    assert!(paths.iter().all(|path| path.is_relative() && !path.components().any(|part| part.as_os_str() == "..")));
}

#[test]
fn crd_files_read_back_as_the_definitions_they_came_from() {
    let artifacts = r#gen::crds::artifacts().unwrap();
    for crd in api::crds() {
        let name = crd.metadata.name.clone().unwrap();
        let file = artifacts.iter().find(|file| file.path.ends_with(format!("{name}.yaml"))).unwrap();
        let read: CustomResourceDefinition = serde_saphyr::from_str(&file.content).unwrap();
        assert_eq!(read, crd, "{name}");
        assert!(!file.content.contains("\nstatus:"), "{name} carries a status");
        assert!(!file.content.contains("creationTimestamp: null"), "{name} carries an empty time");
        assert!(!file.content.lines().any(|line| line.ends_with(".0")), "{name} has a limit with a fraction");
    }
}

#[test]
fn missing_changed_and_left_over_files_are_named_and_mended() {
    let root = Folder::new("mend");
    let artifacts = r#gen::artifacts().unwrap();
    let changed = r#gen::write(&root.0, &artifacts).unwrap();
    assert_eq!(changed.len(), artifacts.len());
    assert!(r#gen::stale(&root.0, &artifacts).unwrap().is_empty());

    let victim = artifacts[0].path.clone();
    let missing = artifacts[1].path.clone();
    let extra = PathBuf::from("manifests/crds/left-over.yaml");
    fs::write(root.0.join(&victim), "edited by hand").unwrap();
    fs::remove_file(root.0.join(&missing)).unwrap();
    fs::write(root.0.join(&extra), "").unwrap();

    let expected: BTreeSet<_> = [victim, missing, extra.clone()].into();
    let stale: BTreeSet<_> = r#gen::stale(&root.0, &artifacts).unwrap().into_iter().collect();
    assert_eq!(stale, expected);

    r#gen::write(&root.0, &artifacts).unwrap();
    assert!(r#gen::stale(&root.0, &artifacts).unwrap().is_empty());
    assert!(!root.0.join(extra).exists());
}

#[test]
fn an_unknown_argument_is_refused_with_the_remedy() {
    let output = Command::new(env!("CARGO_BIN_EXE_gen")).arg("--chekc").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--chekc") && text.contains("--check"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gen-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
