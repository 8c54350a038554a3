//! Services that wait: what they are told, and when they are looked at again.

use std::time::Duration;

use runtime::watch::Event;

use crate::allocator::family::Policy;
use crate::fixtures::{Cluster, annotated, pool_object, service, showing};
use crate::service::{Ingress, Service};
use crate::state::{Input, Outcome};

const V4: &[&str] = &["10.96.0.1"];
const DUAL: &[&str] = &["10.96.0.1", "fd00:96::1"];

fn full(name: &str) -> String {
    format!("AllocationFailed: Failed to allocate IP for \"default/{name}\": no available IPs; no free IPv4 address: p")
}

fn aged(name: &str, created: i64) -> Service {
    Service { created, ..service(name, V4) }
}

#[test]
fn every_pool_and_its_reason_stand_in_one_event_and_one_condition() {
    let mut cluster = Cluster::with_pools(&[("a", &["192.0.2.0/32"]), ("six", &["2001:db8::/127"])]);
    let mut manual = pool_object("manual", &["198.51.100.0/31"]);
    manual.spec.auto_assign = false;
    cluster.put_pool(manual);
    let mut team = pool_object("team", &["203.0.113.0/31"]);
    team.spec.service_allocation =
        Some(serde_json::from_value(serde_json::json!({"namespaces": ["team"]})).expect("an allocation"));
    cluster.put_pool(team);
    cluster.put_pool(pool_object("bad", &["192.0.2.9/nonsense"]));
    cluster.put(service("first", V4));
    cluster.run();
    cluster.take_notes();
    cluster.put(Service { generation: 3, ..service("s", V4) });
    cluster.run();
    let text = "Failed to allocate IP for \"default/s\": no available IPs; no free IPv4 address: a; no IPv4 addresses: six; \
                namespace \"default\" is not allowed: team; autoAssign is off: manual; invalid configuration: bad";
    assert_eq!(cluster.pending("s"), format!("AllocationFailed: {text}"));
    assert_eq!(cluster.take_notes(), [format!("s Warning AllocationFailed: {text}")]);
    assert_eq!(cluster.services["s"].condition.as_ref().map(|condition| condition.observed_generation), Some(3));
    let writes = cluster.writes;
    cluster.restart();
    assert_eq!(
        (cluster.writes, cluster.take_notes().len()),
        (writes, 0),
        "the condition is the memory of what was said"
    );
}

#[test]
fn the_condition_goes_with_the_write_that_brings_the_address() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/32"])]);
    cluster.put(service("a", V4));
    cluster.put(service("b", V4));
    cluster.run();
    assert_eq!((cluster.pending("a"), cluster.pending("b")), (String::new(), full("b")));
    let writes = cluster.writes;
    cluster.delete("a");
    cluster.run();
    assert_eq!(
        (cluster.shown("b").as_str(), cluster.pending("b"), cluster.writes),
        ("192.0.2.0", "".into(), writes + 1)
    );
}

#[test]
fn a_service_that_stops_being_a_load_balancer_loses_the_condition() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/32"])]);
    cluster.put(service("a", V4));
    cluster.put(service("b", V4));
    cluster.run();
    let mut plain = cluster.services["b"].clone();
    plain.is_load_balancer = false;
    cluster.put(plain);
    cluster.run();
    assert_eq!(cluster.pending("b"), "");
    cluster.restart();
    assert_eq!((cluster.state.waiting(), cluster.decide().len()), (0, 0));
}

#[test]
fn an_apiserver_that_refuses_conditions_does_not_silence_the_event() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/32"])]);
    cluster.put(service("a", V4));
    cluster.run();
    cluster.put(service("b", V4));
    cluster.take_notes();
    for _ in 0..3 {
        let writes = cluster.decide();
        assert!(cluster.state.written(writes[0].attempt, &writes[0].key, Outcome::Refused));
        cluster.state.retry(&writes[0].key);
    }
    assert_eq!(cluster.take_notes().len(), 1, "told once");
    cluster.delete("a");
    cluster.run();
    assert_eq!(cluster.shown("b"), "192.0.2.0");
}

#[test]
fn one_freed_address_is_offered_to_the_oldest_and_to_nobody_else() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    for name in ["x", "y"] {
        cluster.put(service(name, V4));
    }
    cluster.run();
    for number in 0..500 {
        cluster.put(aged(&format!("s{number:03}"), 1000 - number));
    }
    cluster.run();
    assert_eq!(cluster.state.waiting(), 500);
    let before = cluster.state.convergences();
    cluster.delete("x");
    cluster.run();
    assert_eq!(cluster.shown("s499"), "192.0.2.0");
    let looked_at = cluster.state.convergences() - before;
    assert!(looked_at < 6, "{looked_at} convergences for one address");
    // Two addresses at once, and a younger newcomer in the same moment.
    cluster.put(aged("a-newcomer", 5000));
    cluster.delete("y");
    cluster.delete("s499");
    cluster.run();
    assert_eq!((cluster.shown("s498"), cluster.shown("s497")), ("192.0.2.0".into(), "192.0.2.1".into()));
    assert_eq!(cluster.shown("a-newcomer"), "");
}

#[test]
fn looking_at_all_waiting_services_again_changes_nothing_after_any_settle() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31", "2001:db8::/127"])]);
    for (number, name) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        let mut new = service(name, if number % 2 == 0 { V4 } else { DUAL });
        new.policy = if number == 3 { Policy::PreferDualStack } else { Policy::SingleStack };
        if number > 3 {
            new.sharing.sharing = "k".into();
            new.ports[0].number = 80 + i32::try_from(number).expect("small");
        }
        cluster.put(new);
    }
    for name in ["a", "c", "b"] {
        cluster.run();
        cluster.state.wake_all();
        assert!(cluster.state.settle().is_empty());
        cluster.delete(name);
    }
}

#[test]
fn who_may_share_joins_as_soon_as_another_one_of_its_key_has_an_address() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/32"])]);
    cluster.put(service("holder", V4));
    cluster.run();
    for (name, port) in [("a", 80), ("b", 81), ("c", 80)] {
        let mut new = aged(name, i64::from(port));
        new.sharing.sharing = "k".into();
        new.ports[0].number = port;
        cluster.put(new);
    }
    cluster.run();
    cluster.delete("holder");
    cluster.run();
    let shown = ["a", "b", "c"].map(|name| cluster.shown(name));
    assert_eq!(shown, ["192.0.2.0", "192.0.2.0", ""]);
    cluster.delete("a");
    cluster.run();
    assert_eq!(cluster.shown("c"), "192.0.2.0", "its port is free again");
}

#[test]
fn a_named_address_goes_to_the_oldest_who_named_it_once_it_is_free() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    let named =
        |name: &str, created| Service { created, ..annotated(name, &[("metallb.io/loadBalancerIPs", "192.0.2.0")]) };
    cluster.put(named("holder", 1));
    cluster.run();
    cluster.put(named("young", 9));
    cluster.put(named("old", 5));
    cluster.run();
    let text = "AllocationFailed: Failed to allocate IP for \"default/old\": can't change sharing key for \"default/old\", \
                address also in use";
    assert_eq!(cluster.pending("old"), text, "without the names of others, which come and go");
    assert!(cluster.take_notes().iter().any(|note| note.ends_with("address also in use by default/holder")));
    cluster.delete("holder");
    cluster.run();
    assert_eq!((cluster.shown("old"), cluster.shown("young")), ("192.0.2.0".into(), String::new()));
}

#[test]
fn a_preferred_second_family_comes_when_its_pool_has_one_and_only_if_the_cluster_has_both() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    let preferring = |name: &str, ips: &[&str]| Service { policy: Policy::PreferDualStack, ..service(name, ips) };
    cluster.put(preferring("both", DUAL));
    cluster.put(preferring("one", V4));
    cluster.run();
    let told = |cluster: &mut Cluster| {
        cluster.take_notes().iter().filter(|note| note.contains("AdditionalAssignFailed")).count()
    };
    assert_eq!(told(&mut cluster), 1);
    cluster.put(service("other", V4));
    cluster.delete("other");
    cluster.run();
    assert_eq!(
        (told(&mut cluster), cluster.pending("both")),
        (0, String::new()),
        "not repeated, and it has an address"
    );
    cluster.put_pool(pool_object("p", &["192.0.2.0/30", "2001:db8::/126"]));
    cluster.run();
    assert_eq!((cluster.shown("both"), cluster.shown("one")), ("192.0.2.0,2001:db8::".into(), "192.0.2.1".into()));
}

#[test]
fn a_change_of_one_pool_looks_only_at_its_own_services_and_those_that_wait() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/24"]), ("q", &["198.51.100.0/32"])]);
    for number in 0..100 {
        cluster.put(service(&format!("s{number}"), V4));
    }
    cluster.put(annotated("in-q", &[("metallb.io/address-pool", "q")]));
    cluster.put(annotated("waits", &[("metallb.io/address-pool", "q")]));
    cluster.run();
    let before = cluster.state.convergences();
    cluster.put_pool(pool_object("q", &["198.51.100.0/31"]));
    cluster.run();
    assert_eq!(cluster.shown("waits"), "198.51.100.1");
    assert!(cluster.state.convergences() - before < 8);
}

#[test]
fn somebody_who_keeps_replacing_our_status_is_answered_later_each_time() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/32"])]);
    cluster.put(service("a", V4));
    cluster.run();
    for round in 0..4 {
        let mut theirs = cluster.services["a"].clone();
        theirs.ingress = vec![Ingress { ip: "203.0.113.9".into(), ..Ingress::default() }];
        cluster.put(theirs);
        cluster.run();
        if round > 0 {
            assert_eq!(cluster.shown("a"), "203.0.113.9", "not before the pause is over");
            cluster.state.retry(&cluster.services["a"].key.clone());
            cluster.run();
        }
        assert_eq!(cluster.shown("a"), "192.0.2.0");
    }
    let pauses: Vec<Duration> = cluster.later.iter().map(|(_, pause)| *pause).collect();
    assert_eq!(pauses, [250, 500, 1000].map(Duration::from_millis));
}

#[test]
fn an_address_that_somebody_still_shows_is_given_to_nobody_even_if_it_may_not_keep_it() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.4/32"])]);
    let mut foreign = showing(service("s2", V4), &["192.0.2.4"], "p");
    foreign.labels.insert("app", "other");
    cluster.put(foreign);
    cluster.run();
    cluster.state.follow();
    let mut pool = pool_object("p", &["192.0.2.4/32"]);
    pool.spec.service_allocation = Some(
        serde_json::from_value(serde_json::json!({"serviceSelectors": [{"matchLabels": {"app": "web"}}]}))
            .expect("an allocation"),
    );
    cluster.put_pool(pool);
    let mut web = service("s3", V4);
    web.labels.insert("app", "web");
    cluster.put(web);
    cluster.state.lead();
    let services: Vec<Service> = cluster.services.values().cloned().collect();
    cluster.list(services, Input::Service);
    cluster.list_the_rest();
    let gives: Vec<String> = cluster
        .decide()
        .iter()
        .filter(|write| write.write.status.as_ref().is_some_and(|status| !status.ingress.is_empty()))
        .map(|write| write.key.to_string())
        .collect();
    assert!(gives.is_empty(), "{gives:?}");
    cluster.lead();
    assert_eq!((cluster.shown("s2"), cluster.shown("s3")), (String::new(), "192.0.2.4".into()));
}

#[test]
fn a_late_write_of_another_controller_costs_the_younger_claim() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    cluster.put(service("s1", V4));
    cluster.put(service("s2", V4));
    cluster.run();
    let mut ghost = cluster.services["s1"].clone();
    ghost.ingress = vec![Ingress { ip: "192.0.2.1".into(), ..Ingress::default() }];
    cluster.put(ghost);
    cluster.run();
    assert_eq!((cluster.shown("s1"), cluster.shown("s2")), ("192.0.2.0".into(), "192.0.2.1".into()));
}

#[test]
fn a_list_that_never_ends_and_a_crd_that_vanishes_clear_nothing() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    cluster.put(service("a", V4));
    cluster.run();
    // A watch whose list fails says that it begins, again and again, and never that it is done.
    for _ in 0..3 {
        cluster.state.apply(Input::Pool(Event::Init));
        assert!(cluster.decide().is_empty());
    }
    cluster.delete_pool("p");
    cluster.put_pool(pool_object("p", &["192.0.2.0/31"]));
    cluster.run();
    assert_eq!((cluster.shown("a").as_str(), cluster.writes), ("192.0.2.0", 1), "gone and back between two decisions");
    cluster.delete_pool("p");
    cluster.run();
    assert_eq!(cluster.shown("a"), "", "a pool that is deleted takes its addresses with it");
}

#[test]
fn a_settled_status_is_left_alone_in_every_form_it_may_have() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30", "2001:db8::/126"])]);
    cluster.put(showing(service("reversed", DUAL), &["2001:db8::1", "192.0.2.1"], "p"));
    cluster.put(showing(service("long", &["fd00:96::1"]), &["2001:db8:0:0::2"], "p"));
    cluster.put(showing(service("mapped", V4), &["::ffff:192.0.2.2"], "p"));
    let mut hostname = service("hostname", V4);
    hostname.class = Some("other".into());
    hostname.ingress = vec![Ingress { has_hostname: true, ..Ingress::default() }];
    cluster.put(hostname);
    cluster.run();
    assert_eq!((cluster.writes, cluster.take_notes()), (0, Vec::new()));
}
