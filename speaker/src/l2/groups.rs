//! Multicast memberships of one port: solicitations are sent to a group per address, and switches and network cards pass
//! them on only where somebody joined.
//!
//! ```text
//! addresses --solicited_node--> groups wanted --difference--> join, leave on plain UDP sockets (no capability needed)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use socket2::{Domain, Socket, Type};

use crate::l2::frames::solicited_node;

/// Memberships per socket. The kernel limits the memory of one socket, not the number of sockets.
const PER_SOCKET: usize = 100;

/// The groups one port is a member of.
#[derive(Debug)]
pub struct Groups {
    index: u32,
    sockets: Vec<Slot>,
    joined: BTreeMap<Ipv6Addr, usize>,
}

#[derive(Debug)]
struct Slot {
    socket: Socket,
    used: usize,
}

impl Groups {
    /// No memberships yet, on the interface with this index.
    pub fn new(index: u32) -> Self {
        Self { index, sockets: Vec::new(), joined: BTreeMap::new() }
    }

    /// Joins and leaves until exactly the groups of `addresses` are joined.
    ///
    /// # Errors
    /// The first group that could not be joined; the others are joined nevertheless, and the next call tries again.
    pub fn set(&mut self, addresses: impl IntoIterator<Item = IpAddr>) -> io::Result<()> {
        let wanted: BTreeSet<Ipv6Addr> = addresses.into_iter().filter_map(group).collect();
        let gone: Vec<Ipv6Addr> = self.joined.keys().filter(|group| !wanted.contains(group)).copied().collect();
        for group in gone {
            self.leave(group);
        }
        let mut outcome = Ok(());
        for group in wanted {
            if !self.joined.contains_key(&group) {
                outcome = outcome.and(self.join(group));
            }
        }
        outcome
    }

    fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        let free = self.sockets.iter().position(|slot| slot.used < PER_SOCKET);
        let position = match free {
            Some(position) => position,
            None => {
                let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
                self.sockets.push(Slot { socket, used: 0 });
                self.sockets.len() - 1
            }
        };
        let Some(slot) = self.sockets.get_mut(position) else { return Ok(()) };
        slot.socket.join_multicast_v6(&group, self.index)?;
        slot.used += 1;
        self.joined.insert(group, position);
        Ok(())
    }

    fn leave(&mut self, group: Ipv6Addr) {
        let Some(slot) = self.joined.remove(&group).and_then(|position| self.sockets.get_mut(position)) else { return };
        slot.used = slot.used.saturating_sub(1);
        // Fails only when the interface is gone, and the membership with it.
        let _ = slot.socket.leave_multicast_v6(&group, self.index);
    }
}

fn group(ip: IpAddr) -> Option<Ipv6Addr> {
    match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => Some(solicited_node(ip)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: u32 = 1;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_with_equal_endings_share_a_group_until_the_last_one_goes() {
        let mut groups = Groups::new(LOOPBACK);
        groups.set(ips(&["2001:db8::1", "2001:db8:1::1", "192.0.2.1"])).unwrap();
        assert_eq!(groups.joined.len(), 1);
        groups.set(ips(&["2001:db8:1::1"])).unwrap();
        assert_eq!(groups.joined.len(), 1);
        groups.set([]).unwrap();
        assert!(groups.joined.is_empty());
    }

    #[test]
    fn thousands_of_groups_spread_over_sockets_and_free_places_are_used_again() {
        let mut groups = Groups::new(LOOPBACK);
        let many =
            |from: u16| (from..from + 1000).map(|n| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n)));
        groups.set(many(0)).unwrap();
        assert_eq!((groups.joined.len(), groups.sockets.len()), (1000, 10));
        groups.set(many(500)).unwrap();
        assert_eq!((groups.joined.len(), groups.sockets.len()), (1000, 10));
    }
}
