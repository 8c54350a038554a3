//! MetalLB's convergence, one row per rule: what a Service asks for, what it gets, what it is told.

use crate::allocator::family::Policy;
use crate::fixtures::{Cluster, annotated, service, showing};
use crate::service::Service;

const V4: &[&str] = &["10.96.0.1"];
const V6: &[&str] = &["fd00:96::1"];
const DUAL: &[&str] = &["10.96.0.1", "fd00:96::1"];

struct Case {
    name: &'static str,
    pools: &'static [(&'static str, &'static [&'static str])],
    service: Service,
    shown: &'static str,
    notes: &'static [&'static str],
}

const BOTH: &[(&str, &[&str])] = &[("both", &["192.0.2.0/31", "2001:db8::/127"])];
const SINGLE: &[(&str, &[&str])] = &[("four", &["192.0.2.0/31"]), ("six", &["2001:db8::/127"])];

fn with(mut service: Service, policy: Policy) -> Service {
    service.policy = policy;
    service
}

fn requesting(addresses: &str) -> Service {
    annotated("s", &[("metallb.io/loadBalancerIPs", addresses)])
}

fn check(cases: Vec<Case>) {
    for Case { name, pools, service, shown, notes } in cases {
        let mut cluster = Cluster::with_pools(pools);
        cluster.put(service);
        cluster.run();
        assert_eq!(cluster.shown("s"), shown, "{name}");
        assert_eq!(cluster.take_notes(), notes, "{name}");
        let writes = cluster.writes;
        cluster.restart();
        assert_eq!((cluster.shown("s").as_str(), cluster.writes), (shown, writes), "{name}: restart");
    }
}

#[test]
fn family_and_policy_decide_how_many_addresses_of_which_family() {
    let mut six_first = with(service("s", &["fd00:96::1", "10.96.0.1"]), Policy::PreferDualStack);
    six_first.primary = config::Family::V6;
    check(vec![
        Case {
            name: "IPv6 only",
            pools: SINGLE,
            service: service("s", V6),
            shown: "2001:db8::",
            notes: &["s Normal IPAllocated: Assigned IP [\"2001:db8::\"]"],
        },
        Case {
            name: "both required, in one pool, IPv4 first",
            pools: BOTH,
            service: with(service("s", &["fd00:96::1", "10.96.0.1"]), Policy::RequireDualStack),
            shown: "192.0.2.0,2001:db8::",
            notes: &["s Normal IPAllocated: Assigned IP [\"192.0.2.0\" \"2001:db8::\"]"],
        },
        Case {
            name: "both required, but in no one pool",
            pools: SINGLE,
            service: with(service("s", DUAL), Policy::RequireDualStack),
            shown: "",
            notes: &[
                "s Warning AllocationFailed: Failed to allocate IP for \"default/s\": no available IPs; no IPv4 addresses: \
                 six; no IPv6 addresses: four",
            ],
        },
        Case {
            name: "both required with one cluster IP",
            pools: BOTH,
            service: with(service("s", V4), Policy::RequireDualStack),
            shown: "",
            notes: &[
                "s Warning not enough clusterips: Service requires dual stack but not enough clusterips [10.96.0.1]",
            ],
        },
        Case {
            name: "both preferred, a pool with both wins over an earlier one with one",
            pools: &[("a", &["203.0.113.0/31"]), ("both", &["192.0.2.0/31", "2001:db8::/127"])],
            service: with(service("s", DUAL), Policy::PreferDualStack),
            shown: "192.0.2.0,2001:db8::",
            notes: &["s Normal IPAllocated: Assigned IP [\"192.0.2.0\" \"2001:db8::\"]"],
        },
        Case {
            name: "both preferred, only single pools: the primary family",
            pools: SINGLE,
            service: six_first,
            shown: "2001:db8::",
            notes: &[
                "s Normal IPAllocated: Assigned IP [\"2001:db8::\"]",
                "s Normal AdditionalAssignFailed: cannot assign additional IP in PreferDualStack: no available IPs in \
                 pool six for ipv4 IPFamily",
            ],
        },
        Case {
            name: "both preferred with one cluster IP is one address",
            pools: BOTH,
            service: with(service("s", V4), Policy::PreferDualStack),
            shown: "192.0.2.0",
            notes: &["s Normal IPAllocated: Assigned IP [\"192.0.2.0\"]"],
        },
    ]);
}

#[test]
fn cluster_ips_that_cannot_be_understood_give_nothing() {
    check(vec![
        Case { name: "none yet", pools: BOTH, service: service("s", &[]), shown: "", notes: &[] },
        Case {
            name: "headless",
            pools: BOTH,
            service: service("s", &["None"]),
            shown: "",
            notes: &[
                "s Warning AllocationFailed: Failed to allocate IP for \"default/s\": IPFamilyForAddresses: Invalid \
                 address [\"None\"]",
            ],
        },
        Case {
            name: "headless but showing an address keeps it",
            pools: BOTH,
            service: showing(service("s", &["None"]), &["192.0.2.0"], "both"),
            shown: "192.0.2.0",
            notes: &["s Warning noclusterIPsIPFamily: Failed to retrieve ClusterIPs IPFamily for [\"None\"] None: \
                 IPFamilyForAddresses: Invalid address [\"None\"]"],
        },
    ]);
}

#[test]
fn requested_addresses_and_pools_are_honoured_or_refused_with_metallbs_words() {
    let mut both_ways = requesting("192.0.2.1");
    both_ways.load_balancer_ip = "192.0.2.1".into();
    let mut field = service("s", V4);
    field.load_balancer_ip = "192.0.2.1".into();
    let mut old = annotated("s", &[("metallb.universe.tf/address-pool", "four")]);
    old.policy = Policy::SingleStack;
    check(vec![
        Case {
            name: "by annotation",
            pools: SINGLE,
            service: requesting("192.0.2.1"),
            shown: "192.0.2.1",
            notes: &["s Normal IPAllocated: Assigned IP [\"192.0.2.1\"]"],
        },
        Case {
            name: "by field",
            pools: SINGLE,
            service: field,
            shown: "192.0.2.1",
            notes: &["s Normal IPAllocated: Assigned IP [\"192.0.2.1\"]"],
        },
        Case {
            name: "in both ways",
            pools: SINGLE,
            service: both_ways,
            shown: "",
            notes: &["s Warning AllocationFailed: Failed to allocate IP for \"default/s\": service can not have both \
                 metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP"],
        },
        Case {
            name: "outside every pool",
            pools: SINGLE,
            service: requesting("203.0.113.1"),
            shown: "",
            notes: &[
                "s Warning AllocationFailed: Failed to allocate IP for \"default/s\": [\"203.0.113.1\"] is not allowed in \
                 config",
            ],
        },
        Case {
            name: "of the wrong family",
            pools: SINGLE,
            service: requesting("2001:db8::1"),
            shown: "",
            notes: &[
                "s Warning AllocationFailed: Failed to allocate IP for \"default/s\": requested loadBalancer IP(s) \
                 [\"2001:db8::1\"] does not match the ipFamily of the service",
            ],
        },
        Case {
            name: "not of the pool asked for as well",
            pools: SINGLE,
            service: annotated("s", &[("metallb.io/loadBalancerIPs", "192.0.2.1"), ("metallb.io/address-pool", "six")]),
            shown: "",
            notes: &[
                "s Warning AllocationFailed: Failed to allocate IP for \"default/s\": requested loadBalancer IP(s) \
                 [\"192.0.2.1\"] is not compatible with requested address pool six",
            ],
        },
        Case {
            name: "an unknown pool",
            pools: SINGLE,
            service: annotated("s", &[("metallb.io/address-pool", "none")]),
            shown: "",
            notes: &["s Warning AllocationFailed: Failed to allocate IP for \"default/s\": unknown pool \"none\""],
        },
        Case {
            name: "a pool of the other family",
            pools: SINGLE,
            service: annotated("s", &[("metallb.io/address-pool", "six")]),
            shown: "",
            notes: &[
                "s Warning AllocationFailed: Failed to allocate IP for \"default/s\": no available IPs in pool six for \
                 ipv4 IPFamily; no IPv4 addresses: six",
            ],
        },
        Case {
            name: "a deprecated annotation works and is told",
            pools: SINGLE,
            service: old,
            shown: "192.0.2.0",
            notes: &[
                "s Normal IPAllocated: Assigned IP [\"192.0.2.0\"]",
                "s Warning deprecatedAnnotation: Service uses deprecated annotation metallb.universe.tf/address-pool",
            ],
        },
    ]);
}

#[test]
fn a_current_address_stays_unless_a_rule_or_the_user_is_against_it() {
    let shows = |service| showing(service, &["192.0.2.1"], "four");
    check(vec![
        Case {
            name: "stays although a lower one is free",
            pools: SINGLE,
            service: shows(service("s", V4)),
            shown: "192.0.2.1",
            notes: &[],
        },
        Case {
            name: "wrong family",
            pools: SINGLE,
            service: shows(service("s", V6)),
            shown: "2001:db8::",
            notes: &["s Normal IPAllocated: Assigned IP [\"2001:db8::\"]"],
        },
        Case {
            name: "no address at all",
            pools: SINGLE,
            service: showing(service("s", V4), &["web"], "four"),
            shown: "192.0.2.0",
            notes: &[
                "s Warning nolbIPsIPFamily: Failed to retrieve LBIPs IPFamily for [\"web\"]: IPFamilyForAddresses: \
                 Invalid address [\"web\"]",
                "s Normal IPAllocated: Assigned IP [\"192.0.2.0\"]",
            ],
        },
        Case {
            name: "in no pool",
            pools: SINGLE,
            service: showing(service("s", V4), &["203.0.113.9"], "gone"),
            shown: "192.0.2.0",
            notes: &[
                "s Normal ClearAssignment: current IP for \"default/s\" not allowed by config, will attempt for new IP \
                 assignment: [\"203.0.113.9\"] is not allowed in config",
                "s Normal IPAllocated: Assigned IP [\"192.0.2.0\"]",
            ],
        },
        Case {
            name: "another address requested",
            pools: SINGLE,
            service: shows(requesting("192.0.2.0")),
            shown: "192.0.2.0",
            notes: &["s Normal IPAllocated: Assigned IP [\"192.0.2.0\"]"],
        },
        Case {
            name: "another pool requested",
            pools: &[("four", &["192.0.2.0/31"]), ("other", &["198.51.100.0/31"])],
            service: shows(annotated("s", &[("metallb.io/address-pool", "other")])),
            shown: "198.51.100.0",
            notes: &["s Normal IPAllocated: Assigned IP [\"198.51.100.0\"]"],
        },
        Case {
            name: "a typing error in the request costs nothing",
            pools: SINGLE,
            service: shows(requesting("192.0.2.x")),
            shown: "192.0.2.1",
            notes: &[
                "s Warning LoadBalancerFailed: invalid requested loadbalancer IPs: invalid metallb.io/loadBalancerIPs: \
                 \"192.0.2.x\"",
            ],
        },
        Case {
            name: "no pools: cleared, and the reason is said",
            pools: &[],
            service: shows(service("s", V4)),
            shown: "",
            notes: &[
                "s Warning AllocationFailed: Failed to allocate IP for \"default/s\": no address pool is configured",
            ],
        },
    ]);
}

#[test]
fn the_order_of_a_status_never_follows_the_order_of_a_request() {
    let mut asking = with(service("s", DUAL), Policy::RequireDualStack);
    asking.annotations.insert("metallb.io/loadBalancerIPs", "192.0.2.1,2001:db8::1");
    let asking = showing(asking, &["2001:db8::1", "192.0.2.1"], "both");
    check(vec![Case { name: "sets", pools: BOTH, service: asking, shown: "2001:db8::1,192.0.2.1", notes: &[] }]);
}

#[test]
fn a_second_family_is_added_behind_the_first_when_its_pool_gains_it() {
    let mut cluster = Cluster::with_pools(&[("p", &["2001:db8::/127"])]);
    let mut prefers = with(service("s", DUAL), Policy::PreferDualStack);
    prefers.primary = config::Family::V4;
    cluster.put(prefers);
    cluster.run();
    assert_eq!(cluster.shown("s"), "2001:db8::");
    cluster.take_notes();
    cluster.put_pool(crate::fixtures::pool_object("p", &["2001:db8::/127", "192.0.2.0/31"]));
    cluster.run();
    assert_eq!(cluster.shown("s"), "2001:db8::,192.0.2.0");
    assert_eq!(cluster.take_notes(), ["s Normal IPAllocated: Assigned additional IP \"192.0.2.0\""]);
}

#[test]
fn a_request_against_itself_is_refused_in_the_same_words_whoever_has_the_address() {
    let mut cluster = Cluster::with_pools(SINGLE);
    let against_itself = [("metallb.io/loadBalancerIPs", "192.0.2.0"), ("metallb.io/address-pool", "six")];
    cluster.put(annotated("s", &against_itself));
    cluster.run();
    let (pending, writes) = (cluster.pending("s"), cluster.writes);
    assert!(pending.ends_with("is not compatible with requested address pool six"), "{pending}");
    cluster.put(service("other", V4));
    cluster.run();
    assert_eq!((cluster.shown("other").as_str(), cluster.writes), ("192.0.2.0", writes + 1));
    cluster.restart();
    assert_eq!((cluster.pending("s"), cluster.writes), (pending, writes + 1));
}

#[test]
fn nothing_is_added_to_the_one_address_that_a_service_asks_for() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    let mut prefers = with(service("s", DUAL), Policy::PreferDualStack);
    cluster.put(prefers.clone());
    cluster.run();
    prefers.annotations.insert("metallb.io/loadBalancerIPs", "192.0.2.0");
    cluster.put(showing(prefers, &["192.0.2.0"], "p"));
    cluster.put_pool(crate::fixtures::pool_object("p", &["192.0.2.0/31", "2001:db8::/127"]));
    cluster.run();
    assert_eq!(cluster.shown("s"), "192.0.2.0");
    cluster.restart();
    assert_eq!(cluster.shown("s"), "192.0.2.0");
}

#[test]
fn the_oldest_is_served_first_whether_it_has_an_address_of_the_other_family_or_nothing() {
    for restarts in [false, true] {
        let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/32", "2001:db8::/127"])]);
        let aged = |name: &str, cluster_ips: &[&str], policy: Policy, created: i64| {
            let mut out = with(service(name, cluster_ips), policy);
            out.created = created;
            out
        };
        cluster.put(aged("holder", V4, Policy::SingleStack, 1));
        cluster.run();
        cluster.put(aged("half", DUAL, Policy::PreferDualStack, 3));
        cluster.put(aged("nothing", V4, Policy::SingleStack, 2));
        cluster.run();
        assert_eq!(["half", "nothing"].map(|name| cluster.shown(name)), ["2001:db8::", ""]);
        cluster.delete("holder");
        if restarts {
            cluster.restart();
        }
        cluster.run();
        let shown = ["half", "nothing"].map(|name| cluster.shown(name));
        assert_eq!(shown, ["2001:db8::", "192.0.2.0"], "restart: {restarts}");
    }
}

#[test]
fn services_with_one_key_and_distinct_ports_share_an_address_and_a_change_of_key_frees_it() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.1/32"])]);
    let shared = |name: &str, key: &str, port: i32| {
        let mut out = annotated(name, &[("metallb.io/allow-shared-ip", key)]);
        out.ports[0].number = port;
        out
    };
    cluster.put(shared("a", "k", 80));
    cluster.put(shared("b", "k", 81));
    cluster.put(shared("c", "k", 80));
    cluster.put(shared("d", "other", 82));
    cluster.run();
    let shown = |cluster: &Cluster| ["a", "b", "c", "d"].map(|name| cluster.shown(name));
    assert_eq!(shown(&cluster), ["192.0.2.1", "192.0.2.1", "", ""]);
    cluster.restart();
    assert_eq!(shown(&cluster), ["192.0.2.1", "192.0.2.1", "", ""]);
    cluster.delete("a");
    cluster.run();
    assert_eq!(shown(&cluster), ["", "192.0.2.1", "192.0.2.1", ""], "c gets the port that a had");
}
