//! What users do: they create, edit and delete Services, pools and namespaces, and now and then put their fingers into
//! what the controller wrote.
//!
//! ```text
//! Random ──▶ one edit of ApiServer
//! ```

use std::collections::BTreeSet;

use crate::api_server::Told;
use crate::random::Random;
use crate::simulation::Simulation;
use crate::world::{Allocation, Key, Policy, Pool, Request, SEGMENTS, Svc, addresses};

const POOLS: [&str; 3] = ["p1", "p2", "p3"];
const KEYS: [&str; 6] = ["a/s1", "a/s2", "a/s3", "b/s1", "b/s2", "b/s3"];

/// One random change. Returns whether its end is determined: a controller may remember what somebody took out of a status.
pub fn edit(simulation: &mut Simulation, random: &mut Random) -> bool {
    let before = simulation.api.log.len();
    match random.below(20) {
        0..11 => edit_service(simulation, random),
        11..18 => edit_pool(simulation, random),
        _ => edit_namespace(simulation, random),
    }
    let told = format!("user: {:?}", &simulation.api.log[before..]);
    simulation.tell(|| told);
    let Some(Told::Service(svc)) = simulation.api.log[before..].last() else { return true };
    let last = simulation.api.versions(svc.uid, 0).filter(|earlier| earlier.version < svc.version).last();
    last.is_none_or(|last| last.shown == svc.shown)
}

fn edit_service(simulation: &mut Simulation, random: &mut Random) {
    let api = &mut simulation.api;
    let key = Key::from(random.of(KEYS));
    let Some(svc) = api.stored.services.get(&key).cloned() else {
        let namespace = key.split('/').next().unwrap_or_default().to_owned();
        if api.stored.namespaces.contains_key(namespace.as_str()) {
            let (uid, created) = (api.uid(), api.now);
            let request = new_request(random);
            api.put(Svc {
                key,
                uid,
                version: 0,
                created,
                request,
                shown: Vec::new(),
                mark: None,
                generation: 1,
                condition: None,
            });
        }
        return;
    };
    let mut svc = (*svc).clone();
    match random.below(24) {
        0..3 => {
            api.delete(&key);
            if random.one_in(3) {
                svc.uid = api.uid();
                svc.created = api.now;
                svc.shown.clear();
                svc.mark = None;
                svc.condition = None;
                svc.generation = 1;
                if random.one_in(2) {
                    svc.request = new_request(random);
                }
                api.put(svc);
            }
            return;
        }
        3 => svc.mark = None,
        5 if random.one_in(2) => svc.condition = None,
        4 => {
            svc.shown.clear();
            if random.one_in(2) {
                svc.mark = None;
            }
        }
        _ => {
            change_request(&mut svc.request, random);
            // Sometimes two things at once.
            if random.one_in(4) {
                change_request(&mut svc.request, random);
            }
        }
    }
    if let Some(stored) = api.stored.services.get(&key).filter(|stored| ***stored != svc) {
        svc.generation += i64::from(stored.request != svc.request);
        api.put(svc);
    }
}

fn new_request(random: &mut Random) -> Request {
    let mut request = Request {
        lb: true,
        foreign: false,
        cluster: vec![4],
        policy: Policy::Single,
        pool: None,
        ips: None,
        ip_field: None,
        old_prefix: random.one_in(5),
        sharing: None,
        local: false,
        selector: "x",
        ports: BTreeSet::from([("TCP", 80)]),
        label: None,
    };
    change_families(&mut request, random);
    for _ in 0..random.below(4) {
        change_request(&mut request, random);
    }
    request
}

fn change_families(request: &mut Request, random: &mut Random) {
    (request.cluster, request.policy) = match random.below(11) {
        0..4 => (vec![4], Policy::Single),
        4 => (vec![6], Policy::Single),
        5 => (vec![4, 6], Policy::Require),
        6 => (vec![6, 4], Policy::Require),
        7 => (vec![4, 6], Policy::Prefer),
        8 => (vec![6, 4], Policy::Prefer),
        9 => (vec![random.of([4, 6])], Policy::Prefer),
        _ => (vec![4], Policy::Require),
    };
}

fn change_request(request: &mut Request, random: &mut Random) {
    match random.below(20) {
        0 => request.lb = !request.lb,
        1 => {
            request.foreign = !request.foreign;
            request.lb = true;
        }
        2..5 => change_families(request, random),
        5 => request.cluster = if random.one_in(2) { Vec::new() } else { vec![4] },
        6 | 7 => request.pool = random.of([None, None, Some("p1"), Some("p2"), Some("p3"), Some("none"), Some("")]),
        8 | 9 => {
            (request.ips, request.ip_field) = match random.below(6) {
                0 => (Some(address(random)), None),
                1 => (None, Some(address(random))),
                2 => (Some(format!(" {} , {}", address(random), address(random))), None),
                3 => (Some(random.of(["", "x", "192.0.2.1,"]).to_owned()), None),
                4 => (Some(address(random)), Some(address(random))),
                _ => (None, None),
            }
        }
        10..13 => request.sharing = random.of([None, Some("k"), Some("k"), Some("k"), Some("l"), Some("")]),
        13 | 14 => {
            request.ports = match random.below(5) {
                0 => BTreeSet::from([("TCP", 80)]),
                1 => BTreeSet::from([("TCP", 443)]),
                2 => BTreeSet::from([("UDP", 80)]),
                3 => BTreeSet::from([("TCP", 80), ("TCP", 443)]),
                _ => BTreeSet::from([("TCP", 8080)]),
            }
        }
        15 => request.local = !request.local,
        16 => request.selector = random.of(["x", "y"]),
        17 => request.label = random.of([None, Some("web"), Some("db")]),
        18 => request.old_prefix = !request.old_prefix,
        _ => {
            (request.ips, request.ip_field, request.pool) = (None, None, None);
        }
    }
}

fn address(random: &mut Random) -> String {
    let all = addresses(random.below(SEGMENTS.len()));
    random.pick(&all).map_or_else(|| String::from("192.0.2.77"), |ip| ip.to_string())
}

fn edit_pool(simulation: &mut Simulation, random: &mut Random) {
    let api = &mut simulation.api;
    let name = random.of(POOLS);
    let Some(pool) = api.stored.pools.get(name).cloned() else {
        let (uid, created) = (api.uid(), api.now);
        let pool = new_pool(name, uid, created, random);
        api.put_pool(pool);
        return;
    };
    let mut pool = (*pool).clone();
    match random.below(16) {
        0 | 1 => {
            api.delete_pool(name);
            if random.one_in(2) {
                let (uid, created) = (api.uid(), api.now);
                let pool = if random.one_in(2) {
                    Pool { uid, created, status: None, ..pool }
                } else {
                    new_pool(name, uid, created, random)
                };
                api.put_pool(pool);
            }
            return;
        }
        2 | 3 => pool.bad_entry = !pool.bad_entry,
        4 => pool.unreadable = !pool.unreadable,
        5 | 6 => {
            let segment = random.below(SEGMENTS.len());
            if !pool.segments.contains(&segment) || random.one_in(8) {
                pool.segments.push(segment);
            }
        }
        7 | 8 => {
            pool.segments.remove(random.below(pool.segments.len()).min(pool.segments.len().saturating_sub(1)));
            if pool.segments.is_empty() {
                pool.segments.push(random.below(SEGMENTS.len()));
            }
        }
        9 => pool.auto = !pool.auto,
        10 => pool.avoid_buggy = !pool.avoid_buggy,
        11..15 => pool.allocation = allocation(random),
        _ => pool.status = random.of([None, Some([7, 7, 7, 7])]),
    }
    let unchanged = api.stored.pools.get(name).is_some_and(|stored| **stored == pool);
    if !unchanged {
        api.put_pool(pool);
    }
}

fn new_pool(name: &'static str, uid: u64, created: i64, random: &mut Random) -> Pool {
    let mut segments = vec![random.below(SEGMENTS.len())];
    for _ in 0..random.below(3) {
        let segment = random.below(SEGMENTS.len());
        if !segments.contains(&segment) {
            segments.push(segment);
        }
    }
    Pool {
        name,
        uid,
        version: 0,
        created,
        segments,
        bad_entry: random.one_in(12),
        unreadable: random.one_in(30),
        auto: !random.one_in(6),
        avoid_buggy: random.one_in(4),
        allocation: if random.one_in(2) { None } else { allocation(random) },
        status: None,
    }
}

fn allocation(random: &mut Random) -> Option<Allocation> {
    if random.one_in(4) {
        return None;
    }
    Some(Allocation {
        priority: random.below(4) as i64,
        namespaces: random.pick(&[vec![], vec![], vec!["a"], vec!["b"], vec!["a", "b"]]).unwrap_or_default(),
        namespace_tier: random.of([None, None, None, Some("gold"), Some("tin")]),
        service_app: random.of([None, None, None, Some("web")]),
    })
}

fn edit_namespace(simulation: &mut Simulation, random: &mut Random) {
    let name = random.of(["a", "b"]);
    if simulation.api.stored.namespaces.contains_key(name) && random.one_in(4) {
        simulation.api.delete_namespace(name);
    } else {
        simulation.api.put_namespace(name, random.of([None, Some("gold"), Some("tin")]));
    }
}
