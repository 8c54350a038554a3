//! Which addresses a Service would get.
//!
//! ```text
//! pinned pools, by priority ─▶ pools free for all that have something to give, by name
//!                                 │ each: lowest of { free, shared with room, just given up by the same Service }
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;

use config::Family;

use super::family::{Stack, Wanted};
use super::pools::PoolId;
use super::{Allocator, Client, pick};

impl Allocator {
    /// The addresses the first pool that fits would give. A dual-stack Service that prefers both families takes a pool
    /// with both before any that comes earlier with one.
    pub(super) fn first_fit(&mut self, client: &Client<'_>, wanted: &Wanted, pools: &[PoolId]) -> Option<Vec<IpAddr>> {
        pools.iter().find_map(|pool| self.fit(client, wanted.stack, *pool)).or_else(|| {
            let singles = wanted.singles();
            singles.into_iter().find_map(|stack| pools.iter().find_map(|pool| self.fit(client, stack, *pool)))
        })
    }

    /// As [`Self::first_fit`], of the pools free for all. Only those are looked at that have something to give.
    pub(super) fn free_fit(&mut self, client: &Client<'_>, wanted: &Wanted) -> Option<Vec<IpAddr>> {
        let stacks = std::iter::once(wanted.stack).chain(wanted.singles());
        for stack in stacks {
            let (open, families) = match stack {
                Stack::Single(family) => (self.pools.open(family).first().copied(), [family, family]),
                Stack::Dual => {
                    let (v4, v6) = (self.pools.open(Family::V4), self.pools.open(Family::V6));
                    let (few, many) = if v4.len() < v6.len() { (v4, v6) } else { (v6, v4) };
                    (few.iter().find(|pool| many.contains(pool)).copied(), [Family::V4, Family::V6])
                }
            };
            // Where it shares an address, or is just leaving one, there may be room in a pool that is full for others.
            let mut own: BTreeSet<PoolId> =
                families.iter().flat_map(|family| self.shared.pools(client.sharing, *family)).collect();
            own.extend(self.shown_by(client).filter_map(|address| self.pools.of(&[address])));
            own.retain(|pool| self.pools.is_free_for_all(*pool) && open.is_none_or(|open| *pool < open));
            let found = own.into_iter().chain(open).find_map(|pool| self.fit(client, stack, pool));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The addresses one pool would give.
    fn fit(&mut self, client: &Client<'_>, stack: Stack, pool: PoolId) -> Option<Vec<IpAddr>> {
        match stack {
            Stack::Single(family) => Some(vec![self.pick(client, pool, family)?]),
            Stack::Dual => Some(vec![self.pick(client, pool, Family::V4)?, self.pick(client, pool, Family::V6)?]),
        }
    }

    /// The lowest address of a pool that this Service may use: a free one, one it shares, or one it is just leaving.
    pub(super) fn pick(&mut self, client: &Client<'_>, pool: PoolId, family: Family) -> Option<IpAddr> {
        // Taken out for a moment, because its search asks who may use an address.
        let mut shared = std::mem::take(&mut self.shared);
        let joined = shared
            .first(client.sharing, (pool, family), client.ports, |(_, value)| {
                self.admits(client, pick::address(family, value)).is_ok()
            })
            .map(|position| (position, pick::address(family, position.1)));
        self.shared = shared;
        let space = self.pools.space(pool)?;
        self.shown_by(client)
            .filter(|address| Family::of(*address) == family)
            .filter_map(|address| Some((space.position(address)?, address)))
            .filter(|(_, address)| self.admits(client, *address).is_ok())
            .chain(joined)
            .chain(space.lowest_free(family))
            .min()
            .map(|(_, address)| address)
    }
    /// Addresses that a Service does not have but still shows.
    fn shown_by<'a>(&'a self, client: &Client<'_>) -> impl Iterator<Item = IpAddr> + use<'a> {
        let leaving = self.leaving.get(client.key).into_iter().flatten();
        let ghosts = self.ghosts.get(client.key).into_iter().flatten();
        leaving.chain(ghosts).copied()
    }
}
