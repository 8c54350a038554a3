//! The segment: a bridge in the hub and a namespace with one veth per host.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::testbed::layout::{self, BRIDGE, HUB, INTERFACE, PREFIX_V4, PREFIX_V6, Place};
use crate::testbed::shell::{Output, Reach, run};

/// Lists of `ip` commands take milliseconds; a minute means the kernel is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// The hub's end of a host's link.
pub fn link_of(host: &str) -> String {
    format!("v-{host}")
}

/// Makes the bridge and turns the hub into the segment's router.
pub async fn make_hub() -> Result<()> {
    let hub = layout::hub();
    batch(
        HUB,
        &format!(
            "link set lo up\n\
             link add {BRIDGE} type bridge\n\
             link set {BRIDGE} up\n\
             addr add {}/{PREFIX_V4} dev {BRIDGE}\n\
             addr add {}/{PREFIX_V6} dev {BRIDGE} nodad\n",
            hub.v4, hub.v6
        ),
    )
    .await?;
    forward(HUB).await?;
    // Frames between hosts are the wire's business, not the hub's packet filter's.
    sysctl(HUB, &["net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0"], true).await
}

/// Makes a host: namespace, link to the bridge, both addresses, default routes to the hub.
pub async fn make_host(place: &Place) -> Result<()> {
    let Place { name, v4, v6 } = place;
    let (link, hub) = (link_of(name), layout::hub());
    batch(
        HUB,
        &format!(
            "netns add {name}\n\
             link add {link} type veth peer name {INTERFACE} netns {name}\n\
             link set {link} master {BRIDGE} up\n"
        ),
    )
    .await?;
    batch(
        name,
        &format!(
            "link set lo up\n\
             link set {INTERFACE} up\n\
             addr add {v4}/{PREFIX_V4} dev {INTERFACE}\n\
             addr add {v6}/{PREFIX_V6} dev {INTERFACE} nodad\n\
             route add default via {}\n\
             route add default via {}\n",
            hub.v4, hub.v6
        ),
    )
    .await
}

/// Makes a host a router, as a Kubernetes node is one.
pub async fn forward(host: &str) -> Result<()> {
    sysctl(host, &["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"], false).await
}

/// Routes to the pods of every full node, on every other node and in the hub.
pub async fn route_pods(nodes: usize) -> Result<()> {
    for at in std::iter::once(None).chain((1..=nodes).map(Some)) {
        let mut routes = String::new();
        for number in (1..=nodes).filter(|number| Some(*number) != at) {
            let via = layout::node(number);
            routes += &format!("route add {} via {}\n", layout::pods_v4(number), via.v4);
            routes += &format!("route add {} via {}\n", layout::pods_v6(number), via.v6);
        }
        let host = at.map_or(HUB.to_owned(), |number| layout::node(number).name);
        batch(&host, &routes).await?;
    }
    Ok(())
}

/// Takes the link of a host down or up, at the hub's end: the host sees its carrier go.
pub async fn set_link(reach: &Reach, host: &str, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    let command = reach.command(HUB, &["ip", "link", "set", &link_of(host), state]);
    run(command, None, PATIENCE).await?.success()?;
    Ok(())
}

async fn batch(host: &str, commands: &str) -> Result<()> {
    let command = Reach::Inside.command(host, &["ip", "-batch", "-"]);
    let output: Output = run(command, Some(commands), PATIENCE).await?;
    output.success().with_context(|| format!("set up the network of {host} with\n{commands}"))?;
    Ok(())
}

async fn sysctl(host: &str, settings: &[&str], may_be_missing: bool) -> Result<()> {
    let mut argv = vec!["sysctl", "--quiet", "--write"];
    if may_be_missing {
        argv.push("--ignore");
    }
    argv.extend(settings);
    run(Reach::Inside.command(host, &argv), None, PATIENCE).await?.success()?;
    Ok(())
}
