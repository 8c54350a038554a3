//! The member on a real network: one UDP socket, one task that owns the core.
//!
//! ```text
//!  Membership (handle) ── peers, watched: only the latest counts ──▶ ┐
//!                      ── leave ───────────────────────────────────▶ │ task: socket dry? then Tick; then send
//!  socket ── at most BATCH datagrams, then the timers ─────────────▶ ┘   │
//!  watch<Arc<View>>  ◀───────────────────────────────────────────────────┘
//! ```
//! Nothing here grows without bound: what comes in faster than it is taken is dropped by the kernel, what cannot be sent at
//! once is dropped by us, and both are what the protocol expects of a network.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::UdpSocket;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::core::{Core, Input, Loss, Output};
use crate::counters::{Counted, Counters};
use crate::name::NodeName;
use crate::seal::{BadSecret, LONGEST, Seal};
use crate::time::Millis;

/// The port that MetalLB's speakers gossip on.
pub const PORT: u16 = 7946;

/// Datagrams taken before timers get their turn.
const BATCH: usize = 256;
/// How long [`Membership::leave`] waits for the farewell.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who is alive, as this node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Itself included.
    pub alive: BTreeSet<NodeName>,
    /// Peers that were alive and are not now, and why.
    pub lost: BTreeMap<NodeName, Loss>,
    /// How often this process was stopped for so long that it had to forget what it knew. Who acts on the view must act anew
    /// when this changes, even if the same members are alive.
    pub pauses: u64,
}

/// Why membership does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No key.
    #[error(transparent)]
    Secret(#[from] BadSecret),
    /// The socket cannot be had.
    #[error("cannot bind UDP {addr}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Without random numbers nothing can be sealed.
    #[error("the system gives no random numbers")]
    Random,
}

/// A running member. Dropping it ends the member without a farewell, as a crash would.
#[derive(Debug)]
pub struct Membership {
    peers: watch::Sender<BTreeMap<NodeName, SocketAddr>>,
    watched: watch::Sender<BTreeSet<NodeName>>,
    view: watch::Receiver<Arc<View>>,
    counters: Arc<Counters>,
    local: SocketAddr,
    leave: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Membership {
    /// Starts the member `me` on `bind` (IPv4 or IPv6, usually the node's own address and [`PORT`]). `secret` is the content
    /// of the Secret that all speakers of the cluster share.
    pub async fn start(me: NodeName, bind: SocketAddr, secret: &[u8]) -> Result<Self, StartError> {
        let seal = Seal::new(secret)?;
        let random = SystemRandom::new();
        let mut seed = [0; 8];
        random.fill(&mut seed).map_err(|_| StartError::Random)?;
        let unbound = |source| StartError::Bind { addr: bind, source };
        let socket = UdpSocket::bind(bind).await.map_err(unbound)?;
        // The first attempt to send would otherwise find the socket not known to be ready.
        socket.writable().await.map_err(unbound)?;
        let local = socket.local_addr().map_err(unbound)?;

        let core = Core::new(me, u64::from_be_bytes(seed), now());
        let first = View { alive: core.alive().clone(), ..View::default() };
        let counters = Arc::new(Counters::default());
        let (peers, new_peers) = watch::channel(BTreeMap::new());
        let (watched, new_watched) = watch::channel(BTreeSet::new());
        let (view_sender, view) = watch::channel(Arc::new(first.clone()));
        let (leave, leaving) = oneshot::channel();
        let member = Member {
            core,
            seal,
            random,
            mapped: bind.is_ipv6(),
            socket,
            counters: Arc::clone(&counters),
            view: first,
            views: view_sender,
            has_left: false,
        };
        let task = tokio::spawn(member.run(new_peers, new_watched, leaving));
        Ok(Self { peers, watched, view, counters, local, leave, task })
    }

    /// Says who may be a member, and where. Takes the place of what was said before.
    pub fn set_peers(&self, peers: BTreeMap<NodeName, SocketAddr>) {
        let plain = peers.into_iter().map(|(name, addr)| (name, canonical(addr))).collect();
        self.peers.send_if_modified(|known| replace_if_different(known, plain));
    }

    /// Says which owners this node stands behind. Takes the place of what was said before.
    pub fn set_watched(&self, owners: BTreeSet<NodeName>) {
        self.watched.send_if_modified(|known| replace_if_different(known, owners));
    }

    /// The view, now and as it changes.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// What was sent, received and dropped since the start.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Tells the others that this node goes, and ends. Takes 40 ms, and never longer than a second.
    pub async fn leave(self) {
        let Self { leave, mut task, peers, watched, .. } = self;
        if leave.send(()).is_ok() && tokio::time::timeout(PATIENCE, &mut task).await.is_err() {
            task.abort();
        }
        drop((peers, watched));
    }
}

fn replace_if_different<T: PartialEq>(known: &mut T, new: T) -> bool {
    let different = *known != new;
    if different {
        *known = new;
    }
    different
}

/// The task's side.
struct Member {
    core: Core,
    seal: Seal,
    random: SystemRandom,
    socket: UdpSocket,
    /// The socket speaks IPv6, so that IPv4 addresses have to be written as mapped ones (RFC 4291, section 2.5.5.2).
    mapped: bool,
    counters: Arc<Counters>,
    view: View,
    views: watch::Sender<Arc<View>>,
    has_left: bool,
}

impl Member {
    async fn run(
        mut self,
        mut peers: watch::Receiver<BTreeMap<NodeName, SocketAddr>>,
        mut watched: watch::Receiver<BTreeSet<NodeName>>,
        mut leaving: oneshot::Receiver<()>,
    ) {
        let mut asked_to_leave = false;
        while !self.has_left {
            let Some((due, _)) = self.core.deadline() else { return };
            let wait = Duration::from_millis(due.since(now()));
            tokio::select! {
                biased;
                readable = self.socket.readable() => {
                    if let Err(error) = readable {
                        self.receive_failed(&error).await;
                    }
                }
                changed = peers.changed() => {
                    if changed.is_err() && !asked_to_leave { return }
                    let new = peers.borrow_and_update().clone();
                    self.handle(Input::Peers(new));
                }
                changed = watched.changed() => {
                    if changed.is_err() && !asked_to_leave { return }
                    let new = watched.borrow_and_update().clone();
                    self.handle(Input::Watch(new));
                }
                left = &mut leaving, if !asked_to_leave => {
                    if left.is_err() { return }
                    asked_to_leave = true;
                    self.handle(Input::Leave);
                }
                () = tokio::time::sleep(wait) => {}
            }
            // Whoever answered while we waited for the processor has answered: first the socket, then the timers.
            self.receive_all().await;
            if self.core.deadline().is_some_and(|(due, _)| due <= now()) {
                self.handle(Input::Tick);
            }
        }
    }

    async fn receive_all(&mut self) {
        // One byte more than any datagram may have, to tell those that are too long.
        let mut buffer = [0; LONGEST + 1];
        for _ in 0..BATCH {
            match self.socket.try_recv_from(&mut buffer) {
                Ok((length, from)) => self.receive(&mut buffer[..length], from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.receive_failed(&error).await;
                    return;
                }
            }
        }
    }

    fn receive(&mut self, datagram: &mut [u8], from: SocketAddr) {
        self.counters.count(Counted::Received);
        match self.seal.open(datagram) {
            Ok(message) => {
                let bytes = message.to_vec();
                self.handle(Input::Datagram { from: canonical(from), bytes });
            }
            Err(reason) => self.counters.count(reason.into()),
        }
    }

    /// No error of a socket ends the member. The wait keeps one that lasts from taking the processor.
    async fn receive_failed(&self, error: &io::Error) {
        self.counters.count(Counted::ReceiveFailed);
        tracing::debug!(%error, "cannot receive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    fn handle(&mut self, input: Input) {
        let mut out = Vec::new();
        self.core.handle(now(), input, &mut out);
        let mut changed = false;
        for output in out {
            match output {
                Output::Send { to, bytes } => self.send(to, &bytes),
                Output::Dropped(reason) => self.counters.count(reason.into()),
                Output::Left => self.has_left = true,
                Output::Paused { milliseconds } => {
                    tracing::warn!(milliseconds, "this process was stopped: members are confirmed anew");
                    self.view.pauses += 1;
                    changed = true;
                }
                Output::Changed(change) => {
                    for name in change.joined {
                        tracing::info!(member = %name, "joined");
                        self.view.lost.remove(&name);
                    }
                    for (name, why) in change.lost {
                        tracing::info!(member = %name, ?why, "lost");
                        self.view.lost.insert(name, why);
                    }
                    changed = true;
                }
            }
        }
        if changed {
            self.view.alive.clone_from(self.core.alive());
            self.views.send_replace(Arc::new(self.view.clone()));
        }
    }

    fn send(&self, to: SocketAddr, message: &[u8]) {
        let sent = self.seal_message(message).is_some_and(|datagram| {
            let to = if self.mapped { mapped(to) } else { to };
            self.socket.try_send_to(&datagram, to).is_ok()
        });
        self.counters.count(if sent { Counted::Sent } else { Counted::Unsent });
    }

    fn seal_message(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; 12];
        self.random.fill(&mut nonce).ok()?;
        self.seal.seal(nonce, message).ok()
    }
}

/// Milliseconds since boot, sleep included: a suspended machine must find that time went by. Where the kernel refuses the clock
/// (it never does on Linux) time stands still, and nobody is ever taken for dead.
fn now() -> Millis {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// One form for each address: IPv4 as such, IPv6 without flow and scope, which the API does not know.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdefghijkl";

    fn name(node: usize) -> NodeName {
        NodeName::new(&format!("node-{node}")).unwrap()
    }

    async fn cluster(addrs: &[&str]) -> Vec<Membership> {
        let mut members = Vec::new();
        for (node, addr) in addrs.iter().enumerate() {
            members.push(Membership::start(name(node), addr.parse().unwrap(), SECRET).await.unwrap());
        }
        let peers: BTreeMap<_, _> =
            members.iter().enumerate().map(|(node, member)| (name(node), member.local_addr())).collect();
        members.iter().for_each(|member| member.set_peers(peers.clone()));
        members
    }

    async fn until(member: &Membership, what: impl FnMut(&Arc<View>) -> bool) -> Arc<View> {
        let mut view = member.view();
        let seen = tokio::time::timeout(Duration::from_secs(10), view.wait_for(what)).await;
        seen.expect("in time").expect("the member runs").clone()
    }

    #[tokio::test]
    async fn three_members_on_real_sockets_see_one_another_go_in_either_way() {
        let mut members = cluster(&["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"]).await;
        for member in &members {
            until(member, |view| view.alive.len() == 3).await;
        }
        members[0].set_watched([name(1)].into());
        members.pop().unwrap().leave().await;
        let view = until(&members[0], |view| view.alive.len() == 2).await;
        assert_eq!(view.lost, [(name(2), Loss::Left)].into());
        drop(members.pop());
        let view = until(&members[0], |view| view.alive.len() == 1).await;
        assert!(matches!(view.lost[&name(1)], Loss::ProbeMissed | Loss::Suspected));
        assert!(members[0].counters().get(Counted::Sent) > 0);
    }

    #[tokio::test]
    async fn members_meet_over_ipv6_as_well() {
        let members = cluster(&["[::1]:0", "[::1]:0"]).await;
        for member in &members {
            until(member, |view| view.alive.len() == 2).await;
        }
    }

    #[tokio::test]
    async fn garbage_is_counted_and_ends_nothing() {
        let members = cluster(&["127.0.0.1:0", "127.0.0.1:0"]).await;
        let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let target = members[0].local_addr();
        for garbage in [&[][..], &[1; 20], &[1; 100], &[9; 100], &[1; LONGEST + 1]] {
            stranger.send_to(garbage, target).await.unwrap();
        }
        let counters = members[0].counters();
        let reasons = [Counted::TooShort, Counted::Forged, Counted::UnknownVersion, Counted::TooLong];
        let all_counted = async {
            while reasons.map(|reason| counters.get(reason)) != [2, 1, 1, 1] {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all_counted).await.expect("all are counted, each as what it is");
        until(&members[0], |view| view.alive.len() == 2).await;
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_in_the_error() {
        let taken = Membership::start(name(0), "127.0.0.1:0".parse().unwrap(), SECRET).await.unwrap();
        let error = Membership::start(name(1), taken.local_addr(), SECRET).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot bind UDP {}", taken.local_addr()));
        let error = Membership::start(name(1), taken.local_addr(), b"").await.unwrap_err();
        assert_eq!(error.to_string(), "the membership secret is empty");
    }

    #[test]
    fn one_address_has_one_form() {
        let plain: SocketAddr = "10.0.0.1:7946".parse().unwrap();
        assert_eq!(canonical("[::ffff:10.0.0.1]:7946".parse().unwrap()), plain);
        assert_eq!(mapped(plain), "[::ffff:10.0.0.1]:7946".parse().unwrap());
    }
}
