//! Cores on a network that exists in numbers only.
//!
//! ```text
//!  Core ─Send─▶ network: lost? cut? twice? how late? ─▶ inbox of the receiver ─▶ its process runs: inbox first, then Tick
//!    ▲                                                                                   │ late by what its node is slow
//!    └───────────────────────────────────────────────────────────────────────────────────┘ not at all while it is stopped
//! ```
//! Time is virtual and jumps from event to event; all chance comes from one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;

use membership::seal::Seal;
use membership::{Change, Core, Dropped, Input, Loss, Millis, NodeName, Output};

/// One run.
pub struct World {
    pub now: u64,
    pub nodes: Vec<Node>,
    pub network: Network,
    /// Seals and opens every datagram, as the shell does. Costs time, so only those runs do it that look at bytes.
    pub seal: Option<Seal>,
    /// Datagrams as they were sent, when `recording`.
    pub recorded: Vec<Datagram>,
    pub recording: bool,
    /// Datagrams handed to the network.
    pub sent: u64,
    /// Sum over all outputs: equal runs have equal sums.
    pub fingerprint: u64,
    chance: Chance,
    events: BinaryHeap<Reverse<Event>>,
    order: u64,
}

/// One node.
#[derive(Default)]
pub struct Node {
    pub core: Option<Core>,
    /// Its process runs up to this much later than it should.
    pub slow: u64,
    /// When each change of its view came.
    pub changes: Vec<(u64, Change)>,
    pub pauses: Vec<u64>,
    pub drops: BTreeMap<Dropped, u64>,
    pub has_left: bool,
    stopped_until: u64,
    /// While it is stopped its socket is as well: the whole machine stands still.
    deaf: bool,
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    run_at: Option<u64>,
    due_at: u64,
}

/// What the network does to datagrams. Probabilities are per thousand.
#[derive(Default)]
pub struct Network {
    pub loss: u64,
    pub duplication: u64,
    /// Datagrams that take up to 30 ms longer and are overtaken.
    pub detour: u64,
    /// (from, to) that does not pass.
    pub cut: BTreeSet<(usize, usize)>,
}

/// A datagram under way.
#[derive(Debug, Clone)]
pub struct Datagram {
    pub from: usize,
    pub to: usize,
    pub bytes: Vec<u8>,
}

/// A generator of its own, so that what the cores draw and what happens to them do not depend on each other.
pub struct Chance(u64);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: u64,
    order: u64,
    what: What,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrives { from: usize, to: usize, bytes: Vec<u8> },
    Due(usize),
    Runs(usize),
}

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1)
    }

    /// 0 to `bound`, `bound` excluded (xorshift64*, Vigna 2014).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}

pub fn name(node: usize) -> NodeName {
    NodeName::new(&format!("node-{node}")).unwrap()
}

pub fn addr(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (node / 250) as u8, (node % 250) as u8 + 1], 7946))
}

impl World {
    /// `size` nodes that begin within 100 ms, all knowing of one another from the API.
    pub fn new(size: usize, seed: u64) -> Self {
        let mut world = Self {
            now: 10_000,
            nodes: (0..size).map(|_| Node::default()).collect(),
            network: Network::default(),
            seal: None,
            recorded: Vec::new(),
            recording: false,
            sent: 0,
            fingerprint: 0,
            chance: Chance::new(seed),
            events: BinaryHeap::new(),
            order: 0,
        };
        for node in 0..size {
            let begin = world.chance.below(100);
            world.now += begin;
            world.start(node);
            world.now -= begin;
        }
        world
    }

    pub fn chance(&mut self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    /// A process begins on the node, with a new seed.
    pub fn start(&mut self, node: usize) {
        let seed = self.chance.below(u64::MAX);
        let mut core = Core::new(name(node), seed, Millis(self.now));
        let peers = (0..self.nodes.len()).map(|peer| (name(peer), addr(peer))).collect();
        let mut out = Vec::new();
        core.handle(Millis(self.now), Input::Peers(peers), &mut out);
        self.nodes[node].core = Some(core);
        self.nodes[node].has_left = false;
        self.nodes[node].stopped_until = 0;
        self.carry_out(node, out);
    }

    /// The process is gone from one moment to the next, with its sockets.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].core = None;
        self.nodes[node].inbox.clear();
    }

    /// The whole machine stands still; what is sent to it meanwhile is lost.
    pub fn freeze_for(&mut self, node: usize, span: u64) {
        self.stop_for(node, span);
        self.nodes[node].deaf = true;
    }

    /// The process is stopped; its socket goes on filling.
    pub fn stop_for(&mut self, node: usize, span: u64) {
        self.nodes[node].deaf = false;
        self.nodes[node].stopped_until = self.now + span;
        self.nodes[node].run_at = None;
        self.schedule(self.now + span, What::Due(node));
    }

    pub fn give(&mut self, node: usize, input: Input) {
        let mut out = Vec::new();
        if let Some(core) = &mut self.nodes[node].core {
            core.handle(Millis(self.now), input, &mut out);
        }
        self.carry_out(node, out);
    }

    pub fn watch(&mut self, watcher: usize, owner: usize) {
        self.give(watcher, Input::Watch(BTreeSet::from([name(owner)])));
    }

    /// Puts a datagram on the wire that nobody in the world sent.
    pub fn inject(&mut self, datagram: Datagram) {
        let Datagram { from, to, bytes } = datagram;
        self.schedule(self.now + 1, What::Arrives { from, to, bytes });
    }

    /// Lets `span` milliseconds pass.
    pub fn run(&mut self, span: u64) {
        self.run_until(span, |_| false);
    }

    /// Lets time pass until `done` or for `span`; answers how much passed, if it was done. Asks at most once per millisecond.
    pub fn run_until(&mut self, span: u64, done: impl Fn(&Self) -> bool) -> Option<u64> {
        let begin = self.now;
        let end = begin + span;
        if done(self) {
            return Some(0);
        }
        let mut ran = false;
        while let Some(Reverse(event)) = self.events.peek() {
            if event.at > end {
                break;
            }
            let Some(Reverse(event)) = self.events.pop() else { break };
            let at = event.at.max(self.now);
            if at > self.now && std::mem::take(&mut ran) && done(self) {
                return Some(self.now - begin);
            }
            self.now = at;
            ran |= self.happen(event.what);
        }
        self.now = end;
        None
    }

    pub fn alive(&self, node: usize) -> BTreeSet<NodeName> {
        self.nodes[node].core.as_ref().map(|core| core.alive().clone()).unwrap_or_default()
    }

    pub fn running(&self) -> BTreeSet<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].core.is_some() && !self.nodes[*node].has_left).collect()
    }

    /// Every running node sees exactly the running nodes.
    pub fn agrees(&self) -> bool {
        let running = self.running();
        let right = |node: &usize| {
            let core = self.nodes[*node].core.as_ref();
            core.is_some_and(|core| {
                core.alive().len() == running.len() && running.iter().all(|other| core.alive().contains(&name(*other)))
            })
        };
        running.iter().all(right)
    }

    /// Why `about` was lost, on each node, since `from`.
    pub fn losses(&self, about: usize, from: u64) -> Vec<(usize, u64, Loss)> {
        let about = name(about);
        let mut losses = Vec::new();
        for (node, state) in self.nodes.iter().enumerate() {
            for (at, change) in state.changes.iter().filter(|(at, _)| *at >= from) {
                losses.extend(change.lost.get(&about).map(|loss| (node, *at, *loss)));
            }
        }
        losses
    }

    fn schedule(&mut self, at: u64, what: What) {
        self.order += 1;
        self.events.push(Reverse(Event { at, order: self.order, what }));
    }

    /// True when a process ran.
    fn happen(&mut self, what: What) -> bool {
        match what {
            What::Arrives { from, to, bytes } => {
                let node = &mut self.nodes[to];
                // As much as a socket buffer holds.
                let deaf = node.deaf && self.now < node.stopped_until;
                if node.core.is_some() && !deaf && node.inbox.len() < 300 {
                    node.inbox.push_back((addr(from), bytes));
                    self.wake(to);
                }
                false
            }
            What::Due(node) => {
                self.wake(node);
                false
            }
            What::Runs(node) => {
                if self.nodes[node].run_at != Some(self.now) {
                    return false;
                }
                self.nodes[node].run_at = None;
                self.run_process(node);
                true
            }
        }
    }

    fn wake(&mut self, node: usize) {
        let state = &self.nodes[node];
        if state.run_at.is_some() || self.now < state.stopped_until || state.core.is_none() {
            return;
        }
        let due = state.core.as_ref().and_then(Core::deadline).is_some_and(|(due, _)| due.0 <= self.now);
        if !due && state.inbox.is_empty() {
            return;
        }
        let late = if state.slow == 0 { 0 } else { self.chance.below(state.slow + 1) };
        let at = self.now + late;
        self.nodes[node].run_at = Some(at);
        self.schedule(at, What::Runs(node));
    }

    fn run_process(&mut self, node: usize) {
        let now = Millis(self.now);
        let mut out = Vec::new();
        let state = &mut self.nodes[node];
        let Some(core) = &mut state.core else { return };
        while let Some((from, mut bytes)) = state.inbox.pop_front() {
            let message = match &self.seal {
                None => Some(bytes),
                Some(seal) => seal.open(&mut bytes).map(<[u8]>::to_vec).ok(),
            };
            if let Some(bytes) = message {
                core.handle(now, Input::Datagram { from, bytes }, &mut out);
            }
        }
        if core.deadline().is_some_and(|(due, _)| due <= now) {
            core.handle(now, Input::Tick, &mut out);
        }
        self.carry_out(node, out);
    }

    fn carry_out(&mut self, node: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { to, bytes } => self.transmit(node, to, bytes),
                Output::Changed(change) => {
                    self.count(change.joined.len() as u64 + 7 * change.lost.len() as u64);
                    self.nodes[node].changes.push((self.now, change));
                }
                Output::Paused { milliseconds } => self.nodes[node].pauses.push(milliseconds),
                Output::Dropped(reason) => *self.nodes[node].drops.entry(reason).or_default() += 1,
                Output::Left => self.nodes[node].has_left = true,
            }
        }
        let due = self.nodes[node].core.as_ref().and_then(Core::deadline);
        if let Some((due, _)) = due
            && self.nodes[node].due_at != due.0
        {
            self.nodes[node].due_at = due.0;
            self.schedule(due.0.max(self.now), What::Due(node));
        } else if due.is_some_and(|(due, _)| due.0 <= self.now) {
            self.schedule(self.now, What::Due(node));
        }
    }

    fn transmit(&mut self, from: usize, to: SocketAddr, bytes: Vec<u8>) {
        self.sent += 1;
        self.count(bytes.iter().fold(0, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte)));
        let SocketAddr::V4(to) = to else { return };
        let [_, _, high, low] = to.ip().octets();
        let to = usize::from(high) * 250 + usize::from(low) - 1;
        let bytes = match &self.seal {
            None => bytes,
            Some(seal) => {
                let mut nonce = [0; 12];
                nonce[..8].copy_from_slice(&self.sent.to_be_bytes());
                seal.seal(nonce, &bytes).unwrap()
            }
        };
        if self.recording {
            self.recorded.push(Datagram { from, to, bytes: bytes.clone() });
        }
        let copies = 1 + u64::from(self.chance.below(1000) < self.network.duplication);
        for _ in 0..copies {
            if self.network.cut.contains(&(from, to)) || self.chance.below(1000) < self.network.loss {
                continue;
            }
            let detour = if self.chance.below(1000) < self.network.detour { self.chance.below(30) } else { 0 };
            let at = self.now + 1 + self.chance.below(2) + detour;
            self.schedule(at, What::Arrives { from, to, bytes: bytes.clone() });
        }
    }

    fn count(&mut self, value: u64) {
        self.fingerprint = (self.fingerprint.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.now;
    }
}
