//! Owns everything layer 2 on this node: which ports answer, what they answer for, and who is told unasked.
//!
//! ```text
//!  links  ----> ports appear, change, go ----> responders, filters and memberships follow
//!  commands --> table changes            ----> the same; takeovers start a burst, new addresses are asked for first
//!  claims ----> somebody else uses an address ----> Report, defence, or silence if it was only asked for
//!  time   ----> rounds are due           ----> gratuitous frames and questions on every allowed port
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use runtime::clock::Moment;
use tokio::sync::{mpsc, watch};

use crate::announce::Interfaces;
use crate::l2::conflicts::Conflicts;
use crate::l2::frames::Claim;
use crate::l2::gratuitous::Schedule;
use crate::l2::permit::Permit;
use crate::l2::probe::{Prober, Turn};
use crate::l2::responder::{Common, HeardClaim, OwnAddresses};
use crate::l2::selection::{self, Exclusions, Link, Mac, Port};
use crate::l2::station::Station;
use crate::l2::table::{Standing, Table};
use crate::metrics::Layer2Metrics;

/// When to try again after the kernel refused a socket, a filter or a group.
const RETRY: Duration = Duration::from_secs(5);
/// How long after its carrier came back a port waits before it tells the network what it answers for. While it was gone, another
/// node may have taken over: by then the speakers have heard one another and know who the owner is, and the kernel has found
/// the way to the other nodes again, which takes it up to a second when it was asking in vain.
const PLUGGED_IN: Duration = Duration::from_millis(500);
/// Most addresses asked for in one go; the rest follow after [`PAUSE`], so that thousands do not flood a switch.
const QUESTIONS: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);
/// When to look again for a permit to ask questions.
const PERMIT: Duration = Duration::from_millis(50);
/// Claims that may wait to be looked at.
const CLAIMS: usize = 256;

/// What the announcer is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Answer for the address on these interfaces from now on.
    Announce {
        /// The address.
        ip: IpAddr,
        /// Where.
        interfaces: Interfaces,
        /// Whether to find out first, for 200 ms, if somebody else has it; if so, nothing is answered until it is free. For
        /// addresses that nobody announced before, never for a takeover. An address that is in charge here already keeps its
        /// standing, whatever this says; withdraw it first to insist.
        probe: bool,
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

/// What the announcer has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Another host uses the address: at most once a minute for the same host. It may be another speaker, after a partition or
    /// while an address moves; whoever knows the speakers can tell.
    Conflict {
        /// The address.
        ip: IpAddr,
        /// The other host.
        mac: Mac,
        /// Where it was heard.
        interface: String,
        /// Whether the address is announced nevertheless. Otherwise it was probed for and waits until it is free.
        announced: bool,
    },
    /// An address in conflict was found free and is announced now.
    Resolved {
        /// The address.
        ip: IpAddr,
    },
}

impl Report {
    /// The address that it is about.
    pub fn ip(&self) -> IpAddr {
        match self {
            Self::Conflict { ip, .. } | Self::Resolved { ip } => *ip,
        }
    }
}

/// What does not change while the announcer runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Interfaces to leave alone.
    pub exclusions: Exclusions,
    /// Leave to send frames, renewed by the owner of the decisions.
    pub permit: Permit,
    /// How often to announce every address again, without cause; `None` for never.
    pub refresh: Option<Duration>,
}

/// Runs until the source of commands or of links ends. Reports that find `reports` full are lost. Call inside the tokio runtime.
pub async fn run(
    options: Options,
    metrics: Layer2Metrics,
    mut links: watch::Receiver<Option<Vec<Link>>>,
    mut commands: mpsc::UnboundedReceiver<Vec<Command>>,
    reports: mpsc::Sender<Report>,
) {
    let (claims_in, mut claims) = mpsc::channel(CLAIMS);
    let mut announcer = Announcer::new(options, metrics, claims_in, reports);
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
            Some((claim, index)) = claims.recv() => announcer.claimed(claim, index),
            () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => announcer.tick(),
        }
    }
}

struct Announcer {
    exclusions: Exclusions,
    refresh: Option<Duration>,
    common: Common,
    reports: mpsc::Sender<Report>,
    links: Vec<Link>,
    stations: BTreeMap<u32, Station>,
    prober: Prober,
    conflicts: Conflicts,
    /// No questions before this moment, see [`QUESTIONS`].
    pause: Option<Instant>,
    /// When to look at the links again because the kernel refused something.
    retry: Option<Instant>,
}

impl Announcer {
    fn new(
        options: Options,
        metrics: Layer2Metrics,
        claims: mpsc::Sender<HeardClaim>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let Options { exclusions, permit, refresh } = options;
        let common = Common { table: Table::default(), permit, metrics, own: OwnAddresses::default(), claims };
        Self {
            exclusions,
            refresh,
            common,
            reports,
            links: Vec::new(),
            stations: BTreeMap::new(),
            prober: Prober::default(),
            conflicts: Conflicts::default(),
            pause: None,
            retry: None,
        }
    }

    /// When [`Announcer::tick`] has something to do.
    fn wake(&self) -> Option<Instant> {
        let rounds = self.stations.values().filter_map(|station| station.schedule.deadline());
        let question = self.prober.deadline().map(|due| self.pause.map_or(due, |pause| due.max(pause)));
        rounds.chain(question).chain(self.retry).min()
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.retry.is_some_and(|at| at <= now) {
            self.retry = None;
            let links = std::mem::take(&mut self.links);
            self.links(&links);
        }
        self.ask(now);
        for station in self.stations.values_mut() {
            for ip in station.schedule.due(now) {
                if self.common.table.answers(ip, &station.port.name) {
                    station.tell(ip, &self.common);
                }
            }
        }
    }

    /// Goes on finding out which addresses are free. Without a permit nothing could be asked, so this waits for one.
    fn ask(&mut self, now: Instant) {
        let due = self.prober.deadline().is_some_and(|at| at <= now);
        if !due || self.pause.is_some_and(|until| until > now) {
            return;
        }
        if !self.common.permit.is_valid(Moment::now()) {
            self.pause = Some(now + PERMIT);
            return;
        }
        let turns = self.prober.due(now, QUESTIONS);
        self.pause = (turns.len() == QUESTIONS).then(|| now + PAUSE);
        for turn in turns {
            match turn {
                Turn::Ask(ip) => {
                    let allowed = |station: &&Station| self.common.table.standing(ip, &station.port.name).is_some();
                    self.stations.values().filter(allowed).for_each(|station| station.ask(ip, &self.common));
                }
                Turn::Free(ip, was_taken) => {
                    self.common.table.answer(ip);
                    self.take_over(now, ip);
                    if was_taken {
                        self.report(Report::Resolved { ip });
                    }
                }
            }
        }
    }

    /// Starts a burst for `ip` wherever it is answered.
    fn take_over(&mut self, now: Instant, ip: IpAddr) {
        for station in self.stations.values_mut() {
            if self.common.table.answers(ip, &station.port.name) {
                station.schedule.start(now, ip);
            }
        }
    }

    fn links(&mut self, links: &[Link]) {
        self.links = links.to_vec();
        self.common.own.set(links.iter().filter_map(|link| link.mac));
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
        let ours = self.common.table.on(&port.name);
        let refresh = self.refresh;
        let station =
            self.stations.entry(port.index).or_insert_with(|| Station::new(port.clone(), Schedule::new(refresh)));
        station.close(!port.arp, !port.ndp);
        let plugged_in = port.carrier && !station.port.carrier;
        let interface = &port.name;
        if plugged_in {
            tracing::info!(event = "carrierBack", interface, "the interface has its carrier back");
            station.unplugged();
        } else if station.port.carrier && !port.carrier {
            tracing::warn!(
                event = "carrierLost",
                interface,
                "the interface lost its carrier: nobody hears what it answers"
            );
        }
        station.port = port;
        let known: Vec<IpAddr> = ours.iter().copied().filter(|ip| station.hears(*ip)).collect();
        if let Err(error) = station.open(&self.common, &ours) {
            tracing::error!(
                event = "createResponder",
                interface = station.port.name,
                error = format!("{error:#}"),
                "cannot answer on interface, trying again in {} s",
                RETRY.as_secs()
            );
            self.retry = Some(Instant::now() + RETRY);
        }
        let now = Instant::now();
        let at = if plugged_in { now + PLUGGED_IN } else { now };
        for ip in &ours {
            let news = plugged_in || known.binary_search(ip).is_err();
            if news && station.hears(*ip) && self.common.table.answers(*ip, &station.port.name) {
                station.schedule.start(at, *ip);
            }
        }
        attend(station, &ours, &mut self.retry);
    }

    fn commands(&mut self, batch: Vec<Command>) {
        let (now, mut changed) = (Instant::now(), false);
        for command in batch {
            match command {
                Command::Announce { ip, interfaces, probe } => changed |= self.announce(now, ip, interfaces, probe),
                Command::Withdraw { ip } => {
                    changed |= self.common.table.remove(ip);
                    self.prober.stop(ip);
                    self.stations.values_mut().for_each(|station| station.schedule.stop(ip));
                }
                Command::Hush { ip } => self.stations.values_mut().for_each(|station| station.schedule.stop(ip)),
                Command::Tell { ip } => self.take_over(now, ip),
            }
        }
        if changed {
            for station in self.stations.values_mut() {
                let ours = self.common.table.on(&station.port.name);
                attend(station, &ours, &mut self.retry);
            }
        }
    }

    /// Returns whether anything changed. The network is told only where the address was not answered before.
    fn announce(&mut self, now: Instant, ip: IpAddr, interfaces: Interfaces, probe: bool) -> bool {
        let standing = if probe { Standing::Unsure } else { Standing::Answering };
        let Some(before) = self.common.table.set(ip, interfaces.clone(), standing) else {
            if probe {
                self.prober.start(now, ip);
            } else {
                self.take_over(now, ip);
            }
            return true;
        };
        for station in self.stations.values_mut() {
            let name = &station.port.name;
            match (before.allows(name), self.common.table.answers(ip, name)) {
                (false, true) => station.schedule.start(now, ip),
                (true, false) => station.schedule.stop(ip),
                (true, true) | (false, false) => {}
            }
        }
        before != interfaces
    }

    /// Somebody else said on the interface with this index that the address is theirs.
    fn claimed(&mut self, claim: Claim, index: u32) {
        let Some(station) = self.stations.get(&index) else { return };
        let Some(standing) = self.common.table.standing(claim.ip, &station.port.name) else { return };
        let now = Instant::now();
        let reaction = self.conflicts.heard(now, claim);
        let announced = standing == Standing::Answering;
        if !announced {
            self.prober.claimed(now, claim.ip);
        } else if reaction.defend {
            station.tell(claim.ip, &self.common);
        }
        if reaction.report {
            let interface = station.port.name.clone();
            self.report(Report::Conflict { ip: claim.ip, mac: claim.mac, interface, announced });
        }
    }

    fn report(&self, report: Report) {
        if let Err(error) = self.reports.try_send(report) {
            tracing::debug!(event = "reportLost", error = %error, "nobody takes the report");
        }
    }
}

fn attend(station: &mut Station, ours: &[IpAddr], retry: &mut Option<Instant>) {
    if let Err(error) = station.attend(ours) {
        tracing::warn!(event = "attend", interface = station.port.name, error = %error,
            "cannot set the packet filter or join a multicast group; questions may not arrive, trying again in {} s",
            RETRY.as_secs());
        *retry = Some(Instant::now() + RETRY);
    }
}
