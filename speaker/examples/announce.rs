//! Answers ARP and NDP for fixed addresses, without a cluster: the layer 2 half of the speaker on its own.
//!
//! ```text
//! announce 192.0.2.10 2001:db8::10 192.0.2.11@eth1,eth2      (an address, optionally only on these interfaces)
//! stdin: "announce ADDRESS[@INTERFACES]"    "withdraw ADDRESS"
//!        "probe ADDRESS[@INTERFACES]"       announce it if nobody else has it
//!        "churn ADDRESS COUNT PERIOD TURNS" announce that many addresses, withdraw them after PERIOD ms, and so on
//!        "permit MS", "permit forever"      leave to send frames; there is leave at the start
//!        "metrics"                          end of input: stop
//! ```
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use runtime::args::LogLevel;
use runtime::clock::Moment;
use runtime::metrics::Registry;
use speaker::announce::Interfaces;
use speaker::l2::announcer::{self, Command, Options, Report};
use speaker::l2::permit::Permit;
use speaker::l2::selection::Exclusions;
use speaker::l2::{interfaces, packet};
use speaker::metrics::Metrics;
use tokio::sync::{mpsc, watch};

fn main() -> ExitCode {
    runtime::main("announce", LogLevel::Debug, announce(std::env::args().skip(1).collect()))
}

async fn announce(addresses: Vec<String>) -> anyhow::Result<()> {
    packet::probe()?;
    let mut registry = Registry::new();
    let metrics = Metrics::register(&mut registry);
    let (links_in, links) = watch::channel(None);
    let (commands, batches) = mpsc::unbounded_channel();
    let (reports_in, reports) = mpsc::channel(100);
    let first = addresses.iter().map(|text| parse(text, false)).collect::<anyhow::Result<_>>()?;
    commands.send(first)?;
    let permit = Permit::withheld();
    permit.renew(Moment::FAR_FUTURE);
    let options = Options { exclusions: Exclusions::new(["^lo$"])?, permit: permit.clone(), refresh: None };
    tokio::select! {
        outcome = interfaces::observe(links_in) => outcome,
        () = announcer::run(options, metrics.layer2, links, batches, reports_in) => Ok(()),
        () = tell(reports) => Ok(()),
        outcome = converse(commands, registry, permit) => outcome,
    }
}

/// One line among those of the log.
fn show(line: &str) {
    // Nobody listens any more: nothing to do about it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn tell(mut reports: mpsc::Receiver<Report>) {
    while let Some(report) = reports.recv().await {
        match report {
            Report::Conflict { ip, mac, interface, announced } => {
                show(&format!("Conflict about {ip} with {mac} on {interface}, announced: {announced}"));
            }
            Report::Resolved { ip } => show(&format!("Resolved {ip}")),
        }
    }
}

async fn converse(
    commands: mpsc::UnboundedSender<Vec<Command>>,
    registry: Registry,
    permit: Permit,
) -> anyhow::Result<()> {
    let (say, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
    while let Some(line) = lines.recv().await {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["metrics"] => show(&format!("\"metrics\" {}", registry.encode().replace('\n', " | "))),
            ["announce", address] => commands.send(vec![parse(address, false)?])?,
            ["probe", address] => commands.send(vec![parse(address, true)?])?,
            ["withdraw", address] => commands.send(vec![Command::Withdraw { ip: address.parse()? }])?,
            ["permit", "forever"] => permit.renew(Moment::FAR_FUTURE),
            ["permit", millis] => permit.renew(Moment::now() + Duration::from_millis(millis.parse()?)),
            ["churn", first, count, period, turns] => {
                let period = Duration::from_millis(period.parse()?);
                churn(&commands, first.parse()?, count.parse()?, period, turns.parse()?).await?;
                show("churned");
            }
            _ => bail!("{line:?} is none of the commands"),
        }
    }
    Ok(())
}

async fn churn(
    commands: &mpsc::UnboundedSender<Vec<Command>>,
    first: Ipv4Addr,
    count: u32,
    period: Duration,
    turns: u32,
) -> anyhow::Result<()> {
    let addresses = || (0..count).map(|n| IpAddr::V4(Ipv4Addr::from(u32::from(first) + n)));
    for turn in 0..turns {
        let batch = addresses().map(|ip| match turn % 2 {
            0 => Command::Announce { ip, interfaces: Interfaces::All, probe: false },
            _ => Command::Withdraw { ip },
        });
        commands.send(batch.collect())?;
        tokio::time::sleep(period).await;
    }
    commands.send(addresses().map(|ip| Command::Withdraw { ip }).collect())?;
    Ok(())
}

fn parse(text: &str, probe: bool) -> anyhow::Result<Command> {
    let (ip, interfaces) = match text.split_once('@') {
        Some((ip, names)) => (ip, Interfaces::named(names.split(','))),
        None => (text, Interfaces::All),
    };
    let ip: IpAddr = ip.parse().with_context(|| format!("{ip:?} is no IP address"))?;
    Ok(Command::Announce { ip, interfaces, probe })
}
