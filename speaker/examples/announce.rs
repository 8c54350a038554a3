//! Answers ARP and NDP for fixed addresses, without a cluster: the layer 2 half of the speaker on its own.
//!
//! ```text
//! announce 192.0.2.10 2001:db8::10 192.0.2.11@eth1,eth2      (an address, optionally only on these interfaces)
//! stdin: "announce ADDRESS[@INTERFACES]", "withdraw ADDRESS", "metrics"      end of input: stop
//! ```

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context, bail};
use runtime::args::LogLevel;
use runtime::clock::Moment;
use runtime::metrics::Registry;
use speaker::announce::Interfaces;
use speaker::l2::announcer::{self, Command};
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
    let first = addresses.iter().map(|text| parse(text)).collect::<anyhow::Result<_>>()?;
    commands.send(first)?;
    let exclusions = Exclusions::new(["^lo$"])?;
    let permit = Permit::withheld();
    permit.renew(Moment::FAR_FUTURE);
    tokio::select! {
        outcome = interfaces::observe(links_in) => outcome,
        () = announcer::run(exclusions, metrics.layer2, links, batches, permit) => Ok(()),
        outcome = converse(commands, registry) => outcome,
    }
}

async fn converse(commands: mpsc::UnboundedSender<Vec<Command>>, registry: Registry) -> anyhow::Result<()> {
    let (say, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
    while let Some(line) = lines.recv().await {
        match line.split_once(' ') {
            None if line == "metrics" => eprintln!("{}", registry.encode()),
            Some(("announce", address)) => commands.send(vec![parse(address)?])?,
            Some(("withdraw", address)) => commands.send(vec![Command::Withdraw { ip: address.parse()? }])?,
            None | Some(_) => bail!("{line:?} is none of: announce ADDRESS[@INTERFACES], withdraw ADDRESS, metrics"),
        }
    }
    Ok(())
}

fn parse(text: &str) -> anyhow::Result<Command> {
    let (ip, interfaces) = match text.split_once('@') {
        Some((ip, names)) => (ip, Interfaces::named(names.split(','))),
        None => (text, Interfaces::All),
    };
    let ip: IpAddr = ip.parse().with_context(|| format!("{ip:?} is no IP address"))?;
    Ok(Command::Announce { ip, interfaces })
}
