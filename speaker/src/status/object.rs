//! The object ServiceL2Status: what of it counts, how it is named, and what is sent to make it so.
//!
//! ```text
//!  ServiceL2Status ──Seen──▶ Book ──Write──▶ create without labels │ fill the status │ describe: labels, owner │ delete
//! ```
//! Everybody looks these objects up by their labels. The CRD has a status subresource, so no object can be created with its
//! status; it gets its labels last instead, and whoever looks for it finds it complete or not at all.

use std::collections::{BTreeMap, BTreeSet};

use api::names::{LABEL_STATUS_NODE, LABEL_STATUS_SERVICE_NAME, LABEL_STATUS_SERVICE_NAMESPACE, PREFIX_L2_STATUS};
use api::v1beta1::{ServiceL2Status, ServiceL2StatusSpec, ServiceL2StatusStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::state::ServiceKey;

/// Letters of generated names, as Kubernetes uses them: no vowels, nothing that is read for another.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many of them: with 100,000 objects, two of one name are less likely than one in 40,000.
const LENGTH: usize = 10;

/// Longest value of a label.
const LABEL_LIMIT: usize = 63;

/// Who writes.
#[derive(Debug, Clone)]
pub struct Identity {
    /// This node.
    pub node: String,
    /// Whose end is the end of the objects: the pod of this speaker; `None` outside of one.
    pub owner: Option<OwnerReference>,
}

/// Which node tells of which Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// The node.
    pub node: Option<String>,
    /// Name of the Service.
    pub service: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
}

/// What counts of a stored object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resource version; 0 when it cannot be compared.
    pub version: u64,
    /// It is being deleted; somebody's finalizer holds it.
    pub ending: bool,
    /// What its labels say.
    pub labels: Named,
    /// What its status says.
    pub status: Named,
    /// Interfaces in its status.
    pub interfaces: Vec<String>,
    /// Uids of its owners.
    pub owners: BTreeSet<String>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Make the object, empty and without labels.
    Create {
        /// Its name.
        name: String,
    },
    /// Set its status.
    Fill {
        /// Its name.
        name: String,
        /// The interfaces to show; none means all.
        interfaces: Vec<String>,
    },
    /// Set its labels and its owner.
    Describe {
        /// Its name.
        name: String,
    },
    /// Delete this very object.
    Delete {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
}

impl Named {
    /// What an object about this Service on this node says.
    pub fn of(node: &str, service: &ServiceKey) -> Self {
        Self {
            node: Some(node.to_owned()),
            service: Some(service.name.clone()),
            namespace: Some(service.namespace.clone()),
        }
    }

    /// The Service, if it is named in full.
    pub fn service(&self) -> Option<ServiceKey> {
        let (namespace, name) = (self.namespace.clone()?, self.service.clone()?);
        Some(ServiceKey { namespace, name })
    }

    /// Whether it says something else than `other`; what is not said does not count.
    pub fn contradicts(&self, other: &Self) -> bool {
        let differ = |mine: &Option<String>, theirs: &Option<String>| mine.is_some() && mine != theirs;
        differ(&self.node, &other.node)
            || differ(&self.service, &other.service)
            || differ(&self.namespace, &other.namespace)
    }
}

impl From<ServiceL2Status> for Seen {
    fn from(object: ServiceL2Status) -> Self {
        let meta = object.metadata;
        let mut labels = meta.labels.unwrap_or_default();
        let status = object.status.unwrap_or_default();
        Self {
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            version: meta.resource_version.and_then(|version| version.parse().ok()).unwrap_or_default(),
            ending: meta.deletion_timestamp.is_some(),
            labels: Named {
                node: labels.remove(LABEL_STATUS_NODE),
                service: labels.remove(LABEL_STATUS_SERVICE_NAME),
                namespace: labels.remove(LABEL_STATUS_SERVICE_NAMESPACE),
            },
            status: Named { node: status.node, service: status.service_name, namespace: status.service_namespace },
            interfaces: status.interfaces.into_iter().map(|interface| interface.name.unwrap_or_default()).collect(),
            owners: meta.owner_references.unwrap_or_default().into_iter().map(|owner| owner.uid).collect(),
        }
    }
}

impl Seen {
    /// The node it tells of.
    pub fn node(&self) -> Option<&str> {
        self.status.node.as_deref().or(self.labels.node.as_deref())
    }

    /// The Service it tells of. An object that names none stands for itself, under a key that no Service has.
    pub fn service(&self) -> ServiceKey {
        let named = self.status.service().or_else(|| self.labels.service());
        named.unwrap_or_else(|| ServiceKey { namespace: String::new(), name: self.name.clone() })
    }
}

/// Letters that follow from a text.
fn letters(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let letters = hash.as_ref().iter().take(LENGTH);
    letters
        .filter_map(|byte| LETTERS.get(usize::from(*byte) % LETTERS.len()))
        .map(|letter| char::from(*letter))
        .collect()
}

impl Identity {
    /// The name of our object about a Service. It follows from what the object tells, so that a write whose answer was lost is
    /// not made twice.
    pub fn name(&self, service: &ServiceKey) -> String {
        format!("{PREFIX_L2_STATUS}{}", letters(&format!("{}#{service}", self.node)))
    }

    /// The labels of our object about a Service. A node's name may be longer than a label may; it is cut then, and told apart
    /// by a hash.
    pub fn labels(&self, service: &ServiceKey) -> Named {
        if self.node.len() <= LABEL_LIMIT {
            return Named::of(&self.node, service);
        }
        let beginning = &self.node[..self.node.floor_char_boundary(LABEL_LIMIT - LENGTH - 1)];
        let beginning = beginning.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        Named::of(&format!("{beginning}-{}", letters(&self.node)), service)
    }

    /// The object to create.
    pub fn empty(&self, name: &str) -> ServiceL2Status {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: self.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        };
        ServiceL2Status { metadata, spec: ServiceL2StatusSpec::default(), status: None }
    }

    /// The merge patch of the status.
    pub fn status(&self, service: &ServiceKey, interfaces: &[String]) -> Value {
        let mut status = json!(ServiceL2StatusStatus {
            node: Some(self.node.clone()),
            service_name: Some(service.name.clone()),
            service_namespace: Some(service.namespace.clone()),
            interfaces: Vec::new(),
        });
        let list: Vec<Value> = interfaces.iter().map(|name| json!({"name": name})).collect();
        status["interfaces"] = if list.is_empty() { Value::Null } else { Value::from(list) };
        json!({"status": status})
    }

    /// The merge patch of labels and owner; other labels stay.
    pub fn description(&self, service: &ServiceKey) -> Value {
        let Named { node, service, namespace } = self.labels(service);
        let labels = BTreeMap::from([
            (LABEL_STATUS_NODE, node),
            (LABEL_STATUS_SERVICE_NAME, service),
            (LABEL_STATUS_SERVICE_NAMESPACE, namespace),
        ]);
        let mut metadata = json!({"labels": labels});
        if let Some(owner) = &self.owner {
            metadata["ownerReferences"] = json!([owner]);
        }
        json!({"metadata": metadata})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> ServiceKey {
        ServiceKey { namespace: String::from("default"), name: String::from("web") }
    }

    fn identity(node: &str) -> Identity {
        let owner = OwnerReference {
            api_version: String::from("v1"),
            kind: String::from("Pod"),
            name: String::from("speaker-x"),
            uid: String::from("pod-uid"),
            ..OwnerReference::default()
        };
        Identity { node: node.to_owned(), owner: Some(owner) }
    }

    #[test]
    fn a_name_follows_from_node_and_service_and_looks_generated() {
        let name = identity("node-a").name(&web());
        assert_eq!(name, identity("node-a").name(&web()));
        assert_ne!(name, identity("node-b").name(&web()));
        let suffix = name.strip_prefix("l2-").unwrap();
        assert!(suffix.len() == LENGTH && suffix.bytes().all(|byte| LETTERS.contains(&byte)), "{name}");
    }

    #[test]
    fn a_node_whose_name_is_longer_than_a_label_may_be_is_cut_and_told_apart() {
        let node = |last: &str| format!("{}.{last}", "a".repeat(51));
        let labels =
            ["example.b.c.d.e", "example.b.c.d.f"].map(|last| identity(&node(last)).labels(&web()).node.unwrap());
        assert!(labels.iter().all(|label| label.len() <= 63 && label.starts_with("aaa")), "{labels:?}");
        assert_ne!(labels[0], labels[1]);
        assert_eq!(identity("node-a").labels(&web()), Named::of("node-a", &web()));
    }

    #[test]
    fn labels_owner_and_status_are_metallbs() {
        let identity = identity("node-a");
        assert_eq!(
            identity.description(&web()),
            json!({"metadata": {
                "labels": {
                    "metallb.io/node": "node-a",
                    "metallb.io/service-name": "web",
                    "metallb.io/service-namespace": "default",
                },
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "speaker-x", "uid": "pod-uid"}],
            }})
        );
        let status = |interfaces: Value| {
            json!({"status": {
                "node": "node-a", "serviceName": "web", "serviceNamespace": "default", "interfaces": interfaces,
            }})
        };
        assert_eq!(identity.status(&web(), &[]), status(Value::Null));
        assert_eq!(identity.status(&web(), &["eth0".to_owned()]), status(json!([{"name": "eth0"}])));
    }

    #[test]
    fn what_is_written_reads_back_as_it_was_meant() {
        let identity = identity("node-a");
        let mut stored = serde_json::to_value(identity.empty("l2-x")).unwrap();
        for patch in [identity.status(&web(), &["eth0".to_owned()]), identity.description(&web())] {
            for (part, fields) in patch.as_object().unwrap() {
                for (field, value) in fields.as_object().unwrap() {
                    stored[part][field] = value.clone();
                }
            }
        }
        stored["metadata"]["resourceVersion"] = json!("12");
        let seen = Seen::from(serde_json::from_value::<ServiceL2Status>(stored).unwrap());
        assert_eq!(
            (seen.labels.clone(), seen.status.clone()),
            (Named::of("node-a", &web()), Named::of("node-a", &web()))
        );
        assert_eq!((seen.version, seen.interfaces.as_slice()), (12, &["eth0".to_owned()][..]));
        assert!(seen.owners.contains("pod-uid") && seen.service() == web() && seen.node() == Some("node-a"));
        let empty = Seen::from(identity.empty("l2-x"));
        assert_eq!(empty.service(), ServiceKey { namespace: String::new(), name: "l2-x".to_owned() });
    }
}
