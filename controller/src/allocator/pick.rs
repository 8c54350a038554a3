//! The addresses of one pool, and which of them is the lowest free one.
//!
//! ```text
//! entries, declared order      segments            taken: maximal runs, lowest first
//! 192.0.2.0/30, 198.51.100.1   [0] .0 ─── .3       {.0..=.1}        lowest free: .2
//!                              [1] .1              {.1..=.1}        (not open: nothing free)
//! ```
//! A pick looks at one run of the first open segment, so its cost does not grow with the number of used addresses, and a
//! /64 costs as much as a /30. Addresses that the pool avoids (IPv4 ending in 0 or 255) join the runs of their taken
//! neighbours; without that, a full /8 would be 65,536 runs to step over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use config::{Family, Pool};
use ipnet::IpNet;

/// Place of an address in the order in which its pool hands out: segment in declared order, then the address itself.
pub type Position = (usize, u128);

/// Both families of one pool.
#[derive(Debug, Clone, Default)]
pub struct PoolSpace {
    v4: Space,
    v6: Space,
}

impl PoolSpace {
    /// The space of `pool` with nothing taken.
    pub fn new(pool: &Pool) -> Self {
        let mut v4 = Space { avoid_buggy: pool.avoid_buggy_ips, ..Space::default() };
        let mut v6 = Space::default();
        for cidr in pool.entries.iter().flat_map(|entry| &entry.cidrs) {
            let (first, last) = bounds(cidr);
            match cidr {
                IpNet::V4(_) => v4.add(first, last),
                IpNet::V6(_) => v6.add(first, last),
            }
        }
        v4.open_all();
        v6.open_all();
        Self { v4, v6 }
    }

    /// The segments of one family as closed intervals.
    pub fn intervals(&self, family: Family) -> impl Iterator<Item = (u128, u128)> {
        self.space(family).segments.iter().map(|segment| (segment.first, segment.last))
    }

    /// Takes an address out of the free ones. Returns whether it was free; an address that is not of this pool never is.
    pub fn occupy(&mut self, address: IpAddr) -> bool {
        self.space_mut(Family::of(address)).occupy(number(address))
    }

    /// Gives an address back. Returns whether it was taken.
    pub fn vacate(&mut self, address: IpAddr) -> bool {
        self.space_mut(Family::of(address)).vacate(number(address))
    }

    /// The lowest free address of the first entry that has one.
    pub fn lowest_free(&self, family: Family) -> Option<(Position, IpAddr)> {
        let (position, value) = self.space(family).lowest_free()?;
        Some(((position, value), address(family, value)))
    }

    /// Where an address stands in the hand-out order; `None` when it is not of this pool or is avoided.
    pub fn position(&self, address: IpAddr) -> Option<Position> {
        let value = number(address);
        let space = self.space(Family::of(address));
        (!space.avoided(value)).then(|| space.segment_of(value)).flatten().map(|segment| (segment, value))
    }

    /// How many addresses of one family are taken.
    pub fn used(&self, family: Family) -> u64 {
        self.space(family).used
    }

    fn space(&self, family: Family) -> &Space {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn space_mut(&mut self, family: Family) -> &mut Space {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// An address as a number within its family.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address that is this number within its family.
pub fn address(family: Family, value: u128) -> IpAddr {
    match family {
        // The segments of an IPv4 space come from IPv4 networks: no value exceeds 32 bits.
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(value).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(value)),
    }
}

fn bounds(cidr: &IpNet) -> (u128, u128) {
    (number(cidr.network()), number(cidr.broadcast()))
}

#[derive(Debug, Clone, Default)]
struct Space {
    segments: Vec<Segment>,
    by_first: BTreeMap<u128, usize>,
    open: BTreeSet<usize>,
    avoid_buggy: bool,
    used: u64,
}

#[derive(Debug, Clone)]
struct Segment {
    first: u128,
    last: u128,
    /// Maximal runs of taken (or avoided) addresses: first to last.
    taken: BTreeMap<u128, u128>,
    /// Addresses really taken, so that an avoided address inside a run is not mistaken for one.
    given: BTreeSet<u128>,
}

impl Space {
    /// Appends an interval, minus what earlier ones cover, glued to the previous segment when it continues that.
    fn add(&mut self, first: u128, last: u128) {
        let mut from = first;
        let covered: Vec<(u128, u128)> = self
            .by_first
            .range(..=last)
            .filter_map(|(start, index)| self.segments.get(*index).map(|segment| (*start, segment.last)))
            .filter(|(_, end)| *end >= first)
            .collect();
        for (start, end) in covered {
            if start > from {
                self.push(from, start - 1);
            }
            match end.checked_add(1) {
                Some(next) => from = from.max(next),
                None => return,
            }
        }
        if from <= last {
            self.push(from, last);
        }
    }

    fn push(&mut self, first: u128, last: u128) {
        if let Some(previous) = self.segments.last_mut()
            && previous.last.checked_add(1) == Some(first)
        {
            previous.last = last;
            return;
        }
        self.by_first.insert(first, self.segments.len());
        self.segments.push(Segment { first, last, taken: BTreeMap::new(), given: BTreeSet::new() });
    }

    fn open_all(&mut self) {
        self.open = (0..self.segments.len()).filter(|index| self.first_free_in(*index).is_some()).collect();
    }

    fn avoided(&self, value: u128) -> bool {
        self.avoid_buggy && matches!(value & 0xff, 0 | 0xff)
    }

    fn segment_of(&self, value: u128) -> Option<usize> {
        let (_, index) = self.by_first.range(..=value).next_back()?;
        self.segments.get(*index).filter(|segment| value <= segment.last).map(|_| *index)
    }

    fn lowest_free(&self) -> Option<(usize, u128)> {
        self.open.iter().find_map(|index| Some((*index, self.first_free_in(*index)?)))
    }

    fn first_free_in(&self, index: usize) -> Option<u128> {
        let segment = self.segments.get(index)?;
        let mut value = segment.first;
        while value <= segment.last {
            let blocked_until = match segment.taken.range(..=value).next_back() {
                Some((_, end)) if *end >= value => *end,
                _ if self.avoided(value) => value,
                _ => return Some(value),
            };
            value = blocked_until.checked_add(1)?;
        }
        None
    }

    fn occupy(&mut self, value: u128) -> bool {
        let avoided = self.avoided(value);
        let Some(index) = self.segment_of(value) else { return false };
        let Some(segment) = self.segments.get_mut(index) else { return false };
        if avoided || !segment.given.insert(value) {
            return false;
        }
        segment.cover(value);
        for neighbour in [value.checked_sub(1), value.checked_add(1)].into_iter().flatten() {
            if self.avoid_buggy && matches!(neighbour & 0xff, 0 | 0xff) {
                segment.cover(neighbour);
            }
        }
        self.used += 1;
        if self.first_free_in(index).is_none() {
            self.open.remove(&index);
        }
        true
    }

    fn vacate(&mut self, value: u128) -> bool {
        let Some(index) = self.segment_of(value) else { return false };
        let Some(segment) = self.segments.get_mut(index) else { return false };
        if !segment.given.remove(&value) {
            return false;
        }
        segment.uncover(value);
        self.used -= 1;
        self.open.insert(index);
        true
    }
}

impl Segment {
    fn cover(&mut self, value: u128) {
        if value < self.first || value > self.last {
            return;
        }
        let (mut start, mut end) = (value, value);
        if let Some((run_start, run_end)) = self.taken.range(..=value).next_back() {
            if *run_end >= value {
                return;
            }
            if run_end.checked_add(1) == Some(value) {
                start = *run_start;
            }
        }
        if let Some(next) = value.checked_add(1)
            && let Some(run_end) = self.taken.remove(&next)
        {
            end = run_end;
        }
        self.taken.insert(start, end);
    }

    fn uncover(&mut self, value: u128) {
        let Some((start, end)) = self.taken.range(..=value).next_back().map(|(start, end)| (*start, *end)) else {
            return;
        };
        if end < value {
            return;
        }
        self.taken.remove(&start);
        if start < value {
            self.taken.insert(start, value - 1);
        }
        if value < end {
            self.taken.insert(value + 1, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::pool;

    fn take_all(space: &mut PoolSpace, family: Family, limit: usize) -> Vec<String> {
        let mut out = Vec::new();
        while out.len() < limit
            && let Some((_, address)) = space.lowest_free(family)
        {
            assert!(space.occupy(address));
            out.push(address.to_string());
        }
        out
    }

    #[test]
    fn entries_are_used_in_declared_order_and_each_from_below() {
        let mut space = PoolSpace::new(&pool(&["198.51.100.8/31", "192.0.2.0/30", "2001:db8::/127"]));
        let taken = take_all(&mut space, Family::V4, 9);
        assert_eq!(taken, ["198.51.100.8", "198.51.100.9", "192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(take_all(&mut space, Family::V6, 9), ["2001:db8::", "2001:db8::1"]);
        assert_eq!((space.used(Family::V4), space.used(Family::V6)), (6, 2));
    }

    #[test]
    fn a_returned_address_is_the_next_one_out_when_it_is_the_lowest() {
        let mut space = PoolSpace::new(&pool(&["192.0.2.0/29"]));
        take_all(&mut space, Family::V4, 6);
        for address in ["192.0.2.4", "192.0.2.2"] {
            assert!(space.vacate(address.parse().expect("address")));
        }
        assert!(!space.vacate("192.0.2.2".parse().expect("address")), "twice is not returned twice");
        assert_eq!(take_all(&mut space, Family::V4, 9), ["192.0.2.2", "192.0.2.4", "192.0.2.6", "192.0.2.7"]);
    }

    #[test]
    fn avoided_addresses_are_neither_given_nor_counted() {
        let mut avoiding = pool(&["192.0.2.254-192.0.3.1"]);
        avoiding.avoid_buggy_ips = true;
        let mut space = PoolSpace::new(&avoiding);
        assert!(!space.occupy("192.0.2.255".parse().expect("address")));
        assert_eq!(space.position("192.0.3.0".parse().expect("address")), None);
        assert_eq!(take_all(&mut space, Family::V4, 9), ["192.0.2.254", "192.0.3.1"]);
        assert_eq!(space.v4.segments[0].taken.len(), 1, "avoided neighbours join the run");
        assert!(space.vacate("192.0.3.1".parse().expect("address")));
        assert_eq!(take_all(&mut space, Family::V4, 9), ["192.0.3.1"]);
    }

    #[test]
    fn the_edges_of_the_number_space_do_not_overflow() {
        let mut space = PoolSpace::new(&pool(&["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", "255.255.255.254/31"]));
        assert_eq!(take_all(&mut space, Family::V6, 9).len(), 2);
        assert_eq!(take_all(&mut space, Family::V4, 9).len(), 2);
        let mut everything = PoolSpace::new(&pool(&["::/0", "0.0.0.0/0"]));
        assert_eq!(take_all(&mut everything, Family::V6, 2), ["::", "::1"]);
        assert_eq!(take_all(&mut everything, Family::V4, 1), ["0.0.0.0"]);
    }

    #[test]
    fn an_address_listed_twice_in_one_pool_exists_once() {
        let mut space = PoolSpace::new(&pool(&["192.0.2.1/32", "192.0.2.0/30", "192.0.2.0/31"]));
        assert_eq!(take_all(&mut space, Family::V4, 9), ["192.0.2.1", "192.0.2.0", "192.0.2.2", "192.0.2.3"]);
    }

    #[test]
    fn a_thousand_addresses_of_a_slash_64_are_one_run() {
        let mut space = PoolSpace::new(&pool(&["2001:db8::/64"]));
        take_all(&mut space, Family::V6, 1000);
        assert_eq!(space.v6.segments[0].taken.len(), 1);
    }
}
