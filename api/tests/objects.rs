//! What objects look like when they are read and written.

use api::v1beta1::{
    AddressPool, BGPAdvertisement, BGPPeer, ConfigurationState, ConfigurationStateStatus, IPAddressPool,
    IPAddressPoolSpec, IPAddressPoolStatus, L2Advertisement, MetalLB,
};
use api::{frrk8s, slim, v1beta1, v1beta2};
use kube::Resource;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn pool_counters_are_written_even_when_they_are_zero() {
    let status = serde_json::to_value(IPAddressPoolStatus::default()).unwrap();
    assert_eq!(status, json!({"assignedIPv4": 0, "assignedIPv6": 0, "availableIPv4": 0, "availableIPv6": 0}));
}

#[test]
fn a_kind_with_optional_settings_may_have_no_spec_at_all() {
    let bare = |kind: &str| json!({"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": {"name": "x"}});
    let metallb: MetalLB = serde_json::from_value(bare("MetalLB")).unwrap();
    assert_eq!(metallb.spec, v1beta1::MetalLBSpec::default());
    let l2: L2Advertisement = serde_json::from_value(bare("L2Advertisement")).unwrap();
    assert_eq!(l2.spec, v1beta1::L2AdvertisementSpec::default());
    let bgp: BGPAdvertisement = serde_json::from_value(bare("BGPAdvertisement")).unwrap();
    assert_eq!((bgp.spec.aggregation_length, bgp.spec.aggregation_length_v6), (32, 128));
    let state: frrk8s::FRRNodeState = serde_json::from_value(bare("FRRNodeState")).unwrap();
    assert_eq!(state.status, None);
}

#[test]
fn a_pool_without_spec_or_addresses_is_refused() {
    for object in [json!({"metadata": {"name": "x"}}), json!({"metadata": {"name": "x"}, "spec": {}})] {
        assert!(serde_json::from_value::<IPAddressPool>(object.clone()).is_err());
        assert!(serde_json::from_value::<AddressPool>(object).is_err());
    }
}

#[test]
fn what_an_apiserver_fills_in_is_filled_in_here_too() {
    let pool: IPAddressPoolSpec = serde_json::from_value(json!({"addresses": ["192.0.2.0/24"]})).unwrap();
    assert!(pool.auto_assign && !pool.avoid_buggy_ips);
    let peer: v1beta2::BGPPeerSpec = serde_json::from_value(json!({"myASN": 4294967295_u32})).unwrap();
    assert_eq!((peer.my_asn, peer.peer_port, peer.peer_asn), (4294967295, 179, None));
    let neighbor: frrk8s::Neighbor = serde_json::from_value(json!({})).unwrap();
    assert_eq!(neighbor.address_families, [frrk8s::AddressFamily::Unicast]);
    let allowed: frrk8s::AllowedOutPrefixes = serde_json::from_value(json!({})).unwrap();
    assert_eq!(allowed.mode, frrk8s::AllowMode::Filtered);
}

#[test]
fn defaults_in_rust_equal_those_an_empty_object_gets() {
    assert_eq!(v1beta1::BGPAdvertisementSpec::default(), serde_json::from_value(json!({})).unwrap());
    assert_eq!(v1beta1::LegacyBgpAdvertisement::default(), serde_json::from_value(json!({})).unwrap());
    assert_eq!(frrk8s::Neighbor::default(), serde_json::from_value(json!({})).unwrap());
    assert_eq!(v1beta2::BGPPeerSpec::default(), serde_json::from_value(json!({"myASN": 0})).unwrap());
    assert_eq!(IPAddressPoolSpec::default(), serde_json::from_value(json!({"addresses": []})).unwrap());
}

#[test]
fn an_old_peer_becomes_a_new_one_and_back_without_loss() {
    let text = json!({
        "apiVersion": "metallb.io/v1beta1",
        "kind": "BGPPeer",
        "metadata": {"name": "x", "namespace": "y"},
        "spec": {"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1", "peerPort": 0, "holdTime": "90s", "vrf": "red",
            "disableMP": false, "dualStackAddressFamily": true},
    });
    let old: BGPPeer = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(BGPPeer::api_version(&()), "metallb.io/v1beta1");
    let new = v1beta2::BGPPeer::from(old);
    assert_eq!(serde_json::to_value(&new).unwrap()["apiVersion"], "metallb.io/v1beta2");
    assert_eq!(new.spec.vrf.as_deref(), Some("red"));
    assert_eq!(serde_json::to_value(BGPPeer::from(new)).unwrap(), text);
}

#[test]
fn a_configuration_state_has_no_spec() {
    let mut state = ConfigurationState::new("controller", v1beta1::ConfigurationStateSpec {});
    state.status =
        Some(ConfigurationStateStatus { result: Some(v1beta1::ConfigurationResult::Unknown), ..Default::default() });
    assert_eq!(
        serde_json::to_value(&state).unwrap(),
        json!({
            "apiVersion": "metallb.io/v1beta1",
            "kind": "ConfigurationState",
            "metadata": {"name": "controller"},
            "status": {"result": "Unknown"},
        })
    );
}

#[test]
fn slim_objects_do_not_keep_what_nobody_reads() {
    let service: slim::Service = serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "s",
            "namespace": "n",
            "uid": "u",
            "resourceVersion": "7",
            "annotations": {"metallb.io/address-pool": "p", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
            "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["f"],
        },
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.0.0.1",
            "clusterIPs": ["10.0.0.1"],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "externalTrafficPolicy": "Local",
            "loadBalancerIP": "192.0.2.1",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http", "nodePort": 30000}],
            "sessionAffinity": "None",
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP", "ports": []}]}},
    }))
    .unwrap();
    let annotations = service.metadata.annotations.clone().unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["metallb.io/address-pool"]);
    assert_eq!(service.metadata.managed_fields, None);
    assert!(service.metadata.deletion_timestamp.is_some());
    assert_eq!(service.metadata.finalizers.as_deref(), Some(["f".to_owned()].as_slice()));
    assert_eq!(service.spec.cluster_ips, ["10.0.0.1"]);
    assert_eq!(service.spec.load_balancer_ip.as_deref(), Some("192.0.2.1"));
    assert_eq!(service.status.load_balancer.ingress[0].ip.as_deref(), Some("192.0.2.1"));
}

#[test]
fn slim_types_speak_for_the_core_kinds() {
    assert_eq!((slim::Service::kind(&()), slim::Service::api_version(&())), ("Service".into(), "v1".into()));
    assert_eq!(slim::EndpointSlice::api_version(&()), "discovery.k8s.io/v1");
    assert_eq!(slim::EndpointSlice::plural(&()), "endpointslices");
    assert_eq!(slim::Node::plural(&()), "nodes");
    assert_eq!(slim::Namespace::plural(&()), "namespaces");
    assert_eq!(slim::Pod::plural(&()), "pods");
}

#[test]
fn an_object_of_another_server_version_still_parses() {
    let nearly_empty = json!({"metadata": {"name": "x"}});
    let null_parts =
        json!({"metadata": {"name": "x", "annotations": null, "labels": null, "newThing": [1, 2]}, "future": {}});
    for object in [nearly_empty, null_parts] {
        serde_json::from_value::<slim::Service>(object.clone()).unwrap();
        serde_json::from_value::<slim::EndpointSlice>(object.clone()).unwrap();
        serde_json::from_value::<slim::Node>(object.clone()).unwrap();
        serde_json::from_value::<slim::Namespace>(object.clone()).unwrap();
        serde_json::from_value::<slim::Pod>(object).unwrap();
    }
}

#[test]
fn lists_an_apiserver_writes_as_null_are_empty() {
    let slice: slim::EndpointSlice = serde_json::from_value(
        json!({"metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": null, "ports": null}),
    )
    .unwrap();
    assert!(slice.endpoints.is_empty());
}

#[test]
fn endpoints_count_their_addresses_and_know_whether_they_serve() {
    let slice: slim::EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "x"},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.1", "10.0.0.2"], "conditions": {}, "nodeName": "a"},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"addresses": [], "conditions": {"ready": false}},
        ],
    }))
    .unwrap();
    let seen: Vec<_> = slice
        .endpoints
        .iter()
        .map(|endpoint| {
            let conditions = endpoint.conditions;
            (endpoint.address_count, conditions.is_ready(), conditions.is_serving(), conditions.is_terminating())
        })
        .collect();
    assert_eq!(seen, [(2, true, true, false), (1, false, true, true), (0, false, false, false)]);
    let again: slim::EndpointSlice = serde_json::from_value(serde_json::to_value(&slice).unwrap()).unwrap();
    assert_eq!(again, slice);
}

#[test]
fn a_pod_that_is_ending_is_not_ready() {
    let pod = |metadata: Value| -> slim::Pod {
        let status = json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "Ready", "status": "True"}]});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"nodeName": "a"}, "status": status})).unwrap()
    };
    assert!(pod(json!({"name": "p"})).is_ready());
    assert!(!pod(json!({"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"})).is_ready());
}

proptest! {
    #[test]
    fn a_peer_that_is_written_reads_back_equal(
        my_asn: u32, peer_asn: Option<u32>, port in 0_u16..=16384, multi_hop: bool, text in "[a-z0-9.:]{0,20}", dual: bool,
    ) {
        let spec = v1beta2::BGPPeerSpec {
            my_asn,
            peer_asn,
            peer_port: port,
            peer_address: Some(text.clone()),
            vrf: Some(text),
            dynamic_asn: dual.then_some(v1beta2::DynamicAsn::External),
            ebgp_multi_hop: multi_hop,
            dual_stack_address_family: dual,
            ..Default::default()
        };
        let peer = v1beta2::BGPPeer::new("p", spec);
        let read: v1beta2::BGPPeer = serde_json::from_value(serde_json::to_value(&peer).unwrap()).unwrap();
        prop_assert_eq!(read, peer);
    }

    #[test]
    fn no_text_makes_a_slim_type_panic(text in "\\PC*") {
        let _ = serde_json::from_str::<slim::Service>(&text);
        let _ = serde_json::from_value::<slim::Service>(json!({"metadata": {"annotations": &text}, "spec": &text}));
    }
}
