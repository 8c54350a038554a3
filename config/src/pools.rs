//! Address pools: ranges, allocation rules and overlap.
//!
//! ```text
//! by age:  pool -> parse entries -> claim its CIDRs --- free ------------------> in force
//!                       |                |------------ owned by an older pool --> Error, held
//!                       |                `------------ owned by a held pool ----> Policy, in force
//!                       `-- anything wrong --> Error, held with the entries that are good
//! ```
//! A held pool keeps what Services already have of it and gives out nothing new.
//!
//! CIDRs nest or are disjoint, so a sorted map of disjoint claims answers every overlap question in logarithmic time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::v1beta1::IPAddressPool;
use ipnet::IpNet;

use crate::family::Family;
use crate::finding::{Class, Finding, ObjectId};
use crate::model::{Pool, PoolEntry};
use crate::quote::quoted;
use crate::range::{bounds, parse_entry};
use crate::resources::NamespaceLabels;
use crate::service_allocation::{self, Namespaces};
use crate::source::Source;

/// A pool that is in force or held, and what advertisements need to know of its object.
pub(crate) struct ActivePool<'a> {
    pub(crate) id: ObjectId,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) pool: Pool,
    pub(crate) held: bool,
    /// Of each family, IPv4 first: the prefix length of the widest CIDR of the entry for which that is longest. `None`
    /// when the pool has no such address.
    pub(crate) narrowest: [Option<u8>; 2],
}

/// The pools in force and the held ones, ascending by name.
pub(crate) type ActivePools<'a> = Vec<ActivePool<'a>>;

/// Findings name at most this many other pools per pool; one is enough to know what to mend.
const MOST_OVERLAPS: usize = 16;

/// Checks pools in the order of precedence.
pub(crate) fn compile<'a>(
    sources: &[Source<'a, IPAddressPool>],
    namespaces: &[NamespaceLabels],
    findings: &mut Vec<Finding>,
) -> ActivePools<'a> {
    let namespaces = Namespaces::new(namespaces);
    let parsed: Vec<(Pool, bool)> = sources
        .iter()
        .map(|source| {
            let known = findings.len();
            (parse(source, &namespaces, findings), findings.len() == known)
        })
        .collect();
    let suspects = suspects(parsed.iter().map(|(pool, good)| good.then_some(pool)));
    // Only looked up, never walked, so the order of a hash map reaches nobody.
    let mut first_of_name: HashMap<&str, usize> = HashMap::with_capacity(sources.len());
    let mut active: ActivePools<'a> = Vec::with_capacity(sources.len());
    let (mut in_force, mut set_aside) = (Claims::default(), Claims::default());
    for (owner, (source, (pool, good))) in sources.iter().zip(parsed).enumerate() {
        let known = first_of_name.get(source.name()).and_then(|first| active.get_mut(*first));
        if let Some(first) = known.as_ref().filter(|first| !first.held) {
            if good {
                findings.push(duplicate(source, &first.id));
            }
            continue;
        }
        let mut held = !good;
        if good && suspects.contains(&owner) {
            if let Some(finding) = overlap_in_itself(source, &pool) {
                findings.push(finding);
                held = true;
            } else if report_overlaps(source, &pool, &in_force, sources, Class::Error, findings) {
                set_aside.add(&pool, owner);
                held = true;
            } else {
                report_overlaps(source, &pool, &set_aside, sources, Class::Policy, findings);
                in_force.add_disjoint(&pool, owner);
            }
        }
        let narrowest = narrowest(&pool);
        let newcomer = ActivePool { id: source.id.clone(), labels: source.labels, pool, held, narrowest };
        match known {
            Some(known) => *known = newcomer,
            None => {
                first_of_name.insert(source.name(), active.len());
                active.push(newcomer);
            }
        }
    }
    active.sort_unstable_by(|a, b| a.id.name.cmp(&b.id.name));
    active
}

fn narrowest(pool: &Pool) -> [Option<u8>; 2] {
    let mut narrowest = [None; 2];
    for (family, length) in pool.entries.iter().filter_map(widest) {
        let [v4, v6] = &mut narrowest;
        let of_family = if family == Family::V4 { v4 } else { v6 };
        *of_family = (*of_family).max(Some(length));
    }
    narrowest
}

/// Family of an entry and prefix length of its widest CIDR.
pub(crate) fn widest(entry: &PoolEntry) -> Option<(Family, u8)> {
    let length = entry.cidrs.iter().map(IpNet::prefix_len).min()?;
    Some((Family::of_net(entry.cidrs.first()?), length))
}

/// The numbers of the pools that share an address with another or hold one twice. Nearly always there is none, and one
/// sweep over all entries finds that out far cheaper than who holds which CIDR.
fn suspects<'p>(pools: impl Iterator<Item = Option<&'p Pool>>) -> BTreeSet<usize> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (number, pool) in pools.enumerate() {
        for entry in pool.iter().flat_map(|pool| &pool.entries) {
            match (entry.cidrs.first(), entry.cidrs.last()) {
                (Some(IpNet::V4(first)), Some(IpNet::V4(last))) => {
                    v4.push((u32::from(first.network()), u32::from(last.broadcast()), number));
                }
                (Some(IpNet::V6(first)), Some(IpNet::V6(last))) => {
                    v6.push((u128::from(first.network()), u128::from(last.broadcast()), number));
                }
                // An entry has CIDRs of one family.
                _ => {}
            }
        }
    }
    let mut suspects = BTreeSet::new();
    sweep(v4, &mut suspects);
    sweep(v6, &mut suspects);
    suspects
}

/// Of spans (first, last, owner): the owners of those that overlap, every one of them.
fn sweep<T: Ord + Copy>(mut spans: Vec<(T, T, usize)>, suspects: &mut BTreeSet<usize>) {
    spans.sort_unstable();
    let mut furthest: Option<T> = None;
    for (index, (first, last, owner)) in spans.iter().enumerate() {
        // One that begins before this one, or the next one, which begins before any other later one.
        let before = furthest.is_some_and(|furthest| *first <= furthest);
        let after = spans.get(index + 1).is_some_and(|(next, _, _)| next <= last);
        if before || after {
            suspects.insert(*owner);
        }
        furthest = furthest.max(Some(*last));
    }
}

fn duplicate(source: &Source<'_, IPAddressPool>, first: &ObjectId) -> Finding {
    let text = format!("duplicate definition of pool {}", quoted(source.name()));
    let remedy =
        format!("the {} of this name is older and stays in force: rename or delete one of the two", first.kind);
    Finding::new(Class::Error, &source.id, "metadata.name", text).with(first).detail(remedy)
}

/// The pool without its advertisements, as far as it is good; what is wrong is reported.
fn parse(source: &Source<'_, IPAddressPool>, namespaces: &Namespaces<'_>, findings: &mut Vec<Finding>) -> Pool {
    let (name, spec) = (source.name(), &source.object.spec);
    let mut wrong = |field: String, text: String| {
        let text = format!("parsing address pool {name}: {text}");
        findings.push(Finding::new(Class::Error, &source.id, field, text));
    };
    if name.is_empty() {
        wrong("metadata.name".to_owned(), "missing pool name".to_owned());
    }
    if spec.addresses.is_empty() {
        wrong("spec.addresses".to_owned(), "pool has no prefixes defined".to_owned());
    }
    let mut entries = Vec::with_capacity(spec.addresses.len());
    for (index, text) in spec.addresses.iter().enumerate() {
        match parse_entry(text) {
            Ok(cidrs) => entries.push(PoolEntry { text: text.clone(), cidrs }),
            Err(error) => wrong(
                format!("spec.addresses[{index}]"),
                format!("invalid CIDR {} in pool {}: {error}", quoted(text), quoted(name)),
            ),
        }
    }
    let service_allocation = spec.service_allocation.as_ref().map(|allocation| {
        let (allocation, errors) = service_allocation::parse(name, allocation, namespaces);
        for (field, text) in errors {
            wrong(format!("spec.serviceAllocation.{field}"), text);
        }
        allocation
    });
    Pool {
        entries,
        auto_assign: spec.auto_assign,
        avoid_buggy_ips: spec.avoid_buggy_ips,
        service_allocation,
        ..Pool::default()
    }
}

fn overlap_in_itself(source: &Source<'_, IPAddressPool>, pool: &Pool) -> Option<Finding> {
    if suspects(std::iter::once(Some(pool))).is_empty() {
        return None;
    }
    let mut own = Claims::default();
    for (index, entry) in pool.entries.iter().enumerate() {
        for cidr in &entry.cidrs {
            if let Some(claim) = own.overlapping(cidr).next() {
                let field = format!("spec.addresses[{index}]");
                let text = overlap_text(cidr, source.name(), &claim.cidr);
                let remedy = "both belong to this pool: remove one of the two";
                return Some(Finding::new(Class::Error, &source.id, field, text).detail(remedy));
            }
            own.add_cidr(cidr, 0);
        }
    }
    None
}

/// One finding per other pool; whether there was any.
fn report_overlaps(
    source: &Source<'_, IPAddressPool>,
    pool: &Pool,
    claims: &Claims,
    sources: &[Source<'_, IPAddressPool>],
    class: Class,
    findings: &mut Vec<Finding>,
) -> bool {
    let mut named = BTreeSet::new();
    for (index, entry) in pool.entries.iter().enumerate().filter(|(_, entry)| claims.touch(entry)) {
        for (cidr, claim) in
            entry.cidrs.iter().flat_map(|cidr| claims.overlapping(cidr).map(move |claim| (cidr, claim)))
        {
            if named.len() == MOST_OVERLAPS {
                return true;
            }
            let Some(owner) = sources.get(claim.owner).filter(|_| named.insert(claim.owner)) else { continue };
            let field = format!("spec.addresses[{index}]");
            let text = overlap_text(cidr, source.name(), &claim.cidr);
            let remedy = format!("that CIDR belongs to pool {}: change one of the two", quoted(owner.name()));
            findings.push(Finding::new(class, &source.id, field, text).with(&owner.id).detail(remedy));
        }
    }
    !named.is_empty()
}

fn overlap_text(cidr: &IpNet, pool: &str, other: &IpNet) -> String {
    let (cidr, other) = (quoted(&cidr.to_string()), quoted(&other.to_string()));
    format!("CIDR {cidr} in pool {} overlaps with already defined CIDR {other}", quoted(pool))
}

/// Disjoint CIDRs with their owners (indexes into the list of sources).
#[derive(Default)]
struct Claims {
    by_start: BTreeMap<(Family, u128), Claim>,
}

struct Claim {
    last: u128,
    cidr: IpNet,
    owner: usize,
}

impl Claims {
    /// The claims that share an address with this CIDR: one that holds it, or those it holds.
    fn overlapping(&self, cidr: &IpNet) -> impl Iterator<Item = &Claim> {
        let (first, last) = bounds(cidr);
        self.within(Family::of_net(cidr), first, last)
    }

    /// Whether a claim shares an address with this entry.
    fn touch(&self, entry: &PoolEntry) -> bool {
        let (Some(first), Some(last)) = (entry.cidrs.first(), entry.cidrs.last()) else { return false };
        self.within(Family::of_net(first), bounds(first).0, bounds(last).1).next().is_some()
    }

    fn within(&self, family: Family, first: u128, last: u128) -> impl Iterator<Item = &Claim> {
        let before = self.by_start.range((family, 0)..(family, first)).next_back();
        let holder = before.map(|(_, claim)| claim).filter(move |claim| claim.last >= first);
        holder.into_iter().chain(self.by_start.range((family, first)..=(family, last)).map(|(_, claim)| claim))
    }

    /// Takes in a pool that shares nothing with what is there.
    fn add_disjoint(&mut self, pool: &Pool, owner: usize) {
        self.by_start.extend(pool.cidrs().map(|cidr| {
            let (first, last) = bounds(cidr);
            ((Family::of_net(cidr), first), Claim { last, cidr: *cidr, owner })
        }));
    }

    fn add(&mut self, pool: &Pool, owner: usize) {
        for cidr in pool.cidrs() {
            self.add_cidr(cidr, owner);
        }
    }

    /// Keeps the claims disjoint: of two that overlap the wider one stays.
    fn add_cidr(&mut self, cidr: &IpNet, owner: usize) {
        let (family, (first, last)) = (Family::of_net(cidr), bounds(cidr));
        if self.overlapping(cidr).any(|claim| claim.cidr.contains(cidr)) {
            return;
        }
        let inside: Vec<_> = self.by_start.range((family, first)..=(family, last)).map(|(start, _)| *start).collect();
        for start in inside {
            self.by_start.remove(&start);
        }
        self.by_start.insert((family, first), Claim { last, cidr: *cidr, owner });
    }
}
