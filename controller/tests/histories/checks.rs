//! What must hold: for every decision, for every write that is stored, and for a quiet world.
//!
//! ```text
//! settle ──▶ decisions   I2, I3 by what the process was told        stored ──▶ I1, I2 by what the API showed
//! calm   ──▶ quiet       idle, nobody waits in vain, numbers right, a restart changes nothing
//! ```
//! I1: no two Services show one address unless they may share it. I2: an address shown does not change without a reason.
//! I3: no address is given out against pools, selectors, namespaces or the request.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::api_server::{ApiServer, KINDS, Kind, Told};
use crate::model::{self, Keep, Rules, Users};
use crate::process::{Decided, Process};
use crate::simulation::{Simulation, Verdict};
use crate::world::{Key, Namespace, Pool, Svc, View};

fn set(ips: &[IpAddr]) -> BTreeSet<IpAddr> {
    ips.iter().copied().collect()
}

/// Judges writes by what the process was told, before they are sent.
pub fn decisions(process: &Process, writes: &[Decided]) -> Verdict {
    if writes.is_empty() {
        return Ok(());
    }
    let rules = Rules::of(&process.view);
    for write in writes {
        let (key, target) = (&write.key, &write.shown);
        let svc = process.view.services.get(key).filter(|svc| svc.version == write.version);
        let Some(svc) = svc else {
            return Err(format!("{key}: decided on version {}, which is not the newest known", write.version));
        };
        let mut users = rules.users(svc);
        let sent = process.sent.iter().chain(writes.iter().map(|one| (&one.key, &one.shown)));
        for (other, ips) in sent.filter(|(other, _)| *other != key) {
            let other = process.view.services.get(other);
            users.extend(other.iter().flat_map(|other| ips.iter().map(move |ip| (*ip, &***other))));
        }
        let before = process.sent.get(key).map_or(&[][..], Vec::as_slice);
        let remembered = process.remembered.get(key).filter(|(uid, _)| *uid == svc.uid);
        let back = remembered.is_some_and(|(_, shown)| set(shown) == set(target));
        decision(&rules, svc, write, (before, back), &users)
            .map_err(|wrong| format!("{key} -> {target:?}: {wrong}"))?;
    }
    Ok(())
}

/// `before` was decided earlier and may be stored or not; `back` says that the Service gets back what it showed.
fn decision(
    rules: &Rules<'_>,
    svc: &Svc,
    write: &Decided,
    (before, back): (&[IpAddr], bool),
    users: &Users<'_>,
) -> Verdict {
    let target = &write.shown;
    if !model::is_ours(svc) {
        let ok = !svc.request.lb && target.is_empty() && write.mark.is_none();
        return if ok { Ok(()) } else { Err(format!("I2: not ours to write: {svc:?}")) };
    }
    let taken_away = svc.shown.iter().any(|ip| !target.contains(ip));
    if taken_away && before.is_empty() && matches!(rules.keep(svc, users), Keep::Must | Keep::Stay) {
        return Err(format!("I2: has no reason to lose {:?}", svc.shown));
    }
    if set(target) == set(&svc.shown) && *target != svc.shown {
        return Err(String::from("I2: changes nothing but the order"));
    }
    let new = target.iter().any(|ip| !svc.shown.contains(ip));
    let known = target.iter().all(|ip| svc.shown.contains(ip) || before.contains(ip));
    let held = known && rules.pool_of(target).is_none() && !rules.held.is_empty();
    let back = back && rules.keep(&Svc { shown: target.clone(), ..svc.clone() }, users) != Keep::MustNot;
    if new && !held && !back && !rules.legal(svc, target, before, users) {
        return Err(format!("I1 or I3: must not be given that: {svc:?}"));
    }
    let pool = rules.pool_of(target).map(|pool| pool.name);
    let mark = write.mark.as_deref();
    match mark {
        None if target.is_empty() => Ok(()),
        Some(mark) if !target.is_empty() && (pool == Some(mark) || rules.held.iter().any(|held| held.name == mark)) => {
            Ok(())
        }
        _ => Err(format!("the mark says {mark:?}, the address is of {pool:?}")),
    }
}

/// Judges that whoever waits is looked at again exactly when something changes for him: looking at all of them at once,
/// after everything that changed was settled, finds nothing to do.
pub fn nobody_overslept(process: &mut Process) -> Verdict {
    process.state.wake_all();
    match process.settle().first() {
        Some(Decided { key, shown, .. }) => Err(format!("{key} -> {shown:?}: was not woken for that")),
        None => Ok(()),
    }
}

/// Judges a write that was stored by what the API showed since it was decided.
pub fn stored(api: &ApiServer, decided: &Decided, before: &Svc, after: &Svc) -> Verdict {
    for ip in after.shown.iter().filter(|ip| !before.shown.contains(ip)) {
        for other in api.stored.services.values().filter(|other| other.key != after.key && other.shown.contains(ip)) {
            let known = decided.known.get(&other.key).filter(|(uid, _)| *uid == other.uid);
            let mut versions = api.versions(other.uid, known.map_or(0, |(_, version)| *version));
            if !versions
                .any(|version| !model::holds(version) && version.shown.contains(ip) || model::may_share(after, version))
            {
                return Err(format!("I1: {} and {} both show {ip}", after.key, other.key));
            }
        }
    }
    if model::is_ours(before) && before.shown.iter().any(|ip| !after.shown.contains(ip)) && !reason_since(api, before) {
        return Err(format!("I2: since {} got {:?} nothing happened that takes it away", before.key, before.shown));
    }
    Ok(())
}

/// Whether, at any moment since the Service got what it shows, pools, namespaces or others gave a reason to take it away.
/// A process that knows less than what was known when the address was given must not take it away.
fn reason_since(api: &ApiServer, svc: &Svc) -> bool {
    let mut versions: Vec<&Svc> = api.versions(svc.uid, 0).collect();
    // The newest version is the one that was just stored.
    versions.pop();
    let since =
        versions.iter().rev().take_while(|version| version.shown == svc.shown).last().map_or(0, |first| first.version);
    let mut now = View::default();
    let (mut pools, mut namespaces, mut services) = (Vec::new(), Vec::new(), Vec::new());
    for told in &api.log {
        let version = match told {
            Told::Service(svc) | Told::NoService(svc) => svc.version,
            Told::Namespace(namespace) | Told::NoNamespace(namespace) => namespace.version,
            Told::Pool(pool) | Told::NoPool(pool) => pool.version,
            Told::Begin(_) | Told::End(..) => continue,
        };
        if version > since && pools.is_empty() {
            pools.push(now.pools.clone());
            namespaces.push(now.namespaces.clone());
            services.push(now.services.clone());
        }
        match told {
            Told::Service(svc) => drop(now.services.insert(svc.key.clone(), svc.clone())),
            Told::NoService(svc) => drop(now.services.remove(&svc.key)),
            Told::Namespace(namespace) => drop(now.namespaces.insert(namespace.name, namespace.clone())),
            Told::NoNamespace(namespace) => drop(now.namespaces.remove(namespace.name)),
            Told::Pool(pool) => drop(now.pools.insert(pool.name, pool.clone())),
            Told::NoPool(pool) => drop(now.pools.remove(pool.name)),
            Told::Begin(_) | Told::End(..) => {}
        }
        if version > since {
            match told.kind() {
                Kind::Pool => pools.push(now.pools.clone()),
                Kind::Namespace => namespaces.push(now.namespaces.clone()),
                Kind::Service => services.push(now.services.clone()),
            }
        }
    }
    let lost = |pools: &BTreeMap<&'static str, Arc<Pool>>,
                namespaces: &BTreeMap<&'static str, Arc<Namespace>>,
                services: &BTreeMap<Key, Arc<Svc>>| {
        let view = View { services: services.clone(), pools: pools.clone(), namespaces: namespaces.clone() };
        let rules = Rules::of(&view);
        let verdict = rules.keep(svc, &rules.users(svc));
        !matches!(verdict, Keep::Must | Keep::Stay)
    };
    let empty = BTreeMap::new();
    pools.iter().any(|pools| namespaces.iter().any(|namespaces| lost(pools, namespaces, &empty)))
        || services.iter().any(|services| lost(&api.stored.pools, &api.stored.namespaces, services))
}

/// Judges a quiet world.
pub fn quiet(simulation: &Simulation) -> Verdict {
    let view = &simulation.api.stored;
    for process in simulation.processes.iter().flatten() {
        if process.view != *view {
            return Err(format!("the judge lost track: {:?} instead of {view:?}", process.view));
        }
        if process.state.is_leading() && !process.state.is_synced() {
            return Err(String::from("the leader is not synced"));
        }
    }
    let rules = Rules::of(view);
    for svc in view.services.values() {
        quiet_service(&rules, svc).map_err(|wrong| format!("{wrong}: {svc:?}\n  in {view:#?}"))?;
    }
    for pool in &rules.in_force {
        let expected = rules.counters(pool);
        if pool.status != Some(expected) {
            return Err(format!("status of {}: {:?} instead of {expected:?}", pool.name, pool.status));
        }
    }
    restart(&simulation.api)
}

fn quiet_service(rules: &Rules<'_>, svc: &Svc) -> Verdict {
    let users = rules.users(svc);
    let waits = model::is_ours(svc) && svc.shown.is_empty();
    if model::is_ours(svc) && waits != svc.condition.is_some() && model::desired(svc).is_ok() {
        return Err(String::from("its condition does not say whether it waits"));
    }
    if !svc.request.lb && svc.condition.is_some() {
        return Err(String::from("no load balancer, and still says that it waits"));
    }
    if !model::is_ours(svc) {
        let left_over = !svc.request.lb && !svc.shown.is_empty() && svc.mark.is_some();
        return if left_over { Err(String::from("no load balancer, and still shows an address")) } else { Ok(()) };
    }
    if svc.shown.is_empty() {
        // On which terms a Service of another class has an address of no pool, nobody knows: it need not share that.
        let unknown = |ip: &IpAddr| {
            let of_no_pool = |(used, other): &(IpAddr, &Svc)| {
                used == ip && !model::is_ours(other) && rules.pool_of(&other.shown).is_none()
            };
            users.iter().any(of_no_pool)
        };
        return match (rules.allocate(svc, &users), &svc.mark) {
            (Some(ips), None) if ips.iter().any(unknown) => Ok(()),
            (Some(ips), _) => Err(format!("waits, and could have {ips:?}")),
            (None, Some(_)) => Err(String::from("has nothing and carries our mark")),
            (None, None) => Ok(()),
        };
    }
    let ours = users.iter().filter(|(_, other)| model::is_ours(other)).copied().collect();
    if svc.shown.iter().any(|ip| !model::usable(*ip, svc, &ours)) {
        return Err(String::from("I1: shows an address that somebody else has"));
    }
    match rules.keep(svc, &users) {
        Keep::MustNot => Err(String::from("shows what it must not have")),
        Keep::Must if rules.add(svc, &users).is_some() => Err(String::from("lacks the second address")),
        Keep::Must | Keep::May | Keep::Stay => match (rules.pool_of(&svc.shown), svc.mark.as_deref()) {
            (Some(pool), mark) if mark != Some(pool.name) && !rules.held.iter().any(|held| mark == Some(held.name)) => {
                Err(format!("the mark does not name {}", pool.name))
            }
            _ => Ok(()),
        },
    }
}

/// A controller that starts now must find nothing to do.
fn restart(api: &ApiServer) -> Verdict {
    let mut process = Process::start(u64::MAX, api);
    process.lead(api);
    for kind in KINDS {
        while process.deliver(kind, false) {}
    }
    if let Some(Decided { key, shown, mark, .. }) = process.settle().first() {
        return Err(format!("a restart writes {key} -> {shown:?} of {mark:?}, where all was quiet"));
    }
    match process.state.pool_status_writes().first() {
        Some(write) => Err(format!("a restart counts otherwise: {write:?}")),
        None => Ok(()),
    }
}

/// Compares what Services show with what the model predicted.
pub fn as_predicted(api: &ApiServer, predicted: &BTreeMap<Key, Vec<IpAddr>>) -> Verdict {
    for (key, svc) in &api.stored.services {
        let expected = predicted.get(key).map_or(&[][..], Vec::as_slice);
        if set(expected) != set(&svc.shown) {
            return Err(format!("{key} shows {:?}, the model says {expected:?}; {:#?}", svc.shown, api.stored));
        }
    }
    Ok(())
}
