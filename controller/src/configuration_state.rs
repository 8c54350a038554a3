//! The object ConfigurationState `controller`: whether the controller could use the whole configuration.
//!
//! ```text
//!  State::errors ──▶ Verdict ──▶ runtime::keeper ──▶ ConfigurationState controller
//! ```
//! Only findings about pools, communities and namespaces: those of peers and advertisements are the speakers', node by node.

use std::collections::BTreeMap;
use std::time::Duration;

use api::names::{CONTROLLER, FIELD_MANAGER_CONTROLLER, LABEL_COMPONENT_TYPE};
use api::v1beta1::ConfigurationState;
use kube::Client;
use runtime::keeper::{self, Verdict, Wording};
use runtime::watch::WatchMetrics;
use tokio::sync::watch;

/// Field manager of the status, as MetalLB's.
const STATUS_MANAGER: &str = "poolReconciler";
/// Type of the condition, as MetalLB's.
const CONDITION: &str = "poolReconcilerValid";

/// What the object shows with these errors.
pub fn verdict(errors: &[String]) -> Verdict {
    Verdict::of(Wording::of_metallb(CONDITION), errors)
}

/// Keeps the object; `reader` watches, `writer` writes. The object belongs to the pod named `pod`, so it goes with it.
pub async fn keep(
    reader: Client,
    writer: Client,
    namespace: String,
    pod: String,
    verdicts: watch::Receiver<Verdict>,
    metrics: WatchMetrics,
) {
    let owner = keeper::owned_by_pod(&reader, &namespace, &pod).await;
    let settings = keeper::Settings {
        namespace,
        name: CONTROLLER.to_owned(),
        manager: FIELD_MANAGER_CONTROLLER.to_owned(),
        status_manager: STATUS_MANAGER.to_owned(),
        labels: BTreeMap::from([(LABEL_COMPONENT_TYPE.to_owned(), CONTROLLER.to_owned())]),
        owner,
        jitter: Duration::ZERO,
    };
    keeper::keep::<ConfigurationState>(reader, writer, settings, verdicts, metrics).await;
}
