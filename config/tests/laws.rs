//! What holds for every configuration, also for broken ones.

mod common;

use std::collections::BTreeSet;

use common::{bgp, community, created, l2, labelled, node, object, peer, pool, resources};
use config::{Class, Kind, compile};
use proptest::prelude::*;
use serde_json::{Value, json};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const ENTRIES: [&str; 9] = [
    "10.0.0.0/24",
    "10.0.0.128/25",
    "10.0.1.0/24",
    "10.0.0.9-10.0.1.9",
    "fc00::/120",
    "fc00::7/128",
    "bad",
    "10.0.9.9-10.0.9.1",
    "10.0.2.0/30",
];

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn names() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(name(), 0..3)
}

fn selectors() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!([])),
        1 => Just(json!([{"matchLabels": {"x": "1"}}])),
        1 => Just(json!([{"matchExpressions": [{"key": "x", "operator": "Near"}]}])),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    let pools = (name(), prop::collection::vec(prop::sample::select(&ENTRIES[..]), 0..3), any::<bool>()).prop_map(
        |(name, entries, label)| labelled(pool(name, &entries), if label { json!({"x": "1"}) } else { json!({}) }),
    );
    let legacy = (name(), prop::sample::select(&ENTRIES[..]), prop::sample::select(&["layer2", "bgp"][..])).prop_map(
        |(name, entry, protocol)| object("AddressPool", name, json!({"protocol": protocol, "addresses": [entry]})),
    );
    let l2 = (name(), names(), selectors(), selectors()).prop_map(|(name, pools, by_label, nodes)| {
        l2(name, json!({"ipAddressPools": pools, "ipAddressPoolSelectors": by_label, "nodeSelectors": nodes}))
    });
    let bgp = (name(), names(), names(), 23..34, 0..3u32, selectors()).prop_map(
        |(name, pools, peers, length, preference, nodes)| {
            let spec = json!({"ipAddressPools": pools, "peers": peers, "aggregationLength": length,
                "localPref": preference, "communities": if preference == 2 { json!(["alias"]) } else { json!([]) },
                "nodeSelectors": nodes});
            bgp(name, spec)
        },
    );
    let peers = (name(), 0..3u32, 1..4u8, selectors(), any::<bool>(), 2..12u32).prop_map(
        |(name, asn, host, nodes, profile, hold)| {
            peer(
                name,
                json!({"myASN": asn, "peerAddress": format!("192.0.2.{host}"), "nodeSelectors": nodes,
                "bfdProfile": if profile { "a" } else { "" }, "holdTime": format!("{hold}s"), "keepaliveTime": "3s"}),
            )
        },
    );
    let profiles = (name(), 1..4u32, any::<bool>()).prop_map(|(name, multiplier, echo)| {
        object("BFDProfile", name, json!({"detectMultiplier": multiplier, "echoMode": echo}))
    });
    let communities = (name(), prop::sample::select(&["1:1", "large:1:1:1", "x"][..]))
        .prop_map(|(name, value)| community(name, &[("alias", value)]));
    let nodes =
        (name(), any::<bool>()).prop_map(|(name, label)| node(name, if label { json!({"x": "1"}) } else { json!({}) }));
    prop_oneof![3 => pools, 1 => legacy, 2 => l2, 2 => bgp, 3 => peers, 1 => profiles, 1 => communities, 1 => nodes]
}

fn stored() -> impl Strategy<Value = Value> {
    (document(), prop::option::of(0..3u32)).prop_map(|(document, age)| match age {
        Some(age) => created(document, age),
        None => document,
    })
}

/// As the API stores them: no two of one kind and name.
fn store() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(stored(), 0..14).prop_map(|documents| {
        let mut seen = BTreeSet::new();
        let key = |document: &Value| (document["kind"].to_string(), document["metadata"]["name"].to_string());
        documents.into_iter().filter(|document| seen.insert(key(document))).collect()
    })
}

/// Objects that touch nothing the generator makes.
fn strangers() -> Vec<Value> {
    vec![
        pool("zz", &["203.0.113.0/24", "fd00::/64"]),
        l2("zz", json!({"ipAddressPools": ["zz"]})),
        bgp("zz", json!({"ipAddressPools": ["zz"], "peers": ["zz"]})),
        peer("zz", json!({"vrf": "far", "peerAddress": "198.51.100.1"})),
        object("BFDProfile", "zz", json!({})),
        community("zz", &[("zz", "9:9")]),
        pool("zy", &["nonsense"]),
    ]
}

proptest! {
    #[test]
    fn the_order_of_objects_never_matters((before, after) in prop::collection::vec(stored(), 0..14)
        .prop_flat_map(|documents| (Just(documents.clone()), Just(documents).prop_shuffle())))
    {
        prop_assert_eq!(compile(&resources(&before)), compile(&resources(&after)));
    }

    #[test]
    fn adding_unrelated_objects_changes_nothing_else(documents in store(), stranger in prop::sample::select(strangers())) {
        let before = compile(&resources(&documents));
        let mut all = documents;
        all.push(stranger);
        let mut after = compile(&resources(&all));
        after.findings.retain(|finding| {
            let strange = |id: &config::ObjectId| id.name.starts_with('z');
            !strange(&finding.object) && !finding.others.iter().any(strange)
        });
        after.config.pools.retain(|name, _| !name.0.starts_with('z'));
        after.config.held.retain(|name, _| !name.0.starts_with('z'));
        after.config.peers.remove("zz");
        after.config.bfd_profiles.remove("zz");
        // Profiles are numbered in the text; the number is not what this law is about.
        prop_assert_eq!(&before.config, &after.config);
        prop_assert_eq!(before.findings, after.findings);
    }

    #[test]
    fn what_has_no_error_is_in_force(documents in store()) {
        let compiled = compile(&resources(&documents));
        for document in &documents {
            let name = document["metadata"]["name"].as_str().expect("a name");
            let kind = document["kind"].as_str().expect("a kind");
            let failed = compiled.errors().any(|error| error.object.kind.as_str() == kind && error.object.name == name);
            let there = match kind {
                "IPAddressPool" | "AddressPool" => compiled.config.pools.contains_key(&name.into()),
                "BGPPeer" => compiled.config.peers.contains_key(name),
                "BFDProfile" => compiled.config.bfd_profiles.contains_key(name),
                _ => true,
            };
            prop_assert!(there || failed, "{kind} {name} is neither in force nor reported");
        }
    }

    #[test]
    fn removing_what_is_broken_changes_nothing_else_that_is_in_force(documents in store()) {
        let before = compile(&resources(&documents));
        let legacy = |name: &str| documents.iter().any(|d| d["kind"] == "AddressPool" && d["metadata"]["name"] == name);
        // An advertisement that is untied from some pools only is in force elsewhere.
        let broken = |finding: &&config::Finding| {
            let whole = !matches!(finding.object.kind, Kind::L2Advertisement | Kind::BGPAdvertisement);
            !matches!(finding.object.kind, Kind::AddressPool | Kind::Community)
                && (whole || finding.others.is_empty())
                && !legacy(&finding.object.name)
        };
        for finding in before.errors().filter(broken) {
            let (kind, name) = (finding.object.kind.as_str(), finding.object.name.as_str());
            let rest: Vec<_> =
                documents.iter().filter(|d| d["kind"] != kind || d["metadata"]["name"] != name).cloned().collect();
            let mut expected = before.config.clone();
            if finding.object.kind == Kind::IPAddressPool {
                expected.held.remove(&name.into());
            }
            prop_assert_eq!(compile(&resources(&rest)).config, expected, "without {}", finding);
        }
    }

    #[test]
    fn what_admission_accepts_is_in_force_and_takes_nothing_out_of_force(documents in store(), newcomer in document()) {
        let same = |d: &Value| d["kind"] == newcomer["kind"] && d["metadata"]["name"] == newcomer["metadata"]["name"];
        prop_assume!(newcomer["kind"] != "Node" && !documents.iter().any(same));
        let stored: Vec<_> = documents.into_iter().map(|document| created(document, 5)).collect();
        let before = compile(&resources(&stored)).config;
        let all: Vec<_> = stored.into_iter().chain([newcomer.clone()]).collect();
        let after = compile(&resources(&all));
        let kind = newcomer["kind"].as_str().expect("a kind");
        let name = newcomer["metadata"]["name"].as_str().expect("a name");
        let new = |id: &config::ObjectId| id.kind.as_str() == kind && id.name == name;
        let about = |finding: &&config::Finding| new(&finding.object) || finding.others.iter().any(new);
        let refused = |finding: &config::Finding| finding.class != Class::Warning && !finding.transient;
        if after.findings.iter().filter(about).any(refused) {
            return Ok(());
        }
        if !after.errors().any(|finding| new(&finding.object)) {
            let there = match kind {
                "IPAddressPool" | "AddressPool" => after.config.pools.contains_key(&name.into()),
                "BGPPeer" => after.config.peers.contains_key(name),
                "BFDProfile" => after.config.bfd_profiles.contains_key(name),
                _ => true,
            };
            prop_assert!(there, "{kind} {name} was admitted and is not in force");
        }
        for (name, pool) in &before.pools {
            let now = after.config.pools.get(name);
            prop_assert_eq!(now.map(|now| &now.entries), Some(&pool.entries), "pool {}", name);
            for old in &pool.bgp_advertisements {
                prop_assert!(now.is_some_and(|now| now.bgp_advertisements.iter().any(|a| a.name == old.name)), "{}", old.name);
            }
        }
        prop_assert!(before.peers.keys().all(|name| after.config.peers.contains_key(name)));
        prop_assert!(before.bfd_profiles.keys().all(|name| after.config.bfd_profiles.contains_key(name)));
    }

    #[test]
    fn a_pool_that_is_not_in_force_is_held_with_what_is_good_of_it(documents in store()) {
        let config = compile(&resources(&documents)).config;
        for document in documents.iter().filter(|document| document["kind"] == "IPAddressPool") {
            let name = document["metadata"]["name"].as_str().expect("a name").into();
            prop_assert!(config.pools.contains_key(&name) != config.held.contains_key(&name), "{name}");
        }
    }

    #[test]
    fn pools_in_force_never_overlap(documents in store()) {
        let config = compile(&resources(&documents)).config;
        let all: Vec<_> = config.pools.values().flat_map(|pool| pool.cidrs()).collect();
        for (index, a) in all.iter().enumerate() {
            prop_assert!(all[..index].iter().all(|b| !a.contains(*b) && !b.contains(*a)), "{a}");
        }
    }

    #[test]
    fn what_has_an_error_is_not_in_force(documents in store()) {
        let compiled = compile(&resources(&documents));
        for finding in compiled.findings.iter().filter(|finding| finding.class == Class::Error) {
            let out_of_force = match finding.object.kind {
                Kind::IPAddressPool => !compiled.config.pools.contains_key(&finding.object.name.as_str().into())
                    || documents.iter().any(|d| d["kind"] == "AddressPool" && d["metadata"]["name"] == finding.object.name.as_str()),
                Kind::BGPPeer => !compiled.config.peers.contains_key(&finding.object.name),
                Kind::BFDProfile => !compiled.config.bfd_profiles.contains_key(&finding.object.name),
                Kind::AddressPool | Kind::L2Advertisement | Kind::BGPAdvertisement | Kind::Community | Kind::MetalLB | Kind::FRRConfiguration => true,
            };
            prop_assert!(out_of_force, "{finding}");
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in ".*", other in "[0-9a-f:.,/-]{0,40}") {
        for text in [text.as_str(), other.as_str()] {
            let _ = config::range::parse_entry(text);
            let _ = config::communities::parse_community(text);
            let _ = config::duration::parse_go_duration(text);
        }
    }

    #[test]
    fn the_ends_of_a_range_are_read_as_the_standard_library_reads_addresses(
        first in "[0-9]{1,4}([.][0-9]{1,3}){2,4}", last in "[0-9]{1,3}([.][0-9]{1,3}){3}")
    {
        let cidrs = config::range::parse_entry(&format!("{first}-{last}"));
        let ends = (first.parse::<std::net::Ipv4Addr>(), last.parse::<std::net::Ipv4Addr>());
        match (ends, cidrs) {
            ((Ok(first), Ok(last)), Ok(cidrs)) => {
                let all = || cidrs.iter().flat_map(config::range::Addresses::of);
                prop_assert_eq!(all().next(), Some(first.into()));
                prop_assert!(cidrs.last().is_some_and(|cidr| cidr.broadcast() == last));
            }
            ((Ok(first), Ok(last)), Err(_)) => prop_assert!(first > last),
            ((_, _), cidrs) => prop_assert!(cidrs.is_err()),
        }
    }

    #[test]
    fn a_range_is_covered_exactly(first in any::<u32>(), length in 0..5000u32) {
        let last = first.saturating_add(length);
        let text = format!("{}-{}", std::net::Ipv4Addr::from(first), std::net::Ipv4Addr::from(last));
        let cidrs = config::range::parse_entry(&text).expect("a range");
        let all: Vec<_> = cidrs.iter().flat_map(config::range::Addresses::of).collect();
        prop_assert_eq!(all.len() as u64, u64::from(last - first) + 1);
        prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(all[0].to_string(), std::net::Ipv4Addr::from(first).to_string());
    }
}

/// 10,000 pools with 100,000 ranges. A quadratic step would take minutes; the time allowed is for a debug build on a busy
/// machine.
#[test]
fn a_huge_configuration_compiles_quickly() {
    let mut documents = Vec::new();
    for index in 0..10_000_u32 {
        let entries: Vec<String> = (0..10)
            .map(|range| {
                let first = 0x0a00_0000 + (index * 10 + range) * 16;
                format!("{}-{}", std::net::Ipv4Addr::from(first + 1), std::net::Ipv4Addr::from(first + 9))
            })
            .collect();
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        documents.push(pool(&format!("p{index}"), &entries));
    }
    documents.push(l2("all", json!({})));
    documents.push(bgp("all", json!({})));
    let resources = resources(&documents);
    let started = std::time::Instant::now();
    let compiled = compile(&resources);
    let taken = started.elapsed();
    assert_eq!((compiled.findings.len(), compiled.config.pools.len()), (0, 10_000));
    assert!(taken < std::time::Duration::from_secs(20), "{taken:?}");
    println!("compiled in {taken:?}");
}
