//! One change at a time, judged against what is stored and what is about to be.
//!
//! ```text
//!  admitted ──▶ the apiserver stores it ──▶ the next list shows it
//!      └──────── a gap: a second change that does not go with the first must not slip through ────────┘
//! ```
//! Changes admitted within the last second are remembered. When they would alter the verdict about the next one, the gate
//! waits until the store shows them, or until they are so old that they will not come any more (another webhook refused
//! them, or they are deleted again).

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::admit::{Request, Snapshot, Verdict, against, at_once};
use crate::object::Object;
use crate::snapshot::Store;

/// The apiserver stores an admitted object within milliseconds; a second is generous.
const ARRIVAL: Duration = Duration::from_secs(1);
/// Between two looks whether it has arrived.
const LOOK: Duration = Duration::from_millis(50);

/// Judges changes one after the other.
pub struct Gate<S> {
    store: S,
    namespace: String,
    external_namespace: Option<String>,
    recent: Mutex<Vec<(Instant, Object)>>,
}

impl<S: Store> Gate<S> {
    /// A gate for the objects of this namespace. `external_namespace` is where a foreign frr-k8s lives by default.
    pub fn new(store: S, namespace: String, external_namespace: Option<String>) -> Self {
        Self { store, namespace, external_namespace, recent: Mutex::default() }
    }

    /// Judges a change.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn judge(&self, request: &Request) -> anyhow::Result<Verdict> {
        if let Some(verdict) = at_once(&self.namespace, self.external_namespace.as_deref(), request) {
            return Ok(verdict);
        }
        let mut recent = self.recent.lock().await;
        let verdict = loop {
            let stored = self.store.read(request).await?;
            recent.retain(|(admitted, object)| admitted.elapsed() < ARRIVAL && !object.is_stored_in(&stored.resources));
            let verdict = against(&stored, request);
            if recent.is_empty() {
                break verdict;
            }
            let expected = against(&with(stored, &recent), request);
            if expected.is_allowed() == verdict.is_allowed() {
                break expected;
            }
            sleep(LOOK).await;
        };
        if let Some(object) = request.object.as_ref().filter(|_| verdict.is_allowed() && !request.dry_run) {
            recent.retain(|(_, known)| known.id() != object.id());
            recent.push((Instant::now(), object.clone()));
        }
        Ok(verdict)
    }
}

fn with(mut snapshot: Snapshot, recent: &[(Instant, Object)]) -> Snapshot {
    for (_, object) in recent {
        object.clone().replace_in(&mut snapshot.resources);
    }
    snapshot
}
