//! The object ConfigurationState `speaker-<node>`: whether the configuration of this node could be used.
//!
//! ```text
//!  all objects ──config::compile with this node as viewpoint──▶ errors ──▶ Verdict ──▶ runtime::keeper
//! ```
//! A peer or a BGPAdvertisement that selects other nodes is not this node's business: its errors stand where it is used.

use std::collections::BTreeMap;
use std::time::Duration;

use api::names::{FIELD_MANAGER_SPEAKER, LABEL_COMPONENT_TYPE, LABEL_NODE_NAME, PREFIX_SPEAKER_STATE, SPEAKER};
use api::v1beta1::ConfigurationState;
use config::SecretFacts;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use runtime::keeper::{self, Verdict, Wording};
use runtime::watch::WatchMetrics;
use tokio::sync::watch;

/// Field manager of the status, as MetalLB's.
const STATUS_MANAGER: &str = "configReconciler";
/// A change of the configuration concerns every speaker; they do not all write at once.
const JITTER: Duration = Duration::from_secs(2);
/// Type of the condition, as MetalLB's.
const CONDITION: &str = "configReconcilerValid";

/// Where this speaker runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// Namespace of the object.
    pub namespace: String,
    /// The node.
    pub node: String,
    /// The pod; empty outside of one.
    pub pod: String,
}

/// What the object shows with these errors.
pub fn verdict(errors: &[String]) -> Verdict {
    Verdict::of(Wording::of_metallb(CONDITION), errors)
}

/// Keeps the object. It belongs to this pod, so it goes with pod and node.
pub async fn keep(client: Client, place: Place, verdicts: watch::Receiver<Verdict>, metrics: WatchMetrics) {
    let Place { namespace, node, pod } = place;
    let owner = keeper::owned_by_pod(&client, &namespace, &pod).await;
    let settings = keeper::Settings {
        namespace,
        name: format!("{PREFIX_SPEAKER_STATE}{node}"),
        manager: FIELD_MANAGER_SPEAKER.to_owned(),
        status_manager: STATUS_MANAGER.to_owned(),
        labels: BTreeMap::from([
            (LABEL_COMPONENT_TYPE.to_owned(), SPEAKER.to_owned()),
            (LABEL_NODE_NAME.to_owned(), node),
        ]),
        owner,
        jitter: JITTER,
    };
    keeper::keep::<ConfigurationState>(client.clone(), client, settings, verdicts, metrics).await;
}

/// What peers depend on; the password itself is dropped at once.
pub fn secret_facts(secret: Secret) -> SecretFacts {
    SecretFacts {
        name: secret.metadata.name.unwrap_or_default(),
        type_: secret.type_.unwrap_or_default(),
        has_password: secret.data.is_some_and(|data| data.contains_key("password")),
    }
}
