//! IPAddressPool, AddressPool and Community objects as they are stored, good or bad.
//!
//! ```text
//! watch ──Ok(object) | Err(Broken)──▶ PoolObject ──resource()──▶ config::compile
//!                                        │ └─report()─▶ Event and log line when it cannot be read
//!                                        └─status_write(counters)─▶ what its status should show and does not
//! ```

use std::sync::Arc;

use api::v1beta1::{
    AddressPool, AddressPoolSpec, Community, CommunitySpec, IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus,
};
use config::Finding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;
use kube::core::object::HasSpec;
use runtime::watch::Broken;

use crate::allocator::counters::Counters;

/// A stored IPAddressPool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolObject {
    /// Its name.
    pub name: String,
    /// Its uid; empty for one that cannot be read.
    pub uid: String,
    /// Its specification, or why that cannot be read.
    pub body: Result<IPAddressPoolSpec, String>,
    /// What its status shows.
    pub status: Option<IPAddressPoolStatus>,
    namespace: String,
    /// Older objects win conflicts.
    created: Option<Time>,
}

/// A stored object of a kind that is only judged, not written to.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredObject<Spec> {
    /// Its name.
    pub name: String,
    /// Its uid; empty for one that cannot be read.
    pub uid: String,
    /// Its specification, or why that cannot be read.
    pub body: Result<Spec, String>,
    namespace: String,
    /// Older objects win conflicts.
    created: Option<Time>,
}

/// A stored AddressPool.
pub type AddressPoolObject = StoredObject<AddressPoolSpec>;

/// A stored Community. It does not matter to addresses, but MetalLB's controller judges it.
pub type CommunityObject = StoredObject<CommunitySpec>;

/// Something to tell about a pool object: it is not in force as it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectReport {
    /// `IPAddressPool`, `AddressPool` or `Community`
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; empty when unknown.
    pub uid: String,
    /// What is wrong, with the remedy.
    pub text: String,
}

/// A pool whose status must be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolStatusWrite {
    /// The IPAddressPool.
    pub name: String,
    /// The whole new status.
    pub status: IPAddressPoolStatus,
}

impl<K: ResourceExt + HasSpec<Spec: Clone>> From<Result<K, Broken>> for StoredObject<K::Spec> {
    fn from(object: Result<K, Broken>) -> Self {
        match object {
            Ok(object) => Self {
                name: object.name_any(),
                uid: object.uid().unwrap_or_default(),
                body: Ok(object.spec().clone()),
                namespace: object.namespace().unwrap_or_default(),
                created: object.creation_timestamp(),
            },
            Err(broken) => Self {
                body: Err(broken.to_string()),
                name: broken.name,
                uid: String::new(),
                namespace: broken.namespace,
                created: None,
            },
        }
    }
}

impl From<Result<IPAddressPool, Broken>> for PoolObject {
    fn from(object: Result<IPAddressPool, Broken>) -> Self {
        let status = object.as_ref().ok().and_then(|pool| pool.status.clone());
        let StoredObject { name, uid, body, namespace, created } = object.into();
        Self { name, uid, body, status, namespace, created }
    }
}

impl PoolObject {
    /// The object for `config::compile`; `None` when it cannot be read.
    pub fn resource(&self) -> Option<Arc<IPAddressPool>> {
        let spec = self.body.as_ref().ok()?.clone();
        Some(Arc::new(IPAddressPool {
            metadata: metadata(&self.namespace, &self.name, &self.created),
            spec,
            status: None,
        }))
    }

    /// Whether the labels of namespaces decide who may use it.
    pub fn selects_namespaces(&self) -> bool {
        let allocation = self.body.as_ref().ok().and_then(|spec| spec.service_allocation.as_ref());
        allocation.is_some_and(|allocation| !allocation.namespace_selectors.is_empty())
    }

    /// What to tell about it when it cannot be read.
    pub fn report(&self) -> Option<ObjectReport> {
        report("IPAddressPool", &self.namespace, &self.name, self.body.as_ref().err()?)
    }

    /// The status that shows these numbers; `None` when it already does. All four are always there.
    pub fn status_write(&self, counters: Counters) -> Option<PoolStatusWrite> {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let status = IPAddressPoolStatus {
            assigned_ipv4: number(counters.assigned_v4),
            assigned_ipv6: number(counters.assigned_v6),
            available_ipv4: number(counters.available_v4()),
            available_ipv6: number(counters.available_v6()),
        };
        (self.status.as_ref() != Some(&status)).then(|| PoolStatusWrite { name: self.name.clone(), status })
    }
}

impl AddressPoolObject {
    /// The object for `config::compile`; `None` when it cannot be read.
    pub fn resource(&self) -> Option<Arc<AddressPool>> {
        let spec = self.body.as_ref().ok()?.clone();
        Some(Arc::new(AddressPool {
            metadata: metadata(&self.namespace, &self.name, &self.created),
            spec,
            status: None,
        }))
    }

    /// What to tell about it when it cannot be read.
    pub fn report(&self) -> Option<ObjectReport> {
        report("AddressPool", &self.namespace, &self.name, self.body.as_ref().err()?)
    }
}

impl CommunityObject {
    /// The object for `config::compile`; `None` when it cannot be read.
    pub fn resource(&self) -> Option<Arc<Community>> {
        let spec = self.body.as_ref().ok()?.clone();
        Some(Arc::new(Community { metadata: metadata(&self.namespace, &self.name, &self.created), spec, status: None }))
    }

    /// What to tell about it when it cannot be read.
    pub fn report(&self) -> Option<ObjectReport> {
        report("Community", &self.namespace, &self.name, self.body.as_ref().err()?)
    }
}

impl ObjectReport {
    /// What a rule of the configuration says about a stored object.
    pub fn of_finding(finding: &Finding, uid: String) -> Self {
        let id = &finding.object;
        Self {
            kind: id.kind.as_str(),
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            uid,
            text: finding.located(),
        }
    }
}

fn metadata(namespace: &str, name: &str, created: &Option<Time>) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        creation_timestamp: created.clone(),
        ..ObjectMeta::default()
    }
}

fn report(kind: &'static str, namespace: &str, name: &str, text: &str) -> Option<ObjectReport> {
    let (namespace, name, text) = (namespace.to_owned(), name.to_owned(), text.to_owned());
    Some(ObjectReport { kind, namespace, name, uid: String::new(), text })
}
