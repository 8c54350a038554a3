//! Everything that may explain a failure, in one folder.
//!
//! ```text
//! <folder>/logs/            programs of the testbed: kubelet, API server, ..., packet captures
//!         /pods/<node>/     logs of pods, also of dead ones
//!         /hosts/<host>     addresses, routes, neighbours, packet filter, sockets
//!         /objects/<kind>   all objects of a kind, YAML
//!         /events           in order of time
//! ```

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use futures::{StreamExt, stream};

use crate::testbed::cluster::Cluster;
use crate::testbed::host::Host;

/// What is asked of each host.
const HOST_QUESTIONS: &[&[&str]] = &[
    &["ip", "-d", "address"],
    &["ip", "route", "show", "table", "all"],
    &["ip", "-6", "route", "show", "table", "all"],
    &["ip", "neigh"],
    &["bridge", "fdb"],
    &["ss", "-tulnpe"],
    &["nft", "list", "ruleset"],
];

pub(super) async fn dump(cluster: &Cluster, folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("empty {}", folder.display()));
        }
        _ => {}
    }
    for part in ["hosts", "objects", "pods"] {
        fs::create_dir_all(folder.join(part)).with_context(|| format!("make {}", folder.display()))?;
    }
    let dir = cluster.dir();
    copy_tree(&dir.join("log"), &folder.join("logs"))?;
    for node in cluster.nodes() {
        copy_tree(&dir.join(node.name()).join("pods"), &folder.join("pods").join(node.name()))?;
    }
    for host in cluster.hosts() {
        write(&folder.join("hosts").join(host.name()), &interview(&host).await)?;
    }
    let events = cluster.kubectl(&["get", "events", "-A", "--sort-by=.lastTimestamp"]).await;
    write(&folder.join("events"), &said(events))?;
    let overview = cluster.kubectl(&["get", "nodes,pods,services,endpointslices", "-A", "-o", "wide"]).await;
    write(&folder.join("overview"), &said(overview))?;
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"]).await;
    let kinds = said(kinds);
    let kinds: Vec<String> = kinds.lines().filter(|kind| !kind.contains(' ')).map(str::to_owned).collect();
    let asked = stream::iter(kinds).map(|kind| objects_of(cluster, kind));
    for (kind, objects) in asked.buffer_unordered(4).collect::<Vec<_>>().await {
        if !objects.is_empty() {
            write(&folder.join("objects").join(kind), &objects)?;
        }
    }
    Ok(())
}

async fn objects_of(cluster: &Cluster, kind: String) -> (String, String) {
    let objects = cluster.kubectl(&["get", &kind, "-A", "-o", "yaml", "--ignore-not-found"]).await;
    (kind, said(objects))
}

async fn interview(host: &Host) -> String {
    let mut answers = String::new();
    for question in HOST_QUESTIONS {
        answers += &format!("$ {}\n{}\n", question.join(" "), said(host.exec(question).await));
    }
    answers
}

fn said(answer: Result<crate::testbed::shell::Output>) -> String {
    match answer {
        Ok(output) if output.ok() => output.stdout,
        Ok(output) => output.to_string(),
        Err(error) => format!("{error:#}"),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Copies files below `from`; what vanishes meanwhile is left out.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries.flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            let _ = fs::copy(entry.path(), &target);
        }
    }
    Ok(())
}
