//! What is decided: from decisions about Services to changes on the wire and to what people are told. Pure.
//!
//! ```text
//! State + Dirty --decide each--> new announcements --compare with Announced--> [Action]
//!                                          |
//!                    several Services may hold one address: it is withdrawn with the last of them
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::announce::{Announcement, Interfaces, Reason};
use crate::standings::Standings;
use crate::state::{Dirty, ServiceKey, State};

/// What this node announces at the moment.
#[derive(Debug, Default)]
pub struct Announced {
    services: BTreeMap<ServiceKey, Announcement>,
    holders: BTreeMap<IpAddr, BTreeMap<ServiceKey, Interfaces>>,
    standings: Standings,
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
}

/// Decides anew about the dirty Services. `announced` afterwards is what holds once the actions are done, in their order.
pub fn plan(state: &State, announced: &mut Announced, dirty: &Dirty) -> Vec<Action> {
    let mut told = Vec::new();
    let mut touched = BTreeMap::new();
    for service in subjects(state, announced, dirty) {
        let (decision, leaders) = state.judge(&service);
        announced.standings.set(&service, leaders, state.node());
        announced.replace(service, decision, &mut touched, &mut told);
    }
    let mut actions = Vec::new();
    let mut additions = Vec::new();
    for (ip, before) in touched {
        match announced.interfaces(ip) {
            None if before.is_some() => actions.push(Action::Withdraw { ip }),
            Some(interfaces) if before.as_ref() != Some(&interfaces) => {
                additions.push(Action::Announce { ip, interfaces });
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
        state.services().chain(announced.services.keys()).chain(&dirty.services).cloned().collect()
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

    /// The owners that this node stands behind.
    pub fn watched(&self) -> impl Iterator<Item = &str> {
        self.standings.watched()
    }

    /// Where the address is answered, all Services that hold it taken together.
    fn interfaces(&self, ip: IpAddr) -> Option<Interfaces> {
        let holders = self.holders.get(&ip)?;
        holders.values().cloned().reduce(|all, more| all.union(&more))
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

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
