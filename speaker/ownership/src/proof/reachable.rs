//! A small world whose every state is visited.
//!
//! ```text
//!  Run      a core whose deadline has come gets its tick       any time later is a pause of its process
//!  CarryOut the API does what was asked                        any time later is a slow network
//!  Answer   the answer reaches the core                        never is a lost answer
//!  Silence  a withdrawn address leaves the table
//!  Pass     time goes on by one
//!  Stall, Cut, Delete, Restart, Elect: faults
//! ```
//! In `Free` order anything that can happen may happen next. In `Tight` order things happen in a fixed order and time passes when
//! nothing is left to do; every deviation from that, and every fault, costs one of a budget.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;

use super::host::{Host, State};
use super::store::Store;
use crate::rules::Rules;
use crate::tuning::Tuning;
use crate::{Input, Millis};

/// Time in small numbers: what lasts 3 s in the product lasts 2 here. All clocks agree, so nothing needs a margin; and answers
/// may come so late that nothing else makes up for a rule that is broken.
const SMALL: Tuning = Tuning {
    duration: 2,
    margin: 0,
    renew: 1,
    answer: 2,
    retry: 0,
    gap: 0,
    poll: 1,
    idle: 1,
    patience: 1,
    room: 1000,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Run(usize),
    CarryOut(usize, usize),
    Answer(usize, usize),
    Silence(usize),
    Pass,
    Stall(usize),
    Unstall(usize),
    Cut(usize),
    Mend(usize),
    Delete(usize),
    Restart(usize),
    Elect(usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Order {
    Free,
    Tight,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    now: u64,
    end: u64,
    order: Order,
    hosts: Vec<Rc<Host>>,
    /// Hashes of the hosts: most of a world does not change from one state to the next.
    prints: Vec<u128>,
    store: Store,
    /// Processes that do not run.
    stalled: Vec<bool>,
    /// Nodes whose requests do not reach the API.
    cut: Vec<bool>,
    budget: u32,
}

pub(super) fn address(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(index).unwrap()))
}

impl World {
    /// Nodes that are rested, own their Leases and want nothing yet.
    pub(super) fn new(names: &[&str], order: Order, budget: u32, rules: Rules, unguarded: bool) -> Self {
        let size = names.len();
        let hosts = names.iter().enumerate().map(|(index, name)| {
            // Two of one name are two lives of one node.
            let life = names[..index].iter().filter(|before| *before == name).count() * 10;
            Rc::new(Host::new(name, &life.to_string(), SMALL, rules, Millis(0)))
        });
        let mut world = Self {
            now: 0,
            end: 0,
            order,
            stalled: vec![false; size],
            cut: vec![false; size],
            hosts: hosts.collect(),
            prints: vec![0; size],
            store: Store::default(),
            budget,
        };
        for _ in 0..8 {
            world.calm();
            world.now += 1;
        }
        world.calm();
        world.store.unguarded = unguarded;
        world
    }

    /// Begins the time that is explored.
    pub(super) fn begin(&mut self, span: u64) {
        self.end = self.now + span;
        (0..self.hosts.len()).for_each(|host| self.normalise(host));
    }

    pub(super) fn want(&mut self, host: usize, ranks: &[(usize, u16)]) {
        let wants = ranks.iter().map(|(index, rank)| (address(*index), *rank)).collect();
        let now = Millis(self.now);
        self.host(host).handle(now, Input::Wanted(wants));
    }

    fn host(&mut self, host: usize) -> &mut Host {
        Rc::make_mut(&mut self.hosts[host])
    }

    /// Does all that can be done now, in a fixed order.
    fn calm(&mut self) {
        // Far more than ever happens at one moment: a core that always wants more is a bug.
        for _ in 0..1000 {
            let Some(action) = self.work().first().copied() else { return };
            self.apply(action);
        }
        panic!("there is always something to do at {}: {:?}", self.now, self.work());
    }

    /// What can happen without time passing and without a fault.
    fn work(&self) -> Vec<Action> {
        let mut work = Vec::new();
        for (index, host) in self.hosts.iter().enumerate() {
            if !self.stalled[index] && host.is_due(Millis(self.now)) {
                work.push(Action::Run(index));
            }
            if !self.stalled[index] && !host.withdrawn.is_empty() {
                work.push(Action::Silence(index));
            }
            for (number, request) in host.requests.iter().enumerate() {
                match request.state {
                    State::Write(_) | State::Read if !self.cut[index] => work.push(Action::CarryOut(index, number)),
                    State::Wrote(_) | State::WasRead(_) if !self.stalled[index] => {
                        work.push(Action::Answer(index, number));
                    }
                    State::Write(_) | State::Read | State::Wrote(_) | State::WasRead(_) => {}
                }
            }
        }
        work
    }

    /// What can happen next, and what that costs.
    fn next(&self) -> Vec<(Action, u32)> {
        if self.now >= self.end {
            return Vec::new();
        }
        let work = self.work();
        let deviation = if self.order == Order::Free { 0 } else { 1 };
        let mut next: Vec<(Action, u32)> =
            work.iter().enumerate().map(|(index, action)| (*action, if index == 0 { 0 } else { deviation })).collect();
        next.push((Action::Pass, if work.is_empty() { 0 } else { deviation }));
        for host in 0..self.hosts.len() {
            if self.stalled[host] {
                next.push((Action::Unstall(host), 0));
            }
            if self.cut[host] {
                next.push((Action::Mend(host), 0));
            }
            next.extend([Action::Delete(host), Action::Restart(host)].map(|fault| (fault, 1)));
            next.extend((0..4).map(|variant| (Action::Elect(host, variant), 1)));
            if self.order == Order::Tight && !self.stalled[host] {
                next.push((Action::Stall(host), 1));
            }
            if self.order == Order::Tight && !self.cut[host] {
                next.push((Action::Cut(host), 1));
            }
        }
        next.retain(|(_, cost)| *cost <= self.budget);
        next
    }

    fn apply(&mut self, action: Action) {
        let now = Millis(self.now);
        match action {
            Action::Run(host) => self.host(host).handle(now, Input::Tick),
            Action::CarryOut(host, request) => {
                Rc::make_mut(&mut self.hosts[host]).carry_out(self.now, request, &mut self.store);
            }
            Action::Answer(host, request) => self.host(host).answer(now, request),
            Action::Silence(host) => self.host(host).silence(now),
            Action::Pass => self.now += 1,
            Action::Stall(host) => self.stalled[host] = true,
            Action::Unstall(host) => self.stalled[host] = false,
            Action::Cut(host) => self.cut[host] = true,
            Action::Mend(host) => self.cut[host] = false,
            Action::Delete(host) => _ = self.store.delete(&self.hosts[host].name),
            Action::Restart(host) => self.host(host).restart(now),
            Action::Elect(host, variant) => {
                let ranks: &[(usize, u16)] = match variant {
                    0 => &[(0, 0), (1, 0)],
                    1 => &[(0, 1), (1, 1)],
                    2 => &[(0, 0)],
                    _ => &[],
                };
                self.want(host, ranks);
            }
        }
        match action {
            Action::Pass => (0..self.hosts.len()).for_each(|host| self.normalise(host)),
            Action::Run(host)
            | Action::CarryOut(host, _)
            | Action::Answer(host, _)
            | Action::Silence(host)
            | Action::Delete(host)
            | Action::Restart(host)
            | Action::Elect(host, _) => self.normalise(host),
            Action::Stall(_) | Action::Unstall(_) | Action::Cut(_) | Action::Mend(_) => {}
        }
    }

    /// Makes worlds equal that have the same future: numbers of requests, requests that can change nothing, times that are over.
    fn normalise(&mut self, host: usize) {
        let (now, store) = (self.now, &self.store);
        let state = Rc::make_mut(&mut self.hosts[host]);
        let (write, read) = (state.core.write.as_ref().map(|it| it.id), state.core.read.as_ref().map(|it| it.id));
        for request in &mut state.requests {
            request.id = match request.id {
                None => None,
                id if id == write => Some(1),
                id if id == read => Some(2),
                Some(_) => None,
            };
        }
        let name = Arc::clone(&state.name);
        state.requests.retain(|request| match &request.state {
            State::Write(draft) => request.id.is_some() || store.would_take(&name, draft),
            State::Read | State::Wrote(_) | State::WasRead(_) => request.id.is_some(),
        });
        let core = &mut state.core;
        core.write.iter_mut().for_each(|write| write.id = 1);
        core.read.iter_mut().for_each(|read| read.id = 2);
        core.ids = 2;
        core.now = Millis(0);
        for past in [&mut core.next_write, &mut core.next_read] {
            *past = if past.0 <= now { Millis(0) } else { *past };
        }
        if state.permit.0 <= now {
            state.permit = Millis(0);
        }
        let mut hasher = Wide(0);
        state.hash(&mut hasher);
        self.prints[host] = hasher.0;
    }

    /// An address for which two nodes could answer now.
    fn clash(&self) -> Option<(IpAddr, Vec<&str>)> {
        let now = Millis(self.now);
        (0..2).map(address).find_map(|address| {
            let answering = self.hosts.iter().filter(|host| host.answers(now, &address));
            let answering: Vec<&str> = answering.map(|host| host.name.as_ref()).collect();
            (answering.len() > 1).then_some((address, answering))
        })
    }

    /// After the faults are over: the first address that somebody wants and nobody answers for.
    fn orphan(&self) -> Option<IpAddr> {
        let mut world = self.clone();
        world.stalled.fill(false);
        world.cut.fill(false);
        let wanted = |world: &Self, address: &IpAddr| {
            world.hosts.iter().any(|host| host.core.wants.contains_key(address))
        };
        let owned = |world: &Self, address: &IpAddr| {
            world.hosts.iter().any(|host| host.answers(Millis(world.now), address))
        };
        let orphan = |world: &Self| {
            (0..2).map(address).find(|address| wanted(world, address) && !owned(world, address))
        };
        let mut quiet = 0;
        for _ in 0..60 {
            world.calm();
            quiet = if orphan(&world).is_none() { quiet + 1 } else { 0 };
            // Once owned is not enough: it stays so.
            if quiet > 4 {
                return None;
            }
            world.now += 1;
        }
        orphan(&world).or(Some(address(9)))
    }

    fn fingerprint(&self) -> u128 {
        let mut hasher = Wide(0);
        (self.now, &self.prints, &self.store, &self.stalled, &self.cut, self.budget).hash(&mut hasher);
        hasher.0
    }
}

/// 128 bits, so that no two of some million states are taken for one; faster than twice 64 bits of the standard library.
struct Wide(u128);

impl Wide {
    fn mix(&mut self, value: u128) {
        self.0 = (self.0 ^ value).wrapping_mul(0xda94_2042_e4dd_58b5_9e37_79b9_7f4a_7c15).rotate_left(61);
    }
}

impl Hasher for Wide {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(15) {
            let start = chunk.len() as u128;
            self.mix(chunk.iter().fold(start, |sum, byte| sum << 8 | u128::from(*byte)));
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.mix(value);
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u128::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(u128::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u128);
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value as u128);
    }

    fn finish(&self) -> u64 {
        self.0 as u64
    }
}

/// What a search found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) states: usize,
    pub(super) ends: usize,
    /// All states were visited.
    pub(super) complete: bool,
    /// What went wrong first, and how it came to that.
    pub(super) failure: Option<String>,
}

/// Visits every state that can be reached, up to `limit` of them.
pub(super) fn explore(start: World, limit: usize, progress: bool) -> Found {
    let mut visited = HashSet::new();
    let mut found = Found { states: 0, ends: 0, complete: false, failure: None };
    let first = start.next();
    let mut path: Vec<Action> = Vec::new();
    let mut stack = vec![(start, first)];
    while let Some((world, next)) = stack.last_mut() {
        let Some((action, cost)) = next.pop() else {
            stack.pop();
            path.pop();
            continue;
        };
        let mut world = world.clone();
        world.budget -= cost;
        world.apply(action);
        if !visited.insert(world.fingerprint()) {
            continue;
        }
        path.push(action);
        found.states += 1;
        if found.states == limit {
            return found;
        }
        if let Some((address, hosts)) = world.clash() {
            found.failure = Some(format!("{hosts:?} answer for {address} at once after {path:?}"));
            return found;
        }
        let next = world.next();
        if next.is_empty() {
            found.ends += 1;
            if progress && let Some(address) = world.orphan() {
                found.failure = Some(format!("nobody answers for {address} after {path:?}"));
                return found;
            }
        }
        stack.push((world, next));
    }
    found.complete = true;
    found
}
