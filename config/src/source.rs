//! Stored objects in the order of precedence: who stays when two cannot both be in force.
//!
//! ```text
//! older creationTimestamp  <  younger  <  none (not stored yet);   then by name, kind and content
//! ```
//! The older object wins a conflict: what was in force first stays in force, whatever the newcomer is called. Within one
//! second the name decides, so the outcome never depends on the order of the input.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use api::{frrk8s, v1beta1, v1beta2};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::finding::{Kind, ObjectId};

/// A kind that compile reads.
pub(crate) trait Stored: Debug {
    const KIND: Kind;
    fn metadata(&self) -> &ObjectMeta;

    /// What findings call this object.
    fn id(&self) -> ObjectId {
        let metadata = self.metadata();
        ObjectId {
            kind: Self::KIND,
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

macro_rules! stored {
    ($($kind:ident: $type:ty),* $(,)?) => {$(
        impl Stored for $type {
            const KIND: Kind = Kind::$kind;
            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }
        }
    )*};
}

stored! {
    IPAddressPool: v1beta1::IPAddressPool,
    AddressPool: v1beta1::AddressPool,
    L2Advertisement: v1beta1::L2Advertisement,
    BGPAdvertisement: v1beta1::BGPAdvertisement,
    BGPPeer: v1beta2::BGPPeer,
    BFDProfile: v1beta1::BFDProfile,
    Community: v1beta1::Community,
    MetalLB: v1beta1::MetalLB,
    FRRConfiguration: frrk8s::FRRConfiguration,
}

/// Position in the order of precedence; smaller wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank<'a> {
    not_stored: bool,
    created: Option<&'a Time>,
    name: &'a str,
    kind: Kind,
    namespace: &'a str,
}

/// One object together with its name for findings and its rank.
#[derive(Debug)]
pub(crate) struct Source<'a, T> {
    pub(crate) id: ObjectId,
    pub(crate) rank: Rank<'a>,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) object: &'a T,
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

impl<'a, T> Source<'a, T> {
    /// `object` under the identity of the stored object it was made from, which may be itself.
    pub(crate) fn new<S: Stored>(stored: &'a S, object: &'a T) -> Self {
        let (id, metadata) = (stored.id(), stored.metadata());
        let created = metadata.creation_timestamp.as_ref();
        let rank = Rank {
            not_stored: created.is_none(),
            created,
            name: metadata.name.as_deref().unwrap_or_default(),
            kind: id.kind,
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
        };
        Self { id, rank, labels: metadata.labels.as_ref().unwrap_or(&NO_LABELS), object }
    }

    pub(crate) fn name(&self) -> &str {
        &self.id.name
    }
}

/// All objects of one kind by rank.
pub(crate) fn ranked<T: Stored>(objects: &[Arc<T>]) -> Vec<Source<'_, T>> {
    let mut sources: Vec<_> = objects.iter().map(|object| Source::new(&**object, &**object)).collect();
    sort(&mut sources);
    sources
}

/// Sorts by rank. The API never stores two objects of one name, a file given to the linter may: their content decides.
pub(crate) fn sort<T: Debug>(sources: &mut [Source<'_, T>]) {
    sources.sort_by(|a, b| match a.rank.cmp(&b.rank) {
        Ordering::Equal => format!("{:?}", a.object).cmp(&format!("{:?}", b.object)),
        order @ (Ordering::Less | Ordering::Greater) => order,
    });
}
