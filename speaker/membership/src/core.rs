//! The protocol as a machine without input and output of its own.
//!
//! ```text
//!  handle(now, input) ─▶ was the process stopped? ─▶ session: may the datagram be taken? ─▶ gossip: what does it tell?
//!                                                 └▶ probe: who owes an answer, whose turn is it? ◀── Tick
//!                     ─▶ news to tell, changes of the view ─▶ outputs
//! ```
//! The methods of [`Core`] are spread over the modules by subject: `session` (boot numbers, replays), `probe` (who is asked
//! when, and what silence means), `gossip` (what others tell).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::dice::Dice;
use crate::gossip::Gossip;
use crate::health::Health;
use crate::name::NodeName;
use crate::peer::{Peer, Standing};
use crate::ring;
use crate::time::Millis;
use crate::tuning::{FAREWELL_EVERY, FAREWELLS, FIRST_PULLS, LATE, PAUSED, PERIOD, PULL};
use crate::wire::{Body, Message};

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The content of a datagram that was sealed with our key.
    Datagram {
        /// Where it came from.
        from: SocketAddr,
        /// The message in it.
        bytes: Vec<u8>,
    },
    /// The moment named by [`Core::deadline`] has come. Give what has arrived until then first: a late answer is an answer.
    Tick,
    /// Who may be a member, and where: the only source of both. Our own name in it is overlooked.
    Peers(BTreeMap<NodeName, SocketAddr>),
    /// The owners that this node stands behind. It probes them itself and judges them for itself.
    Watch(BTreeSet<NodeName>),
    /// This node goes. Nothing is taken after it, and what ticks follow until [`Output::Left`] repeat the farewell.
    Leave,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Seal this message and send it.
    Send {
        /// Where to.
        to: SocketAddr,
        /// At most [`crate::seal::ROOM`] bytes.
        bytes: Vec<u8>,
    },
    /// Other members are alive than before: see [`Core::alive`].
    Changed(Change),
    /// The process was stopped. What was known is forgotten; the view holds only what is confirmed from now on.
    Paused {
        /// For how many milliseconds at least.
        milliseconds: u64,
    },
    /// A datagram was not taken.
    Dropped(Dropped),
    /// Everybody was told that this node goes; the machine has stopped.
    Left,
}

/// How the view changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Alive since now.
    pub joined: BTreeSet<NodeName>,
    /// No longer alive, and why.
    pub lost: BTreeMap<NodeName, Loss>,
}

/// Why a member is no longer in the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// It said that it leaves.
    Left,
    /// We watch it, and it did not answer our probes. Others may still hear it.
    ProbeMissed,
    /// It was suspected and nobody heard it since.
    Suspected,
    /// It is no peer any more, or has another address.
    Removed,
    /// We were stopped and do not know.
    Paused,
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dropped {
    /// Opened, but not a message of this protocol.
    Malformed,
    /// In our own name: a mirror, or two nodes with one name.
    Ourselves,
    /// In the name of somebody who is no peer.
    Stranger,
    /// In the name of a peer, from an address that is not its own.
    WrongAddress,
    /// Meant for another life of ours, or for another node.
    WrongReceiver,
    /// From a life of the sender that we have not checked to be its present one.
    WrongSender,
    /// Taken before, or too old to tell.
    Replayed,
    /// Answers a question that we did not ask, or asked too long ago.
    Unasked,
}

/// One member: this node.
#[derive(Debug)]
pub struct Core {
    pub(crate) me: NodeName,
    /// New with each start and after each pause, so that nothing that was sent to us before can be taken after.
    pub(crate) boot: u64,
    pub(crate) counter: u64,
    pub(crate) dice: Dice,
    pub(crate) peers: BTreeMap<NodeName, Peer>,
    /// All peers in the order of the ring, beginning behind us.
    pub(crate) ring: Vec<NodeName>,
    /// Who is still to be probed at random before everybody's turn comes again.
    pub(crate) tour: Vec<NodeName>,
    pub(crate) watched: BTreeSet<NodeName>,
    /// Peers with a probe or a suspicion that runs: the only ones that time matters for.
    pub(crate) busy: BTreeSet<NodeName>,
    /// Peers that are not alive, in the order in which they are knocked at.
    pub(crate) absent: VecDeque<NodeName>,
    pub(crate) gossip: Gossip,
    pub(crate) health: Health,
    pub(crate) round_at: Millis,
    pub(crate) pull_at: Millis,
    pub(crate) first_pulls: u32,
    /// Somebody answered since the last round began.
    pub(crate) answered: bool,
    alive: BTreeSet<NodeName>,
    change: Change,
    farewell: Option<Farewell>,
}

/// How far a leave has come.
#[derive(Debug, Clone, Copy)]
struct Farewell {
    left: u32,
    next: Millis,
}

impl Core {
    /// The member on node `me`, which knows nobody yet. `seed` must differ from start to start: the boot number that tells
    /// this start from earlier ones follows from it.
    pub fn new(me: NodeName, seed: u64, now: Millis) -> Self {
        let mut dice = Dice::new(seed);
        Self {
            boot: dice.number(),
            counter: 0,
            alive: BTreeSet::from([me.clone()]),
            me,
            dice,
            peers: BTreeMap::new(),
            ring: Vec::new(),
            tour: Vec::new(),
            watched: BTreeSet::new(),
            busy: BTreeSet::new(),
            absent: VecDeque::new(),
            gossip: Gossip::default(),
            health: Health::default(),
            round_at: now,
            pull_at: now + PULL,
            first_pulls: FIRST_PULLS,
            answered: false,
            change: Change::default(),
            farewell: None,
        }
    }

    /// Who is alive, as far as this node knows; itself included.
    pub fn alive(&self) -> &BTreeSet<NodeName> {
        &self.alive
    }

    /// How little this node trusts its own judgement: 0 (healthy) to 8. All its timeouts are multiplied by 1 + this.
    pub fn health(&self) -> u64 {
        self.health.score()
    }

    /// When [`Input::Tick`] is due, and what for. None when the node has left.
    pub fn deadline(&self) -> Option<(Millis, &'static str)> {
        if let Some(farewell) = self.farewell {
            return (farewell.left > 0).then_some((farewell.next, "farewell"));
        }
        let verdict = self.busy.iter().filter_map(|name| self.next_verdict(name)).min();
        Some(match verdict {
            Some(verdict) if verdict < self.round_at => (verdict, "verdict"),
            _ => (self.round_at, "round"),
        })
    }

    /// Takes in what happened at `now` and appends what is to be done to `out`. `now` never goes back.
    pub fn handle(&mut self, now: Millis, input: Input, out: &mut Vec<Output>) {
        if self.farewell.is_some() {
            self.say_farewell(now, out);
            return;
        }
        let late = self.deadline().map_or(0, |(due, _)| now.since(due));
        if late > PAUSED {
            self.forget_everything(now, late, out);
        }
        match input {
            Input::Datagram { from, bytes } => self.receive(now, from, &bytes, out),
            Input::Tick => self.tick(now, if late > PAUSED { 0 } else { late }, out),
            Input::Peers(peers) => self.set_peers(now, peers),
            Input::Watch(watched) => self.watched = watched,
            Input::Leave => {
                self.farewell = Some(Farewell { left: FAREWELLS, next: now });
                self.say_farewell(now, out);
                return;
            }
        }
        self.tell_urgent_news(out);
        let change = std::mem::take(&mut self.change);
        if change != Change::default() {
            out.push(Output::Changed(change));
        }
    }

    fn tick(&mut self, now: Millis, late: u64, out: &mut Vec<Output>) {
        if late > LATE {
            self.health.worsen();
            self.forgive(late);
        }
        self.judge(now, out);
        if now >= self.round_at {
            self.begin_round(now, late <= LATE, out);
        }
    }

    /// A stopped process believes in a world that may be gone, and its sockets may be full of what was sent to it before.
    /// With a new boot number and no sessions, everything has to be heard anew, and nothing old can be taken for it.
    fn forget_everything(&mut self, now: Millis, late: u64, out: &mut Vec<Output>) {
        out.push(Output::Paused { milliseconds: late });
        self.boot = self.dice.number();
        self.counter = 0;
        self.gossip = Gossip::default();
        self.busy.clear();
        self.first_pulls = FIRST_PULLS;
        self.pull_at = now + PULL;
        self.round_at = now;
        self.health.worsen();
        let names: Vec<_> = self.peers.keys().cloned().collect();
        for name in names {
            if let Some(peer) = self.peers.get_mut(&name) {
                peer.forget();
            }
            self.settle(&name, Loss::Paused);
        }
    }

    fn set_peers(&mut self, now: Millis, mut wanted: BTreeMap<NodeName, SocketAddr>) {
        wanted.remove(&self.me);
        let gone: Vec<_> = self
            .peers
            .iter()
            .filter(|(name, peer)| wanted.get(*name) != Some(&peer.addr))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(peer) = self.peers.get_mut(&name) {
                peer.standing = Standing::Unknown;
            }
            self.settle(&name, Loss::Removed);
            self.peers.remove(&name);
            self.busy.remove(&name);
            self.gossip.drop_news_about(&name);
        }
        self.absent.retain(|name| self.peers.contains_key(name));
        for (name, addr) in wanted {
            if !self.peers.contains_key(&name) {
                self.peers.insert(name.clone(), Peer::new(addr));
                self.settle(&name, Loss::Removed);
            }
        }
        self.ring = ring::successors(&self.me, self.peers.keys());
        self.tour.clear();
        // Who is new is greeted at once, not in the next round.
        self.round_at = self.round_at.min(now + PERIOD / 10);
    }

    /// Brings the view and the queue of the absent in line with the standing of a peer. `why` counts if it is lost by that.
    pub(crate) fn settle(&mut self, name: &NodeName, why: Loss) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        if !peer.is_live() {
            peer.probe = None;
            self.busy.remove(name);
            if !peer.queued {
                peer.queued = true;
                self.absent.push_back(name.clone());
            }
        }
        if peer.is_in_view() && self.alive.insert(name.clone()) {
            if self.change.lost.remove(name).is_none() {
                self.change.joined.insert(name.clone());
            }
        } else if !peer.is_in_view() && self.alive.remove(name) && !self.change.joined.remove(name) {
            self.change.lost.insert(name.clone(), why);
        }
    }

    /// Sends `body` to a peer.
    pub(crate) fn send(&mut self, to: &NodeName, body: Body, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get(to) else { return };
        self.counter += 1;
        let message = Message {
            sender: self.me.clone(),
            boot: self.boot,
            receiver_boot: peer.session.as_ref().map_or(0, |session| session.boot),
            counter: self.counter,
            body,
        };
        out.push(Output::Send { to: peer.addr, bytes: message.encode() });
    }

    /// Says that we go to everybody who can check that it is us; they tell the others.
    fn say_farewell(&mut self, now: Millis, out: &mut Vec<Output>) {
        let Some(mut farewell) = self.farewell.filter(|farewell| farewell.left > 0 && now >= farewell.next) else {
            return;
        };
        let known: Vec<_> =
            self.peers.iter().filter(|(_, peer)| peer.session.is_some()).map(|(name, _)| name.clone()).collect();
        for name in known {
            self.send(&name, Body::Leave, out);
        }
        farewell.left -= 1;
        farewell.next = now + FAREWELL_EVERY;
        self.farewell = Some(farewell);
        if farewell.left == 0 {
            out.push(Output::Left);
        }
    }
}
