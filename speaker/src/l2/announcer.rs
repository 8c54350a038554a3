//! Owns everything layer 2 on this node: which ports answer, what they answer for, and who is told unasked.
//!
//! ```text
//!  links  ----> ports appear, change, go ----> responders and memberships follow
//!  commands --> table changes            ----> memberships follow, takeovers start a burst
//!  time   ----> rounds of bursts are due ----> gratuitous frames on every allowed port
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::announce::Interfaces;
use crate::l2::gratuitous::Schedule;
use crate::l2::groups::Groups;
use crate::l2::packet::Responder;
use crate::l2::permit::Permit;
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
    /// Go on answering, but tell nobody unasked: the address is on its way to another node.
    Hush {
        /// The address.
        ip: IpAddr,
    },
    /// Tell the network afresh that the address lives here: another node may have said the same meanwhile.
    Tell {
        /// The address.
        ip: IpAddr,
    },
}

/// Runs until the source of commands or of links ends. Nothing is sent without `permit`. Call inside the tokio runtime.
pub async fn run(
    exclusions: Exclusions,
    metrics: Layer2Metrics,
    mut links: watch::Receiver<Option<Vec<Link>>>,
    mut commands: mpsc::UnboundedReceiver<Vec<Command>>,
    permit: Permit,
) {
    let mut announcer = Announcer::new(exclusions, metrics, permit);
    loop {
        let wake = announcer.wake();
        tokio::select! {
            changed = links.changed() => {
                if changed.is_err() {
                    return;
                }
                let seen = links.borrow_and_update().clone().unwrap_or_default();
                announcer.links(&seen);
            }
            batch = commands.recv() => {
                let Some(batch) = batch else { return };
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
    ndp: Option<Responder>,
    groups: Groups,
}

struct Announcer {
    exclusions: Exclusions,
    metrics: Layer2Metrics,
    permit: Permit,
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
    fn new(exclusions: Exclusions, metrics: Layer2Metrics, permit: Permit) -> Self {
        Self {
            exclusions,
            metrics,
            permit,
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
            let stays =
                ports.get(index).is_some_and(|port| (&port.name, port.mac) == (&station.port.name, station.port.mac));
            if !stays {
                station.close(true, true);
            }
            stays
        });
        for port in ports.into_values() {
            self.follow(port);
        }
    }

    /// Makes the station of a port as the port now is. A port whose carrier comes back tells everything it answers for: while
    /// it was gone, another node may have answered, and clients would go on sending there.
    fn follow(&mut self, port: Port) {
        let announced = self.table.on(&port.name);
        let station = self.stations.entry(port.index).or_insert_with(|| Station::new(port.clone()));
        station.close(!port.arp, !port.ndp);
        let plugged_in = port.carrier && !station.port.carrier;
        let interface = &port.name;
        if plugged_in {
            tracing::info!(event = "carrierBack", interface, "the interface has its carrier back");
        } else if station.port.carrier && !port.carrier {
            tracing::warn!(
                event = "carrierLost",
                interface,
                "the interface lost its carrier: nobody hears what it answers"
            );
        }
        station.port = port;
        let (arp_before, ndp_before) = (station.arp.is_some(), station.ndp.is_some());
        if let Err(error) = station.open(&self.table, &self.metrics, &self.permit) {
            tracing::error!(
                event = "createResponder",
                interface = station.port.name,
                error = format!("{error:#}"),
                "cannot answer on interface, trying again in {} s",
                RETRY.as_secs()
            );
            self.retry = Some(Instant::now() + RETRY);
        }
        let mut news = BTreeSet::new();
        if plugged_in {
            news.extend(announced.iter().copied());
        }
        if station.arp.is_some() && !arp_before {
            news.extend(announced.iter().filter(|ip| ip.is_ipv4()));
        }
        if station.ndp.is_some() && !ndp_before {
            news.extend(announced.iter().filter(|ip| ip.is_ipv6()));
            station.join(announced);
        }
        for ip in news {
            self.schedule.start(Instant::now(), ip);
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
                }
                Command::Hush { ip } => self.schedule.stop(ip),
                Command::Tell { ip } => {
                    if self.table.holds(ip) {
                        self.schedule.start(Instant::now(), ip);
                    }
                }
            }
        }
        if groups_changed {
            for station in self.stations.values_mut() {
                let announced = self.table.on(&station.port.name);
                station.join(announced);
            }
        }
    }

    /// One round of gratuitous frames for `ip`.
    fn tell(&mut self, ip: IpAddr) {
        for station in self.stations.values() {
            if !station.port.carrier || !self.table.answers(ip, &station.port.name) {
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
    fn new(port: Port) -> Self {
        let groups = Groups::new(port.index);
        Self { port, arp: None, ndp: None, groups }
    }

    /// Starts the responders that the port should have and that do not run.
    fn open(&mut self, table: &Table, metrics: &Layer2Metrics, permit: &Permit) -> anyhow::Result<()> {
        let interface = &self.port.name;
        if self.port.arp && self.arp.is_none() {
            self.arp = Some(arp::respond(&self.port, table, metrics, permit)?);
            tracing::info!(event = "createARPResponder", interface, "created ARP responder for interface");
        }
        if self.port.ndp && self.ndp.is_none() {
            self.ndp = Some(ndp::respond(&self.port, table, metrics, permit)?);
            tracing::info!(event = "createNDPResponder", interface, "created NDP responder for interface");
        }
        Ok(())
    }

    /// Stops responders, where they run.
    fn close(&mut self, arp: bool, ndp: bool) {
        let interface = &self.port.name;
        if arp && self.arp.take().is_some() {
            tracing::info!(event = "deleteARPResponder", interface, "deleted ARP responder for interface");
        }
        if ndp && self.ndp.take().is_some() {
            tracing::info!(event = "deleteNDPResponder", interface, "deleted NDP responder for interface");
            self.groups = Groups::new(self.port.index);
        }
    }

    /// Joins the groups in which hosts ask for these addresses, and leaves all others.
    fn join(&mut self, announced: impl IntoIterator<Item = IpAddr>) {
        if self.ndp.is_none() {
            return;
        }
        if let Err(error) = self.groups.set(announced) {
            tracing::warn!(event = "joinGroup", interface = self.port.name, error = %error,
                "cannot join a multicast group; neighbour solicitations may not arrive");
        }
    }

    /// Sends one round of gratuitous frames.
    fn tell(&self, ip: IpAddr) -> Vec<std::io::Result<()>> {
        match (ip, &self.arp, &self.ndp) {
            (IpAddr::V4(ip), Some(responder), _) => {
                frames::gratuitous_arp(self.port.mac, ip).iter().map(|frame| responder.send(frame)).collect()
            }
            (IpAddr::V6(ip), _, Some(responder)) => {
                vec![responder.send(&frames::unsolicited_advertisement(self.port.mac, ip))]
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _, _) => Vec::new(),
        }
    }
}
