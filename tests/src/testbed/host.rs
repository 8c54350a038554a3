//! A host on the segment: run commands in it, watch its packets, cut its link.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Child;

use crate::sandbox::Sandbox;
use crate::testbed::layout::{INTERFACE, Place};
use crate::testbed::network;
use crate::testbed::shell::{Output, PATIENCE, Reach, run};
use crate::wait;

static CAPTURES: AtomicU32 = AtomicU32::new(1);

/// A host: a node, the client, or the hub.
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) sandbox: Sandbox,
    pub(crate) reach: Reach,
    pub(crate) place: Place,
}

impl Host {
    /// Its name; for nodes also the name of the Node object.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Its name and addresses.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Runs a command to its end. A failed command is an output, not an error.
    pub async fn exec(&self, argv: &[&str]) -> Result<Output> {
        run(self.reach.command(self.name(), argv), None, PATIENCE).await
    }

    /// Runs a shell script, for pipes and the like.
    pub async fn shell(&self, script: &str) -> Result<Output> {
        self.exec(&["sh", "-ec", script]).await
    }

    /// Fetches `http://address/` with curl, giving up after `patience`. The body of a 200, else an error that says why.
    pub async fn fetch(&self, url: &str, patience: Duration) -> Result<String> {
        let seconds = format!("{:.1}", patience.as_secs_f64());
        let argv =
            ["curl", "--silent", "--show-error", "--fail", "--globoff", "--noproxy", "*", "--max-time", &seconds, url];
        self.exec(&argv).await?.success()
    }

    /// Takes its link down; it loses its carrier. Nothing but its own processes can be reached from it.
    pub async fn cut(&self) -> Result<()> {
        network::set_link(&self.reach, self.name(), false).await
    }

    /// Takes its link up again.
    pub async fn restore(&self) -> Result<()> {
        network::set_link(&self.reach, self.name(), true).await
    }

    /// Starts to record packets on its interface that match a tcpdump filter; returns when the recording runs.
    pub async fn capture(&self, filter: &str) -> Result<Capture> {
        self.capture_on(INTERFACE, filter).await
    }

    /// As [`Host::capture`], on any interface.
    pub async fn capture_on(&self, interface: &str, filter: &str) -> Result<Capture> {
        let number = CAPTURES.fetch_add(1, Ordering::Relaxed);
        let base = self.sandbox.dir().join("log").join(format!("capture-{number}-{}", self.name()));
        let (packets, words) = (base.with_extension("packets"), base.with_extension("tcpdump"));
        let create = |path: &PathBuf| std::fs::File::create(path).with_context(|| format!("make {}", path.display()));
        let argv = ["tcpdump", "-n", "-e", "-l", "-tt", "-vv", "--immediate-mode", "-i", interface, filter];
        let child = self
            .reach
            .command(self.name(), &argv)
            .stdin(Stdio::null())
            .stdout(create(&packets)?)
            .stderr(create(&words)?)
            .spawn()
            .context("start tcpdump: is it installed? (hack/deps.sh)")?;
        let capture = Capture { child, packets, host: self.name().to_owned(), filter: filter.to_owned() };
        let what = format!("tcpdump to listen on {}", self.name());
        wait::until(&what, Duration::from_secs(10), || async {
            let said = std::fs::read_to_string(&words).context("read what tcpdump says")?;
            anyhow::ensure!(said.contains("listening on"), "it says: {}", said.trim());
            Ok(())
        })
        .await?;
        Ok(capture)
    }
}

/// A running record of packets, in tcpdump's words; ends when dropped.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    packets: PathBuf,
    host: String,
    filter: String,
}

impl Capture {
    /// The packets so far, one line each (continuation lines joined), link-level header first, time as Unix seconds.
    pub fn packets(&self) -> Result<Vec<String>> {
        let text = std::fs::read(&self.packets).with_context(|| format!("read {}", self.packets.display()))?;
        Ok(join_packets(&String::from_utf8_lossy(&text)))
    }

    /// Waits for a packet that `matches`, and returns it.
    pub async fn packet(&self, what: &str, patience: Duration, matches: impl Fn(&str) -> bool) -> Result<String> {
        wait::until(what, patience, || async {
            let packets = self.packets()?;
            let seen = packets.len();
            packets.into_iter().find(|packet| matches(packet)).with_context(|| {
                format!("{seen} packets of `{}` seen on {}, none of them is it", self.filter, self.host)
            })
        })
        .await
    }

    /// Ends the record and returns its packets.
    pub async fn stop(mut self) -> Result<Vec<String>> {
        self.child.kill().await.context("stop tcpdump")?;
        self.packets()
    }
}

/// tcpdump -v prints details on indented lines below the packet's own.
fn join_packets(text: &str) -> Vec<String> {
    let mut packets: Vec<String> = Vec::new();
    for line in text.lines() {
        match packets.last_mut() {
            Some(packet) if line.starts_with(char::is_whitespace) => {
                packet.push(' ');
                packet.push_str(line.trim());
            }
            _ => packets.push(line.to_owned()),
        }
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_belong_to_the_packet_above_them() {
        let text = "1.0 aa > bb, ARP\n2.0 aa > bb, IPv6\n\tsource link-address option\n";
        assert_eq!(join_packets(text), ["1.0 aa > bb, ARP", "2.0 aa > bb, IPv6 source link-address option"]);
    }
}
