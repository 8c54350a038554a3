//! Owns everything layer 2 on this node: which ports answer, what they answer for, and who is told unasked.
//!
//! ```text
//!  links  ----> ports appear, change, go ----> responders and memberships follow
//!  commands --> table changes            ----> memberships follow, takeovers start a burst
//!  time   ----> rounds of bursts are due ----> gratuitous frames on every allowed port
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{mpsc, watch};

use crate::announce::Interfaces;
use crate::l2::gratuitous::Schedule;
use crate::l2::groups::Groups;
use crate::l2::packet::Responder;
use crate::l2::selection::{self, Exclusions, Link, Port};
use crate::l2::table::Table;
use crate::l2::{arp, frames, ndp};
use crate::metrics::Layer2Metrics;

/// Most addresses told in one go; the rest follow after [`PAUSE`], so that thousands of takeovers do not flood a switch.
const PORTION: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);
/// When to try again after the kernel refused a socket.
const RETRY: Duration = Duration::from_secs(5);

/// What the announcer is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Answer for the address on these interfaces from now on.
    Announce {
        /// The address.
        ip: IpAddr,
        /// Where.
        interfaces: Interfaces,
    },
    /// Stop answering for the address.
    Withdraw {
        /// The address.
        ip: IpAddr,
    },
}

/// Runs until both the commands and the links end.
///
/// # Errors
/// The source of commands or of links ended.
pub async fn run(
    exclusions: Exclusions,
    metrics: Layer2Metrics,
    mut links: watch::Receiver<Option<Vec<Link>>>,
    mut commands: mpsc::UnboundedReceiver<Vec<Command>>,
) -> anyhow::Result<()> {
    let mut announcer = Announcer::new(exclusions, metrics);
    loop {
        let wake = announcer.wake();
        tokio::select! {
            changed = links.changed() => {
                changed.context("nobody watches the interfaces any more")?;
                let seen = links.borrow_and_update().clone().unwrap_or_default();
                announcer.links(&seen);
            }
            batch = commands.recv() => {
                let Some(batch) = batch else { return Ok(()) };
                announcer.commands(batch);
            }
            () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => announcer.tick(),
        }
    }
}

/// A port at work.
struct Station {
    port: Port,
    arp: Option<Responder>,
    ndp: Option<(Ipv6Addr, Responder)>,
    groups: Groups,
    /// Addresses whose takeover could not be told here because the cable was out.
    untold: BTreeSet<IpAddr>,
}

struct Announcer {
    exclusions: Exclusions,
    metrics: Layer2Metrics,
    table: Table,
    links: Vec<Link>,
    stations: BTreeMap<u32, Station>,
    schedule: Schedule,
    /// No frames before this moment, see [`PORTION`].
    pause: Option<Instant>,
    /// When to look at the links again because a socket was refused.
    retry: Option<Instant>,
}

impl Announcer {
    fn new(exclusions: Exclusions, metrics: Layer2Metrics) -> Self {
        Self {
            exclusions,
            metrics,
            table: Table::default(),
            links: Vec::new(),
            stations: BTreeMap::new(),
            schedule: Schedule::default(),
            pause: None,
            retry: None,
        }
    }

    /// When [`Announcer::tick`] has something to do.
    fn wake(&self) -> Option<Instant> {
        let burst = self.schedule.deadline().map(|due| self.pause.map_or(due, |pause| due.max(pause)));
        [burst, self.retry].into_iter().flatten().min()
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.retry.is_some_and(|at| at <= now) {
            self.retry = None;
            let links = std::mem::take(&mut self.links);
            self.links(&links);
        }
        if self.pause.is_none_or(|until| until <= now) {
            let due = self.schedule.due(now, PORTION);
            self.pause = (due.len() == PORTION).then(|| now + PAUSE);
            for ip in due {
                self.tell(ip);
            }
        }
    }

    fn links(&mut self, links: &[Link]) {
        self.links = links.to_vec();
        let ports = selection::ports(links, &self.exclusions);
        self.stations.retain(|index, station| {
            let stays = ports.get(index).is_some_and(|port| same_sockets(port, &station.port));
            if !stays {
                log_gone(station);
            }
            stays
        });
        for (index, port) in ports {
            match self.stations.get_mut(&index) {
                Some(station) => {
                    let plugged_in = port.carrier && !station.port.carrier;
                    station.port = port;
                    if plugged_in {
                        for ip in std::mem::take(&mut station.untold) {
                            self.schedule.start(Instant::now(), ip);
                        }
                    }
                }
                None => self.open(port),
            }
        }
    }

    /// Starts to work on a port. Everything announced there is told: the port is new to the hosts behind it.
    fn open(&mut self, port: Port) {
        let (index, name) = (port.index, port.name.clone());
        match station(port, &self.table, &self.metrics) {
            Ok(mut station) => {
                let announced = self.table.on(&name);
                join(&mut station, announced.iter().copied());
                self.stations.insert(index, station);
                for ip in announced {
                    self.schedule.start(Instant::now(), ip);
                }
            }
            Err(error) => {
                tracing::error!(
                    event = "createResponder",
                    interface = name,
                    error = format!("{error:#}"),
                    "cannot answer on interface, trying again in {} s",
                    RETRY.as_secs()
                );
                self.retry = Some(Instant::now() + RETRY);
            }
        }
    }

    fn commands(&mut self, batch: Vec<Command>) {
        let mut groups_changed = false;
        for command in batch {
            match command {
                Command::Announce { ip, interfaces } => {
                    let before = self.table.set(ip, interfaces.clone());
                    if before.as_ref() != Some(&interfaces) {
                        self.schedule.start(Instant::now(), ip);
                        groups_changed |= ip.is_ipv6();
                    }
                }
                Command::Withdraw { ip } => {
                    groups_changed |= self.table.remove(ip) && ip.is_ipv6();
                    self.schedule.stop(ip);
                    for station in self.stations.values_mut() {
                        station.untold.remove(&ip);
                    }
                }
            }
        }
        if groups_changed {
            for station in self.stations.values_mut() {
                let announced = self.table.on(&station.port.name);
                join(station, announced);
            }
        }
    }

    /// One round of gratuitous frames for `ip`.
    fn tell(&mut self, ip: IpAddr) {
        for station in self.stations.values_mut() {
            if !self.table.answers(ip, &station.port.name) {
                continue;
            }
            if !station.port.carrier {
                station.untold.insert(ip);
                continue;
            }
            for sent in station.tell(ip) {
                match sent {
                    Ok(()) => self.metrics.gratuitous(ip),
                    Err(error) => tracing::debug!(event = "gratuitousFailed", interface = station.port.name, ip = %ip,
                        error = %error, "cannot send a gratuitous announcement"),
                }
            }
        }
    }
}

impl Station {
    fn tell(&self, ip: IpAddr) -> Vec<std::io::Result<()>> {
        match (ip, &self.arp, &self.ndp) {
            (IpAddr::V4(ip), Some(responder), _) => {
                frames::gratuitous_arp(self.port.mac, ip).iter().map(|frame| responder.send(frame)).collect()
            }
            (IpAddr::V6(ip), _, Some((source, responder))) => {
                vec![responder.send(&frames::unsolicited_advertisement(self.port.mac, *source, ip))]
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _, _) => Vec::new(),
        }
    }
}

/// Whether the sockets made for one port serve the other, too.
fn same_sockets(a: &Port, b: &Port) -> bool {
    *a == Port { carrier: a.carrier, ..b.clone() }
}

fn station(port: Port, table: &Table, metrics: &Layer2Metrics) -> anyhow::Result<Station> {
    let arp = port.arp.then(|| arp::respond(&port, table, metrics)).transpose()?;
    let ndp = match port.ndp {
        Some(source) => Some((source, ndp::respond(&port, source, table, metrics)?)),
        None => None,
    };
    if arp.is_some() {
        tracing::info!(event = "createARPResponder", interface = port.name, "created ARP responder for interface");
    }
    if ndp.is_some() {
        tracing::info!(event = "createNDPResponder", interface = port.name, "created NDP responder for interface");
    }
    let groups = Groups::new(port.index);
    Ok(Station { port, arp, ndp, groups, untold: BTreeSet::new() })
}

fn log_gone(station: &Station) {
    let interface = &station.port.name;
    if station.arp.is_some() {
        tracing::info!(event = "deleteARPResponder", interface, "deleted ARP responder for interface");
    }
    if station.ndp.is_some() {
        tracing::info!(event = "deleteNDPResponder", interface, "deleted NDP responder for interface");
    }
}

fn join(station: &mut Station, announced: impl IntoIterator<Item = IpAddr>) {
    if station.ndp.is_none() {
        return;
    }
    if let Err(error) = station.groups.set(announced) {
        tracing::warn!(event = "joinGroup", interface = station.port.name, error = %error,
            "cannot join a multicast group; neighbour solicitations may not arrive");
    }
}
