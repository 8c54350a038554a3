//! The dependency edges drawn in docs/architecture.md are the only ones.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

type Edges = BTreeMap<String, BTreeSet<String>>;

#[test]
fn the_workspace_has_exactly_the_edges_drawn_in_the_architecture() {
    let drawn = drawn_edges(&std::fs::read_to_string(root().join("docs/architecture.md")).unwrap());
    let real = real_edges();
    assert_eq!(
        drawn.keys().collect::<Vec<_>>(),
        real.keys().collect::<Vec<_>>(),
        "docs/architecture.md draws other crates than the workspace has"
    );
    for (from, to) in &real {
        let undrawn: Vec<_> = to.difference(&drawn[from]).collect();
        assert!(undrawn.is_empty(), "{from} depends on {undrawn:?}: not drawn in docs/architecture.md");
        let unused: Vec<_> = drawn[from].difference(to).collect();
        assert!(unused.is_empty(), "docs/architecture.md draws {from} -> {unused:?}: no such dependency");
    }
}

#[test]
fn pure_crates_reach_no_input_or_output_through_any_dependency() {
    for name in ["api", "config"] {
        for banned in ["tokio", "hyper", "kube-client", "kube-runtime", "socket2", "rand", "runtime"] {
            let tree = everything_below(name);
            assert!(!tree.contains(banned), "{name} is pure and must not reach {banned}");
        }
    }
}

#[test]
fn a_line_of_the_drawing_is_read_as_one_crate_and_its_dependencies() {
    let edges = drawn_edges("text\n```edges\na ->\nb -> a, c\n```\nmore -> text\n");
    assert_eq!(edges["a"], BTreeSet::new());
    assert_eq!(edges["b"], BTreeSet::from(["a".to_owned(), "c".to_owned()]));
    assert_eq!(edges.len(), 2);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn drawn_edges(markdown: &str) -> Edges {
    let block = markdown.split("```edges\n").nth(1).expect("an ```edges block").split("```").next().unwrap();
    block
        .lines()
        .map(|line| {
            let (from, to) = line.split_once("->").expect("CRATE -> CRATE, CRATE");
            let to = to.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
            (from.trim().to_owned(), to)
        })
        .collect()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Names of the dependencies of these kinds. Cargo writes `null` for normal ones.
fn dependencies(package: &Value, kinds: &[&str]) -> BTreeSet<String> {
    package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| kinds.contains(&dependency["kind"].as_str().unwrap_or("normal")))
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Names of all crates that this one is built with on its own.
fn everything_below(name: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", name, "--edges=normal", "--prefix=none", "--format={lib}", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().replace('_', "-")).collect()
}

fn real_edges() -> Edges {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let members: BTreeSet<String> =
        packages.iter().map(|package| package["name"].as_str().unwrap().to_owned()).collect();
    packages
        .iter()
        .map(|package| {
            let all = dependencies(package, &["normal", "dev", "build"]);
            (package["name"].as_str().unwrap().to_owned(), all.intersection(&members).cloned().collect())
        })
        .collect()
}
