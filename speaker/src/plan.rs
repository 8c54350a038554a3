//! What is decided: from decisions about Services to changes on the wire and to what people are told. Pure.
//!
//! ```text
//! State + Dirty --decide each--> new announcements --compare with Announced--> [Action]   to the wire
//!                      |                   |
//!                      |  several Services may hold one address: it is withdrawn with the last of them
//!                      +--> what people are told of it --compare with what they were told--> [Action]
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::announce::silence::Silence;
use crate::announce::{Announcement, Interfaces, Reason};
use crate::standings::Standings;
use crate::state::{Dirty, ServiceKey, State};
use crate::status::Stand;

/// What this node announces at the moment.
#[derive(Debug, Default)]
pub struct Announced {
    services: BTreeMap<ServiceKey, Announcement>,
    holders: BTreeMap<IpAddr, BTreeMap<ServiceKey, Interfaces>>,
    /// New addresses for which no node was elected yet.
    unclaimed: BTreeSet<IpAddr>,
    standings: Standings,
    told: BTreeMap<ServiceKey, Told>,
}

/// What people were told of a Service that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    stand: Stand,
    /// Why this node does not announce it.
    reason: Option<Reason>,
    /// Why no node does, where it is up to this node to say so.
    silence: Option<Silence>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Stop answering for the address.
    Withdraw {
        /// The address.
        ip: IpAddr,
    },
    /// Answer for the address, from now on exactly on these interfaces.
    Announce {
        /// The address.
        ip: IpAddr,
        /// Where.
        interfaces: Interfaces,
        /// No node announced it before: another host may have it.
        first: bool,
    },
    /// Tell the network once more that the address lives here.
    Tell {
        /// The address.
        ip: IpAddr,
    },
    /// Go on answering for the address, but tell nobody unasked.
    Hush {
        /// The address.
        ip: IpAddr,
    },
    /// Tell that this node no longer announces these addresses for the Service.
    Stopped {
        /// The Service.
        service: ServiceKey,
        /// Its addresses.
        ips: Vec<IpAddr>,
        /// Why.
        reason: Reason,
    },
    /// Tell that this node announces these addresses for the Service from now on.
    Started {
        /// The Service.
        service: ServiceKey,
        /// Its addresses.
        ips: Vec<IpAddr>,
    },
    /// Tell that this node should announce the address but has none of the interfaces that are named for it.
    MissingInterfaces {
        /// The Service.
        service: ServiceKey,
        /// The address.
        ip: IpAddr,
    },
    /// Show in the API how this node stands to the Service from now on.
    Show {
        /// The Service.
        service: ServiceKey,
        /// How it stands; `None` when there is no such Service.
        stand: Option<Stand>,
    },
    /// Note why this node does not announce the Service.
    Explain {
        /// The Service.
        service: ServiceKey,
        /// Why.
        reason: Reason,
    },
    /// Tell why no node announces the Service, or that this is over or no longer this node's to tell.
    Silent {
        /// The Service.
        service: ServiceKey,
        /// What was told before.
        before: Option<Silence>,
        /// What holds now.
        now: Option<Silence>,
    },
}

/// Decides anew about the dirty Services. `announced` afterwards is what holds once the actions are done, in their order.
pub fn plan(state: &State, announced: &mut Announced, dirty: &Dirty) -> Vec<Action> {
    let mut told = Vec::new();
    let mut touched = BTreeMap::new();
    let mut firsts: BTreeSet<IpAddr> = BTreeSet::new();
    announced.unclaimed.extend(&dirty.new);
    for service in subjects(state, announced, dirty) {
        let (decision, leaders) = state.judge(&service);
        if leaders.owner.is_some() && !announced.unclaimed.is_empty() {
            firsts.extend(state.addresses(&service).iter().filter(|ip| announced.unclaimed.remove(*ip)).copied());
        }
        announced.standings.set(&service, leaders, state.node());
        announced.explain(state, &service, &decision, &mut told);
        announced.replace(service, decision, &mut touched, &mut told);
    }
    let mut actions = Vec::new();
    let mut additions = Vec::new();
    for (ip, before) in touched {
        match announced.interfaces(ip) {
            None if before.is_some() => actions.push(Action::Withdraw { ip }),
            Some(interfaces) if before.as_ref() != Some(&interfaces) => {
                let first = before.is_none() && firsts.contains(&ip);
                additions.push(Action::Announce { ip, interfaces, first });
            }
            None | Some(_) => {}
        }
    }
    actions.extend(additions);
    actions.extend(told);
    actions
}

fn subjects(state: &State, announced: &Announced, dirty: &Dirty) -> BTreeSet<ServiceKey> {
    if dirty.all {
        let known = announced.services.keys().chain(announced.told.keys());
        state.services().chain(known).chain(&dirty.services).cloned().collect()
    } else {
        let involved = dirty.gone.iter().flat_map(|node| announced.standings.involving(node));
        dirty.services.iter().chain(involved).cloned().collect()
    }
}

impl Announced {
    /// The addresses this node announces for a Service, ascending.
    pub fn addresses(&self, service: &ServiceKey) -> Vec<IpAddr> {
        self.services.get(service).map(|held| held.addresses.keys().copied().collect()).unwrap_or_default()
    }

    /// Tells the network once more of everything this node announces.
    pub fn tell_all(&self) -> Vec<Action> {
        self.holders.keys().map(|ip| Action::Tell { ip: *ip }).collect()
    }

    /// The Services for which this node announces the address.
    pub fn holders(&self, ip: IpAddr) -> impl Iterator<Item = &ServiceKey> {
        self.holders.get(&ip).into_iter().flat_map(BTreeMap::keys)
    }

    /// The owners that this node stands behind.
    pub fn watched(&self) -> impl Iterator<Item = &str> {
        self.standings.watched()
    }

    /// Where the address is answered, all Services that hold it taken together.
    fn interfaces(&self, ip: IpAddr) -> Option<Interfaces> {
        let holders = self.holders.get(&ip)?;
        holders.values().cloned().reduce(|all, more| all.union(&more))
    }

    /// Collects what people are to be told of a decision.
    fn explain(
        &mut self,
        state: &State,
        service: &ServiceKey,
        decision: &Result<Announcement, Reason>,
        actions: &mut Vec<Action>,
    ) {
        let now = told(state, service, decision);
        let before = self.told.remove(service);
        let stand = now.as_ref().map(|now| now.stand.clone());
        if before.as_ref().map(|before| &before.stand) != stand.as_ref() {
            actions.push(Action::Show { service: service.clone(), stand });
        }
        let reason = now.as_ref().and_then(|now| now.reason.clone());
        if let Some(reason) = reason
            && before.as_ref().and_then(|before| before.reason.as_ref()) != Some(&reason)
        {
            actions.push(Action::Explain { service: service.clone(), reason });
        }
        let before = before.and_then(|before| before.silence);
        let silence = now.as_ref().and_then(|now| now.silence.clone());
        if before != silence {
            actions.push(Action::Silent { service: service.clone(), before, now: silence });
        }
        self.told.extend(now.map(|now| (service.clone(), now)));
    }

    /// Puts a decision in force. `touched` collects the addresses concerned with what held for them before.
    fn replace(
        &mut self,
        service: ServiceKey,
        decision: Result<Announcement, Reason>,
        touched: &mut BTreeMap<IpAddr, Option<Interfaces>>,
        told: &mut Vec<Action>,
    ) {
        let before = self.services.remove(&service);
        let (after, reason) = match decision {
            Ok(announcement) => (Some(announcement), None),
            Err(reason) => (None, Some(reason)),
        };
        if before == after {
            self.services.extend(after.map(|same| (service, same)));
            return;
        }
        let old = before.unwrap_or_else(Announcement::nothing);
        let new = after.clone().unwrap_or_else(Announcement::nothing);
        for ip in old.addresses.keys().chain(new.addresses.keys()) {
            touched.entry(*ip).or_insert_with(|| self.interfaces(*ip));
        }
        for ip in old.addresses.keys() {
            self.release(*ip, &service);
        }
        for (ip, interfaces) in &new.addresses {
            self.holders.entry(*ip).or_default().insert(service.clone(), interfaces.clone());
        }
        let gone = old.addresses.keys().filter(|ip| !new.addresses.contains_key(ip)).copied();
        let (silenced, changed): (Vec<IpAddr>, Vec<IpAddr>) = gone.partition(|ip| new.unreachable.contains(ip));
        for (ips, why) in [(changed, reason.unwrap_or(Reason::AddressChanged)), (silenced, Reason::NoInterface)] {
            if !ips.is_empty() {
                told.push(Action::Stopped { service: service.clone(), ips, reason: why });
            }
        }
        let come: Vec<IpAddr> = new.addresses.keys().filter(|ip| !old.addresses.contains_key(ip)).copied().collect();
        if !come.is_empty() {
            told.push(Action::Started { service: service.clone(), ips: come });
        }
        for ip in new.unreachable.difference(&old.unreachable) {
            told.push(Action::MissingInterfaces { service: service.clone(), ip: *ip });
        }
        self.services.extend(after.map(|announcement| (service, announcement)));
    }

    fn release(&mut self, ip: IpAddr, service: &ServiceKey) {
        if let Some(holders) = self.holders.get_mut(&ip) {
            holders.remove(service);
            if holders.is_empty() {
                self.holders.remove(&ip);
            }
        }
    }
}

/// What there is to tell; `None` for a Service that is gone or not ours.
fn told(state: &State, service: &ServiceKey, decision: &Result<Announcement, Reason>) -> Option<Told> {
    let told = match decision {
        Ok(announcement) if announcement.addresses.is_empty() => {
            let silence = Some(Silence::NoInterface(state.node().to_owned()));
            Told { stand: Stand::Nobody, reason: Some(Reason::NoInterface), silence }
        }
        Ok(announcement) => {
            let interfaces = announcement.addresses.values().cloned().reduce(|all, more| all.union(&more));
            let shown = match interfaces {
                Some(Interfaces::Named(names)) => names.intersection(state.interfaces()).cloned().collect(),
                Some(Interfaces::All) | None => Vec::new(),
            };
            Told { stand: Stand::Ours(shown), reason: None, silence: None }
        }
        Err(Reason::ServiceDeleted | Reason::NotLoadBalancer) => return None,
        Err(reason) => {
            let is_teller = state.is_teller(service);
            let silence = is_teller.then(|| state.silence(service)).flatten();
            // Why there is no address is the controller's to tell; that nobody announces it is certain.
            let pending = is_teller && *reason == Reason::NoIpAllocated;
            let certain = pending || silence.as_ref().is_some_and(Silence::is_certain);
            let stand = if certain { Stand::Nobody } else { Stand::Others };
            Told { stand, reason: Some(reason.clone()), silence }
        }
    };
    Some(told)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
