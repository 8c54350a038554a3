//! EndpointSlices by Service. Pure.
//!
//! ```text
//! watch event of a slice --apply--> Services to look at again      serving(Service) = all its slices together
//! ```

use std::collections::{BTreeMap, BTreeSet};

use api::{names, slim};
use kube::ResourceExt;
use runtime::index::{Index, map_event};
use runtime::watch::Event;

use crate::announce::endpoints::Serving;
use crate::state::ServiceKey;

/// Namespace and name of an EndpointSlice.
type SliceKey = (String, String);

/// Where each Service can be served.
#[derive(Debug, Default)]
pub struct Slices {
    index: Index<SliceKey, (ServiceKey, Serving)>,
    service_of: BTreeMap<SliceKey, ServiceKey>,
    slices_of: BTreeMap<ServiceKey, BTreeSet<SliceKey>>,
}

impl Slices {
    /// Takes in one event; returns the Services it concerns, also one that a slice belonged to before.
    pub fn apply(&mut self, event: Event<slim::EndpointSlice>) -> BTreeSet<ServiceKey> {
        let changes = self.index.apply(map_event(event, |slice| (key(&slice), facts(&slice))));
        let mut touched = BTreeSet::new();
        for slice in changes.removed.into_iter().chain(changes.upserted) {
            let now = self.index.get(&slice).map(|(service, _)| service.clone());
            if let Some(before) = self.service_of.remove(&slice) {
                self.unlink(&before, &slice);
                touched.insert(before);
            }
            if let Some(service) = now {
                self.service_of.insert(slice.clone(), service.clone());
                self.slices_of.entry(service.clone()).or_default().insert(slice);
                touched.insert(service);
            }
        }
        touched
    }

    fn unlink(&mut self, service: &ServiceKey, slice: &SliceKey) {
        if let Some(slices) = self.slices_of.get_mut(service) {
            slices.remove(slice);
            if slices.is_empty() {
                self.slices_of.remove(service);
            }
        }
    }

    /// Where the Service can be served, all its slices taken together.
    pub fn serving(&self, service: &ServiceKey) -> Serving {
        let mut all = Serving::default();
        let slices = self.slices_of.get(service).into_iter().flatten();
        for (_, serving) in slices.filter_map(|slice| self.index.get(slice)) {
            all.add(serving);
        }
        all
    }

    /// Whether a complete list was seen since the start.
    pub fn is_synced(&self) -> bool {
        self.index.is_synced()
    }
}

fn key(slice: &slim::EndpointSlice) -> SliceKey {
    (slice.namespace().unwrap_or_default(), slice.name_any())
}

fn facts(slice: &slim::EndpointSlice) -> (ServiceKey, Serving) {
    let name = slice.labels().get(names::LABEL_SERVICE_NAME).cloned().unwrap_or_default();
    (ServiceKey { namespace: slice.namespace().unwrap_or_default(), name }, Serving::of(&slice.endpoints))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &str, service: &str, nodes: &[&str]) -> slim::EndpointSlice {
        let mut slice = slim::EndpointSlice::default();
        slice.metadata.namespace = Some("default".to_owned());
        slice.metadata.name = Some(name.to_owned());
        slice.metadata.labels = Some(BTreeMap::from([(names::LABEL_SERVICE_NAME.to_owned(), service.to_owned())]));
        slice.endpoints = nodes
            .iter()
            .map(|node| slim::Endpoint { node_name: Some((*node).to_owned()), ..slim::Endpoint::default() })
            .collect();
        slice
    }

    fn service(name: &str) -> ServiceKey {
        ServiceKey { namespace: "default".to_owned(), name: name.to_owned() }
    }

    fn nodes(slices: &Slices, name: &str) -> Vec<String> {
        slices.serving(&service(name)).nodes.into_iter().collect()
    }

    #[test]
    fn slices_of_a_service_add_up_and_go_one_by_one() {
        let mut slices = Slices::default();
        slices.apply(Event::Apply(slice("web-1", "web", &["a"])));
        assert_eq!(slices.apply(Event::Apply(slice("web-2", "web", &["b"]))), BTreeSet::from([service("web")]));
        assert_eq!(nodes(&slices, "web"), ["a", "b"]);
        assert_eq!(slices.apply(Event::Delete(slice("web-1", "web", &[]))), BTreeSet::from([service("web")]));
        assert_eq!(nodes(&slices, "web"), ["b"]);
    }

    #[test]
    fn a_slice_that_moves_to_another_service_concerns_both() {
        let mut slices = Slices::default();
        slices.apply(Event::Apply(slice("s", "web", &["a"])));
        let touched = slices.apply(Event::Apply(slice("s", "db", &["a"])));
        assert_eq!(touched, BTreeSet::from([service("db"), service("web")]));
        assert_eq!(nodes(&slices, "web"), [""; 0]);
    }

    #[test]
    fn a_slice_missing_from_a_new_list_is_gone() {
        let mut slices = Slices::default();
        slices.apply(Event::Apply(slice("s", "web", &["a"])));
        slices.apply(Event::Init);
        assert_eq!(nodes(&slices, "web"), ["a"]);
        assert_eq!(slices.apply(Event::InitDone), BTreeSet::from([service("web")]));
        assert!(!slices.serving(&service("web")).anywhere);
        assert!(slices.slices_of.is_empty() && slices.service_of.is_empty());
    }
}
