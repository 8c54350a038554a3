//! The objects of a history in the simplest form that says everything, and how the controller gets to see them.
//!
//! ```text
//! Svc, Pool, Namespace (plain values, ranges are lists of addresses) ──▶ slim::Service, IPAddressPool, NamespaceLabels
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use api::slim;
use api::v1beta1::{IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus, ServiceAllocation};
use config::NamespaceLabels;
use controller::pool_objects::PoolObject;
use controller::service::{CONDITION_IP_ALLOCATED, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use runtime::watch::Broken;

/// Our own mark on a Service that has addresses.
pub const MARK: &str = "metallb.io/ip-allocated-from-pool";

/// `namespace/name`
pub type Key = String;

/// What the user asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// `type: LoadBalancer`; otherwise ClusterIP.
    pub lb: bool,
    /// It names the class of somebody else.
    pub foreign: bool,
    /// The families of its cluster addresses (`6` or `4`), in order; empty while it has none.
    pub cluster: Vec<u8>,
    /// `ipFamilyPolicy`
    pub policy: Policy,
    /// The annotation that asks for a pool.
    pub pool: Option<&'static str>,
    /// The annotation that asks for addresses.
    pub ips: Option<String>,
    /// `spec.loadBalancerIP`
    pub ip_field: Option<String>,
    /// Annotations are written with the deprecated prefix.
    pub old_prefix: bool,
    /// The sharing key.
    pub sharing: Option<&'static str>,
    /// `externalTrafficPolicy: Local`
    pub local: bool,
    /// The value of the only label of its pod selector.
    pub selector: &'static str,
    /// (protocol, number)
    pub ports: BTreeSet<(&'static str, i32)>,
    /// The value of the only label of the Service itself.
    pub label: Option<&'static str>,
}

/// `ipFamilyPolicy`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Single,
    Prefer,
    Require,
}

/// A Service as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Svc {
    pub key: Key,
    pub uid: u64,
    pub version: u64,
    pub created: i64,
    pub request: Request,
    /// What its status shows.
    pub shown: Vec<IpAddr>,
    /// The pool that our mark names.
    pub mark: Option<String>,
    /// `metadata.generation`: how often the request changed.
    pub generation: i64,
    /// Our condition: why it has no address.
    pub condition: Option<Condition>,
}

/// Our condition on a Service; its status is always False.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub reason: String,
    pub message: String,
    pub generation: i64,
}

/// Who may use a pool.
#[derive(Clone, PartialEq, Eq)]
pub struct Allocation {
    pub priority: i64,
    pub namespaces: Vec<&'static str>,
    /// Value of the namespace label `tier`.
    pub namespace_tier: Option<&'static str>,
    /// Value of the Service label `app`.
    pub service_app: Option<&'static str>,
}

/// An IPAddressPool as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Pool {
    pub name: &'static str,
    pub uid: u64,
    pub version: u64,
    pub created: i64,
    /// Indexes into [`SEGMENTS`].
    pub segments: Vec<usize>,
    /// One more entry is no range.
    pub bad_entry: bool,
    /// The object cannot be read at all.
    pub unreadable: bool,
    pub auto: bool,
    pub avoid_buggy: bool,
    pub allocation: Option<Allocation>,
    /// assigned and available of IPv4, then of IPv6.
    pub status: Option<[i64; 4]>,
}

/// A Namespace as stored: the value of its label `tier`.
#[derive(Clone, PartialEq, Eq)]
pub struct Namespace {
    pub name: &'static str,
    pub version: u64,
    pub tier: Option<&'static str>,
}

/// Everything there is, at one moment, somewhere: in the API or in a controller's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    pub services: BTreeMap<Key, Arc<Svc>>,
    pub pools: BTreeMap<&'static str, Arc<Pool>>,
    pub namespaces: BTreeMap<&'static str, Arc<Namespace>>,
}

/// Ranges that pools are made of: text, first address, how many. Some overlap, one has addresses to avoid.
pub const SEGMENTS: [(&str, IpAddr, u128); 9] = [
    ("192.0.2.0/31", v4(192, 0, 2, 0), 2),
    ("192.0.2.2 - 192.0.2.3", v4(192, 0, 2, 2), 2),
    ("192.0.2.4/32", v4(192, 0, 2, 4), 1),
    ("192.0.2.254-192.0.3.1", v4(192, 0, 2, 254), 4),
    ("192.0.2.0/30", v4(192, 0, 2, 0), 4),
    ("2001:db8::/127", v6(0), 2),
    ("2001:db8::2/128", v6(2), 1),
    ("2001:db8::/126", v6(0), 4),
    ("2001:db8::8-2001:db8::a", v6(8), 3),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
}

/// The addresses of a segment, ascending.
pub fn addresses(segment: usize) -> Vec<IpAddr> {
    let (_, first, count) = SEGMENTS[segment];
    (0..count)
        .map(|offset| match first {
            IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() + offset as u32)),
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() + offset)),
        })
        .collect()
}

/// 4 or 6.
pub fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 4 } else { 6 }
}

impl Svc {
    /// The part of the key before the slash.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// As the controller gets it from Kubernetes.
    pub fn object(&self) -> Service {
        let (namespace, name) = self.key.split_once('/').expect("a key");
        let request = &self.request;
        let prefix = if request.old_prefix { "metallb.universe.tf" } else { "metallb.io" };
        let mut annotations = BTreeMap::new();
        let mut annotate = |name: &str, value: Option<&str>| {
            annotations.extend(value.map(|value| (format!("{prefix}/{name}"), value.to_owned())));
        };
        annotate("address-pool", request.pool);
        annotate("loadBalancerIPs", request.ips.as_deref());
        annotate("allow-shared-ip", request.sharing);
        annotations.extend(self.mark.iter().map(|pool| (MARK.to_owned(), pool.clone())));
        let mut object = slim::Service {
            metadata: metadata(namespace, name, self.uid, self.version, self.created),
            ..slim::Service::default()
        };
        object.metadata.annotations = Some(annotations);
        object.metadata.generation = Some(self.generation);
        object.status.conditions = self
            .condition
            .iter()
            .map(|condition| slim::ServiceCondition {
                type_: CONDITION_IP_ALLOCATED.to_owned(),
                status: String::from("False"),
                reason: Some(condition.reason.clone()),
                message: Some(condition.message.clone()),
                observed_generation: Some(condition.generation),
            })
            .collect();
        object.metadata.labels = request.label.map(|app| labels("app", app));
        let text = |number: &u8| String::from(if *number == 4 { "10.96.0.1" } else { "fd00:96::1" });
        let policy = match request.policy {
            Policy::Single => "SingleStack",
            Policy::Prefer => "PreferDualStack",
            Policy::Require => "RequireDualStack",
        };
        object.spec = slim::ServiceSpec {
            type_: Some(String::from(if request.lb { "LoadBalancer" } else { "ClusterIP" })),
            cluster_ip: request.cluster.first().map(text),
            cluster_ips: request.cluster.iter().map(text).collect(),
            ip_families: request.cluster.iter().map(|number| format!("IPv{number}")).collect(),
            ip_family_policy: Some(policy.to_owned()),
            load_balancer_ip: request.ip_field.clone(),
            load_balancer_class: request.foreign.then(|| String::from("somebody.else/lb")),
            external_traffic_policy: Some(String::from(if request.local { "Local" } else { "Cluster" })),
            ports: request
                .ports
                .iter()
                .map(|(protocol, port)| slim::ServicePort {
                    name: None,
                    protocol: Some((*protocol).to_owned()),
                    port: *port,
                })
                .collect(),
            selector: labels("app", request.selector),
        };
        object.status.load_balancer.ingress = self
            .shown
            .iter()
            .map(|ip| slim::LoadBalancerIngress {
                ip: Some(ip.to_string()),
                hostname: None,
                ip_mode: Some(String::from("VIP")),
            })
            .collect();
        Service::from_slim(object).expect("a named Service")
    }
}

impl Pool {
    /// As the controller gets it from Kubernetes.
    pub fn object(&self) -> PoolObject {
        let namespace = String::from("metallb-system");
        if self.unreadable {
            let (kind, name, error) = (String::from("IPAddressPool"), self.name.to_owned(), String::from("spec: no"));
            return PoolObject::from(Err(Broken { kind, namespace, name, error }));
        }
        let mut addresses: Vec<String> = self.segments.iter().map(|index| SEGMENTS[*index].0.to_owned()).collect();
        addresses.extend(self.bad_entry.then(|| String::from("192.0.2.9")));
        let select = |label: &str, value: Option<&str>| -> Vec<LabelSelector> {
            value
                .map(|value| LabelSelector { match_labels: Some(labels(label, value)), match_expressions: None })
                .into_iter()
                .collect()
        };
        let spec = IPAddressPoolSpec {
            addresses,
            auto_assign: self.auto,
            avoid_buggy_ips: self.avoid_buggy,
            service_allocation: self.allocation.as_ref().map(|allocation| ServiceAllocation {
                priority: Some(allocation.priority).filter(|priority| *priority != 0),
                namespaces: allocation.namespaces.iter().map(|name| (*name).to_owned()).collect(),
                namespace_selectors: select("tier", allocation.namespace_tier),
                service_selectors: select("app", allocation.service_app),
            }),
        };
        let status = self.status.map(|[assigned_ipv4, available_ipv4, assigned_ipv6, available_ipv6]| {
            IPAddressPoolStatus { assigned_ipv4, available_ipv4, assigned_ipv6, available_ipv6 }
        });
        let metadata = metadata(&namespace, self.name, self.uid, self.version, self.created);
        PoolObject::from(Ok(IPAddressPool { metadata, spec, status }))
    }
}

impl Namespace {
    /// As the controller gets it from Kubernetes.
    pub fn object(&self) -> NamespaceLabels {
        NamespaceLabels {
            name: self.name.to_owned(),
            labels: self.tier.map(|tier| labels("tier", tier)).unwrap_or_default(),
        }
    }
}

fn labels(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

fn metadata(namespace: &str, name: &str, uid: u64, version: u64, created: i64) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: Some(format!("uid-{uid}")),
        resource_version: Some(version.to_string()),
        creation_timestamp: jiff::Timestamp::from_second(created).ok().map(Time),
        ..ObjectMeta::default()
    }
}
