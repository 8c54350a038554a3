//! Addresses that Services show without having them.
//!
//! ```text
//!  see(Service, shown) ──▶ shown, but neither allocated to it nor being given up by it: a ghost
//!                            └─▶ nobody else gets the address; whoever has it or shows it too keeps it
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Allocator, Opportunity, ServiceKey};

impl Allocator {
    /// Takes in what a Service shows, so that nobody else gets an address that it shows without having it.
    pub fn see(&mut self, service: &ServiceKey, shown: &[IpAddr]) {
        let has = |address: &IpAddr| {
            self.allocations.get(service).is_some_and(|have| have.addresses.contains(address))
                || self.leaving.get(service).is_some_and(|leaving| leaving.contains(address))
        };
        let now: BTreeSet<IpAddr> = shown.iter().filter(|address| !has(address)).copied().collect();
        let before = self.ghosts.remove(service).unwrap_or_default();
        for address in before.iter().filter(|address| !now.contains(address)) {
            self.unhaunt(service, *address);
        }
        for address in now.iter().filter(|address| !before.contains(address)) {
            let services = self.haunted.entry(*address).or_default();
            *services = services.iter().cloned().chain([service.clone()]).collect();
            if !self.usage.contains_key(address) {
                self.pools.occupy(*address);
                self.generation += 1;
            }
        }
        if !now.is_empty() {
            self.ghosts.insert(service.clone(), now.into_iter().collect());
        }
    }

    /// A Service has what it shows.
    pub(super) fn lay_ghost(&mut self, service: &ServiceKey, address: IpAddr) {
        let Some(ghosts) = self.ghosts.get_mut(service).filter(|ghosts| ghosts.contains(&address)) else { return };
        *ghosts = ghosts.iter().copied().filter(|ghost| *ghost != address).collect();
        if ghosts.is_empty() {
            self.ghosts.remove(service);
        }
        self.unhaunt(service, address);
    }

    fn unhaunt(&mut self, service: &ServiceKey, address: IpAddr) {
        let Some(services) = self.haunted.get_mut(&address) else { return };
        *services = services.iter().filter(|other| *other != service).cloned().collect();
        if !services.is_empty() {
            return;
        }
        self.haunted.remove(&address);
        match self.usage.get(&address) {
            Some(usage) => {
                if let Some(place) = self.pools.place(address) {
                    self.shared.port_freed(&usage.key, place);
                }
                self.opportunities.insert(Opportunity::Key(usage.key.clone()));
                self.opportunities.insert(Opportunity::Address(address));
            }
            None => self.vacate(address),
        }
    }
}
