//! The kinds that are judged, each as its own type.
//!
//! ```text
//!  DynamicObject (JSON of the request, or of a list) --parse(kind)--> Object --add_to / replace_in--> Resources
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{frrk8s, v1beta1, v1beta2};
use config::{Backend, Kind, ObjectId, Resources, metallb};
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use kube::core::ObjectMeta;

/// An object of a kind that is judged. Copies share it.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// See the kind.
    IPAddressPool(Arc<v1beta1::IPAddressPool>),
    /// See the kind.
    AddressPool(Arc<v1beta1::AddressPool>),
    /// See the kind.
    L2Advertisement(Arc<v1beta1::L2Advertisement>),
    /// See the kind.
    BGPAdvertisement(Arc<v1beta1::BGPAdvertisement>),
    /// Of either version: both have one schema.
    BGPPeer(Arc<v1beta2::BGPPeer>),
    /// See the kind.
    BFDProfile(Arc<v1beta1::BFDProfile>),
    /// See the kind.
    Community(Arc<v1beta1::Community>),
    /// See the kind.
    MetalLB(Arc<v1beta1::MetalLB>),
    /// See the kind.
    FRRConfiguration(Arc<frrk8s::FRRConfiguration>),
}

/// How the API names a kind.
pub fn api_resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::IPAddressPool => ApiResource::erase::<v1beta1::IPAddressPool>(&()),
        Kind::AddressPool => ApiResource::erase::<v1beta1::AddressPool>(&()),
        Kind::L2Advertisement => ApiResource::erase::<v1beta1::L2Advertisement>(&()),
        Kind::BGPAdvertisement => ApiResource::erase::<v1beta1::BGPAdvertisement>(&()),
        Kind::BGPPeer => ApiResource::erase::<v1beta2::BGPPeer>(&()),
        Kind::BFDProfile => ApiResource::erase::<v1beta1::BFDProfile>(&()),
        Kind::Community => ApiResource::erase::<v1beta1::Community>(&()),
        Kind::MetalLB => ApiResource::erase::<v1beta1::MetalLB>(&()),
        Kind::FRRConfiguration => ApiResource::erase::<frrk8s::FRRConfiguration>(&()),
    }
}

impl Object {
    /// Reads an object as this kind.
    ///
    /// # Errors
    /// One line that names the object and what cannot be read.
    pub fn parse(kind: Kind, object: DynamicObject) -> Result<Self, String> {
        let name = object.name_any();
        let read = match kind {
            Kind::IPAddressPool => object.try_parse().map(|it| Self::IPAddressPool(Arc::new(it))),
            Kind::AddressPool => object.try_parse().map(|it| Self::AddressPool(Arc::new(it))),
            Kind::L2Advertisement => object.try_parse().map(|it| Self::L2Advertisement(Arc::new(it))),
            Kind::BGPAdvertisement => object.try_parse().map(|it| Self::BGPAdvertisement(Arc::new(it))),
            Kind::BGPPeer => object.try_parse().map(|it| Self::BGPPeer(Arc::new(it))),
            Kind::BFDProfile => object.try_parse().map(|it| Self::BFDProfile(Arc::new(it))),
            Kind::Community => object.try_parse().map(|it| Self::Community(Arc::new(it))),
            Kind::MetalLB => object.try_parse().map(|it| Self::MetalLB(Arc::new(it))),
            Kind::FRRConfiguration => object.try_parse().map(|it| Self::FRRConfiguration(Arc::new(it))),
        };
        read.map_err(|error| format!("{kind} {name} cannot be read: {error}"))
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::IPAddressPool(_) => Kind::IPAddressPool,
            Self::AddressPool(_) => Kind::AddressPool,
            Self::L2Advertisement(_) => Kind::L2Advertisement,
            Self::BGPAdvertisement(_) => Kind::BGPAdvertisement,
            Self::BGPPeer(_) => Kind::BGPPeer,
            Self::BFDProfile(_) => Kind::BFDProfile,
            Self::Community(_) => Kind::Community,
            Self::MetalLB(_) => Kind::MetalLB,
            Self::FRRConfiguration(_) => Kind::FRRConfiguration,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::IPAddressPool(it) => &it.metadata,
            Self::AddressPool(it) => &it.metadata,
            Self::L2Advertisement(it) => &it.metadata,
            Self::BGPAdvertisement(it) => &it.metadata,
            Self::BGPPeer(it) => &it.metadata,
            Self::BFDProfile(it) => &it.metadata,
            Self::Community(it) => &it.metadata,
            Self::MetalLB(it) => &it.metadata,
            Self::FRRConfiguration(it) => &it.metadata,
        }
    }

    /// What findings call it.
    pub fn id(&self) -> ObjectId {
        let metadata = self.metadata();
        ObjectId {
            kind: self.kind(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Whether it is on its way out and only waits for its finalizers.
    pub fn is_being_deleted(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }

    /// Whether nodes matter to this object by their labels.
    pub fn selects_nodes(&self) -> bool {
        match self {
            Self::BGPAdvertisement(it) => !it.spec.node_selectors.is_empty() || !it.spec.node_selector.is_empty(),
            Self::BGPPeer(it) => !it.spec.node_selectors.is_empty(),
            Self::FRRConfiguration(it) => it.spec.node_selector.is_some(),
            Self::L2Advertisement(_)
            | Self::IPAddressPool(_)
            | Self::AddressPool(_)
            | Self::BFDProfile(_)
            | Self::Community(_)
            | Self::MetalLB(_) => false,
        }
    }

    /// Adds it to resources that do not hold it yet.
    pub fn add_to(self, resources: &mut Resources) {
        match self {
            Self::IPAddressPool(it) => resources.pools.push(it),
            Self::AddressPool(it) => resources.address_pools.push(it),
            Self::L2Advertisement(it) => resources.l2_advertisements.push(it),
            Self::BGPAdvertisement(it) => resources.bgp_advertisements.push(it),
            Self::BGPPeer(it) => resources.peers.push(it),
            Self::BFDProfile(it) => resources.bfd_profiles.push(it),
            Self::Community(it) => resources.communities.push(it),
            Self::FRRConfiguration(it) => resources.frr_configurations.push(it),
            Self::MetalLB(it) => {
                if it.metadata.name.as_deref() == Some(metallb::NAME) {
                    // A name that is none of the four is reported where the MetalLB resource itself is judged.
                    resources.backend =
                        it.spec.bgp_backend.as_deref().map_or(Ok(Backend::default()), str::parse).unwrap_or_default();
                }
            }
        }
    }

    /// Puts it where the object of its kind and name was, or adds it.
    pub fn replace_in(self, resources: &mut Resources) {
        let name = self.metadata().name.clone();
        remove_from(resources, self.kind(), name.as_deref());
        self.add_to(resources);
    }

    /// Puts each where the object of its kind and name was, or adds it; of two with one name the later.
    pub fn replace_all_in(objects: &[&Self], resources: &mut Resources) {
        let mut by_kind: BTreeMap<Kind, BTreeMap<Option<&str>, &Self>> = BTreeMap::new();
        for object in objects {
            by_kind.entry(object.kind()).or_default().insert(object.metadata().name.as_deref(), object);
        }
        for (kind, by_name) in by_kind {
            remove_all(resources, kind, |name| by_name.contains_key(&name));
            by_name.into_values().for_each(|object| object.clone().add_to(resources));
        }
    }

    /// Whether the resources hold it with the same content, whatever else its metadata say.
    pub fn is_stored_in(&self, resources: &Resources) -> bool {
        let name = &self.metadata().name;
        match self {
            Self::IPAddressPool(it) => resources
                .pools
                .iter()
                .any(|o| o.metadata.name == *name && o.spec == it.spec && o.metadata.labels == it.metadata.labels),
            Self::AddressPool(it) => resources
                .address_pools
                .iter()
                .any(|o| o.metadata.name == *name && o.spec == it.spec && o.metadata.labels == it.metadata.labels),
            Self::L2Advertisement(it) => {
                resources.l2_advertisements.iter().any(|o| o.metadata.name == *name && o.spec == it.spec)
            }
            Self::BGPAdvertisement(it) => {
                resources.bgp_advertisements.iter().any(|o| o.metadata.name == *name && o.spec == it.spec)
            }
            Self::BGPPeer(it) => resources.peers.iter().any(|o| o.metadata.name == *name && o.spec == it.spec),
            Self::BFDProfile(it) => {
                resources.bfd_profiles.iter().any(|o| o.metadata.name == *name && o.spec == it.spec)
            }
            Self::Community(it) => resources.communities.iter().any(|o| o.metadata.name == *name && o.spec == it.spec),
            Self::FRRConfiguration(it) => {
                resources.frr_configurations.iter().any(|o| o.metadata.name == *name && o.spec == it.spec)
            }
            Self::MetalLB(_) => true,
        }
    }
}

/// Removes the object of this kind and name, if it is there.
pub fn remove_from(resources: &mut Resources, kind: Kind, name: Option<&str>) {
    remove_all(resources, kind, |one| one == name);
}

fn remove_all(resources: &mut Resources, kind: Kind, goes: impl Fn(Option<&str>) -> bool) {
    fn without<T: ResourceExt>(objects: &mut Vec<Arc<T>>, goes: impl Fn(Option<&str>) -> bool) {
        objects.retain(|object| !goes(object.meta().name.as_deref()));
    }
    match kind {
        Kind::IPAddressPool => without(&mut resources.pools, goes),
        Kind::AddressPool => without(&mut resources.address_pools, goes),
        Kind::L2Advertisement => without(&mut resources.l2_advertisements, goes),
        Kind::BGPAdvertisement => without(&mut resources.bgp_advertisements, goes),
        Kind::BGPPeer => without(&mut resources.peers, goes),
        Kind::BFDProfile => without(&mut resources.bfd_profiles, goes),
        Kind::Community => without(&mut resources.communities, goes),
        Kind::FRRConfiguration => without(&mut resources.frr_configurations, goes),
        Kind::MetalLB => {}
    }
}

/// Whether the resources hold an object of this kind and name.
pub fn is_named_in(resources: &Resources, id: &ObjectId) -> bool {
    fn any<T: ResourceExt>(objects: &[Arc<T>], id: &ObjectId) -> bool {
        objects.iter().any(|object| object.meta().name.as_deref() == Some(&id.name))
    }
    match id.kind {
        Kind::IPAddressPool => any(&resources.pools, id),
        Kind::AddressPool => any(&resources.address_pools, id),
        Kind::L2Advertisement => any(&resources.l2_advertisements, id),
        Kind::BGPAdvertisement => any(&resources.bgp_advertisements, id),
        Kind::BGPPeer => any(&resources.peers, id),
        Kind::BFDProfile => any(&resources.bfd_profiles, id),
        Kind::Community => any(&resources.communities, id),
        Kind::FRRConfiguration => any(&resources.frr_configurations, id),
        Kind::MetalLB => false,
    }
}
