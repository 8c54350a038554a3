//! What published documents say users see, one test per statement; the names begin with the number of the statement.

use runtime::index::map_event;

use crate::fixtures::{Cluster, annotated, pool_object, service};
use crate::pool_objects::CommunityObject;
use crate::service::Service;
use crate::state::Input;

const V4: &[&str] = &["10.96.0.1"];

fn status(cluster: &Cluster) -> [i64; 4] {
    let status = &cluster.state.pool_status_writes()[0].status;
    [status.assigned_ipv4, status.assigned_ipv6, status.available_ipv4, status.available_ipv6]
}

#[test]
fn s0_4_a_fresh_pool_shows_four_numbers() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.168.122.200-192.168.122.220"])]);
    cluster.run();
    assert_eq!(status(&cluster), [0, 0, 21, 0]);
}

#[test]
fn s0_5_available_is_what_is_usable_less_what_is_assigned() {
    let mut cluster = Cluster::with_pools(&[]);
    let mut avoiding = pool_object("p", &["192.168.0.0/24"]);
    avoiding.spec.avoid_buggy_ips = true;
    cluster.put_pool(avoiding);
    cluster.put(service("a", V4));
    cluster.run();
    assert_eq!((cluster.shown("a").as_str(), status(&cluster)), ("192.168.0.1", [1, 0, 253, 0]));
}

#[test]
fn s0_6_a_pool_needs_only_addresses() {
    let spec: api::v1beta1::IPAddressPoolSpec =
        serde_json::from_value(serde_json::json!({"addresses": ["192.0.2.0/31"]})).expect("a specification");
    assert!(spec.auto_assign && !spec.avoid_buggy_ips);
    let mut cluster = Cluster::with_pools(&[]);
    cluster.put_pool(api::v1beta1::IPAddressPool::new("p", spec));
    cluster.put(service("a", V4));
    cluster.run();
    assert_eq!(cluster.shown("a"), "192.0.2.0");
}

#[test]
fn s0_7_an_advertisement_that_names_pools_concerns_no_allocation() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    cluster.put(service("a", V4));
    cluster.run();
    assert!(cluster.state.errors().is_empty());
    assert_eq!(cluster.shown("a"), "192.0.2.0");
}

#[test]
fn s0_8_the_old_prefix_picks_a_pool_and_is_told() {
    let mut cluster =
        Cluster::with_pools(&[("doc-example", &["192.0.2.0/31"]), ("doc-example-l2", &["198.51.100.0/31"])]);
    cluster.put(annotated("a", &[("metallb.universe.tf/address-pool", "doc-example-l2")]));
    cluster.run();
    assert_eq!(cluster.shown("a"), "198.51.100.0");
    let expected = [
        "a Normal IPAllocated: Assigned IP [\"198.51.100.0\"]",
        "a Warning deprecatedAnnotation: Service uses deprecated annotation metallb.universe.tf/address-pool",
    ];
    assert_eq!(cluster.take_notes(), expected);
}

#[test]
fn s0_9_after_one_allocation_the_numbers_are_1_0_20_0() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.168.122.200-192.168.122.220"])]);
    cluster.put(service("a", V4));
    cluster.run();
    assert_eq!(status(&cluster), [1, 0, 20, 0]);
}

#[test]
fn s0_13_the_first_address_of_the_pool_is_given_first() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.168.122.210-192.168.122.220"])]);
    cluster.put(service("a", V4));
    cluster.run();
    assert_eq!(cluster.shown("a"), "192.168.122.210");
}

#[test]
fn s1_70_a_requested_address_of_any_pool_is_given_also_of_a_manual_one() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    let mut manual = pool_object("manual", &["198.51.100.0/30"]);
    manual.spec.auto_assign = false;
    cluster.put_pool(manual);
    cluster.put(Service { load_balancer_ip: "198.51.100.2".into(), ..service("a", V4) });
    cluster.put(annotated("b", &[("metallb.io/loadBalancerIPs", "198.51.100.3")]));
    cluster.run();
    assert_eq!((cluster.shown("a"), cluster.shown("b")), ("198.51.100.2".into(), "198.51.100.3".into()));
}

#[test]
fn s1_71_a_requested_address_outside_all_pools_leaves_the_service_pending() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    cluster.put(Service { load_balancer_ip: "4.4.4.4".into(), ..service("invalid-request", V4) });
    cluster.run();
    let text = "Failed to allocate IP for \"default/invalid-request\": [\"4.4.4.4\"] is not allowed in config";
    assert_eq!(cluster.take_notes(), [format!("invalid-request Warning AllocationFailed: {text}")]);
    assert_eq!(cluster.pending("invalid-request"), format!("AllocationFailed: {text}"));
}

#[test]
fn s1_72_a_pool_can_be_asked_for_with_both_prefixes() {
    for prefix in ["metallb.io", "metallb.universe.tf"] {
        let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"]), ("q", &["198.51.100.0/31"])]);
        cluster.put(annotated("a", &[(&format!("{prefix}/address-pool"), "q")]));
        cluster.run();
        assert_eq!(cluster.shown("a"), "198.51.100.0", "{prefix}");
    }
}

#[test]
fn s1_73_an_unknown_pool_is_an_error_and_not_any_other_pool() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    cluster.put(annotated("a", &[("metallb.io/address-pool", "x")]));
    cluster.run();
    assert_eq!(cluster.pending("a"), "AllocationFailed: Failed to allocate IP for \"default/a\": unknown pool \"x\"");
    cluster.put_pool(pool_object("x", &["198.51.100.0/31"]));
    cluster.run();
    assert_eq!((cluster.shown("a").as_str(), cluster.pending("a").as_str()), ("198.51.100.0", ""));
}

#[test]
fn s1_74_without_a_request_any_automatic_pool_serves() {
    let mut cluster = Cluster::with_pools(&[("q", &["198.51.100.0/32"])]);
    let mut manual = pool_object("p", &["192.0.2.0/31"]);
    manual.spec.auto_assign = false;
    cluster.put_pool(manual);
    cluster.put(service("a", V4));
    cluster.run();
    assert_eq!(cluster.shown("a"), "198.51.100.0");
}

#[test]
fn s1_75_services_with_one_sharing_key_share_an_address_on_different_ports() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/30"])]);
    let key = ("metallb.universe.tf/allow-shared-ip", "web-server-svc");
    let request = ("metallb.io/loadBalancerIPs", "192.0.2.1");
    let on = |name: &str, port: i32, annotations: &[(&str, &str)]| {
        let mut out = annotated(name, annotations);
        out.ports[0].number = port;
        out
    };
    cluster.put(on("http", 80, &[key, request]));
    cluster.run();
    let mut udp = on("udp", 80, &[key, request]);
    udp.ports[0].protocol = "UDP".into();
    cluster.put(udp);
    cluster.put(on("https", 443, &[key, request]));
    cluster.put(on("clash", 80, &[key, request]));
    cluster.put(on("alone", 8080, &[request]));
    cluster.run();
    for name in ["http", "udp", "https"] {
        assert_eq!(cluster.shown(name), "192.0.2.1", "{name}");
    }
    let failed = |name: &str, why: &str| {
        format!("{name} Warning AllocationFailed: Failed to allocate IP for \"default/{name}\": {why}")
    };
    let notes = cluster.take_notes();
    assert!(notes.contains(&failed("clash", "port TCP/80 is already in use on \"192.0.2.1\"")), "{notes:?}");
    let prefix = failed("alone", "can't change sharing key for \"default/alone\", address also in use by default/http");
    assert!(notes.iter().any(|note| note.starts_with(&prefix)), "{notes:?}");
}

#[test]
fn s1_77_events_have_the_reasons_that_users_alert_on() {
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    cluster.put(service("a", V4));
    cluster.run();
    let mut broken = cluster.services["a"].clone();
    broken.annotations.insert("metallb.io/loadBalancerIPs", "nonsense");
    cluster.put(broken);
    cluster.run();
    cluster.put_pool(pool_object("p", &["198.51.100.0/31"]));
    cluster.run();
    let expected = [
        "a Normal IPAllocated: Assigned IP [\"192.0.2.0\"]",
        "a Warning LoadBalancerFailed: invalid requested loadbalancer IPs: invalid metallb.io/loadBalancerIPs: \"nonsense\"",
        "a Normal ClearAssignment: current IP for \"default/a\" not allowed by config, will attempt for new IP assignment: \
         [\"192.0.2.0\"] is not allowed in config",
    ];
    let notes = cluster.take_notes();
    assert_eq!(notes[..3], expected);
    assert!(notes[3].starts_with("a Warning AllocationFailed: "), "{notes:?}");
    assert!(cluster.pending("a").starts_with("AllocationFailed: Failed to allocate IP for"));
}

#[test]
fn s0_25_the_controller_judges_pools_and_communities_but_no_peers() {
    let community = |name: &str, value: &str| {
        let object = serde_json::json!({
            "metadata": {"name": name, "namespace": "metallb-system"},
            "spec": {"communities": [{"name": name, "value": value}]},
        });
        Ok::<_, runtime::watch::Broken>(serde_json::from_value::<api::v1beta1::Community>(object).expect("a Community"))
    };
    let mut cluster = Cluster::with_pools(&[("p", &["192.0.2.0/31"])]);
    assert!(!cluster.state.is_judged(), "the Communities are not listed yet");
    cluster.list(vec![community("good", "1:2"), community("bad", "1:2:3")], |event| {
        Input::Community(map_event(event, CommunityObject::from))
    });
    cluster.put(service("a", V4));
    cluster.run();
    assert!(cluster.state.is_judged() && cluster.state.is_config_stale());
    assert_eq!(cluster.state.errors(), ["parsing community \"bad\": invalid community format: 1:2:3"]);
    assert_eq!(cluster.reports[0].kind, "Community");
    assert_eq!(cluster.shown("a"), "192.0.2.0", "a Community is nothing to addresses");
}
