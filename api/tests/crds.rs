//! The generated definitions against tables written by hand from MetalLB's documented API, not from the Rust types.
//!
//! A line of a table is `path: type facts...`. Types: `[]T` list, `map` of texts, `selector` a label selector, `core` a
//! type of the core API that is not looked into. Facts: `required default= enum= min= max= maxLength= minItems= maxItems=
//! format= pattern atomic map-by= cel`. Integers have a format: 32 or 64 bits.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use serde_json::Value;

struct Kind {
    name: &'static str,
    kind: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
    scope: &'static str,
    /// `name` of each version, storage version last; a deprecated one is followed by its warning.
    versions: &'static [(&'static str, Option<&'static str>)],
    /// `title|type|path`, with `|priority` when it is not 0.
    columns: &'static [&'static str],
    fields: &'static str,
}

const V1BETA1: &[(&str, Option<&str>)] = &[("v1beta1", None)];

const BFD_FIELDS: [&str; 7] = [
    "detectMultiplier: int32 min=2 max=255",
    "echoInterval: int32 min=10 max=60000",
    "echoMode: boolean",
    "minimumTtl: int32 min=1 max=254",
    "passiveMode: boolean",
    "receiveInterval: int32 min=10 max=60000",
    "transmitInterval: int32 min=10 max=60000",
];

const CONDITION_FIELDS: &str = "
    status.conditions[].lastTransitionTime: string required format=date-time
    status.conditions[].message: string required maxLength=32768
    status.conditions[].observedGeneration: int64 min=0
    status.conditions[].reason: string required minLength=1 maxLength=1024 pattern
    status.conditions[].status: string required enum=True,False,Unknown
    status.conditions[].type: string required maxLength=316 pattern
";

const KINDS: &[Kind] = &[
    Kind {
        name: "addresspools.metallb.io",
        kind: "AddressPool",
        singular: "addresspool",
        short_names: &[],
        scope: "Namespaced",
        versions: &[(
            "v1beta1",
            Some(
                "AddressPool is deprecated, please use IPAddressPool with an L2Advertisement or a BGPAdvertisement",
            ),
        )],
        columns: &[],
        fields: "
            spec: object required
            spec.addresses: []string required
            spec.autoAssign: boolean default=true
            spec.bgpAdvertisements: []object
            spec.bgpAdvertisements[].aggregationLength: int32 default=32 min=1
            spec.bgpAdvertisements[].aggregationLengthV6: int32 default=128
            spec.bgpAdvertisements[].communities: []string
            spec.bgpAdvertisements[].localPref: int64 min=0 max=4294967295
            spec.protocol: string required enum=layer2,bgp
            status: object
        ",
    },
    Kind {
        name: "bfdprofiles.metallb.io",
        kind: "BFDProfile",
        singular: "bfdprofile",
        short_names: &[],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[
            "Passive Mode|boolean|.spec.passiveMode",
            "Transmit Interval|integer|.spec.transmitInterval",
            "Receive Interval|integer|.spec.receiveInterval",
            "Multiplier|integer|.spec.detectMultiplier",
        ],
        fields: "
            spec: object
            spec.BFD
            status: object
        ",
    },
    Kind {
        name: "bgpadvertisements.metallb.io",
        kind: "BGPAdvertisement",
        singular: "bgpadvertisement",
        short_names: &[],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[
            "IPAddressPools|string|.spec.ipAddressPools",
            "IPAddressPool Selectors|string|.spec.ipAddressPoolSelectors",
            "Peers|string|.spec.peers",
            "Node Selectors|string|.spec.nodeSelectors|10",
        ],
        fields: "
            spec: object cel
            spec.aggregationLength: int32 default=32 min=1 cel
            spec.aggregationLengthV6: int32 default=128 cel
            spec.communities: []string
            spec.ipAddressPoolSelectors: []selector
            spec.ipAddressPools: []string
            spec.localPref: int64 min=0 max=4294967295
            spec.nodeSelector: []selector
            spec.nodeSelectors: []selector
            spec.peers: []string
            spec.serviceSelectors: []selector
            status: object
        ",
    },
    Kind {
        name: "bgppeers.metallb.io",
        kind: "BGPPeer",
        singular: "bgppeer",
        short_names: &[],
        scope: "Namespaced",
        versions: &[("v1beta1", Some("v1beta1 is deprecated, please use v1beta2")), ("v1beta2", None)],
        columns: &[
            "Address|string|.spec.peerAddress",
            "ASN|string|.spec.peerASN",
            "BFD Profile|string|.spec.bfdProfile",
            "Multi Hops|string|.spec.ebgpMultiHop",
        ],
        fields: "
            spec: object cel
            spec.bfdProfile: string
            spec.connectTime: string cel
            spec.disableMP: boolean default=false
            spec.dualStackAddressFamily: boolean default=false
            spec.dynamicASN: string enum=internal,external
            spec.ebgpMultiHop: boolean
            spec.enableGracefulRestart: boolean cel
            spec.holdTime: string cel
            spec.interface: string cel
            spec.keepaliveTime: string cel
            spec.localASN: int64 min=1 max=4294967295
            spec.myASN: int64 required min=0 max=4294967295
            spec.nodeSelectors: []selector
            spec.password: string
            spec.passwordSecret: object atomic
            spec.passwordSecret.name: string
            spec.passwordSecret.namespace: string
            spec.peerASN: int64 min=0 max=4294967295
            spec.peerAddress: string
            spec.peerPort: int32 default=179 min=0 max=16384
            spec.routerID: string
            spec.sourceAddress: string
            spec.vrf: string cel
            status: object
        ",
    },
    Kind {
        name: "bgpsessionstates.frrk8s.metallb.io",
        kind: "BGPSessionState",
        singular: "bgpsessionstate",
        short_names: &["bgpsessionstatus"],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[
            "Node|string|.status.node",
            "Peer|string|.status.peer",
            "VRF|string|.status.vrf",
            "BGP|string|.status.bgpStatus",
            "BFD|string|.status.bfdStatus",
        ],
        fields: "
            spec: object
            status: object
            status.bfdStatus: string
            status.bgpStatus: string
            status.node: string
            status.peer: string
            status.vrf: string
        ",
    },
    Kind {
        name: "communities.metallb.io",
        kind: "Community",
        singular: "community",
        short_names: &[],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[],
        fields: "
            spec: object
            spec.communities: []object
            spec.communities[].name: string
            spec.communities[].value: string
            status: object
        ",
    },
    Kind {
        name: "configurationstates.metallb.io",
        kind: "ConfigurationState",
        singular: "configurationstate",
        short_names: &[],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[
            "Result|string|.status.result",
            "ErrorSummary|string|.status.errorSummary",
            "Age|date|.metadata.creationTimestamp",
        ],
        fields: "
            status: object
            status.CONDITIONS
            status.conditions: []object map-by=type
            status.errorSummary: string
            status.result: string enum=Valid,Invalid,Unknown
        ",
    },
    Kind {
        name: "frrconfigurations.frrk8s.metallb.io",
        kind: "FRRConfiguration",
        singular: "frrconfiguration",
        short_names: &[],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[],
        fields: "
            spec: object
            spec.bgp: object
            spec.bgp.bfdProfiles: []object
            spec.bgp.bfdProfiles[].BFD
            spec.bgp.bfdProfiles[].name: string required
            spec.bgp.routers: []object maxItems=50
            spec.bgp.routers[].asn: int64 required min=0 max=4294967295
            spec.bgp.routers[].evpn: object
            spec.bgp.routers[].evpn.advertiseSVI: boolean
            spec.bgp.routers[].evpn.advertiseVNIs: string enum=Disabled,All
            spec.bgp.routers[].evpn.l2vnis: []object maxItems=10
            spec.bgp.routers[].evpn.l2vnis[].exportRTs: []string maxItems=100 items(maxLength=21 cel)
            spec.bgp.routers[].evpn.l2vnis[].importRTs: []string maxItems=100 items(maxLength=21 cel)
            spec.bgp.routers[].evpn.l2vnis[].rd: string maxLength=21 cel
            spec.bgp.routers[].evpn.l2vnis[].vni: int32 required min=1 max=16777215
            spec.bgp.routers[].evpn.l3vni: object
            spec.bgp.routers[].evpn.l3vni.advertisePrefixes: []string required minItems=1 maxItems=1 items(enum=unicast)
            spec.bgp.routers[].evpn.l3vni.exportRTs: []string maxItems=100 items(maxLength=21 cel)
            spec.bgp.routers[].evpn.l3vni.importRTs: []string maxItems=100 items(maxLength=21 cel)
            spec.bgp.routers[].evpn.l3vni.rd: string maxLength=21 cel
            spec.bgp.routers[].evpn.l3vni.vni: int32 required min=1 max=16777215
            spec.bgp.routers[].id: string
            spec.bgp.routers[].imports: []object
            spec.bgp.routers[].imports[].vrf: string
            spec.bgp.routers[].neighbors: []object
            spec.bgp.routers[].neighbors[].address: string
            spec.bgp.routers[].neighbors[].addressFamilies: []string default=[\"unicast\"] maxItems=2 items(enum=unicast,evpn)
            spec.bgp.routers[].neighbors[].asn: int64 min=0 max=4294967295
            spec.bgp.routers[].neighbors[].bfdProfile: string
            spec.bgp.routers[].neighbors[].connectTime: string cel
            spec.bgp.routers[].neighbors[].disableMP: boolean default=false
            spec.bgp.routers[].neighbors[].dualStackAddressFamily: boolean default=false
            spec.bgp.routers[].neighbors[].dynamicASN: string enum=internal,external
            spec.bgp.routers[].neighbors[].ebgpMultiHop: boolean
            spec.bgp.routers[].neighbors[].enableGracefulRestart: boolean
            spec.bgp.routers[].neighbors[].holdTime: string
            spec.bgp.routers[].neighbors[].interface: string
            spec.bgp.routers[].neighbors[].keepaliveTime: string
            spec.bgp.routers[].neighbors[].localASN: int64 min=1 max=4294967295
            spec.bgp.routers[].neighbors[].password: string
            spec.bgp.routers[].neighbors[].passwordSecret: object atomic
            spec.bgp.routers[].neighbors[].passwordSecret.name: string
            spec.bgp.routers[].neighbors[].passwordSecret.namespace: string
            spec.bgp.routers[].neighbors[].port: int32 min=0 max=16384
            spec.bgp.routers[].neighbors[].sourceaddress: string
            spec.bgp.routers[].neighbors[].toAdvertise: object
            spec.bgp.routers[].neighbors[].toAdvertise.allowed: object
            spec.bgp.routers[].neighbors[].toAdvertise.allowed.mode: string default=filtered enum=all,filtered
            spec.bgp.routers[].neighbors[].toAdvertise.allowed.prefixes: []string
            spec.bgp.routers[].neighbors[].toAdvertise.nextHop: object
            spec.bgp.routers[].neighbors[].toAdvertise.nextHop.ipv4: string format=ipv4
            spec.bgp.routers[].neighbors[].toAdvertise.nextHop.ipv6: string format=ipv6
            spec.bgp.routers[].neighbors[].toAdvertise.withCommunity: []object
            spec.bgp.routers[].neighbors[].toAdvertise.withCommunity[].community: string
            spec.bgp.routers[].neighbors[].toAdvertise.withCommunity[].prefixes: []string minItems=1
            spec.bgp.routers[].neighbors[].toAdvertise.withLocalPref: []object
            spec.bgp.routers[].neighbors[].toAdvertise.withLocalPref[].localPref: int64 min=0 max=4294967295
            spec.bgp.routers[].neighbors[].toAdvertise.withLocalPref[].prefixes: []string minItems=1
            spec.bgp.routers[].neighbors[].toReceive: object
            spec.bgp.routers[].neighbors[].toReceive.allowed: object
            spec.bgp.routers[].neighbors[].toReceive.allowed.mode: string default=filtered enum=all,filtered
            spec.bgp.routers[].neighbors[].toReceive.allowed.prefixes: []object
            spec.bgp.routers[].neighbors[].toReceive.allowed.prefixes[].ge: int32 min=1 max=128
            spec.bgp.routers[].neighbors[].toReceive.allowed.prefixes[].le: int32 min=1 max=128
            spec.bgp.routers[].neighbors[].toReceive.allowed.prefixes[].prefix: string format=cidr
            spec.bgp.routers[].prefixes: []string
            spec.bgp.routers[].vrf: string
            spec.nodeSelector: selector
            spec.raw: object
            spec.raw.priority: int64
            spec.raw.rawConfig: string
            status: object
        ",
    },
    Kind {
        name: "frrk8sconfigurations.frrk8s.metallb.io",
        kind: "FRRK8sConfiguration",
        singular: "frrk8sconfiguration",
        short_names: &[],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[],
        fields: "
            spec: object
            spec.logLevel: string enum=all,debug,info,warn,error,none
            status: object
        ",
    },
    Kind {
        name: "frrnodestates.frrk8s.metallb.io",
        kind: "FRRNodeState",
        singular: "frrnodestate",
        short_names: &[],
        scope: "Cluster",
        versions: V1BETA1,
        columns: &[],
        fields: "
            spec: object
            status: object
            status.lastConversionResult: string
            status.lastReloadResult: string
            status.runningConfig: string
        ",
    },
    Kind {
        name: "ipaddresspools.metallb.io",
        kind: "IPAddressPool",
        singular: "ipaddresspool",
        short_names: &[],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[
            "Auto Assign|boolean|.spec.autoAssign",
            "Avoid Buggy IPs|boolean|.spec.avoidBuggyIPs",
            "Addresses|string|.spec.addresses",
        ],
        fields: "
            spec: object required
            spec.addresses: []string required cel
            spec.autoAssign: boolean default=true
            spec.avoidBuggyIPs: boolean default=false
            spec.serviceAllocation: object
            spec.serviceAllocation.namespaceSelectors: []selector
            spec.serviceAllocation.namespaces: []string
            spec.serviceAllocation.priority: int64
            spec.serviceAllocation.serviceSelectors: []selector
            status: object
            status.assignedIPv4: int64 required
            status.assignedIPv6: int64 required
            status.availableIPv4: int64 required
            status.availableIPv6: int64 required
        ",
    },
    Kind {
        name: "l2advertisements.metallb.io",
        kind: "L2Advertisement",
        singular: "l2advertisement",
        short_names: &[],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[
            "IPAddressPools|string|.spec.ipAddressPools",
            "IPAddressPool Selectors|string|.spec.ipAddressPoolSelectors",
            "Interfaces|string|.spec.interfaces",
            "Node Selectors|string|.spec.nodeSelectors|10",
        ],
        fields: "
            spec: object
            spec.interfaces: []string
            spec.ipAddressPoolSelectors: []selector
            spec.ipAddressPools: []string
            spec.nodeSelector: []selector
            spec.nodeSelectors: []selector
            spec.preferredNodeSelectors: []object
            spec.preferredNodeSelectors[].preference: selector required
            spec.preferredNodeSelectors[].weight: int32 required min=1 max=100
            spec.serviceSelectors: []selector
            status: object
        ",
    },
    Kind {
        name: "metallbs.metallb.io",
        kind: "MetalLB",
        singular: "metallb",
        short_names: &[],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[
            "Available|string|.status.conditions[?(@.type=='Available')].status",
            "Degraded|string|.status.conditions[?(@.type=='Degraded')].status",
            "Progressing|string|.status.conditions[?(@.type=='Progressing')].status",
            "Age|date|.metadata.creationTimestamp",
        ],
        fields: "
            spec: object
            spec.bgpBackend: string
            spec.controllerConfig: object
            spec.controllerConfig.affinity: core
            spec.controllerConfig.annotations: map
            spec.controllerConfig.priorityClassName: string
            spec.controllerConfig.replicas: int32 min=1 max=5
            spec.controllerConfig.resources: core
            spec.controllerConfig.runtimeClassName: string
            spec.controllerNodeSelector: map
            spec.controllerTolerations: []core
            spec.frrk8sConfig: object
            spec.frrk8sConfig.alwaysBlock: []string
            spec.frrk8sConfig.namespace: string
            spec.frrk8sConfig.secretPassthrough: boolean
            spec.image: string
            spec.loadBalancerClass: string pattern
            spec.logLevel: string enum=all,debug,info,warn,error,none
            spec.nodeSelector: map
            spec.speakerConfig: object
            spec.speakerConfig.affinity: core
            spec.speakerConfig.annotations: map
            spec.speakerConfig.l2Ownership: string enum=fast,quorum
            spec.speakerConfig.priorityClassName: string
            spec.speakerConfig.resources: core
            spec.speakerConfig.runtimeClassName: string
            spec.speakerTolerations: []core
            status: object
            status.CONDITIONS
            status.conditions: []object
        ",
    },
    Kind {
        name: "servicebgpstatuses.metallb.io",
        kind: "ServiceBGPStatus",
        singular: "servicebgpstatus",
        short_names: &[],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[
            "Node|string|.status.node",
            "Service Name|string|.status.serviceName",
            "Service Namespace|string|.status.serviceNamespace",
        ],
        fields: "
            spec: object
            status: object
            status.node: string cel
            status.peers: []string
            status.serviceName: string cel
            status.serviceNamespace: string cel
        ",
    },
    Kind {
        name: "servicel2statuses.metallb.io",
        kind: "ServiceL2Status",
        singular: "servicel2status",
        short_names: &[],
        scope: "Namespaced",
        versions: V1BETA1,
        columns: &[
            "Allocated Node|string|.status.node",
            "Service Name|string|.status.serviceName",
            "Service Namespace|string|.status.serviceNamespace",
        ],
        fields: "
            spec: object
            status: object
            status.interfaces: []object
            status.interfaces[].name: string
            status.node: string cel
            status.serviceName: string cel
            status.serviceNamespace: string cel
        ",
    },
];

/// Messages of the rules, by definition and field.
const RULES: &[(&str, &str, &[&str])] = &[
    (
        "bgpadvertisements.metallb.io",
        "spec.aggregationLength",
        &["invalid aggregation length for IPv4, it must be 1 to 32"],
    ),
    (
        "bgpadvertisements.metallb.io",
        "spec.aggregationLengthV6",
        &["invalid aggregation length for IPv6, it must be 1 to 128"],
    ),
    (
        "bgppeers.metallb.io",
        "spec",
        &[
            "missing local ASN",
            "missing peer ASN and dynamicASN",
            "both peer ASN and dynamicASN specified",
            "invalid ebgp-multihop parameter set for an ibgp peer",
            "peer has no Address or Interface specified",
            "peer has both Address and Interface specified",
            "invalid BGPPeer timers: invalid keepaliveTime, must be lower than holdTime",
            "can not have both password and secret ref set in peer config",
        ],
    ),
    ("bgppeers.metallb.io", "spec.holdTime", &["invalid hold time: must be 0 or >=3s"]),
    (
        "bgppeers.metallb.io",
        "spec.keepaliveTime",
        &["invalid BGPPeer timers: invalid keepaliveTime, it cannot be negative"],
    ),
    (
        "bgppeers.metallb.io",
        "spec.interface",
        &["invalid interface: a device name has 1 to 15 characters and no space, slash or colon"],
    ),
    (
        "bgppeers.metallb.io",
        "spec.vrf",
        &["invalid vrf: a device name has 1 to 15 characters and no space, slash or colon"],
    ),
    ("ipaddresspools.metallb.io", "spec.addresses", &["pool has no prefixes defined"]),
    ("metallbs.metallb.io", "", &["MetalLB resource must be named metallb: there is one MetalLB per cluster"]),
    (
        "bgpadvertisements.metallb.io",
        "spec",
        &[
            "serviceSelectors and aggregationLength are mutually exclusive, can only be used together with default aggregationLength (32) and aggregationLengthV6 (128)",
        ],
    ),
    ("bgppeers.metallb.io", "spec.connectTime", CONNECT_TIME),
    ("bgppeers.metallb.io", "spec.enableGracefulRestart", &["EnableGracefulRestart cannot be changed after creation"]),
    ("frrconfigurations.frrk8s.metallb.io", "spec.bgp.routers[].neighbors[].connectTime", CONNECT_TIME),
    ("frrconfigurations.frrk8s.metallb.io", "spec.bgp.routers[].evpn.l2vnis[].rd", DISTINGUISHER),
    ("frrconfigurations.frrk8s.metallb.io", "spec.bgp.routers[].evpn.l3vni.rd", DISTINGUISHER),
    ("frrconfigurations.frrk8s.metallb.io", "spec.bgp.routers[].evpn.l2vnis[].exportRTs[]", EXPORT_TARGET),
    ("frrconfigurations.frrk8s.metallb.io", "spec.bgp.routers[].evpn.l3vni.exportRTs[]", EXPORT_TARGET),
    ("frrconfigurations.frrk8s.metallb.io", "spec.bgp.routers[].evpn.l2vnis[].importRTs[]", IMPORT_TARGET),
    ("frrconfigurations.frrk8s.metallb.io", "spec.bgp.routers[].evpn.l3vni.importRTs[]", IMPORT_TARGET),
    ("servicebgpstatuses.metallb.io", "status.node", IMMUTABLE),
    ("servicebgpstatuses.metallb.io", "status.serviceName", IMMUTABLE),
    ("servicebgpstatuses.metallb.io", "status.serviceNamespace", IMMUTABLE),
    ("servicel2statuses.metallb.io", "status.node", IMMUTABLE),
    ("servicel2statuses.metallb.io", "status.serviceName", IMMUTABLE),
    ("servicel2statuses.metallb.io", "status.serviceNamespace", IMMUTABLE),
];

const IMMUTABLE: &[&str] = &["Value is immutable"];
const CONNECT_TIME: &[&str] =
    &["connect time should be between 1 seconds to 65535", "connect time should contain a whole number of seconds"];
const DISTINGUISHER: &[&str] = &[
    "RD must contain exactly one colon",
    "RD global administrator must be either an IPv4 address or a number",
    "RD local administrator must be a number",
    "RD with IPv4 global administrator must have format A.B.C.D:MN where MN <= 65535",
    "RD with 4-byte ASN global administrator must have format GHJK:MN where GHJK <= 4294967295 and MN <= 65535",
    "RD with 2-byte ASN global administrator must have format EF:OPQR where EF <= 65535 and OPQR <= 4294967295",
];
const EXPORT_TARGET: &[&str] = &[
    "RT must contain exactly one colon",
    "RT global administrator must be either an IPv4 address or a number",
    "RT local administrator must be a number",
    "RT with IPv4 global administrator must have format A.B.C.D:MN where MN <= 65535",
    "RT with 4-byte ASN global administrator must have format GHJK:MN where GHJK <= 4294967295 and MN <= 65535",
    "RT with 2-byte ASN global administrator must have format EF:OPQR where EF <= 65535 and OPQR <= 4294967295",
];
const IMPORT_TARGET: &[&str] = &[
    "RT must contain exactly one colon",
    "RT global administrator must be either '*', an IPv4 address, or a number",
    "RT local administrator must be a number",
    "RT with IPv4 global administrator must have format A.B.C.D:MN where MN <= 65535",
    "RT with 4-byte ASN global administrator must have format GHJK:MN where GHJK <= 4294967295 and MN <= 65535",
    "RT with 2-byte ASN global administrator must have format EF:OPQR where EF <= 65535 and OPQR <= 4294967295",
    "RT with wildcard global administrator must have format *:OPQR where OPQR <= 4294967295",
];

#[test]
fn every_kind_is_there_once_and_in_order() {
    let names: Vec<_> = api::crds().into_iter().filter_map(|crd| crd.metadata.name).collect();
    assert_eq!(names, KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>());
}

#[test]
fn names_scope_and_versions_are_those_of_metallb() {
    for (kind, crd) in pairs() {
        let (plural, group) = kind.name.split_once('.').unwrap();
        assert_eq!(crd.spec.group, group, "{}", kind.name);
        assert_eq!(crd.spec.names.plural, plural);
        assert_eq!(crd.spec.names.kind, kind.kind);
        assert_eq!(crd.spec.names.list_kind, Some(format!("{}List", kind.kind)));
        assert_eq!(crd.spec.names.singular.as_deref(), Some(kind.singular));
        assert_eq!(crd.spec.names.short_names.clone().unwrap_or_default(), kind.short_names);
        assert_eq!(crd.spec.names.categories, None);
        assert_eq!(crd.spec.scope, kind.scope);
        let versions: Vec<_> = crd
            .spec
            .versions
            .iter()
            .map(|version| (version.name.as_str(), version.deprecation_warning.as_deref()))
            .collect();
        assert_eq!(versions, kind.versions, "{}", kind.name);
        for (position, version) in crd.spec.versions.iter().enumerate() {
            assert!(version.served, "{}", kind.name);
            assert_eq!(version.storage, position + 1 == crd.spec.versions.len(), "{}", kind.name);
            assert_eq!(version.deprecated.unwrap_or_default(), version.deprecation_warning.is_some());
            assert!(version.subresources.as_ref().is_some_and(|sub| sub.status.is_some() && sub.scale.is_none()));
        }
    }
}

#[test]
fn peers_need_no_conversion() {
    let crd = api::crds().into_iter().find(|crd| crd.spec.names.kind == "BGPPeer").unwrap();
    assert_eq!(crd.spec.conversion.unwrap().strategy, "None");
    assert!(crd.spec.versions[0].schema == crd.spec.versions[1].schema, "the schemas of the two versions differ");
}

#[test]
fn printer_columns_are_those_of_metallb() {
    for (kind, version) in versions() {
        let columns: Vec<_> = version
            .additional_printer_columns
            .unwrap_or_default()
            .into_iter()
            .map(|column| {
                let priority = column.priority.filter(|priority| *priority != 0).map(|priority| format!("|{priority}"));
                format!("{}|{}|{}{}", column.name, column.type_, column.json_path, priority.unwrap_or_default())
            })
            .collect();
        assert_eq!(columns, kind.columns, "{}", kind.name);
    }
}

#[test]
fn fields_are_those_of_metallb() {
    for (kind, version) in versions() {
        let mut found = BTreeSet::new();
        walk(&schema(&version), "", &mut |path, schema, required| {
            found.insert(describe(path, schema, required));
        });
        let wanted: BTreeSet<String> = kind.fields.lines().flat_map(expand).collect();
        let missing: Vec<_> = wanted.difference(&found).collect();
        let extra: Vec<_> = found.difference(&wanted).collect();
        assert!(missing.is_empty() && extra.is_empty(), "{}\nmissing {missing:#?}\nextra {extra:#?}", kind.name);
    }
}

#[test]
fn rules_have_the_messages_users_know() {
    let mut found = BTreeSet::new();
    for (kind, version) in versions() {
        found.extend(messages(&schema(&version)).map(|messages| (kind.name, String::new(), messages)));
        walk(&schema(&version), "", &mut |path, schema, _| {
            found.extend(messages(schema).map(|messages| (kind.name, path.to_owned(), messages)));
            if let Some(messages) = messages(&schema["items"]) {
                found.insert((kind.name, format!("{path}[]"), messages));
            }
        });
    }
    let wanted: BTreeSet<_> = RULES
        .iter()
        .map(|(name, path, messages)| {
            (*name, (*path).to_owned(), messages.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(found, wanted);
}

#[test]
fn every_field_of_every_schema_is_described() {
    for (kind, version) in versions() {
        every_property(&schema(&version), "", &mut |path, schema| {
            let text = schema["description"].as_str().unwrap_or_default();
            assert!(text.len() >= 10, "{}: {path} has no description", kind.name);
        });
        assert!(schema(&version)["description"].as_str().is_some_and(|text| text.len() > 20), "{}", kind.name);
    }
}

#[test]
fn schemas_hold_nothing_an_apiserver_refuses_or_misreads() {
    for (kind, version) in versions() {
        let text = schema(&version).to_string();
        for word in ["\"nullable\"", "\"$ref\"", "\"uint", "\"title\"", "\"allOf\"", "\"oneOf\"", "preserve-unknown"] {
            assert!(!text.contains(word), "{} contains {word}", kind.name);
        }
        every_property(&schema(&version), "", &mut |path, schema| {
            let typed = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == Value::Bool(true);
            assert!(typed, "{}: {path} has no type", kind.name);
        });
    }
}

/// Calls `visit` for every property down to the fields this project defines.
fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value, bool)) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for (name, inner) in properties {
        let inner_path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let required = schema["required"].as_array().is_some_and(|list| list.iter().any(|item| item == name));
        visit(&inner_path, inner, required);
        if is_selector(inner) || is_core(&inner_path) {
            continue;
        }
        walk(inner, &inner_path, visit);
        if !is_selector(&inner["items"]) {
            walk(&inner["items"], &format!("{inner_path}[]"), visit);
        }
    }
}

/// Calls `visit` for every property at any depth.
fn every_property(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    if !schema.is_object() {
        return;
    }
    if let Some(properties) = schema["properties"].as_object() {
        for (name, inner) in properties {
            let inner_path = format!("{path}.{name}");
            visit(&inner_path, inner);
            every_property(inner, &inner_path, visit);
        }
    }
    for key in ["items", "additionalProperties"] {
        every_property(&schema[key], path, visit);
    }
}

fn describe(path: &str, schema: &Value, required: bool) -> String {
    let items = &schema["items"];
    let kind = match (items.is_object(), is_core(path)) {
        (true, true) => "[]core".to_owned(),
        (true, false) => format!("[]{}", type_of(items)),
        (false, true) => "core".to_owned(),
        (false, false) => type_of(schema),
    };
    let required = if required { " required" } else { "" };
    let within = facts(items);
    let within = if items["type"] == "object" || within.is_empty() {
        String::new()
    } else {
        format!(" items({})", within.trim_start())
    };
    format!("{path}: {kind}{required}{}{within}", facts(schema))
}

fn type_of(schema: &Value) -> String {
    if is_selector(schema) {
        return "selector".to_owned();
    }
    if schema["additionalProperties"]["type"] == "string" {
        return "map".to_owned();
    }
    match schema["type"].as_str().unwrap_or("?") {
        "integer" => schema["format"].as_str().unwrap_or("integer").to_owned(),
        other => other.to_owned(),
    }
}

fn facts(schema: &Value) -> String {
    let mut facts = String::new();
    if let Some(default) = schema.get("default") {
        facts += &format!(" default={}", default.as_str().map_or_else(|| default.to_string(), str::to_owned));
    }
    if let Some(values) = schema["enum"].as_array() {
        facts += &format!(" enum={}", values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","));
    }
    for (key, name) in [
        ("minimum", "min"),
        ("maximum", "max"),
        ("minLength", "minLength"),
        ("maxLength", "maxLength"),
        ("minItems", "minItems"),
        ("maxItems", "maxItems"),
    ] {
        if let Some(limit) = schema[key].as_f64() {
            facts += &format!(" {name}={limit}");
        }
    }
    if schema["type"] == "string" && schema["format"].is_string() {
        facts += &format!(" format={}", schema["format"].as_str().unwrap());
    }
    if schema["pattern"].is_string() {
        facts += " pattern";
    }
    if schema["x-kubernetes-map-type"] == "atomic" && !is_selector(schema) {
        facts += " atomic";
    }
    if schema["x-kubernetes-list-type"] == "map" {
        facts += &format!(" map-by={}", schema["x-kubernetes-list-map-keys"][0].as_str().unwrap());
    }
    if schema["x-kubernetes-validations"].is_array() {
        facts += " cel";
    }
    facts
}

fn messages(schema: &Value) -> Option<Vec<String>> {
    let rules = schema["x-kubernetes-validations"].as_array()?;
    Some(rules.iter().map(|rule| rule["message"].as_str().unwrap().to_owned()).collect())
}

fn is_selector(schema: &Value) -> bool {
    schema["x-kubernetes-map-type"] == "atomic"
        && schema["properties"]["matchLabels"]["additionalProperties"]["type"] == "string"
        && schema["properties"]["matchExpressions"]["items"]["required"] == serde_json::json!(["key", "operator"])
}

fn is_core(path: &str) -> bool {
    ["affinity", "resources", "Tolerations"].iter().any(|end| path.ends_with(end))
}

/// A line of a table, or the lines an upper-case name stands for.
fn expand(line: &str) -> Vec<String> {
    let line = line.trim();
    if line.is_empty() {
        Vec::new()
    } else if let Some(path) = line.strip_suffix("BFD") {
        BFD_FIELDS.iter().map(|field| format!("{path}{field}")).collect()
    } else if line == "status.CONDITIONS" {
        CONDITION_FIELDS.lines().flat_map(expand).collect()
    } else {
        vec![line.to_owned()]
    }
}

fn pairs() -> Vec<(&'static Kind, CustomResourceDefinition)> {
    KINDS.iter().zip(api::crds()).collect()
}

fn versions() -> Vec<(&'static Kind, CustomResourceDefinitionVersion)> {
    pairs()
        .into_iter()
        .flat_map(|(kind, crd)| crd.spec.versions.into_iter().map(move |version| (kind, version)))
        .collect()
}

fn schema(version: &CustomResourceDefinitionVersion) -> Value {
    let validation = version.schema.as_ref().unwrap();
    serde_json::to_value(validation.open_api_v3_schema.as_ref().unwrap()).unwrap()
}
