//! The ways in which controllers of load balancers are known to lose, move or double addresses, one test each.

use std::collections::BTreeMap;

use config::NamespaceLabels;
use runtime::watch::Event;

use crate::allocator::family::Policy;
use crate::fixtures::{Cluster, annotated, pool_object, service, showing};
use crate::pool_objects::PoolObject;
use crate::service::Service;
use crate::state::{Action, Input, Outcome, ServiceWrite, State};

const V4: &[&str] = &["10.96.0.1"];
const DUAL: &[&str] = &["10.96.0.1", "fd00:96::1"];

fn everything_shown(cluster: &Cluster) -> Vec<String> {
    cluster.services.keys().map(|name| format!("{name} {}", cluster.shown(name))).collect()
}

/// Numbers that look random and are the same each time.
fn shuffled<T>(mut items: Vec<T>, mut seed: u64) -> Vec<T> {
    for index in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(seed >> 33).expect("31 bits") % (index + 1);
        items.swap(index, other);
    }
    items
}

#[test]
fn r1_restart_with_a_full_pool_moves_nothing() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    for name in ["a", "b", "c", "d", "e", "f"] {
        cluster.put(service(name, V4));
    }
    cluster.run();
    let (shown, writes) = (everything_shown(&cluster), cluster.writes);
    for seed in 0..200 {
        cluster.state = State::new(None);
        cluster.state.lead();
        // Pools and namespaces come first, Services in any order and one by one.
        cluster.list_the_rest();
        cluster.state.apply(Input::Service(Event::Init));
        for service in shuffled(cluster.services.values().cloned().collect(), seed) {
            cluster.state.apply(Input::Service(Event::InitApply(service)));
            assert!(cluster.decide().is_empty());
        }
        cluster.state.apply(Input::Service(Event::InitDone));
        cluster.run();
        assert_eq!((everything_shown(&cluster), cluster.writes), (shown.clone(), writes), "restart {seed}");
    }
    assert_eq!(cluster.state.waiting(), 2);
}

#[test]
fn r2_a_slow_list_of_services_keeps_everybody_waiting() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/32"])]);
    cluster.put(service("old", V4));
    cluster.run();
    cluster.state = State::new(None);
    cluster.state.lead();
    cluster.list_the_rest();
    cluster.state.apply(Input::Service(Event::Init));
    let new = service("new", V4);
    cluster.services.insert("new".into(), new.clone());
    cluster.state.apply(Input::Service(Event::InitApply(new)));
    assert!(cluster.decide().is_empty());
    cluster.state.apply(Input::Service(Event::InitApply(cluster.services["old"].clone())));
    assert!(cluster.decide().is_empty());
    cluster.state.apply(Input::Service(Event::InitDone));
    cluster.run();
    assert_eq!((cluster.shown("old"), cluster.shown("new")), ("192.0.2.0".into(), String::new()));
}

fn writes(state: &mut State) -> Vec<ServiceWrite> {
    let writes = state.settle().into_iter().filter_map(|action| match action {
        Action::Write(write) => Some(write),
        Action::Note(..) | Action::Log(..) | Action::Report(_) | Action::Later(..) => None,
    });
    writes.collect()
}

#[test]
fn r3_two_controllers_never_give_one_address_twice() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    for name in ["a", "b"] {
        cluster.put(service(name, V4));
    }
    // The first one decided, and was stopped before it wrote.
    let late = cluster.decide();
    let mut first = std::mem::replace(&mut cluster.state, State::new(None));
    cluster.lead();
    cluster.put(service("c", V4));
    cluster.run();
    let shown = everything_shown(&cluster);
    assert_eq!(shown, ["a 192.0.2.0", "b 192.0.2.1", "c 192.0.2.2"]);
    // It goes on. What it decided on is not there any more: the apiserver refuses.
    for write in &late {
        let outcome = cluster.store(write);
        assert!(matches!(outcome, Outcome::Refused));
        first.written(write.attempt, &write.key, outcome);
        first.retry(&write.key);
    }
    // It learns that it lost the lead; whatever comes in, it does nothing.
    first.follow();
    for service in cluster.services.values() {
        first.apply(Input::Service(Event::Apply(service.clone())));
    }
    assert!(writes(&mut first).is_empty());
    assert_eq!(everything_shown(&cluster), shown);
}

#[test]
fn r4_shared_addresses_survive_restarts_deletions_and_changes_of_policy() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    for (name, port) in [("a", 80), ("b", 81), ("c", 80), ("d", 81), ("e", 82)] {
        let mut new = service(name, V4);
        new.sharing.sharing = "k".into();
        new.ports[0].number = port;
        cluster.put(new);
    }
    cluster.run();
    let shown = everything_shown(&cluster);
    assert_eq!(shown, ["a 192.0.2.0", "b 192.0.2.0", "c 192.0.2.1", "d 192.0.2.1", "e 192.0.2.0"]);
    cluster.restart();
    assert_eq!(everything_shown(&cluster), shown);
    cluster.delete("a");
    cluster.run();
    assert_eq!(everything_shown(&cluster), shown[1..]);
    cluster.restart();
    assert_eq!(everything_shown(&cluster), shown[1..]);
    // Traffic policy Local needs the same endpoints: the one that changes leaves, the others stay.
    let mut local = cluster.services["b"].clone();
    local.sharing.backend = "app=b".into();
    cluster.put(local);
    cluster.run();
    assert_eq!(everything_shown(&cluster)[1..], shown[2..]);
    assert_eq!(cluster.shown("b"), "");
}

#[test]
fn r5_a_storm_of_deletions_serves_the_waiting_ones_in_their_order() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    let name = |number: i64| format!("s{:02}", 99 - number);
    for number in 0..40 {
        cluster.put(Service { created: number, uid: format!("{number}").into(), ..service(&name(number), V4) });
        cluster.run();
    }
    for number in 0..36 {
        assert_eq!(cluster.shown(&name(number + 4)), "");
        let address = cluster.shown(&name(number));
        cluster.delete(&name(number));
        cluster.delete(&name(number));
        cluster.run();
        assert_eq!(cluster.shown(&name(number + 4)), address, "the oldest gets exactly what was freed");
        let again =
            Service { created: 100 + number, uid: format!("again{number}").into(), ..service(&name(number), V4) };
        cluster.put(again);
        cluster.run();
        assert_eq!(cluster.shown(&name(number)), "");
    }
    let in_use: u64 = cluster.state.allocator().counters().map(|(_, counters)| counters.assigned_v4).sum();
    assert_eq!(in_use, 4);
}

#[test]
fn r6_no_edit_of_pools_moves_an_address_that_stays_legal() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/29"]), ("q", &["198.51.100.0/30"])]);
    for name in ["a", "b", "c"] {
        cluster.put(service(name, V4));
    }
    cluster.run();
    let shown = everything_shown(&cluster);
    let allocation = |value: serde_json::Value| Some(serde_json::from_value(value).expect("an allocation"));
    let mut edits = vec![pool_object("p", &["192.0.2.0/24"]), pool_object("p", &["192.0.2.0/30"])];
    let mut manual = pool_object("p", &["192.0.2.0/30"]);
    manual.spec.auto_assign = false;
    edits.push(manual);
    for priority in [5, 1, 0] {
        let mut prior = pool_object("p", &["192.0.2.0/30"]);
        prior.spec.service_allocation =
            allocation(serde_json::json!({"priority": priority, "namespaces": ["default", "other"]}));
        let mut other = pool_object("q", &["198.51.100.0/30"]);
        other.spec.service_allocation = allocation(serde_json::json!({"priority": 3, "namespaces": ["default"]}));
        edits.extend([prior, other]);
    }
    edits.extend([pool_object("overlapping", &["192.0.2.0/25"]), pool_object("p", &["192.0.2.0/30"])]);
    for edit in edits {
        cluster.put_pool(edit.clone());
        cluster.run();
        assert_eq!(everything_shown(&cluster), shown, "{:?}", edit.spec);
        cluster.restart();
        assert_eq!(everything_shown(&cluster), shown, "restart with {:?}", edit.spec);
    }
    // Renamed and split: each address stays, and the record follows.
    cluster.delete_pool("overlapping");
    cluster.delete_pool("p");
    cluster.put_pool(pool_object("low", &["192.0.2.0/31"]));
    cluster.put_pool(pool_object("high", &["192.0.2.2/31"]));
    cluster.run();
    assert_eq!(everything_shown(&cluster), shown);
    let pool_of = |name: &str| cluster.services[name].recorded_pool();
    assert_eq!((pool_of("b"), pool_of("c")), (Some("low".into()), Some("high".into())));
}

#[test]
fn r7_type_and_class_decide_who_may_touch_a_status() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    let mut theirs = showing(service("theirs", V4), &["203.0.113.7"], "x");
    theirs.class = Some("other".into());
    theirs.annotations.clear();
    cluster.put(theirs);
    cluster.put(service("a", V4));
    cluster.run();
    assert_eq!(everything_shown(&cluster), ["a 192.0.2.0", "theirs 203.0.113.7"]);
    for _ in 0..3 {
        let mut plain = cluster.services["a"].clone();
        plain.is_load_balancer = false;
        cluster.put(plain);
        cluster.run();
        assert_eq!((cluster.shown("a"), cluster.services["a"].recorded_pool()), (String::new(), None));
        let mut again = cluster.services["a"].clone();
        again.is_load_balancer = true;
        cluster.put(again);
        cluster.run();
        assert_eq!(cluster.shown("a"), "192.0.2.0");
    }
    // Deleted while the controller was away: nothing is left of it.
    cluster.services.remove("a");
    cluster.restart();
    let taken: u64 = cluster.state.allocator().counters().map(|(_, counters)| counters.assigned()).sum();
    assert_eq!((taken, cluster.shown("theirs").as_str()), (0, "203.0.113.7"));
}

#[test]
fn r8_huge_and_odd_ranges_give_their_first_addresses_and_right_numbers() {
    let most = i64::MAX.unsigned_abs();
    let cases: [(&[&str], &str, u64, u64); 7] = [
        (&["0.0.0.0/0"], "0.0.0.0", 1 << 32, 0),
        (&["2001:db8::/64"], "2001:db8::", 0, most),
        (&["2001:db8::/48"], "2001:db8::", 0, most),
        (&["::/0"], "::", 0, most),
        (&["10.0.0.0/8"], "10.0.0.0", 1 << 24, 0),
        (&["192.0.2.7/32"], "192.0.2.7", 1, 0),
        (&["192.0.2.9-192.0.2.12"], "192.0.2.9", 4, 0),
    ];
    for (entries, first, v4, v6) in cases {
        let mut cluster = Cluster::with_pools(&[("p", entries)]);
        cluster.put(service("a", if v4 > 0 { V4 } else { &["fd00:96::1"] }));
        cluster.run();
        assert_eq!(cluster.shown("a"), first);
        let (_, counters) = cluster.state.allocator().counters().next().expect("one pool");
        assert_eq!((counters.total_v4, counters.total_v6), (v4, v6), "{entries:?}");
        assert_eq!(counters.available_v4() + counters.available_v6(), v4.max(v6) - 1);
    }
    for bad in ["192.0.2.9-192.0.2.1", "fe80::1%eth0/128", ""] {
        let mut cluster = Cluster::with_pools(&[("p", &[bad]), ("q", &["198.51.100.0/32"])]);
        cluster.put(service("a", V4));
        cluster.run();
        assert_eq!((cluster.shown("a").as_str(), cluster.state.errors().len()), ("198.51.100.0", 1), "{bad:?}");
    }
    let many: Vec<String> = (0..10_000u32).map(|n| format!("10.{}.{}.1/32", n / 250, n % 250)).collect();
    let entries: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut cluster = Cluster::with_pools(&[("p", &entries)]);
    cluster.put(service("a", V4));
    cluster.run();
    assert_eq!(cluster.shown("a"), "10.0.0.1");
}

#[test]
fn r9_families_follow_the_cluster_ips_and_never_jump() {
    let mut cluster = Cluster::with_pools(&[("a-four", &["192.0.2.0/31"])]);
    let with = |name: &str, policy: Policy| Service { policy, ..service(name, DUAL) };
    cluster.put(with("prefers", Policy::PreferDualStack));
    cluster.put(with("requires", Policy::RequireDualStack));
    cluster.run();
    assert_eq!((cluster.shown("prefers"), cluster.shown("requires")), ("192.0.2.0".into(), String::new()));
    // A pool with both families appears: who works stays where it is, who waits is served.
    cluster.put_pool(pool_object("both", &["198.51.100.0/30", "2001:db8::/126"]));
    cluster.run();
    assert_eq!(cluster.shown("prefers"), "192.0.2.0");
    assert_eq!(cluster.shown("requires"), "198.51.100.0,2001:db8::");
    // Requiring what its pool has not costs the address; preferring gets one again.
    cluster.put(Service {
        annotations: cluster.services["prefers"].annotations.clone(),
        ..with("prefers", Policy::RequireDualStack)
    });
    cluster.run();
    assert_eq!(cluster.shown("prefers"), "198.51.100.1,2001:db8::1");
    // The pool loses a family: what cannot be kept is given anew, the other family of another Service is not touched.
    cluster.put_pool(pool_object("both", &["198.51.100.0/30"]));
    cluster.run();
    assert_eq!((cluster.shown("prefers"), cluster.shown("requires")), (String::new(), String::new()));
    assert!(cluster.pending("requires").contains("no IPv6 addresses: a-four, both"), "{}", cluster.pending("requires"));
}

#[test]
fn a_namespace_that_goes_before_its_services_moves_none_of_another() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    let mut team = pool_object("team", &["198.51.100.0/31"]);
    team.spec.service_allocation = Some(
        serde_json::from_value(serde_json::json!({"namespaceSelectors": [{"matchLabels": {"team": "x"}}]}))
            .expect("an allocation"),
    );
    cluster.put_pool(team);
    let labels = BTreeMap::from([("team".to_owned(), "x".to_owned())]);
    let namespace = |labels| NamespaceLabels { name: "default".into(), labels };
    cluster.state.apply(Input::Namespace(Event::Apply(namespace(labels.clone()))));
    cluster.put(service("a", V4));
    cluster.put(annotated("b", &[("metallb.io/address-pool", "p")]));
    cluster.run();
    assert_eq!((cluster.shown("a"), cluster.shown("b")), ("198.51.100.0".into(), "192.0.2.0".into()));
    let writes = cluster.writes;
    // Terminating changes no label that a pool selects by.
    let mut terminating = labels;
    terminating.insert("state".into(), "terminating".into());
    cluster.state.apply(Input::Namespace(Event::Apply(namespace(terminating))));
    cluster.run();
    assert_eq!(cluster.writes, writes);
    cluster.state.apply(Input::Namespace(Event::Delete(namespace(BTreeMap::new()))));
    cluster.run();
    assert_eq!(cluster.shown("b"), "192.0.2.0");
}

#[test]
fn a_held_pool_keeps_what_it_gave_in_whatever_order_things_are_seen() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    cluster.put(service("a", V4));
    cluster.run();
    cluster.put_pool(pool_object("p", &["192.0.2.0/30", "nonsense"]));
    cluster.put(service("b", V4));
    cluster.run();
    assert_eq!((cluster.shown("a"), cluster.shown("b")), ("192.0.2.0".into(), String::new()));
    let status = &cluster.state.pool_status_writes()[0].status;
    assert_eq!((status.assigned_ipv4, status.available_ipv4), (1, 3), "a pool that broke has numbers too");
    // Its record is lost, but its address lies in what is good of the pool.
    let mut bare = cluster.services["a"].clone();
    bare.annotations.clear();
    cluster.services.insert("a".into(), bare.clone());
    cluster.put(bare);
    cluster.run();
    cluster.restart();
    assert_eq!(cluster.shown("a"), "192.0.2.0");
    let object = PoolObject::from(Ok(pool_object("p", &["192.0.2.0/30"])));
    cluster.pools.insert("p".into(), pool_object("p", &["192.0.2.0/30"]));
    cluster.state.apply(Input::Pool(Event::Apply(object)));
    cluster.run();
    assert_eq!((cluster.shown("a"), cluster.shown("b")), ("192.0.2.0".into(), "192.0.2.1".into()));
}
