//! A node with what surrounds its core: the table of those who answer, the permit, requests on their way.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::store::Store;
use crate::rules::Rules;
use crate::tuning::Tuning;
use crate::{Core, Draft, Input, Millis, Output, Record, Stored, WriteError};

/// A request to the API.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    /// `None` when nobody waits for the answer any more.
    pub(super) id: Option<u64>,
    pub(super) state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    Write(Draft),
    Read,
    Wrote(Result<Stored, WriteError>),
    WasRead(Vec<Record>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Host {
    pub(super) name: Arc<str>,
    pub(super) core: Core,
    pub(super) life: u32,
    pub(super) table: BTreeSet<IpAddr>,
    pub(super) permit: Millis,
    /// To be taken out of the table.
    pub(super) withdrawn: BTreeSet<IpAddr>,
    pub(super) requests: Vec<Request>,
}

impl Host {
    pub(super) fn new(name: &str, life: &str, tuning: Tuning, rules: Rules, now: Millis) -> Self {
        let mut core = Core::new(name, life, tuning, now);
        core.rules = rules;
        Self {
            name: name.into(),
            core,
            life: life.parse().unwrap(),
            table: BTreeSet::new(),
            permit: Millis(0),
            withdrawn: BTreeSet::new(),
            requests: Vec::new(),
        }
    }

    /// The process ends, and another one begins. What was sent may still arrive.
    pub(super) fn restart(&mut self, now: Millis) {
        self.life += 1;
        let (tuning, rules) = (self.core.tuning, self.core.rules);
        let wants = std::mem::take(&mut self.core.wants);
        self.core = Core::new(&self.name, &self.life.to_string(), tuning, now);
        self.core.rules = rules;
        self.core.wants = wants;
        self.table.clear();
        self.withdrawn.clear();
        self.permit = Millis(0);
        self.forget_requests();
    }

    /// Nobody waits for an answer any more.
    pub(super) fn forget_requests(&mut self) {
        self.requests.retain(|request| matches!(request.state, State::Write(_)));
        for request in &mut self.requests {
            request.id = None;
        }
    }

    /// Whether a frame could leave that answers for the address, by the node's own clock.
    pub(super) fn answers(&self, now: Millis, address: &IpAddr) -> bool {
        now < self.permit && self.table.contains(address)
    }

    pub(super) fn is_due(&self, now: Millis) -> bool {
        self.core.deadline().is_some_and(|(at, _)| at <= now)
    }

    pub(super) fn handle(&mut self, now: Millis, input: Input) {
        let mut out = Vec::new();
        self.core.handle(now, input, &mut out);
        for output in out {
            match output {
                Output::Write { id, draft } => {
                    self.requests.push(Request { id: Some(id), state: State::Write(draft) });
                }
                Output::Read { id } => self.requests.push(Request { id: Some(id), state: State::Read }),
                Output::Grant(addresses) => self.table.extend(addresses),
                Output::Withdraw(addresses) => self.withdrawn.extend(addresses),
                Output::Permit(until) => self.permit = until,
                Output::LeftOut { .. } | Output::Occupied { .. } | Output::Left => {}
            }
        }
    }

    /// The withdrawn addresses are taken out of the table at last.
    pub(super) fn silence(&mut self, now: Millis) {
        let addresses = std::mem::take(&mut self.withdrawn);
        self.table.retain(|address| !addresses.contains(address));
        self.handle(now, Input::Withdrawn(addresses));
    }

    /// The API carries out a request.
    pub(super) fn carry_out(&mut self, at: u64, index: usize, store: &mut Store) {
        let duration = self.core.tuning.duration;
        let request = &mut self.requests[index];
        request.state = match &request.state {
            State::Write(draft) => State::Wrote(store.write(at, &self.name, draft, duration)),
            State::Read => State::WasRead(store.read()),
            State::Wrote(_) | State::WasRead(_) => return,
        };
    }

    /// The answer arrives; nothing happens when the request was not carried out yet.
    pub(super) fn answer(&mut self, now: Millis, index: usize) {
        if matches!(self.requests[index].state, State::Write(_) | State::Read) {
            return;
        }
        let Request { id, state } = self.requests.remove(index);
        let Some(id) = id else { return };
        match state {
            State::Wrote(result) => self.handle(now, Input::WriteDone { id, result }),
            State::WasRead(leases) => self.handle(now, Input::ReadDone { id, leases: Some(leases) }),
            State::Write(_) | State::Read => {}
        }
    }
}
