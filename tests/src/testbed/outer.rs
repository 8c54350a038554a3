//! A way from the machine itself to a cluster's API server: one veth pair, gone with the cluster.
//!
//! ```text
//!  machine   mlb-<id> 172.31.n.1/30 ─────────── 172.31.n.2/30 outer0   hub, API server
//! ```

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::process::Command;

use crate::testbed::cluster::Cluster;
use crate::testbed::layout::{API_PORT, HUB};
use crate::testbed::shell::{Reach, run};

const PATIENCE: Duration = Duration::from_secs(20);

/// Connects the machine and writes the kubeconfig for it.
pub async fn connect(cluster: &Cluster) -> Result<()> {
    let Reach::Through(init) = cluster.reach else { anyhow::bail!("a cluster is connected from outside") };
    let number = free_number().await?;
    let (ours, theirs) = (format!("172.31.{number}.1"), format!("172.31.{number}.2"));
    let link = link(cluster.id());
    let outside = format!(
        "link add {link} type veth peer name outer0 netns {init}\n\
         link set {link} up\n\
         addr add {ours}/30 dev {link}\n"
    );
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]);
    run(command, Some(&outside), PATIENCE).await?.success().context("connect the machine to the cluster")?;
    let inside = format!("link set outer0 up\naddr add {theirs}/30 dev outer0\n");
    let command = cluster.reach.command(HUB, &["ip", "-batch", "-"]);
    run(command, Some(&inside), PATIENCE).await?.success().context("connect the cluster to the machine")?;

    let text = fs::read_to_string(cluster.kubeconfig()).context("read the administrator's kubeconfig")?;
    let mut config: Value = serde_json::from_str(&text).context("understand the administrator's kubeconfig")?;
    if let Some(server) = config.pointer_mut("/clusters/0/cluster/server") {
        *server = format!("https://{theirs}:{API_PORT}").into();
    }
    let path = cluster.outer_kubeconfig();
    fs::write(&path, format!("{config:#}\n")).with_context(|| format!("write {}", path.display()))
}

/// The machine's end of the pair.
pub fn link(id: &str) -> String {
    format!("mlb-{id}")
}

/// The first 172.31.n.0/30 that no interface and no route of the machine knows.
async fn free_number() -> Result<u8> {
    let mut taken = String::new();
    for table in [["-o", "-4", "address"].as_slice(), &["-4", "route", "show", "table", "all"]] {
        let mut command = Command::new("ip");
        command.args(table);
        taken += &run(command, None, PATIENCE).await?.success()?;
    }
    (0..=u8::MAX)
        .find(|number| !taken.contains(&format!("172.31.{number}.")))
        .context("all of 172.31.0.0/16 is in use on this machine")
}
