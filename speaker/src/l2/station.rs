//! A port at work: its responders, its filters and memberships, and what it tells unasked.
//!
//! ```text
//! addresses that are ours on the port --attend--> kernel filters, multicast memberships
//! takeovers --Schedule--> rounds due -----tell--> gratuitous frames
//! ```

use std::net::{IpAddr, Ipv6Addr};

use crate::l2::filter::Ranges;
use crate::l2::frames;
use crate::l2::gratuitous::Schedule;
use crate::l2::groups::Groups;
use crate::l2::packet::Protocol;
use crate::l2::responder::{Common, Outcome, Responder};
use crate::l2::selection::Port;
use crate::metrics::Dropped;

/// A port with everything that runs on it.
pub struct Station {
    /// The port as it was seen last.
    pub port: Port,
    /// What is to be told here.
    pub schedule: Schedule,
    arp: Option<Responder>,
    ndp: Option<Responder>,
    groups: Groups,
}

impl Station {
    /// Nothing runs yet.
    pub fn new(port: Port, schedule: Schedule) -> Self {
        let groups = Groups::new(port.index);
        Self { port, schedule, arp: None, ndp: None, groups }
    }

    /// Whether questions about addresses of this family are heard here.
    pub fn hears(&self, ip: IpAddr) -> bool {
        self.responder(ip).is_some()
    }

    fn responder(&self, ip: IpAddr) -> Option<&Responder> {
        match ip {
            IpAddr::V4(_) => self.arp.as_ref(),
            IpAddr::V6(_) => self.ndp.as_ref(),
        }
    }

    /// Starts the responders that the port should have and that do not run, for these addresses.
    ///
    /// # Errors
    /// The kernel refuses a socket.
    pub fn open(&mut self, common: &Common, ours: &[IpAddr]) -> anyhow::Result<()> {
        let interface = &self.port.name;
        if self.port.arp && self.arp.is_none() {
            self.arp = Some(Responder::start(&self.port, Protocol::Arp, common, v4(ours))?);
            tracing::info!(event = "createARPResponder", interface, "created ARP responder for interface");
        }
        if self.port.ndp && self.ndp.is_none() {
            self.ndp = Some(Responder::start(&self.port, Protocol::Ndp, common, v6(ours))?);
            tracing::info!(event = "createNDPResponder", interface, "created NDP responder for interface");
        }
        Ok(())
    }

    /// Stops responders, where they run.
    pub fn close(&mut self, arp: bool, ndp: bool) {
        let interface = &self.port.name;
        if arp && self.arp.take().is_some() {
            tracing::info!(event = "deleteARPResponder", interface, "deleted ARP responder for interface");
        }
        if ndp && self.ndp.take().is_some() {
            tracing::info!(event = "deleteNDPResponder", interface, "deleted NDP responder for interface");
            self.groups = Groups::new(self.port.index);
        }
    }

    /// Leaves all groups: the next [`Station::attend`] joins them anew, which tells the switch at once. It may be another
    /// switch than before.
    pub fn unplugged(&mut self) {
        self.groups = Groups::new(self.port.index);
    }

    /// Hears exactly the questions about these addresses: filters, and the groups in which hosts ask.
    ///
    /// # Errors
    /// The kernel refuses a filter or a group; call again later.
    pub fn attend(&mut self, ours: &[IpAddr]) -> std::io::Result<()> {
        let mut outcome = Ok(());
        if let Some(arp) = &mut self.arp {
            outcome = outcome.and(arp.listen(v4(ours)));
        }
        if let Some(ndp) = &mut self.ndp {
            outcome = outcome.and(ndp.listen(v6(ours))).and(self.groups.set(ours.iter().copied()));
        }
        outcome
    }

    /// Sends one round of gratuitous frames.
    pub fn tell(&self, ip: IpAddr, common: &Common) {
        let (Some(responder), true) = (self.responder(ip), self.port.carrier) else { return };
        let frames = match ip {
            IpAddr::V4(ip) => frames::gratuitous_arp(self.port.mac, ip).to_vec(),
            IpAddr::V6(ip) => vec![frames::unsolicited_advertisement(self.port.mac, ip)],
        };
        for frame in frames {
            match responder.send(&frame) {
                Outcome::Sent => common.metrics.gratuitous(ip),
                Outcome::Withheld => common.metrics.dropped(Dropped::NoPermit),
                Outcome::Failed(error) => tracing::debug!(event = "gratuitousFailed", interface = self.port.name,
                    ip = %ip, error = %error, "cannot send a gratuitous announcement"),
            }
        }
    }

    /// Asks whether somebody else has the address.
    pub fn ask(&self, ip: IpAddr, common: &Common) {
        let (Some(responder), true) = (self.responder(ip), self.port.carrier) else { return };
        let frame = match ip {
            IpAddr::V4(ip) => frames::arp_probe(self.port.mac, ip),
            IpAddr::V6(ip) => frames::neighbor_probe(self.port.mac, ip),
        };
        match responder.send(&frame) {
            Outcome::Sent => {}
            Outcome::Withheld => common.metrics.dropped(Dropped::NoPermit),
            Outcome::Failed(error) => tracing::debug!(event = "probeFailed", interface = self.port.name, ip = %ip,
                error = %error, "cannot ask whether somebody has the address"),
        }
    }
}

fn v4(ours: &[IpAddr]) -> Ranges {
    Ranges::covering(ours.iter().filter_map(|ip| match ip {
        IpAddr::V4(ip) => Some(u32::from(*ip)),
        IpAddr::V6(_) => None,
    }))
}

/// The last four bytes of the addresses: what the filter looks at.
fn v6(ours: &[IpAddr]) -> Ranges {
    Ranges::covering(ours.iter().filter_map(|ip| match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => Some(end(*ip)),
    }))
}

fn end(ip: Ipv6Addr) -> u32 {
    let [.., a, b, c, d] = ip.octets();
    u32::from_be_bytes([a, b, c, d])
}
