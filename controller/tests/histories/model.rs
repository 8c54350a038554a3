//! The reference: MetalLB's rules of allocation in the most naive form. No state, no index, no cleverness: every question
//! is answered from the objects alone, by looking at all of them.
//!
//! ```text
//! View ──Rules::of──▶ pools in force, pools held ──keep, allocate, add──▶ what one Service should have
//!                                                └──predict──▶ what all should have, where that is determined
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::world::{self, Key, Policy, Pool, Svc, View};

/// Whether a Service keeps what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It must: nothing that entitles the controller to take it away has happened.
    Must,
    /// It must, and it must not get anything else: what it asks for is no request.
    Stay,
    /// Both are fine.
    May,
    /// It must not.
    MustNot,
}

/// Addresses that others have.
pub type Users<'a> = Vec<(IpAddr, &'a Svc)>;

/// The pools of a view by what they are good for.
pub struct Rules<'a> {
    view: &'a View,
    /// By name.
    pub in_force: Vec<&'a Pool>,
    /// Broken, or overlapping an older one.
    pub held: Vec<&'a Pool>,
}

/// All addresses of a pool in the order they are given out.
pub fn all_addresses(pool: &Pool) -> Vec<IpAddr> {
    let all = pool.segments.iter().flat_map(|segment| world::addresses(*segment));
    all.filter(|ip| !(pool.avoid_buggy && is_buggy(*ip))).collect()
}

fn is_buggy(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[3] == 0 || ip.octets()[3] == 255)
}

fn set<T: Ord + Copy>(list: &[T]) -> BTreeSet<T> {
    list.iter().copied().collect()
}

fn families(ips: &[IpAddr]) -> BTreeSet<u8> {
    ips.iter().map(|ip| world::family(*ip)).collect()
}

/// The addresses a Service asks for; `Err` when that is no valid request.
pub fn desired(svc: &Svc) -> Result<Vec<IpAddr>, ()> {
    let list = match (svc.request.ips.as_deref().filter(|list| !list.is_empty()), &svc.request.ip_field) {
        (None, None) => return Ok(Vec::new()),
        (Some(_), Some(_)) => return Err(()),
        (Some(list), None) => list.split(',').map(str::trim).collect(),
        (None, Some(one)) => vec![one.as_str()],
    };
    let ips: Result<Vec<IpAddr>, _> = list.iter().map(|text| text.parse()).collect();
    let ips = ips.map_err(|_| ())?;
    if families(&ips).len() == ips.len() { Ok(ips) } else { Err(()) }
}

/// Whether two Services may have one address.
pub fn may_share(a: &Svc, b: &Svc) -> bool {
    let backend = |svc: &Svc| if svc.request.local { svc.request.selector } else { "" };
    let (Some(one), Some(other)) = (a.request.sharing, b.request.sharing) else { return false };
    !one.is_empty() && one == other && backend(a) == backend(b) && a.request.ports.is_disjoint(&b.request.ports)
}

/// Whether it is this controller that has to give it addresses.
pub fn is_ours(svc: &Svc) -> bool {
    svc.request.lb && !svc.request.foreign
}

/// Whether what it shows is taken: it is ours, or carries our mark.
pub fn holds(svc: &Svc) -> bool {
    !svc.shown.is_empty() && (is_ours(svc) || svc.mark.is_some())
}

impl<'a> Rules<'a> {
    /// The pools of this view.
    pub fn of(view: &'a View) -> Self {
        let mut by_age: Vec<&Pool> = view.pools.values().map(|pool| &**pool).collect();
        by_age.sort_by_key(|pool| (pool.created, pool.name));
        let (mut in_force, mut held): (Vec<&Pool>, Vec<&Pool>) = (Vec::new(), Vec::new());
        for pool in by_age {
            let listed: Vec<IpAddr> = pool.segments.iter().flat_map(|segment| world::addresses(*segment)).collect();
            let overlaps = |other: &&Pool| {
                other.segments.iter().flat_map(|segment| world::addresses(*segment)).any(|ip| listed.contains(&ip))
            };
            let broken = pool.unreadable || pool.bad_entry || listed.is_empty() || set(&listed).len() < listed.len();
            let list = if broken || in_force.iter().any(overlaps) { &mut held } else { &mut in_force };
            list.push(pool);
        }
        in_force.sort_by_key(|pool| pool.name);
        Self { view, in_force, held }
    }

    /// Whether the pool admits the Service.
    fn admits(&self, pool: &Pool, svc: &Svc) -> bool {
        let Some(allocation) = &pool.allocation else { return true };
        let labelled = |tier| self.view.namespaces.get(svc.namespace()).is_some_and(|namespace| namespace.tier == tier);
        let restricted = !allocation.namespaces.is_empty() || allocation.namespace_tier.is_some();
        let namespace = allocation.namespaces.iter().any(|name| *name == svc.namespace())
            || (allocation.namespace_tier.is_some() && labelled(allocation.namespace_tier));
        let service = allocation.service_app.is_none_or(|app| svc.request.label == Some(app));
        (!restricted || namespace) && service
    }

    /// The one pool in force that has all of these.
    pub fn pool_of(&self, ips: &[IpAddr]) -> Option<&'a Pool> {
        self.in_force.iter().find(|pool| ips.iter().all(|ip| all_addresses(pool).contains(ip))).copied()
    }

    /// Everybody else who has an address.
    pub fn users(&self, svc: &Svc) -> Users<'a> {
        let others = self.view.services.values().filter(|other| other.key != svc.key && holds(other));
        others.flat_map(|other| other.shown.iter().map(move |ip| (*ip, &**other))).collect()
    }

    /// Whether the Service keeps what it shows, in MetalLB's order of checks.
    pub fn keep(&self, svc: &Svc, users: &Users<'_>) -> Keep {
        let listed = |pool: &&Pool| !pool.unreadable && svc.shown.iter().all(|ip| all_addresses(pool).contains(ip));
        if svc.mark.is_none() && self.pool_of(&svc.shown).is_none() && !self.held.iter().any(&listed) {
            // Nothing says that it is ours to take away.
            return Keep::May;
        }
        let cluster: BTreeSet<u8> = set(&svc.request.cluster);
        if cluster.is_empty() || (svc.request.policy == Policy::Require && cluster.len() < 2) {
            return Keep::MustNot;
        }
        let shown = families(&svc.shown);
        let one_of_two = shown.len() == 1 && cluster.len() == 2 && svc.request.policy == Policy::Prefer;
        if shown.len() != svc.shown.len() || (shown != cluster && !one_of_two) {
            return Keep::MustNot;
        }
        let conflict = svc.shown.iter().any(|ip| !usable(*ip, svc, users));
        let held = self.held.iter().find(|pool| svc.mark.as_deref() == Some(pool.name));
        let requested = svc.request.pool.filter(|name| !name.is_empty());
        let verdict = match (self.pool_of(&svc.shown), held) {
            (Some(pool), held) => {
                let other = held.is_some_and(|held| held.name != pool.name);
                let fits = self.admits(pool, svc) && requested.is_none_or(|name| name == pool.name);
                match (fits, other) {
                    (true, _) => Keep::Must,
                    (false, true) => Keep::May,
                    (false, false) => return Keep::MustNot,
                }
            }
            (None, Some(held)) if requested.is_none_or(|name| name == held.name) => {
                let inside = held.unreadable || listed(held);
                if inside && (held.unreadable || self.admits(held, svc)) { Keep::Must } else { Keep::May }
            }
            // What a held pool lists may stay, whichever pool it came from.
            (None, _) if self.held.iter().any(listed) => Keep::May,
            (None, _) => return Keep::MustNot,
        };
        match desired(svc) {
            Err(()) if verdict == Keep::Must && !conflict => return Keep::Stay,
            Err(()) => return Keep::May,
            Ok(ips) if !ips.is_empty() && set(&ips) != set(&svc.shown) => return Keep::MustNot,
            Ok(_) => {}
        }
        if conflict { Keep::May } else { verdict }
    }

    /// What a Service that has nothing gets: `None` when it has to wait.
    pub fn allocate(&self, svc: &Svc, users: &Users<'_>) -> Option<Vec<IpAddr>> {
        let cluster: BTreeSet<u8> = set(&svc.request.cluster);
        if cluster.is_empty() || (svc.request.policy == Policy::Require && cluster.len() < 2) {
            return None;
        }
        let requested = svc.request.pool.filter(|name| !name.is_empty());
        let ips = desired(svc).ok()?;
        if !ips.is_empty() {
            let pool = self.pool_of(&ips)?;
            let fits = families(&ips) == cluster
                && self.admits(pool, svc)
                && requested.is_none_or(|name| name == pool.name)
                && ips.iter().all(|ip| usable(*ip, svc, users));
            return fits.then_some(ips);
        }
        if let Some(name) = requested {
            let pool = self.in_force.iter().copied().find(|pool| pool.name == name)?;
            return self.choose(&[pool], svc, users);
        }
        let automatic = || self.in_force.iter().copied().filter(|pool| pool.auto);
        let priority = |pool: &&Pool| pool.allocation.as_ref().map_or(0, |allocation| allocation.priority);
        let mut pinned: Vec<&Pool> = automatic().filter(|pool| pool.allocation.is_some()).collect();
        pinned.sort_by_key(|pool| (priority(pool) == 0, priority(pool), pool.name));
        let free: Vec<&Pool> = automatic().filter(|pool| pool.allocation.is_none()).collect();
        self.choose(&pinned, svc, users).or_else(|| self.choose(&free, svc, users))
    }

    /// Addresses from the first of these pools that fits.
    fn choose(&self, pools: &[&Pool], svc: &Svc, users: &Users<'_>) -> Option<Vec<IpAddr>> {
        let pools: Vec<&Pool> = pools.iter().copied().filter(|pool| self.admits(pool, svc)).collect();
        let one = |family: u8| pools.iter().find_map(|pool| lowest(pool, family, svc, users)).map(|ip| vec![ip]);
        let [primary, rest @ ..] = svc.request.cluster.as_slice() else { return None };
        let Some(secondary) = rest.first() else { return one(*primary) };
        let both = pools.iter().find_map(|pool| Some(vec![lowest(pool, 4, svc, users)?, lowest(pool, 6, svc, users)?]));
        let single = || one(*primary).or_else(|| one(*secondary));
        both.or_else(|| if svc.request.policy == Policy::Prefer { single() } else { None })
    }

    /// The address of the second family that a PreferDualStack Service with one address, which it did not ask for, gets from
    /// the same pool.
    pub fn add(&self, svc: &Svc, users: &Users<'_>) -> Option<IpAddr> {
        let [one] = svc.shown.as_slice() else { return None };
        let names_none = desired(svc).is_ok_and(|ips| ips.is_empty());
        if svc.request.policy != Policy::Prefer || set(&svc.request.cluster).len() < 2 || !names_none {
            return None;
        }
        lowest(self.pool_of(&svc.shown)?, 10 - world::family(*one), svc, users)
    }

    /// Whether a Service may be given exactly these addresses; `before` was decided earlier and may be stored or not.
    pub fn legal(&self, svc: &Svc, ips: &[IpAddr], before: &[IpAddr], users: &Users<'_>) -> bool {
        let cluster: BTreeSet<u8> = set(&svc.request.cluster);
        let Some(pool) = self.pool_of(ips) else { return false };
        let keeps_some = ips.iter().any(|ip| svc.shown.contains(ip) || before.contains(ip));
        let requested = svc.request.pool.filter(|name| !name.is_empty());
        let Ok(desired) = desired(svc) else { return false };
        let given = families(ips);
        is_ours(svc)
            && self.admits(pool, svc)
            && (requested.is_some() || !desired.is_empty() || pool.auto || keeps_some)
            && requested.is_none_or(|name| name == pool.name)
            && (desired.is_empty() || set(&desired) == set(ips))
            && given.len() == ips.len()
            && (given == cluster || (svc.request.policy == Policy::Prefer && given.is_subset(&cluster)))
            && (svc.request.policy != Policy::Require || given.len() == 2)
            && ips.iter().all(|ip| usable(*ip, svc, users))
    }

    /// assigned and available of IPv4, then of IPv6.
    pub fn counters(&self, pool: &Pool) -> [i64; 4] {
        let all = all_addresses(pool);
        let holders = self.view.services.values().filter(|svc| holds(svc));
        let taken: BTreeSet<IpAddr> = holders.flat_map(|svc| svc.shown.iter().copied()).collect();
        let count = |family: u8| {
            let of_family = || all.iter().filter(|ip| world::family(**ip) == family);
            let assigned = of_family().filter(|ip| taken.contains(ip)).count() as i64;
            (assigned, of_family().count() as i64 - assigned)
        };
        let ((a4, f4), (a6, f6)) = (count(4), count(6));
        [a4, f4, a6, f6]
    }
}

/// The first address of the family in the pool that the Service may use.
fn lowest(pool: &Pool, family: u8, svc: &Svc, users: &Users<'_>) -> Option<IpAddr> {
    all_addresses(pool).into_iter().find(|ip| world::family(*ip) == family && usable(*ip, svc, users))
}

/// Whether everybody who has the address shares it with the Service.
pub fn usable(ip: IpAddr, svc: &Svc, users: &Users<'_>) -> bool {
    users.iter().filter(|(used, _)| *used == ip).all(|(_, other)| may_share(svc, other))
}

/// What each Service shows in the end, starting from this view, when nothing else happens; `None` where more than one end
/// is right. Rounds: everybody who may keeps what he has; then the others in their order get what nobody has or still
/// shows; then what was taken away is free.
pub fn predict(view: &View) -> Option<BTreeMap<Key, Vec<IpAddr>>> {
    let mut view = view.clone();
    for _ in 0..20 {
        let rules = Rules::of(&view);
        let mut order: Vec<&Svc> = view.services.values().map(|svc| &**svc).collect();
        order.sort_by_key(|svc| (svc.created, svc.key.clone()));
        let mut given: BTreeMap<Key, Vec<IpAddr>> = BTreeMap::new();
        for svc in &order {
            let kept = match (holds(svc), is_ours(svc)) {
                (false, _) if !svc.request.lb && !svc.shown.is_empty() => return None,
                (false, _) => svc.shown.clone(),
                (true, false) if svc.request.lb && rules.pool_of(&svc.shown).is_none() => return None,
                (true, false) if svc.request.lb => svc.shown.clone(),
                (true, false) => Vec::new(),
                (true, true) => match rules.keep(svc, &rules.users(svc)) {
                    Keep::Must | Keep::Stay => svc.shown.clone(),
                    Keep::MustNot => Vec::new(),
                    Keep::May => return None,
                },
            };
            given.insert(svc.key.clone(), kept);
        }
        for svc in order.iter().filter(|svc| is_ours(svc)) {
            let mut users = rules.users(svc);
            for (key, ips) in given.iter().filter(|(key, _)| **key != svc.key) {
                let other = &*view.services[key];
                users.extend(ips.iter().filter(|_| is_ours(other) || holds(other)).map(|ip| (*ip, other)));
            }
            let kept = given.get_mut(&svc.key)?;
            if kept.is_empty() {
                *kept = rules.allocate(svc, &users).unwrap_or_default();
            } else {
                kept.extend(rules.add(svc, &users));
            }
        }
        let mut next = view.clone();
        for (key, svc) in &mut next.services {
            let svc = std::sync::Arc::make_mut(svc);
            if set(&svc.shown) != set(&given[key]) {
                svc.shown = given.remove(key)?;
                svc.mark = Rules::of(&view)
                    .pool_of(&svc.shown)
                    .filter(|_| !svc.shown.is_empty())
                    .map(|pool| pool.name.to_owned());
            }
        }
        if next == view {
            return Some(view.services.into_iter().map(|(key, svc)| (key, svc.shown.clone())).collect());
        }
        view = next;
    }
    None
}
