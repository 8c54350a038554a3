//! Keeps one object of the API as this process describes it.
//!
//! ```text
//!  Settings, Verdict ──┐                        ┌─▶ apply: labels, owner          (one field manager)
//!                      ├─▶ difference (pure) ───┤
//!  watch ──────────────┘                        └─▶ apply: status and conditions  (another, on the status subresource)
//! ```
//! The object comes back when somebody deletes it, and what somebody changes is put right. When nothing differs, nothing is
//! written: not at a restart, and not while the same errors are found again and again.

mod description;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::client::{explain, http_code, was_fenced};
use crate::repeats::Repeats;
use crate::watch::{Event, WatchConfig, WatchMetrics, watched};

use description::{Description, Identity, Write, difference};
pub use description::{Verdict, Wording};

/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// First pause after a failure, or while somebody else keeps changing the object; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause: what the object says must not stay behind the truth for longer, also while one change follows another.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// After this long without writing the pauses begin anew.
const QUIET: Duration = Duration::from_secs(60);

/// Which object is kept, and under which names it is written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Field manager of labels and owner.
    pub manager: String,
    /// Field manager of the status.
    pub status_manager: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whose end is its end.
    pub owner: Option<OwnerReference>,
    /// Each write waits for up to this long first, so that many processes do not write at the same moment.
    pub jitter: Duration,
}

/// Keeps the object with the newest verdict in its status, for as long as the future is polled and `verdicts` has a sender.
///
/// `reader` watches, `writer` writes; they differ where only a leader may write.
pub async fn keep<K>(
    reader: Client,
    writer: Client,
    settings: Settings,
    verdicts: watch::Receiver<Verdict>,
    metrics: WatchMetrics,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let only_ours =
        WatchConfig { field_selector: Some(format!("metadata.name={}", settings.name)), ..WatchConfig::default() };
    let events = watched::<K>(Api::namespaced(reader, &settings.namespace), only_ours, metrics);
    let api = Api::<K>::namespaced(writer, &settings.namespace);
    let keeper = Keeper { api, settings, repeats: Repeats::default() };
    keeper.run(events.boxed(), verdicts).await;
}

struct Keeper<K> {
    api: Api<K>,
    settings: Settings,
    repeats: Repeats,
}

impl<K> Keeper<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    async fn run(mut self, mut events: impl Stream<Item = Event<K>> + Unpin, mut verdicts: watch::Receiver<Verdict>) {
        let mut stored = Stored::default();
        let mut pace = Pace::default();
        loop {
            let Some(write) = self.wanted(&stored, &mut verdicts) else {
                tokio::select! {
                    Some(event) = events.next() => stored.take(event),
                    changed = verdicts.changed() => if changed.is_err() { return },
                }
                continue;
            };
            let pause = pace.before_write(Instant::now()) + jitter(self.settings.jitter);
            if pause.is_zero() {
                self.write(write, &mut stored, &mut pace).await;
                continue;
            }
            // What happens meanwhile may make the write needless.
            let pause = tokio::time::sleep(pause);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    Some(event) = events.next() => stored.take(event),
                }
            }
            if let Some(write) = self.wanted(&stored, &mut verdicts) {
                self.write(write, &mut stored, &mut pace).await;
            }
        }
    }

    fn wanted(&self, stored: &Stored, verdicts: &mut watch::Receiver<Verdict>) -> Option<Write> {
        let settings = &self.settings;
        let description = Description {
            labels: settings.labels.clone(),
            owner: settings.owner.clone(),
            verdict: verdicts.borrow_and_update().clone(),
        };
        let identity = Identity {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            name: settings.name.clone(),
            status_manager: settings.status_manager.clone(),
        };
        difference(&identity, &description, stored.object.as_ref()?.as_ref(), Timestamp::now())
    }

    async fn write(&mut self, write: Write, stored: &mut Stored, pace: &mut Pace) {
        let sent = tokio::time::timeout(WRITE_TIMEOUT, self.send(write)).await;
        pace.written(Instant::now());
        let reason = match sent {
            Ok(Ok(object)) => {
                self.repeats.succeeded();
                stored.answered(Some(object));
                return;
            }
            Ok(Err(error)) if http_code(&error) == Some(404) => {
                // Deleted meanwhile, or its kind is not known: making it tells.
                stored.answered(None);
                explain(&error)
            }
            Ok(Err(error)) if was_fenced(&error) => return,
            Ok(Err(error)) => explain(&error),
            Err(_) => String::from("no answer in time"),
        };
        let kind = K::kind(&());
        let text =
            format!("cannot write {kind} {}/{}: {reason}; trying again", self.settings.namespace, self.settings.name);
        if self.repeats.failed(&text, Instant::now()) {
            tracing::error!(event = "updateFailed", kind = %kind, "{text}");
        }
    }

    async fn send(&self, write: Write) -> Result<Value, kube::Error> {
        let name = &self.settings.name;
        let apply = |manager: &str| PatchParams::apply(manager).force();
        let object = match write {
            Write::Object(body) => self.api.patch(name, &apply(&self.settings.manager), &Patch::Apply(body)).await?,
            Write::Status(body) => {
                self.api.patch_status(name, &apply(&self.settings.status_manager), &Patch::Apply(body)).await?
            }
            Write::Remove(body) => {
                let manager = Some(self.settings.status_manager.clone());
                let params = PatchParams { field_manager: manager, ..PatchParams::default() };
                self.api.patch_status(name, &params, &Patch::Merge(body)).await?
            }
        };
        Ok(value(&object))
    }
}

fn value<K: Serialize>(object: &K) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// The object as it was seen last.
#[derive(Debug, Default)]
struct Stored {
    /// `None` before the first list.
    object: Option<Option<Value>>,
    listed: Option<Value>,
}

impl Stored {
    fn take<K: Serialize>(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.listed = None,
            Event::InitApply(object) => self.listed = Some(value(&object)),
            Event::InitDone => {
                let listed = self.listed.take();
                self.object = Some(listed);
            }
            Event::Apply(object) => {
                let object = value(&object);
                let known = self.object.as_ref().and_then(Option::as_ref).and_then(version);
                // The watch may lag behind the answer to our own write.
                if version(&object).zip(known).is_none_or(|(new, known)| new >= known) {
                    self.object = Some(Some(object));
                }
            }
            Event::Delete(_) => self.object = Some(None),
        }
    }

    fn answered(&mut self, object: Option<Value>) {
        self.object = Some(object);
    }
}

fn version(object: &Value) -> Option<u64> {
    object.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
}

/// Pauses between writes: the first ones are free, then each is twice as long.
#[derive(Debug, Default)]
struct Pace {
    writes: u32,
    last: Option<Instant>,
}

/// Writes in a row without a pause: making the object takes up to three, a change of the description one more.
const FREE: u32 = 6;

impl Pace {
    fn before_write(&mut self, now: Instant) -> Duration {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > QUIET) {
            self.writes = 0;
        }
        match self.writes.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(more) => PAUSE.saturating_mul(2u32.saturating_pow(more)).min(LONGEST_PAUSE),
        }
    }

    fn written(&mut self, now: Instant) {
        self.writes = self.writes.saturating_add(1);
        self.last = Some(now);
    }
}

fn jitter(most: Duration) -> Duration {
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(RandomState::new().hash_one(0).checked_rem(most).unwrap_or(0))
}

/// A reference that makes the garbage collector delete an object when the pod of this process is gone; `None` outside of a
/// pod. Waits until the apiserver answers.
pub async fn owned_by_pod(client: &Client, namespace: &str, pod: &str) -> Option<OwnerReference> {
    if pod.is_empty() {
        return None;
    }
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let mut repeats = Repeats::default();
    let mut pause = PAUSE;
    loop {
        let reason = match tokio::time::timeout(WRITE_TIMEOUT, pods.get(pod)).await {
            Ok(Ok(pod)) => return pod.metadata.uid.map(|uid| owner(pod.metadata.name.unwrap_or_default(), uid)),
            Ok(Err(error)) if http_code(&error) == Some(404) => {
                tracing::warn!(
                    event = "podMissing",
                    pod,
                    namespace,
                    "there is no pod of the name given with --pod-name; what this program keeps in the API will not be \
                     removed with it"
                );
                return None;
            }
            Ok(Err(error)) => explain(&error),
            Err(_) => String::from("no answer in time"),
        };
        let text = format!("cannot read the pod {namespace}/{pod} of this program: {reason}; trying again");
        if repeats.failed(&text, Instant::now()) {
            tracing::error!(event = "podMissing", "{text}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn owner(name: String, uid: String) -> OwnerReference {
    OwnerReference {
        api_version: String::from("v1"),
        kind: String::from("Pod"),
        name,
        uid,
        ..OwnerReference::default()
    }
}

/// The JSON of an owner reference that does not control; absent fields would be taken from elsewhere.
fn owner_json(owner: &OwnerReference) -> Value {
    json!({"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn config_map(version: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "a", "resourceVersion": version}})).unwrap()
    }

    #[test]
    fn nothing_is_known_before_the_first_list_and_old_events_are_left_out() {
        let mut stored = Stored::default();
        stored.take(Event::<ConfigMap>::Init);
        stored.take(Event::InitApply(config_map("5")));
        assert!(stored.object.is_none());
        stored.take(Event::<ConfigMap>::InitDone);
        assert_eq!(stored.object.as_ref().and_then(Option::as_ref).and_then(version), Some(5));
        stored.answered(Some(value(&config_map("9"))));
        stored.take(Event::Apply(config_map("7")));
        assert_eq!(stored.object.as_ref().and_then(Option::as_ref).and_then(version), Some(9));
        stored.take(Event::Delete(config_map("10")));
        assert_eq!(stored.object, Some(None));
    }

    #[test]
    fn whoever_fights_over_the_object_is_answered_more_and_more_slowly() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..16 {
            pauses.push(pace.before_write(now).as_millis());
            pace.written(now);
        }
        assert_eq!(pauses[..9], [0, 0, 0, 0, 0, 0, 500, 1000, 2000]);
        assert_eq!(pauses[15], 2_000);
        assert_eq!(pace.before_write(now + Duration::from_secs(61)), Duration::ZERO);
    }

    #[test]
    fn jitter_stays_below_its_limit() {
        assert_eq!(jitter(Duration::ZERO), Duration::ZERO);
        assert!((0..100).all(|_| jitter(Duration::from_millis(5)) < Duration::from_millis(5)));
    }
}
