//! A Service as the controller sees it: what it asks for, what it shows.
//!
//! ```text
//! slim::Service ──from──▶ Service { cluster IPs, policy, ports, our annotations, ingress, our condition }
//! ```
//! A cluster has thousands; everything the decisions do not read is dropped here, and what is kept is kept small. Of a
//! Service that is no load balancer only what it may have of us is of interest.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::names::{
    ANNOTATION_ADDRESS_POOL, ANNOTATION_ADDRESS_POOL_DEPRECATED, ANNOTATION_ALLOW_SHARED_IP,
    ANNOTATION_ALLOW_SHARED_IP_DEPRECATED, ANNOTATION_IP_ALLOCATED_FROM_POOL, ANNOTATION_LOAD_BALANCER_IPS,
    ANNOTATION_LOAD_BALANCER_IPS_DEPRECATED, ANNOTATION_PREFIX_DEPRECATED, GROUP,
};
use api::slim;
use config::{Family, PoolName};

use crate::allocator::ServiceKey;
use crate::allocator::family::{Policy, Stack, StackError, Wanted, parse_address};
use crate::allocator::sharing::{Port, Protocol, SharingKey};
use crate::text_map::TextMap;

/// Old spelling of the annotation that names the pool the addresses came from; removed when the new one is written.
pub const ANNOTATION_IP_ALLOCATED_FROM_POOL_DEPRECATED: &str = "metallb.universe.tf/ip-allocated-from-pool";

/// Type of the condition that tells why a Service has no address.
pub const CONDITION_IP_ALLOCATED: &str = "metallb.io/IPAllocated";

/// One Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub key: ServiceKey,
    /// Tells a Service from an earlier one of the same name.
    pub uid: Box<str>,
    /// Version of the object this was read from; writes are conditional on it.
    pub resource_version: Box<str>,
    /// Counts the changes of its specification; 0 when the apiserver does not count them.
    pub generation: i64,
    /// When it was created, in seconds since 1970: older Services are served first.
    pub created: i64,
    /// Whether `spec.type` is LoadBalancer.
    pub is_load_balancer: bool,
    /// `spec.loadBalancerClass`
    pub class: Option<Box<str>>,
    /// `spec.clusterIPs`, or `spec.clusterIP` alone where only that is set; as written.
    pub cluster_ips: Vec<Box<str>>,
    /// First of `spec.ipFamilies`; IPv4 when there is none.
    pub primary: Family,
    /// `spec.ipFamilyPolicy`
    pub policy: Policy,
    /// With whom it shares addresses.
    pub sharing: SharingKey,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Its labels.
    pub labels: TextMap,
    /// Its annotations under the two MetalLB prefixes.
    pub annotations: TextMap,
    /// `spec.loadBalancerIP`; empty when unset.
    pub load_balancer_ip: Box<str>,
    /// `status.loadBalancer.ingress`
    pub ingress: Vec<Ingress>,
    /// Its condition [`CONDITION_IP_ALLOCATED`].
    pub condition: Option<Box<Condition>>,
}

/// The condition that tells why a Service has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Whether its status is False, the only one we write: a Service with an address does not need the condition.
    pub is_false: bool,
    /// Why, in one word.
    pub reason: Box<str>,
    /// Why, for people.
    pub message: Box<str>,
    /// The generation of the Service that was looked at; 0 for none.
    pub observed_generation: i64,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ingress {
    /// The address as written; empty for an entry with a host name only.
    pub ip: Box<str>,
    /// Whether the entry names a host.
    pub has_hostname: bool,
    /// `VIP` or `Proxy`; set by the apiserver, kept when the entry is written again.
    pub ip_mode: Option<IpMode>,
}

impl Ingress {
    /// Its address, if it has one.
    pub fn address(&self) -> Option<IpAddr> {
        parse_address(&self.ip)
    }
}

/// How the address of an entry is reached; ours to keep, not to interpret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IpMode {
    /// `VIP`
    Vip,
    /// `Proxy`
    Proxy,
    /// Anything that Kubernetes may come to know.
    Other(Box<str>),
}

impl IpMode {
    /// As Kubernetes spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Vip => "VIP",
            Self::Proxy => "Proxy",
            Self::Other(text) => text,
        }
    }
}

impl From<&str> for IpMode {
    fn from(text: &str) -> Self {
        match text {
            "VIP" => Self::Vip,
            "Proxy" => Self::Proxy,
            other => Self::Other(other.into()),
        }
    }
}

/// Why the requested addresses cannot be used. The texts are MetalLB's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Requested in both ways.
    #[error("service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP")]
    Twice,
    /// The annotation holds something else than addresses.
    #[error("invalid metallb.io/loadBalancerIPs: {0:?}")]
    Annotation(String),
    /// The field holds something else than an address.
    #[error("invalid spec.loadBalancerIP {0:?}")]
    Field(String),
    /// More than two addresses, or two of one family.
    #[error(transparent)]
    Stack(#[from] StackError),
}

impl Service {
    /// What Kubernetes sent; `None` when it lacks a name or namespace, which the apiserver never does.
    pub fn from_slim(object: slim::Service) -> Option<Self> {
        let slim::Service { metadata, spec, status } = object;
        let annotations = metadata.annotations.unwrap_or_default();
        let is_load_balancer = spec.type_.as_deref() == Some("LoadBalancer");
        let mut service = Self {
            key: ServiceKey::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?),
            uid: metadata.uid.unwrap_or_default().into(),
            resource_version: metadata.resource_version.unwrap_or_default().into(),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
            is_load_balancer,
            class: spec.load_balancer_class.map(Into::into),
            cluster_ips: Vec::new(),
            primary: Family::V4,
            policy: Policy::SingleStack,
            sharing: SharingKey::default(),
            ports: Vec::new(),
            labels: TextMap::default(),
            annotations: TextMap::default(),
            load_balancer_ip: Box::default(),
            ingress: status.load_balancer.ingress.into_iter().map(Ingress::from).collect(),
            condition: status
                .conditions
                .into_iter()
                .find(|condition| condition.type_ == CONDITION_IP_ALLOCATED)
                .map(|condition| Box::new(Condition::from(condition))),
        };
        if !is_load_balancer {
            service.annotations =
                annotations.into_iter().filter(|(name, _)| RECORDS.contains(&name.as_str())).collect();
            return Some(service);
        }
        let sharing = either(&|name| annotations.get(name).map(String::as_str), SHARING).to_owned();
        let is_local = spec.external_traffic_policy.as_deref() == Some("Local");
        let backend = if is_local { selector_text(&spec.selector) } else { String::new() };
        service.sharing = SharingKey { sharing, backend };
        service.cluster_ips = match spec.cluster_ip {
            Some(one) if spec.cluster_ips.is_empty() && !one.is_empty() => vec![one.into()],
            _ => spec.cluster_ips.into_iter().map(Into::into).collect(),
        };
        if spec.ip_families.first().is_some_and(|family| family == "IPv6") {
            service.primary = Family::V6;
        }
        service.policy = match spec.ip_family_policy.as_deref() {
            Some("PreferDualStack") => Policy::PreferDualStack,
            Some("RequireDualStack") => Policy::RequireDualStack,
            _ => Policy::SingleStack,
        };
        let protocol = |name: Option<String>| name.map_or(Protocol::Tcp, |name| Protocol::from(name.as_str()));
        let ports = spec.ports.into_iter();
        service.ports = ports.map(|port| Port { protocol: protocol(port.protocol), number: port.port }).collect();
        service.labels = metadata.labels.unwrap_or_default().into_iter().collect();
        service.annotations = annotations.into_iter().filter(|(name, _)| is_ours(name)).collect();
        service.load_balancer_ip = spec.load_balancer_ip.unwrap_or_default().into();
        Some(service)
    }

    /// Its version as a number; versions of Services can be compared. `None` for a text that is no number.
    pub fn version(&self) -> Option<u64> {
        self.resource_version.parse().ok()
    }

    /// Whether this controller is responsible: the class equals the `--lb-class` flag exactly, in both directions.
    pub fn is_of_class(&self, flag: Option<&str>) -> bool {
        self.class.as_deref() == flag
    }

    /// The addresses its status shows; entries that are no addresses are left out.
    pub fn shown(&self) -> Vec<IpAddr> {
        self.ingress.iter().filter_map(Ingress::address).collect()
    }

    /// The texts of the addresses its status shows, also of those that cannot be parsed.
    pub fn shown_texts(&self) -> Vec<&str> {
        self.ingress.iter().map(|entry| &*entry.ip).filter(|ip| !ip.is_empty()).collect()
    }

    /// The pool its annotation says the addresses came from: our own mark.
    pub fn recorded_pool(&self) -> Option<PoolName> {
        RECORDS.iter().find_map(|name| self.annotations.get(name)).map(PoolName::from)
    }

    /// Whether the record of the pool stands under its old name.
    pub fn has_deprecated_record(&self) -> bool {
        self.annotations.contains_key(ANNOTATION_IP_ALLOCATED_FROM_POOL_DEPRECATED)
    }

    /// The pool the user asks for.
    pub fn requested_pool(&self) -> Option<PoolName> {
        let name = either(&|name| self.annotations.get(name), POOL);
        (!name.is_empty()).then(|| PoolName::from(name))
    }

    /// The addresses the user asks for, in the order written; empty when none are.
    ///
    /// # Errors
    /// They are asked for in both ways, are no addresses, or are not one or one of each family.
    pub fn requested_addresses(&self) -> Result<Vec<IpAddr>, RequestError> {
        let list = either(&|name| self.annotations.get(name), ADDRESSES);
        match (list, &*self.load_balancer_ip) {
            ("", "") => Ok(Vec::new()),
            ("", one) => match parse_address(one) {
                Some(address) => Ok(vec![address]),
                None => Err(RequestError::Field(one.to_owned())),
            },
            (list, "") => {
                let addresses: Option<Vec<IpAddr>> = list.split(',').map(|one| parse_address(one.trim())).collect();
                let addresses = addresses.ok_or_else(|| RequestError::Annotation(list.to_owned()))?;
                Stack::of(&addresses)?;
                Ok(addresses)
            }
            _ => Err(RequestError::Twice),
        }
    }

    /// What it wants, from its cluster IPs.
    ///
    /// # Errors
    /// The cluster IPs are not one address or one of each family; a headless Service has `None` there.
    pub fn wanted(&self) -> Result<Wanted, StackError> {
        Ok(Wanted { stack: Stack::of_texts(&self.cluster_ips)?, policy: self.policy, primary: self.primary })
    }

    /// Its annotations under the deprecated prefix.
    pub fn deprecated_annotations(&self) -> impl Iterator<Item = &str> {
        self.annotations.keys().filter(|name| name.starts_with(ANNOTATION_PREFIX_DEPRECATED))
    }
}

impl From<slim::LoadBalancerIngress> for Ingress {
    fn from(entry: slim::LoadBalancerIngress) -> Self {
        Self {
            ip: entry.ip.unwrap_or_default().into(),
            has_hostname: entry.hostname.is_some_and(|name| !name.is_empty()),
            ip_mode: entry.ip_mode.as_deref().map(IpMode::from),
        }
    }
}

impl From<slim::ServiceCondition> for Condition {
    fn from(condition: slim::ServiceCondition) -> Self {
        Self {
            is_false: condition.status == "False",
            reason: condition.reason.unwrap_or_default().into(),
            message: condition.message.unwrap_or_default().into(),
            observed_generation: condition.observed_generation.unwrap_or_default(),
        }
    }
}

/// New and old name of each annotation.
type Names = [&'static str; 2];
const RECORDS: Names = [ANNOTATION_IP_ALLOCATED_FROM_POOL, ANNOTATION_IP_ALLOCATED_FROM_POOL_DEPRECATED];
const SHARING: Names = [ANNOTATION_ALLOW_SHARED_IP, ANNOTATION_ALLOW_SHARED_IP_DEPRECATED];
const POOL: Names = [ANNOTATION_ADDRESS_POOL, ANNOTATION_ADDRESS_POOL_DEPRECATED];
const ADDRESSES: Names = [ANNOTATION_LOAD_BALANCER_IPS, ANNOTATION_LOAD_BALANCER_IPS_DEPRECATED];

/// The value of the new annotation if it is there, even empty, else of the old one.
fn either<'a>(get: &dyn Fn(&str) -> Option<&'a str>, names: Names) -> &'a str {
    names.iter().find_map(|name| get(name)).unwrap_or_default()
}

fn is_ours(name: &str) -> bool {
    name.split_once('/').is_some_and(|(prefix, _)| prefix == GROUP || prefix == ANNOTATION_PREFIX_DEPRECATED)
}

/// The canonical text of a selector: `app=web,tier=front`.
fn selector_text(selector: &BTreeMap<String, String>) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(object: serde_json::Value) -> Service {
        Service::from_slim(serde_json::from_value(object).expect("a Service")).expect("named")
    }

    fn with(annotations: serde_json::Value, load_balancer_ip: &str) -> Service {
        service(json!({
            "metadata": {"namespace": "ns", "name": "s", "annotations": annotations},
            "spec": {"type": "LoadBalancer", "loadBalancerIP": load_balancer_ip},
        }))
    }

    #[test]
    fn requested_addresses_come_from_the_annotation_or_the_field_but_not_both() {
        let both = "service can not have both metallb.io/loadBalancerIPs and svc.Spec.LoadBalancerIP";
        let cases = [
            (json!({}), "", Ok(vec![])),
            (json!({}), "192.0.2.1", Ok(vec!["192.0.2.1"])),
            (json!({}), "web", Err("invalid spec.loadBalancerIP \"web\"")),
            (
                json!({"metallb.io/loadBalancerIPs": " 2001:db8::1 , 192.0.2.1"}),
                "",
                Ok(vec!["2001:db8::1", "192.0.2.1"]),
            ),
            (json!({"metallb.universe.tf/loadBalancerIPs": "192.0.2.1"}), "", Ok(vec!["192.0.2.1"])),
            (
                json!({"metallb.io/loadBalancerIPs": "", "metallb.universe.tf/loadBalancerIPs": "192.0.2.1"}),
                "",
                Ok(vec![]),
            ),
            (
                json!({"metallb.io/loadBalancerIPs": "192.0.2.1,"}),
                "",
                Err("invalid metallb.io/loadBalancerIPs: \"192.0.2.1,\""),
            ),
            (
                json!({"metallb.io/loadBalancerIPs": "192.0.2.1,192.0.2.2"}),
                "",
                Err("IPFamilyForAddresses: same address family [\"192.0.2.1\" \"192.0.2.2\"]"),
            ),
            (json!({"metallb.io/loadBalancerIPs": "192.0.2.1"}), "192.0.2.1", Err(both)),
        ];
        for (annotations, field, expected) in cases {
            let got = with(annotations.clone(), field).requested_addresses();
            let got = got.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
            let expected = expected.map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(
                got.map_err(|error| error.to_string()),
                expected.map_err(str::to_owned),
                "{annotations} {field}"
            );
        }
    }

    #[test]
    fn the_new_annotation_hides_the_old_one_even_when_empty() {
        let old = json!({"metallb.universe.tf/address-pool": "old", "metallb.universe.tf/allow-shared-ip": "old"});
        assert_eq!(with(old, "").requested_pool(), Some("old".into()));
        let both = json!({"metallb.universe.tf/address-pool": "old", "metallb.io/address-pool": ""});
        assert_eq!(with(both, "").requested_pool(), None);
    }

    #[test]
    fn only_local_traffic_makes_the_selector_part_of_the_sharing_key() {
        let sharing = |policy: &str| {
            service(json!({
                "metadata": {"namespace": "ns", "name": "s", "annotations": {"metallb.io/allow-shared-ip": "k"}},
                "spec": {"type": "LoadBalancer", "externalTrafficPolicy": policy, "selector": {"b": "2", "a": "1"}},
            }))
            .sharing
        };
        assert_eq!(sharing("Cluster"), SharingKey { sharing: "k".into(), backend: String::new() });
        assert_eq!(sharing("Local"), SharingKey { sharing: "k".into(), backend: "a=1,b=2".into() });
    }

    #[test]
    fn only_annotations_of_metallb_are_kept_and_foreign_ones_cost_nothing() {
        let kept = with(json!({"metallb.io/address-pool": "p", "other.io/x": "y", "metallb.iota/x": "y"}), "");
        assert_eq!(kept.annotations.len(), 1);
    }

    #[test]
    fn the_class_must_equal_the_flag_in_both_directions() {
        let none = with(json!({}), "");
        let mut some = none.clone();
        some.class = Some("metallb".into());
        let cases = [
            (&none, None, true),
            (&none, Some("metallb"), false),
            (&some, None, false),
            (&some, Some("metallb"), true),
        ];
        for (service, flag, expected) in cases {
            assert_eq!(service.is_of_class(flag), expected, "{:?} {flag:?}", service.class);
        }
    }

    #[test]
    fn a_service_without_cluster_ips_falls_back_to_the_single_field() {
        let old = service(json!({
            "metadata": {"namespace": "ns", "name": "s"}, "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1"},
        }));
        assert_eq!(old.cluster_ips, ["10.96.0.1".into()]);
        let pending = service(json!({"metadata": {"namespace": "ns", "name": "s"}, "spec": {"clusterIP": ""}}));
        assert!(pending.cluster_ips.is_empty());
    }
}
