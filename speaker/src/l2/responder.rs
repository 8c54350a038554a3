//! Answers questions on one port, for one protocol, and notices who else claims our addresses.
//!
//! ```text
//! frame --packet socket--> frames::arp | frames::ndp --+-- answer: table? permit? --same socket--> to the asker
//!                                                      |-- claim, not our own --at most 1/s per address--> announcer
//!                                                      `-- malformed: counted
//! ```
//! Neighbour discovery uses a packet socket, too, and not a raw ICMPv6 one: hosts check a neighbour they know by asking the
//! address itself, and ICMPv6 sockets never see packets to an address that no interface of the node carries.
//!
//! The permit is looked at directly before each frame is handed to the kernel. What a pause between these two steps lets
//! through is one frame at most.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use runtime::clock::Moment;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

use crate::l2::filter::Ranges;
use crate::l2::frames::{self, Answer, Claim, Heard, Malformed};
use crate::l2::packet::{PacketSocket, Protocol};
use crate::l2::permit::Permit;
use crate::l2::selection::{Mac, Port};
use crate::l2::table::{Standing, Table};
use crate::metrics::{Dropped, Layer2Metrics};

/// Longest frame that can matter: a solicitation with options is far shorter.
const LONGEST: usize = 1518;
/// Pause after a receive error, so that a broken interface costs nothing until netlink reports it gone.
const AFTER_ERROR: Duration = Duration::from_millis(200);
/// Shortest time between two claims of the same address that are passed on, while it is answered.
const CLAIM: Duration = Duration::from_secs(1);
/// The same while it is asked for: each question that is answered by somebody else must be noticed.
const CLAIM_UNSURE: Duration = Duration::from_millis(20);

/// A claim, and the interface it was heard on.
pub type HeardClaim = (Claim, u32);

/// What all responders of a node have in common. Clones share it.
#[derive(Debug, Clone)]
pub struct Common {
    /// What the node answers for.
    pub table: Table,
    /// Whether it may send.
    pub permit: Permit,
    /// What is counted.
    pub metrics: Layer2Metrics,
    /// The hardware addresses of the node itself: with two interfaces on one network it hears its own frames.
    pub own: OwnAddresses,
    /// Where claims go.
    pub claims: Sender<HeardClaim>,
}

/// The hardware addresses of this node's interfaces. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct OwnAddresses(Arc<RwLock<BTreeSet<[u8; 6]>>>);

impl OwnAddresses {
    /// Replaces them.
    pub fn set(&self, macs: impl IntoIterator<Item = Mac>) {
        let macs = macs.into_iter().map(|mac| mac.0).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = macs;
    }

    /// Whether this is one of them.
    pub fn contain(&self, mac: Mac) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&mac.0)
    }
}

/// What became of a frame.
#[derive(Debug)]
pub enum Outcome {
    /// The kernel has it.
    Sent,
    /// There is no permit.
    Withheld,
    /// The kernel refused it.
    Failed(io::Error),
}

/// A socket with the task that answers the questions it receives. Dropping it ends the task.
#[derive(Debug)]
pub struct Responder {
    voice: Arc<Voice>,
    ranges: Ranges,
    task: JoinHandle<()>,
}

/// Everything that is sent goes through here.
#[derive(Debug)]
struct Voice {
    socket: PacketSocket,
    permit: Permit,
}

impl Voice {
    fn send(&self, frame: &[u8]) -> Outcome {
        if !self.permit.is_valid(Moment::now()) {
            return Outcome::Withheld;
        }
        match self.socket.send(frame) {
            Ok(()) => Outcome::Sent,
            Err(error) => Outcome::Failed(error),
        }
    }
}

impl Responder {
    /// Starts answering on `port`, for the addresses in `ranges` that are in the table. Call inside the tokio runtime.
    ///
    /// # Errors
    /// The kernel refuses the socket.
    pub fn start(port: &Port, protocol: Protocol, common: &Common, ranges: Ranges) -> anyhow::Result<Self> {
        let socket = PacketSocket::open(port.index, protocol, &ranges)?;
        let voice = Arc::new(Voice { socket, permit: common.permit.clone() });
        let ear = Ear { port: port.clone(), protocol, common: common.clone(), passed_on: BTreeMap::new() };
        let task = tokio::spawn(ear.listen(voice.clone()));
        Ok(Self { voice, ranges, task })
    }

    /// Listens to frames about these addresses from now on.
    ///
    /// # Errors
    /// The kernel refuses the filter.
    pub fn listen(&mut self, ranges: Ranges) -> io::Result<()> {
        if self.ranges != ranges {
            self.voice.socket.listen(&ranges)?;
            self.ranges = ranges;
        }
        Ok(())
    }

    /// Sends a frame of our own, through the same socket.
    pub fn send(&self, frame: &[u8]) -> Outcome {
        self.voice.send(frame)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The half that listens.
struct Ear {
    port: Port,
    protocol: Protocol,
    common: Common,
    /// When the last claim of each address was passed on. Holds announced addresses only.
    passed_on: BTreeMap<IpAddr, Instant>,
}

impl Ear {
    async fn listen(mut self, voice: Arc<Voice>) {
        let mut buffer = [0; LONGEST];
        loop {
            // A flood must not keep a thread from the other tasks.
            tokio::task::coop::consume_budget().await;
            match voice.socket.receive(&mut buffer).await {
                Ok(length) => self.hear(buffer.get(..length).unwrap_or_default(), &voice),
                Err(error) => {
                    tracing::debug!(event = "receiveFailed", interface = self.port.name, error = %error,
                        "cannot receive, trying again");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    }

    fn hear(&mut self, frame: &[u8], voice: &Voice) {
        match self.read(frame) {
            Err(Malformed) => self.common.metrics.dropped(Dropped::Malformed),
            Ok(Heard { answer, claim }) => {
                if let Some(claim) = claim {
                    self.pass_on(claim);
                }
                if let Some(answer) = answer {
                    self.answer(&answer, voice);
                }
            }
        }
    }

    fn read(&self, frame: &[u8]) -> Result<Heard, Malformed> {
        match self.protocol {
            Protocol::Arp => frames::arp(frame, self.port.mac, |ip| self.standing(IpAddr::V4(ip)).is_some()),
            Protocol::Ndp => frames::ndp(frame, self.port.mac, |ip| self.standing(IpAddr::V6(ip)).is_some()),
        }
    }

    fn standing(&self, ip: IpAddr) -> Option<Standing> {
        self.common.table.standing(ip, &self.port.name)
    }

    fn answer(&self, answer: &Answer, voice: &Voice) {
        let metrics = &self.common.metrics;
        if self.standing(answer.ip) != Some(Standing::Answering) {
            return;
        }
        metrics.received(answer.ip);
        match voice.send(&answer.frame) {
            Outcome::Sent => metrics.responded(answer.ip),
            Outcome::Withheld => metrics.dropped(Dropped::NoPermit),
            Outcome::Failed(error) => {
                tracing::debug!(event = "sendFailed", interface = self.port.name, ip = %answer.ip, error = %error,
                    "cannot answer");
            }
        }
    }

    /// A claim that finds the channel full is lost; whoever uses the address makes another one.
    fn pass_on(&mut self, claim: Claim) {
        if self.common.own.contain(claim.mac) {
            return;
        }
        let answering = self.standing(claim.ip) == Some(Standing::Answering);
        let (now, pause) = (Instant::now(), if answering { CLAIM } else { CLAIM_UNSURE });
        if self.passed_on.get(&claim.ip).is_some_and(|at| now.saturating_duration_since(*at) < pause) {
            return;
        }
        if self.passed_on.len() > self.common.table.len() {
            self.passed_on.retain(|_, at| now.saturating_duration_since(*at) < CLAIM);
        }
        self.passed_on.insert(claim.ip, now);
        let _ = self.common.claims.try_send((claim, self.port.index));
    }
}
