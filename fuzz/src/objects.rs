//! Objects as a watch delivers them: a JSON list of anything. Decodes them as every type there is, and lets the controller
//! give addresses to the Services among them.

use api::slim;
use config::NamespaceLabels;
use controller::pool_objects::{AddressPoolObject, PoolObject};
use controller::service::Service;
use controller::state::{Action, Input, Outcome, State};
use k8s_openapi::serde::de::DeserializeOwned;
use runtime::watch::Event;
use serde_json::Value;

/// Reads the objects and has the controller decide about them.
pub fn run(data: &[u8]) {
    let Ok(documents) = serde_json::from_slice::<Vec<Value>>(data) else { return };
    for document in &documents {
        decode(document);
    }
    let services: Vec<Service> = of_kind(&documents, "Service").into_iter().filter_map(Service::from_slim).collect();
    for service in &services {
        let _ = (service.requested_addresses(), service.wanted(), service.requested_pool(), service.shown());
        let _ = (service.version(), service.recorded_pool(), service.deprecated_annotations().count());
    }
    let pools: Vec<PoolObject> =
        of_kind(&documents, "IPAddressPool").into_iter().map(|pool| PoolObject::from(Ok(pool))).collect();
    let legacy: Vec<AddressPoolObject> = of_kind(&documents, "AddressPool")
        .into_iter()
        .map(|pool: api::v1beta1::AddressPool| AddressPoolObject::from(Ok(pool)))
        .collect();
    let namespaces: Vec<NamespaceLabels> = of_kind::<slim::Namespace>(&documents, "Namespace")
        .into_iter()
        .map(|namespace| NamespaceLabels {
            name: namespace.metadata.name.unwrap_or_default(),
            labels: namespace.metadata.labels.unwrap_or_default(),
        })
        .collect();

    let mut state = State::new(None);
    state.lead();
    list(&mut state, services.clone(), Input::Service);
    list(&mut state, namespaces, Input::Namespace);
    list(&mut state, pools.clone(), Input::Pool);
    list(&mut state, legacy, Input::AddressPool);
    assert!(state.is_synced());
    settle(&mut state);
    // The same objects again as changes, then gone one by one.
    for service in &services {
        state.apply(Input::Service(Event::Apply(service.clone())));
    }
    settle(&mut state);
    for pool in pools {
        state.apply(Input::Pool(Event::Delete(pool)));
    }
    settle(&mut state);
    for service in services {
        state.apply(Input::Service(Event::Delete(service)));
    }
    settle(&mut state);
    assert_eq!(state.settle(), [], "an unchanged world is not left alone");
}

/// Lets the controller work; every other write is refused.
fn settle(state: &mut State) {
    for _ in 0..50 {
        let actions = state.settle();
        if actions.is_empty() {
            return;
        }
        for action in actions {
            if let Action::Write(write) = action {
                state.written(write.attempt, &write.key, Outcome::Refused);
            }
        }
    }
}

fn list<T>(state: &mut State, objects: Vec<T>, input: impl Fn(Event<T>) -> Input) {
    state.apply(input(Event::Init));
    for object in objects {
        state.apply(input(Event::InitApply(object)));
    }
    state.apply(input(Event::InitDone));
}

fn of_kind<T: DeserializeOwned>(documents: &[Value], kind: &str) -> Vec<T> {
    let of_kind = documents.iter().filter(|document| document["kind"] == kind);
    of_kind.filter_map(|document| serde_json::from_value(document.clone()).ok()).collect()
}

/// Every type must read any JSON without a panic, and read again what it has written.
fn decode(document: &Value) {
    macro_rules! types {
        ($($type:ty),* $(,)?) => {$(
            if let Ok(object) = serde_json::from_value::<$type>(document.clone()) {
                let written = serde_json::to_value(&object).unwrap_or_default();
                let again = serde_json::from_value::<$type>(written.clone());
                let again = again.map(|object| serde_json::to_value(&object).unwrap_or_default());
                assert_eq!(again.ok(), Some(written), stringify!($type));
            }
        )*};
    }
    types!(
        slim::Service,
        slim::EndpointSlice,
        slim::Node,
        slim::Namespace,
        slim::Pod,
        api::v1beta1::IPAddressPool,
        api::v1beta1::AddressPool,
        api::v1beta1::L2Advertisement,
        api::v1beta1::BGPAdvertisement,
        api::v1beta1::BFDProfile,
        api::v1beta1::Community,
        api::v1beta1::MetalLB,
        api::v1beta1::ConfigurationState,
        api::v1beta1::ServiceL2Status,
        api::v1beta1::ServiceBGPStatus,
        api::v1beta2::BGPPeer,
        api::frrk8s::FRRConfiguration,
        api::frrk8s::FRRNodeState,
        api::frrk8s::BGPSessionState,
    );
}
