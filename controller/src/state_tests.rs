//! Sequences of events as a cluster produces them, good and bad ones.

use std::collections::BTreeMap;

use api::v1beta1::IPAddressPool;
use config::NamespaceLabels;
use proptest::prelude::*;
use runtime::watch::{Broken, Event};

use crate::fixtures::{Cluster, annotated, pool_object, service, showing};
use crate::pool_objects::PoolObject;
use crate::service::{IpMode, Service};
use crate::state::{Input, Outcome, State};

const V4: &[&str] = &["10.96.0.1"];
const DUAL: &[&str] = &["10.96.0.1", "fd00:96::1"];

#[test]
fn nothing_is_given_out_before_every_list_is_in_whatever_their_order() {
    let pool = PoolObject::from(Ok(pool_object("p", &["192.0.2.0/30"])));
    type Step = Box<dyn Fn(&mut State)>;
    let lists: Vec<Step> = vec![
        Box::new(|state| {
            let old = showing(service("old", V4), &["192.0.2.0"], "p");
            for event in [Event::Init, Event::InitApply(service("new", V4)), Event::InitApply(old), Event::InitDone] {
                state.apply(Input::Service(event));
            }
        }),
        Box::new(|state| {
            let namespace = NamespaceLabels { name: "default".into(), labels: BTreeMap::new() };
            for event in [Event::Init, Event::InitApply(namespace), Event::InitDone] {
                state.apply(Input::Namespace(event));
            }
        }),
        Box::new(move |state| {
            for event in [Event::Init, Event::InitApply(pool.clone()), Event::InitDone] {
                state.apply(Input::Pool(event));
            }
        }),
        Box::new(|state| {
            for event in [Event::Init, Event::InitDone] {
                state.apply(Input::AddressPool(event));
            }
        }),
    ];
    for first in 0..lists.len() {
        let mut state = State::new(None);
        state.lead();
        for (count, index) in (first..lists.len()).chain(0..first).enumerate() {
            assert!(state.settle().is_empty(), "after {count} lists, beginning with {first}");
            lists[index](&mut state);
        }
        state.settle();
        let taken: Vec<String> =
            state.allocator().allocations().map(|(key, have)| format!("{key} {:?}", have.addresses)).collect();
        assert_eq!(taken, ["default/new [192.0.2.1]", "default/old [192.0.2.0]"], "beginning with {first}");
    }
}

#[test]
fn a_follower_keeps_its_lists_and_does_nothing_until_it_leads() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    cluster.state.follow();
    cluster.put(showing(service("old", V4), &["192.0.2.0"], "p"));
    cluster.put(service("new", V4));
    cluster.put_pool(pool_object("bad", &["nonsense"]));
    assert!(cluster.state.is_synced() && !cluster.state.is_leading());
    assert!(cluster.state.settle().is_empty() && cluster.state.pool_status_writes().is_empty());
    assert_eq!(cluster.state.allocator().allocations().count(), 0);
    assert!(cluster.state.errors().is_empty());
    cluster.lead();
    assert_eq!((cluster.shown("old"), cluster.shown("new")), ("192.0.2.0".into(), "192.0.2.1".into()));
    assert_eq!(cluster.state.errors().len(), 1);
}

#[test]
fn a_write_of_an_earlier_leadership_that_ends_late_changes_nothing() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    cluster.put(service("a", V4));
    let late = cluster.decide();
    cluster.state.follow();
    let outcome = cluster.store(&late[0]);
    cluster.lead();
    assert!(!cluster.state.written(late[0].attempt, &late[0].key, outcome), "nobody waits for it any more");
    cluster.run();
    assert_eq!((cluster.shown("a"), cluster.writes), ("192.0.2.0".into(), 1));
}

#[test]
fn an_address_that_a_service_of_another_class_still_shows_is_given_to_nobody() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    cluster.put(service("old", V4));
    cluster.run();
    // The administrator gives the controller a class; what it gave before is not its own to change any more.
    cluster.class = Some("mine".into());
    cluster.restart();
    let mut new = service("new", V4);
    new.class = Some("mine".into());
    cluster.put(new);
    cluster.run();
    assert_eq!((cluster.shown("old").as_str(), cluster.shown("new").as_str()), ("192.0.2.0", "192.0.2.1"));
    cluster.restart();
    assert_eq!((cluster.shown("old").as_str(), cluster.shown("new").as_str()), ("192.0.2.0", "192.0.2.1"));
    // Gone, it holds nothing any more.
    cluster.delete("old");
    let mut next = service("next", V4);
    next.class = Some("mine".into());
    cluster.put(next);
    cluster.run();
    assert_eq!(cluster.shown("next"), "192.0.2.0");
}

#[test]
fn a_service_that_left_our_class_and_its_sharing_key_takes_nothing_from_those_it_shared_with() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/32"])]);
    let sharing = |name: &str, key: &str, port: i32| {
        let mut out = annotated(name, &[("metallb.io/allow-shared-ip", key)]);
        out.ports[0].number = port;
        out
    };
    cluster.put(sharing("a", "k", 80));
    cluster.put(sharing("b", "k", 443));
    cluster.run();
    let mut left = showing(sharing("a", "l", 80), &["192.0.2.0"], "p");
    left.class = Some("other".into());
    cluster.put(left);
    cluster.run();
    let writes = cluster.writes;
    cluster.restart();
    assert_eq!((cluster.shown("b").as_str(), cluster.writes), ("192.0.2.0", writes));
}

#[test]
fn what_others_wrote_of_several_services_at_once_stays_as_they_wrote_it() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    cluster.put(service("z", V4));
    cluster.run();
    assert_eq!(cluster.shown("z"), "192.0.2.0");
    // Whoever led meanwhile gave that address to a service that comes before it.
    cluster.put(showing(service("a", V4), &["192.0.2.0"], "p"));
    cluster.put(showing(service("z", V4), &["192.0.2.3"], "p"));
    cluster.run();
    assert_eq!((cluster.shown("a").as_str(), cluster.shown("z").as_str()), ("192.0.2.0", "192.0.2.3"));
}

#[test]
fn a_service_of_another_class_that_begins_to_share_its_address_shares_it() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/32"])]);
    cluster.put(service("old", V4));
    cluster.run();
    let mut new = annotated("new", &[("metallb.io/allow-shared-ip", "k")]);
    new.ports[0].number = 443;
    cluster.put(new);
    let mut left = |old: Service| {
        let mut old = showing(old, &["192.0.2.0"], "p");
        old.class = Some("other".into());
        cluster.put(old);
        cluster.run();
        cluster.shown("new")
    };
    assert_eq!(left(service("old", V4)), "");
    assert_eq!(left(annotated("old", &[("metallb.io/allow-shared-ip", "k")])), "192.0.2.0");
    assert_eq!((cluster.shown("old").as_str(), cluster.shown("new").as_str()), ("192.0.2.0", "192.0.2.0"));
}

#[test]
fn a_new_service_gets_the_lowest_free_address_one_write_and_one_event() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30", "2001:db8::/126"])]);
    cluster.put(service("a", V4));
    cluster.put(service("b", DUAL));
    cluster.put(service("c", &["fd00:96::1"]));
    cluster.run();
    assert_eq!(cluster.shown("a"), "192.0.2.0");
    assert_eq!(cluster.shown("b"), "192.0.2.1,2001:db8::");
    assert_eq!(cluster.shown("c"), "2001:db8::1");
    assert_eq!(cluster.writes, 3);
    let expected = [
        "a Normal IPAllocated: Assigned IP [\"192.0.2.0\"]",
        "b Normal IPAllocated: Assigned IP [\"192.0.2.1\" \"2001:db8::\"]",
        "c Normal IPAllocated: Assigned IP [\"2001:db8::1\"]",
    ];
    assert_eq!(cluster.take_notes(), expected);
    assert_eq!(cluster.services["a"].annotations["metallb.io/ip-allocated-from-pool"], *"p");
    cluster.restart();
    assert_eq!((cluster.writes, cluster.take_notes().len()), (3, 0), "a restart writes and says nothing");
}

#[test]
fn a_full_pool_makes_services_wait_and_the_oldest_gets_what_is_freed() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.1/32"])]);
    cluster.put(service("a", V4));
    cluster.run();
    let mut younger = service("b", V4);
    younger.created = 20;
    let mut older = service("c", V4);
    older.created = 10;
    cluster.put(younger);
    cluster.put(older);
    cluster.run();
    cluster.run();
    let failed = |name: &str| {
        format!(
            "{name} Warning AllocationFailed: Failed to allocate IP for \"default/{name}\": no available IPs; no free IPv4 \
             address: p"
        )
    };
    assert_eq!(cluster.take_notes()[1..], [failed("c"), failed("b")]);
    cluster.delete("a");
    cluster.run();
    assert_eq!((cluster.shown("b"), cluster.shown("c")), (String::new(), "192.0.2.1".into()));
}

#[test]
fn an_address_is_not_given_on_before_its_old_holder_stopped_showing_it() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.1/32"]), ("q", &["198.51.100.1/32"])]);
    cluster.put(service("a", V4));
    cluster.run();
    cluster.put(annotated("a", &[("metallb.io/address-pool", "q")]));
    cluster.put(annotated("b", &[("metallb.io/address-pool", "p")]));
    let writes = cluster.decide();
    assert!(writes[0].write.status.is_some() && writes[1].write.status.is_none(), "b has to wait for a");
    let outcome = cluster.store(&writes[1]);
    cluster.state.written(writes[1].attempt, &writes[1].key, outcome);
    assert!(cluster.store(&writes[0]).is_stored());
    // The answer got lost: nobody knows whether it was stored.
    cluster.state.written(writes[0].attempt, &writes[0].key, Outcome::Unknown);
    cluster.state.retry(&writes[0].key);
    let again = cluster.decide();
    assert_eq!(again[0].write, writes[0].write, "the same write again, and b still waits");
    assert!(!cluster.store(&again[0]).is_stored(), "the apiserver has a newer object");
    cluster.state.written(again[0].attempt, &again[0].key, Outcome::Refused);
    cluster.state.apply(Input::Service(Event::Apply(cluster.services["a"].clone())));
    cluster.run();
    assert_eq!((cluster.shown("a"), cluster.shown("b")), ("198.51.100.1".into(), "192.0.2.1".into()));
}

#[test]
fn an_event_older_than_our_own_write_changes_nothing() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    cluster.put(service("a", V4));
    let before = cluster.services["a"].clone();
    cluster.run();
    cluster.state.apply(Input::Service(Event::Apply(before)));
    assert!(cluster.decide().is_empty());
    assert_eq!(cluster.shown("a"), "192.0.2.0");
}

#[test]
fn a_conflict_waits_for_the_newer_object_and_then_decides_anew() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    cluster.put(service("a", V4));
    let writes = cluster.decide();
    let mut newer = cluster.services["a"].clone();
    newer.labels.insert("x", "y");
    cluster.put(newer);
    assert!(cluster.decide().is_empty(), "one write at a time");
    let outcome = cluster.store(&writes[0]);
    assert!(cluster.state.written(writes[0].attempt, &writes[0].key, outcome), "worth a retry");
    cluster.run();
    assert_eq!(cluster.shown("a"), "192.0.2.0");
    assert_eq!(cluster.take_notes().len(), 1, "told once");
}

#[test]
fn the_ip_mode_the_apiserver_fills_in_causes_no_write() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    cluster.put(service("a", V4));
    cluster.run();
    assert_eq!(cluster.services["a"].ingress[0].ip_mode, Some(IpMode::Vip));
    let mut edited = cluster.services["a"].clone();
    edited.labels.insert("x", "y");
    cluster.put(edited);
    cluster.run();
    assert_eq!(cluster.writes, 1);
}

#[test]
fn a_service_that_stops_being_a_load_balancer_gives_its_address_back() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.1/32"])]);
    cluster.put(service("a", V4));
    cluster.put(service("b", V4));
    cluster.run();
    let mut plain = cluster.services["a"].clone();
    plain.is_load_balancer = false;
    cluster.put(plain);
    cluster.run();
    assert_eq!((cluster.shown("a"), cluster.shown("b")), (String::new(), "192.0.2.1".into()));
    assert_eq!(cluster.services["a"].recorded_pool(), None);
}

#[test]
fn a_recreated_service_does_not_inherit_the_write_of_its_predecessor() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    cluster.put(service("a", V4));
    let old = cluster.decide();
    cluster.delete("a");
    let mut new = service("a", V4);
    new.uid = "second".into();
    cluster.put(new);
    let fresh = cluster.decide();
    let outcome = cluster.store(&old[0]);
    assert!(!cluster.state.written(old[0].attempt, &old[0].key, outcome), "nobody waits for it any more");
    let outcome = cluster.store(&fresh[0]);
    cluster.state.written(fresh[0].attempt, &fresh[0].key, outcome);
    cluster.run();
    assert_eq!(cluster.shown("a"), "192.0.2.0");
}

#[test]
fn a_malformed_pool_freezes_and_what_was_given_from_it_stays_even_over_a_restart() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"]), ("q", &["198.51.100.0/31"])]);
    cluster.put(annotated("a", &[("metallb.io/address-pool", "p")]));
    cluster.run();
    let bad = || pool_object("p", &["192.0.2.0/nonsense"]);
    cluster.put_pool(bad());
    cluster.put(annotated("b", &[("metallb.io/address-pool", "p")]));
    cluster.put(service("c", V4));
    cluster.run();
    assert_eq!(
        (cluster.shown("a"), cluster.shown("b"), cluster.shown("c")),
        ("192.0.2.0".into(), "".into(), "198.51.100.0".into())
    );
    assert_eq!(cluster.reports.len(), 1);
    assert_eq!((cluster.reports[0].kind, cluster.reports[0].name.as_str()), ("IPAddressPool", "p"));
    assert!(cluster.reports[0].text.contains("192.0.2.0/nonsense"), "{}", cluster.reports[0].text);
    assert!(cluster.state.is_config_stale());
    cluster.restart();
    assert_eq!(cluster.shown("a"), "192.0.2.0");
    let broken =
        Broken { kind: "IPAddressPool".into(), namespace: "m".into(), name: "p".into(), error: "no spec".into() };
    cluster.state.apply(Input::Pool(Event::Apply(PoolObject::from(Err(broken)))));
    cluster.run();
    assert_eq!(cluster.shown("a"), "192.0.2.0", "neither does an object that cannot even be read cost it");
    cluster.put_pool(pool_object("p", &["192.0.2.0/30"]));
    cluster.run();
    assert_eq!((cluster.shown("a"), cluster.shown("b")), ("192.0.2.0".into(), "192.0.2.1".into()));
    assert!(!cluster.state.is_config_stale());
}

#[test]
fn pools_may_grow_shrink_be_renamed_and_go_and_legal_addresses_stay() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    for name in ["a", "b", "c"] {
        cluster.put(service(name, V4));
    }
    cluster.run();
    cluster.put_pool(pool_object("p", &["192.0.2.0/31", "198.51.100.0/31"]));
    cluster.run();
    assert_eq!(
        (cluster.shown("a"), cluster.shown("b"), cluster.shown("c")),
        ("192.0.2.0".into(), "192.0.2.1".into(), "198.51.100.0".into())
    );
    let notes = cluster.take_notes();
    let moved = "c Normal ClearAssignment: current IP for \"default/c\" not allowed by config, will attempt for new IP \
                 assignment: [\"192.0.2.2\"] is not allowed in config";
    assert_eq!(notes[3..], [moved.to_owned(), "c Normal IPAllocated: Assigned IP [\"198.51.100.0\"]".to_owned()]);
    cluster.delete_pool("p");
    cluster.put_pool(pool_object("renamed", &["192.0.2.0/24"]));
    cluster.run();
    assert_eq!((cluster.shown("a"), cluster.shown("b")), ("192.0.2.0".into(), "192.0.2.1".into()));
    assert_eq!(cluster.services["a"].recorded_pool(), Some("renamed".into()));
    cluster.delete_pool("renamed");
    cluster.run();
    assert_eq!((cluster.shown("a"), cluster.services["a"].recorded_pool()), (String::new(), None));
}

#[test]
fn without_pools_the_status_of_another_load_balancer_is_left_alone() {
    let mut cluster = Cluster::with_pools(&[]);
    let mut foreign = showing(service("a", V4), &["203.0.113.1"], "x");
    foreign.annotations.clear();
    cluster.put(foreign);
    cluster.run();
    assert_eq!((cluster.shown("a"), cluster.writes), ("203.0.113.1".into(), 0));
}

#[test]
fn pool_statuses_show_four_numbers_and_manual_edits_are_put_right() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30", "2001:db8::/126"])]);
    cluster.put(service("a", DUAL));
    cluster.run();
    let writes = cluster.state.pool_status_writes();
    let status = &writes[0].status;
    let numbers = [status.assigned_ipv4, status.assigned_ipv6, status.available_ipv4, status.available_ipv6];
    assert_eq!((writes.len(), numbers), (1, [1, 1, 3, 3]));
    cluster.state.pool_status_stored("p", status.clone());
    assert!(cluster.state.pool_status_writes().is_empty());
    let edited: IPAddressPool =
        IPAddressPool { status: Some(Default::default()), ..pool_object("p", &["192.0.2.0/30", "2001:db8::/126"]) };
    cluster.put_pool(edited);
    assert!(cluster.decide().is_empty());
    assert_eq!(cluster.state.pool_status_writes(), writes);
    cluster.state.pool_status_stored("gone", status.clone());
    assert_eq!(cluster.state.pool_status_writes().len(), 1, "an answer about a deleted pool brings nothing back");
}

impl Outcome {
    fn is_stored(&self) -> bool {
        matches!(self, Self::Stored(_))
    }
}

/// What can happen in the histories below.
#[derive(Debug, Clone)]
enum Happens {
    Create(u8, bool, u8),
    Delete(u8),
    Retype(u8),
    Ask(u8, u8),
    Resize(u8),
    DropPool,
    Restart,
    Crash,
    LoseAnswer,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => (0u8..8, any::<bool>(), 0u8..3).prop_map(|(name, dual, share)| Happens::Create(name, dual, share)),
        2 => (0u8..8).prop_map(Happens::Delete),
        1 => (0u8..8).prop_map(Happens::Retype),
        4 => (0u8..8, 0u8..3).prop_map(|(name, pool)| Happens::Ask(name, pool)),
        1 => (29u8..32).prop_map(Happens::Resize),
        1 => Just(Happens::DropPool),
        2 => Just(Happens::Restart),
        2 => Just(Happens::Crash),
        2 => Just(Happens::LoseAnswer),
    ]
}

fn check(cluster: &Cluster) -> Result<(), TestCaseError> {
    let mut holders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, service) in &cluster.services {
        for ip in service.shown_texts() {
            holders.entry(ip).or_default().push(name);
        }
    }
    for (ip, names) in holders {
        for (index, one) in names.iter().enumerate() {
            for other in &names[index + 1..] {
                let (one, other) = (&cluster.services[*one], &cluster.services[*other]);
                prop_assert!(one.sharing.allows(&other.sharing), "{ip} is held by {} and {}", one.key, other.key);
                prop_assert!(one.ports.iter().all(|port| !other.ports.contains(port)), "ports clash on {ip}");
            }
        }
    }
    Ok(())
}

fn play(cluster: &mut Cluster, event: Happens) {
    match event {
        Happens::Create(name, dual, share) => {
            let name = format!("s{name}");
            if cluster.services.contains_key(&name) {
                return;
            }
            let mut new = service(&name, if dual { DUAL } else { V4 });
            if share > 0 {
                new.sharing.sharing = format!("key{share}");
                new.ports[0].number = 80 + name.bytes().map(i32::from).sum::<i32>() % 3;
            }
            cluster.put(new);
        }
        Happens::Delete(name) => cluster.delete(&format!("s{name}")),
        Happens::Retype(name) => {
            if let Some(stored) = cluster.services.get(&format!("s{name}")) {
                let mut edited = stored.clone();
                edited.is_load_balancer = !edited.is_load_balancer;
                if !edited.is_load_balancer {
                    edited.ingress.clear();
                    cluster.services.insert(format!("s{name}"), edited.clone());
                }
                cluster.put(edited);
            }
        }
        Happens::Ask(name, pool) => {
            if let Some(stored) = cluster.services.get(&format!("s{name}")) {
                let mut edited = stored.clone();
                let key = "metallb.io/address-pool";
                match pool {
                    0 => edited.annotations.remove(key),
                    1 => edited.annotations.insert(key, "p"),
                    _ => edited.annotations.insert(key, "q"),
                };
                cluster.put(edited);
            }
        }
        Happens::Resize(length) => {
            cluster.put_pool(pool_object("p", &[&format!("192.0.2.0/{length}"), "2001:db8::/126"]));
        }
        Happens::DropPool => cluster.delete_pool("p"),
        Happens::Restart => cluster.restart(),
        Happens::Crash => {
            // Some of the writes were stored, then the controller died.
            let writes = cluster.decide();
            for write in writes.iter().step_by(2) {
                cluster.store(write);
            }
            cluster.restart();
        }
        Happens::LoseAnswer => {
            for (index, write) in cluster.decide().into_iter().enumerate() {
                if index % 2 == 0 {
                    cluster.store(&write);
                }
                cluster.state.written(write.attempt, &write.key, Outcome::Unknown);
                cluster.state.retry(&write.key);
            }
            // The watch catches up later.
            let stored: Vec<_> = cluster.services.values().cloned().collect();
            let more = cluster.decide();
            for write in more {
                let outcome = cluster.store(&write);
                cluster.state.written(write.attempt, &write.key, outcome);
            }
            for service in stored {
                cluster.state.apply(Input::Service(Event::Apply(service)));
            }
        }
    }
}

/// Shows the controller everything as it is stored now, as a watch does in the end.
fn catch_up(cluster: &mut Cluster) {
    for service in cluster.services.values().cloned().collect::<Vec<_>>() {
        let key = service.key.clone();
        cluster.state.apply(Input::Service(Event::Apply(service)));
        cluster.state.retry(&key);
    }
    cluster.run();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_address_is_given_twice_and_allocation_is_stable_under_restart(history in prop::collection::vec(happens(), 1..30)) {
        let mut cluster = Cluster::with_pools(&[
            ("p", &["192.0.2.0/30", "2001:db8::/126"]),
            ("q", &["198.51.100.0/31", "2001:db8:1::/127"]),
        ]);
        for event in history {
            play(&mut cluster, event);
            check(&cluster)?;
            // In reverse: the apiserver may store concurrent writes in any order.
            for write in cluster.decide().into_iter().rev() {
                let outcome = cluster.store(&write);
                check(&cluster)?;
                cluster.state.written(write.attempt, &write.key, outcome);
            }
        }
        catch_up(&mut cluster);
        check(&cluster)?;
        let before: Vec<String> = cluster.services.keys().map(|name| cluster.shown(name)).collect();
        let writes = cluster.writes;
        cluster.restart();
        let after: Vec<String> = cluster.services.keys().map(|name| cluster.shown(name)).collect();
        prop_assert_eq!(before, after);
        prop_assert_eq!(writes, cluster.writes, "a restart writes nothing");
        let mut held: Vec<&str> = cluster.services.values().flat_map(|service| service.shown_texts()).collect();
        held.sort_unstable();
        held.dedup();
        let counted: u64 = cluster.state.allocator().counters().map(|(_, counters)| counters.assigned()).sum();
        prop_assert_eq!(counted, held.len() as u64, "the counters add up");
    }
}
