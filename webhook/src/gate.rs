//! Changes judged against what is stored and what is about to be.
//!
//! ```text
//!  admitted ──▶ the apiserver stores it ──▶ the next snapshot shows it
//!      └──────── a gap: a second change that does not go with the first must not slip through ────────┘
//! ```
//! Changes admitted within the last second are remembered. When they would alter the verdict about the next one, that one
//! waits until the store shows them, or until they are so old that they will not come any more (another webhook refused
//! them, or they are deleted again). Only that one waits; the others go on.
//!
//! The memory is this process's own: two replicas may each admit one of two changes that clash and come within the same
//! moment. Then both are stored, every program keeps the older one in force, and the younger is reported.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config::Kind;
use tokio::time::{Instant, sleep};

use crate::admit::{Request, Snapshot, Verdict, against, at_once};
use crate::object::Object;
use crate::snapshot::Store;

/// The apiserver stores an admitted object within milliseconds; a second is generous.
const ARRIVAL: Duration = Duration::from_secs(1);
/// Between two looks whether it has arrived.
const LOOK: Duration = Duration::from_millis(20);

/// Judges changes.
pub struct Gate<S> {
    store: S,
    namespace: String,
    external_namespace: Option<String>,
    recent: Mutex<Recent>,
}

/// What was admitted a moment ago.
#[derive(Default)]
struct Recent {
    changes: Vec<(Instant, Object)>,
    /// The state in which none of them was stored yet.
    seen: Option<Arc<Snapshot>>,
}

impl Recent {
    /// Forgets what has arrived or will not come any more.
    fn forget(&mut self, stored: &Arc<Snapshot>) {
        let is_new = self.seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, stored));
        self.changes.retain(|(admitted, object)| {
            admitted.elapsed() < ARRIVAL && !(is_new && object.is_stored_in(stored.resources()))
        });
        self.seen = (!self.changes.is_empty()).then(|| stored.clone());
    }

    fn remember(&mut self, object: &Object, stored: &Arc<Snapshot>) {
        self.changes.retain(|(_, known)| known.id() != object.id());
        self.changes.push((Instant::now(), object.clone()));
        self.seen = Some(stored.clone());
    }
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
        loop {
            let stored = self.store.read(request).await?;
            if let Some(verdict) = self.with_recent(&stored, request) {
                return Ok(verdict);
            }
            sleep(LOOK).await;
        }
    }

    /// `None` when it takes another look. Judging and remembering are one step: of two changes that clash the second to get
    /// here sees the first.
    fn with_recent(&self, stored: &Arc<Snapshot>, request: &Request) -> Option<Verdict> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.forget(stored);
        let coming: Vec<&Object> =
            recent.changes.iter().map(|(_, object)| object).filter(|object| object.id() != request.id).collect();
        let verdict = against(stored, &coming, request);
        // Judged twice only where the two verdicts can differ.
        let may_differ = !verdict.is_allowed() || coming.iter().any(|object| may_mend(object));
        if !coming.is_empty() && may_differ && against(stored, &[], request).is_allowed() != verdict.is_allowed() {
            return None;
        }
        if let Some(object) = request.object.as_ref().filter(|_| verdict.is_allowed() && !request.dry_run) {
            recent.remember(object, stored);
        }
        Some(verdict)
    }
}

/// Whether something else can be in order because of it: what it refers to is there, or it turns out to be about other nodes.
fn may_mend(object: &Object) -> bool {
    matches!(object.kind(), Kind::Community | Kind::BFDProfile | Kind::MetalLB) || object.selects_nodes()
}
