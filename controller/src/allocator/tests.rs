//! The allocator against tables, and against a naive one that scans.

use config::selector::Selector;
use config::{PoolName, ServiceAllocation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use proptest::prelude::*;

use super::family::Policy;
use super::*;
use crate::fixtures::pool;

struct Asker {
    key: ServiceKey,
    labels: TextMap,
    ports: Vec<Port>,
    sharing: SharingKey,
}

fn asker(namespace: &str, name: &str) -> Asker {
    let ports = vec![Port { protocol: "TCP".into(), number: 80 }];
    Asker { key: ServiceKey::new(namespace, name), labels: TextMap::default(), ports, sharing: SharingKey::default() }
}

impl Asker {
    fn client(&self) -> Client<'_> {
        let Self { key, labels, ports, sharing } = self;
        Client { key, labels, ports, sharing, visible: &[] }
    }
}

const ONE_V4: Wanted = Wanted { stack: Stack::Single(Family::V4), policy: Policy::SingleStack, primary: Family::V4 };

fn allocator(pools: &[(&str, Pool)]) -> Allocator {
    let mut out = Allocator::new();
    let pools = pools.iter().map(|(name, pool)| (PoolName::from(*name), pool.clone())).collect();
    out.set_pools(&pools, &BTreeMap::new(), BTreeSet::new());
    out
}

fn reserved(entries: &[&str], priority: i64, namespaces: &[&str], labels: &[(&str, &str)]) -> Pool {
    let mut out = pool(entries);
    let match_labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let selector = LabelSelector { match_labels: Some(match_labels), match_expressions: None };
    let service_selectors =
        if labels.is_empty() { vec![] } else { vec![Selector::parse(&selector).expect("a selector")] };
    out.service_allocation = Some(ServiceAllocation {
        priority,
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        restricts_namespaces: !namespaces.is_empty(),
        service_selectors,
    });
    out
}

fn first(allocator: &mut Allocator, asker: &Asker) -> String {
    match allocator.allocate(&asker.client(), &ONE_V4) {
        Ok(addresses) => addresses[0].to_string(),
        Err(refusal) => refusal.error.to_string(),
    }
}

#[test]
fn reserved_pools_come_first_by_priority_then_name_and_others_do_not_get_them() {
    let pools = [
        ("a-free", pool(&["192.0.2.0/32"])),
        ("b-lowest", reserved(&["192.0.2.10/32"], 0, &["team"], &[])),
        ("c-second", reserved(&["192.0.2.20/32"], 20, &["team"], &[])),
        ("d-first", reserved(&["192.0.2.30/32"], 10, &["team"], &[])),
        ("e-first", reserved(&["192.0.2.40/32"], 10, &["team"], &[])),
        ("f-labelled", reserved(&["192.0.2.50/32"], 1, &["team"], &[("app", "web")])),
        ("g-everybody", reserved(&["192.0.2.60/32"], 1, &[], &[])),
    ];
    let mut allocator = allocator(&pools);
    let got: Vec<String> = (0..7).map(|n| first(&mut allocator, &asker("team", &n.to_string()))).collect();
    let expected =
        ["192.0.2.60", "192.0.2.30", "192.0.2.40", "192.0.2.20", "192.0.2.10", "192.0.2.0", "no available IPs"];
    assert_eq!(got, expected);
    assert_eq!(first(&mut allocator, &asker("other", "x")), "no available IPs");
    let mut labelled = asker("team", "labelled");
    labelled.labels.insert("app", "web");
    assert_eq!(first(&mut allocator, &labelled), "192.0.2.50");
}

#[test]
fn a_named_pool_need_not_be_automatic_but_must_be_for_this_service() {
    let mut manual = pool(&["192.0.2.0/31"]);
    manual.auto_assign = false;
    let pools = [("manual", manual), ("team", reserved(&["198.51.100.0/31"], 0, &["team"], &[]))];
    let mut allocator = allocator(&pools);
    let asks = asker("default", "s");
    assert_eq!(first(&mut allocator, &asks), "no available IPs");
    let mut from = |name: &str| {
        let got = allocator.allocate_from(&asks.client(), &ONE_V4, &PoolName::from(name));
        got.map(|addresses| addresses[0].to_string()).map_err(|refusal| refusal.error.to_string())
    };
    assert_eq!(from("manual"), Ok("192.0.2.0".into()));
    assert_eq!(from("team"), Err("pool team not compatible for ip assignment".into()));
    assert_eq!(from("none"), Err("unknown pool \"none\"".into()));
}

#[test]
fn a_named_pool_for_others_is_refused_in_the_same_words_when_it_is_full() {
    let mut allocator = allocator(&[("team", reserved(&["198.51.100.0/32"], 0, &["team"], &[]))]);
    let asks = asker("default", "s");
    let refusal = |allocator: &mut Allocator| {
        allocator.allocate_from(&asks.client(), &ONE_V4, &PoolName::from("team")).map_err(|refusal| refusal.to_string())
    };
    let with_room = refusal(&mut allocator);
    assert_eq!(first(&mut allocator, &asker("team", "member")), "198.51.100.0");
    assert_eq!(refusal(&mut allocator), with_room);
    let text = "pool team not compatible for ip assignment; namespace \"default\" is not allowed: team";
    assert_eq!(with_room, Err(text.into()));
}

#[test]
fn addresses_that_cannot_go_together_are_refused_and_change_nothing() {
    let mut allocator =
        allocator(&[("a", pool(&["192.0.2.0/30", "2001:db8::/126"])), ("b", pool(&["2001:db8:1::/126"]))]);
    let asks = asker("default", "s");
    let cases: [(&[&str], &str); 4] = [
        (&["203.0.113.1"], "[\"203.0.113.1\"] is not allowed in config"),
        (&["192.0.2.0", "2001:db8:1::"], "[\"192.0.2.0\" \"2001:db8:1::\"] is not allowed in config"),
        (&["192.0.2.0", "192.0.2.1"], "\"192.0.2.0\" \"192.0.2.1\" has the same family"),
        (
            &["192.0.2.0", "2001:db8::", "192.0.2.1"],
            "more than two addresses [\"192.0.2.0\" \"2001:db8::\" \"192.0.2.1\"]",
        ),
    ];
    for (texts, expected) in cases {
        let addresses: Vec<IpAddr> = texts.iter().map(|text| text.parse().expect("address")).collect();
        let error = allocator.assign(&asks.client(), &addresses).expect_err("must fail");
        assert_eq!(error.error.to_string(), expected);
    }
    assert!(!allocator.knows(&asks.key));
}

#[test]
fn a_sharing_service_may_get_a_lower_free_address_rather_than_its_partners() {
    let mut allocator = allocator(&[("p", pool(&["192.0.2.0/31"]))]);
    let address = |text: &str| text.parse::<IpAddr>().expect("address");
    let sharing = SharingKey { sharing: "k".into(), backend: String::new() };
    let mut asks = ["a", "b", "c"].map(|name| asker("default", name));
    for (index, asker) in asks.iter_mut().enumerate() {
        asker.sharing = sharing.clone();
        asker.ports[0].number = 80 + i32::try_from(index).expect("small");
    }
    allocator.assign(&asks[0].client(), &[address("192.0.2.1")]).expect("free");
    assert_eq!(first(&mut allocator, &asks[1]), "192.0.2.0");
    assert_eq!(first(&mut allocator, &asks[2]), "192.0.2.0", "lowest of those it may use");
    let counters: Vec<u64> = allocator.counters().map(|(_, counters)| counters.assigned_v4).collect();
    assert_eq!(counters, [2], "a shared address counts once");
}

proptest! {
    #[test]
    fn lowest_free_first_as_a_naive_scan_finds_it(
        entries in prop::sample::subsequence(vec!["192.0.2.0/30", "192.0.2.250-192.0.3.3", "198.51.100.7/32", "10.0.0.4/30"], 1..4),
        avoid in any::<bool>(),
        steps in prop::collection::vec((0u8..12, any::<bool>()), 1..60),
    ) {
        let mut defined = pool(&entries);
        defined.avoid_buggy_ips = avoid;
        let mut allocator = allocator(&[("p", defined.clone())]);
        let mut model: BTreeMap<u8, IpAddr> = BTreeMap::new();
        for (name, give) in steps {
            let asks = asker("default", &name.to_string());
            if !give {
                allocator.release(&asks.key, &[]);
                model.remove(&name);
            } else if !model.contains_key(&name) {
                let free = defined.addresses(Family::V4).find(|address| !model.values().any(|taken| taken == address));
                let got = allocator.allocate(&asks.client(), &ONE_V4).ok().map(|addresses| addresses[0]);
                prop_assert_eq!(got, free);
                model.extend(free.map(|address| (name, address)));
            }
            let (_, counters) = allocator.counters().next().expect("one pool");
            prop_assert_eq!(counters.assigned_v4, model.len() as u64);
            prop_assert_eq!(counters.available_v4() + counters.assigned_v4, defined.addresses(Family::V4).count() as u64);
        }
    }
}
