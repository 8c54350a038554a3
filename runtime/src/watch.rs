//! Watches that never end and never yield errors.
//!
//! ```text
//!  apiserver ──list, watch──▶ watcher ──own back-off──▶ errors: counted, logged once each ──▶ Event<K>
//! ```
//! Each stream backs off for itself: one kind that fails (no CRD, no rights) does not slow down the others. What a consumer
//! knew stays valid during an outage, because nothing is sent until the apiserver answers again.

use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, Error, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

pub use kube::runtime::watcher::Event;

use crate::client::{explain, http_code};
use crate::index::map_event;
use crate::metrics::{Family, GoCounter, Registry};
use crate::repeats::Repeats;

/// What to watch and how patient to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// Only objects with these labels, in Kubernetes selector syntax.
    pub label_selector: Option<String>,
    /// Only objects with these fields, in Kubernetes selector syntax.
    pub field_selector: Option<String>,
    /// Seconds until the apiserver ends a watch and it is resumed, less than 295; a dead connection is noticed 5 s after
    /// that, or earlier through TCP keep-alive.
    pub timeout_seconds: u32,
    /// Objects per page of a list. Big pages cost memory for a moment, small ones round trips.
    pub page_size: u32,
    /// The cluster may lack this kind: when its CRD is missing, the list counts as complete and empty, and the watch goes on
    /// until somebody installs it.
    pub optional: bool,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self { label_selector: None, field_selector: None, timeout_seconds: 60, page_size: 500, optional: false }
    }
}

/// Counts the errors of watches. Clones share the counters.
#[derive(Clone, Debug, Default)]
pub struct WatchMetrics {
    errors: Family<Vec<(&'static str, String)>, GoCounter>,
}

impl WatchMetrics {
    /// Counters shown as `metallb_watch_errors_total{kind, code}`; `code` is an HTTP status or `network`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "metallb_watch_errors_total",
            "Errors of watches by kind and HTTP status",
            metrics.errors.clone(),
        );
        metrics
    }

    fn count(&self, kind: &str, code: Option<u16>) {
        let code = code.map_or_else(|| String::from("network"), |code| code.to_string());
        self.errors.get_or_create(&vec![("kind", kind.to_owned()), ("code", code)]).inc();
    }
}

/// A custom resource that does not have the shape its CRD promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {namespace}/{name} cannot be read and is ignored: {error}; correct the object or delete it")]
pub struct Broken {
    /// The kind of the object.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is wrong, naming the field.
    pub error: String,
}

/// Watches the objects of `api`.
///
/// The stream never ends. An error is logged when it differs from the one before (or after ten minutes), with a remedy
/// where one is known, and retried for ever: after 0.8 s, then twice as long each time up to 10 s.
pub fn watched<K>(
    api: Api<K>,
    config: WatchConfig,
    metrics: WatchMetrics,
) -> impl Stream<Item = Event<K>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut settings = Config::default().timeout(config.timeout_seconds).page_size(config.page_size);
    settings.label_selector = config.label_selector;
    settings.field_selector = config.field_selector;
    let mut monitor = Monitor { optional: config.optional, ..Monitor::new(Watched::of::<K>(), metrics) };
    let mut absence = config.optional.then(Absence::default);
    watcher(api, settings).backoff(Delays::default()).flat_map(move |item| {
        let absent = absence.as_mut().is_some_and(|absence| absence.observe(&item));
        let event = monitor.observe(item, Instant::now());
        let empty = if absent { vec![Event::Init, Event::InitDone] } else { Vec::new() };
        futures::stream::iter(event.into_iter().chain(empty))
    })
}

/// Watches custom resources; a malformed object arrives as [`Broken`] and the others go on.
///
/// Decoding buffers each object once more, so this is for the few and small custom resources, not for Services or Nodes.
pub fn watched_guarded<K>(
    api: Api<K>,
    config: WatchConfig,
    metrics: WatchMetrics,
) -> impl Stream<Item = Event<Result<K, Broken>>> + Send + 'static
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watched(guarded(api), config, metrics).map(|event| map_event(event, unguard))
}

fn unguard<K: Resource<DynamicType = ()>>(DeserializeGuard(object): DeserializeGuard<K>) -> Result<K, Broken> {
    object.map_err(|invalid| Broken {
        kind: K::kind(&()).into_owned(),
        namespace: invalid.metadata.namespace.unwrap_or_default(),
        name: invalid.metadata.name.unwrap_or_default(),
        error: invalid.error,
    })
}

/// The same resources as `api`, decoded through a guard.
fn guarded<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(api: Api<K>) -> Api<DeserializeGuard<K>> {
    match api.namespace().map(str::to_owned) {
        Some(namespace) => Api::namespaced(api.into_client(), &namespace),
        None => Api::all(api.into_client()),
    }
}

/// Finds out that the CRD of an optional kind is missing: the first two lists are answered with 404. One is not enough, an
/// apiserver that starts may not know its CRDs yet.
#[derive(Debug, Default)]
struct Absence {
    missing: u32,
    settled: bool,
}

impl Absence {
    /// Whether to report an empty list now.
    fn observe<K>(&mut self, item: &Result<Event<K>, Error>) -> bool {
        match item {
            Ok(Event::Init) => {}
            Ok(_) => self.settled = true,
            Err(error) if code_of(error) == Some(404) => self.missing += 1,
            Err(_) => self.missing = 0,
        }
        let absent = !self.settled && self.missing >= 2;
        self.settled |= absent;
        absent
    }
}

/// What a stream watches, in words.
#[derive(Debug)]
struct Watched {
    kind: String,
    /// `plural.group`, the name its CRD has.
    resource: String,
    custom: bool,
}

impl Watched {
    fn of<K: Resource<DynamicType = ()>>() -> Self {
        let (group, plural) = (K::group(&()), K::plural(&()));
        // Kinds of Kubernetes itself have no group, a short one ("apps") or one below k8s.io.
        let custom = group.contains('.') && !group.ends_with(".k8s.io");
        let resource = if group.is_empty() { plural.into_owned() } else { format!("{plural}.{group}") };
        Self { kind: K::kind(&()).into_owned(), resource, custom }
    }

    /// One line that names what failed and how to mend it.
    fn explain(&self, error: &Error) -> String {
        let (kind, resource) = (&self.kind, &self.resource);
        match code_of(error) {
            Some(404) if self.custom => format!(
                "the cluster does not know {kind}: the CustomResourceDefinition {resource} is missing; apply manifests/crds/ \
                 or manifests/metallb-operator.yaml, the watch starts by itself then"
            ),
            Some(401 | 403) => format!(
                "may not watch {kind}: {}; grant get, list and watch on {resource} to this program's ServiceAccount",
                text_of(error)
            ),
            _ => format!("cannot watch {kind}: {}; what is known stays in use, trying again", text_of(error)),
        }
    }
}

fn code_of(error: &Error) -> Option<u16> {
    match error {
        Error::InitialListFailed(cause) | Error::WatchStartFailed(cause) | Error::WatchFailed(cause) => {
            http_code(cause)
        }
        Error::WatchError(status) => Some(status.code),
        Error::NoResourceVersion => None,
    }
}

fn text_of(error: &Error) -> String {
    match error {
        Error::InitialListFailed(cause) | Error::WatchStartFailed(cause) | Error::WatchFailed(cause) => explain(cause),
        Error::WatchError(status) => explain(&kube::Error::Api(status.clone())),
        Error::NoResourceVersion => error.to_string(),
    }
}

/// Takes errors out of a watch: counts them, logs what is new.
#[derive(Debug)]
struct Monitor {
    watched: Watched,
    metrics: WatchMetrics,
    repeats: Repeats,
    optional: bool,
}

impl Monitor {
    fn new(watched: Watched, metrics: WatchMetrics) -> Self {
        Self { watched, metrics, repeats: Repeats::default(), optional: false }
    }

    fn observe<K>(&mut self, item: Result<Event<K>, Error>, now: Instant) -> Option<Event<K>> {
        match item {
            // Only announces that a list will be asked for; it proves nothing about the apiserver.
            Ok(Event::Init) => Some(Event::Init),
            Ok(event) => {
                if self.repeats.succeeded() {
                    tracing::info!(event = "watchRecovered", kind = self.watched.kind, "watch recovered");
                }
                Some(event)
            }
            Err(error) => {
                self.failed(&error, now);
                None
            }
        }
    }

    fn failed(&mut self, error: &Error, now: Instant) {
        let code = code_of(error);
        self.metrics.count(&self.watched.kind, code);
        let kind = &self.watched.kind;
        if code == Some(410) {
            // The place in the history is too old. The watcher lists again; nobody needs to act.
            tracing::debug!(event = "watchExpired", kind, "watch expired, listing again");
            return;
        }
        if code == Some(404) && self.optional {
            let crd = &self.watched.resource;
            let text = format!(
                "the CustomResourceDefinition {crd} is not installed; apply manifests/crds/{crd}.yaml to have it"
            );
            if self.repeats.failed(&text, now) {
                tracing::warn!(event = "crdMissing", kind, "{text}, this program goes on without it");
            }
            return;
        }
        let text = self.watched.explain(error);
        if self.repeats.failed(&text, now) {
            tracing::error!(event = "watchError", kind, "{text}");
        }
    }
}

/// The pauses after errors: 0.8 s doubling to 10 s, each shortened by up to a quarter so that many nodes do not come back
/// at the same moment. They begin anew when the last error lies a minute back.
#[derive(Debug, Default)]
struct Delays {
    step: u32,
    last: Option<Instant>,
}

const FIRST_DELAY: Duration = Duration::from_millis(800);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_secs(60);

impl Delays {
    /// The pause after an error at `now`; `chance` is any number.
    fn after(&mut self, now: Instant, chance: u64) -> Duration {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > QUIET) {
            self.step = 0;
        }
        self.last = Some(now);
        let delay = FIRST_DELAY.saturating_mul(1 << self.step).min(LONGEST_DELAY);
        self.step = (self.step + 1).min(10);
        let quarter = u64::try_from(delay.as_millis() / 4).unwrap_or(1).max(1);
        delay - Duration::from_millis(chance % quarter)
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.after(Instant::now(), RandomState::new().hash_one(0)))
    }
}

impl Backoff for Delays {
    /// Nothing: a watcher reports progress before each list, so a failing list would never wait longer.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Service};
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use kube::core::Status;

    use super::*;

    fn failure(code: u16, message: &str) -> Error {
        Error::InitialListFailed(kube::Error::Api(Status::failure(message, "Because").with_code(code).boxed()))
    }

    fn pool() -> Watched {
        Watched {
            kind: String::from("IPAddressPool"),
            resource: String::from("ipaddresspools.metallb.io"),
            custom: true,
        }
    }

    fn observed(items: Vec<Result<Event<u8>, Error>>) -> (Vec<Event<u8>>, WatchMetrics) {
        let metrics = WatchMetrics::default();
        let mut monitor = Monitor::new(pool(), metrics.clone());
        let stream =
            futures::stream::iter(items).filter_map(|item| std::future::ready(monitor.observe(item, Instant::now())));
        (futures::executor::block_on(stream.collect()), metrics)
    }

    #[test]
    fn errors_are_counted_and_the_events_around_them_pass() {
        let items = vec![
            Ok(Event::Init),
            Err(failure(500, "down")),
            Err(failure(500, "down")),
            Err(Error::NoResourceVersion),
            Ok(Event::Init),
            Ok(Event::InitApply(1)),
            Ok(Event::InitDone),
            Ok(Event::Delete(1)),
        ];
        let (events, metrics) = observed(items);
        assert_eq!(events.len(), 5);
        let count = |code: &str| {
            let labels = vec![("kind", String::from("IPAddressPool")), ("code", String::from(code))];
            metrics.errors.get_or_create(&labels).get()
        };
        assert_eq!((count("500"), count("network")), (2, 1));
    }

    #[test]
    fn a_kind_without_a_crd_counts_as_empty_once_and_only_before_its_first_list() {
        let mut absence = Absence::default();
        let items = [
            Ok(Event::Init),
            Err(failure(404, "404 page not found")),
            Ok(Event::Init),
            Err(failure(503, "not yet")),
            Err(failure(404, "404 page not found")),
            Err(failure(404, "404 page not found")),
            Err(failure(404, "404 page not found")),
        ];
        let reported: Vec<bool> = items.iter().map(|item: &Result<Event<u8>, Error>| absence.observe(item)).collect();
        assert_eq!(reported, [false, false, false, false, false, true, false]);
        let mut present = Absence::default();
        assert!(!present.observe(&Ok(Event::<u8>::InitDone)));
        for _ in 0..3 {
            assert!(!present.observe::<u8>(&Err(failure(404, "the CRD was deleted"))));
        }
    }

    #[test]
    fn a_missing_crd_is_named_with_the_manifests_that_bring_it() {
        assert_eq!(
            pool().explain(&failure(404, "404 page not found")),
            "the cluster does not know IPAddressPool: the CustomResourceDefinition ipaddresspools.metallb.io is missing; \
             apply manifests/crds/ or manifests/metallb-operator.yaml, the watch starts by itself then"
        );
    }

    #[test]
    fn missing_rights_name_the_resource_to_grant() {
        let text = Watched::of::<EndpointSlice>().explain(&failure(403, "endpointslices is forbidden"));
        assert_eq!(
            text,
            "may not watch EndpointSlice: endpointslices is forbidden (HTTP 403 Because); grant get, list and watch on \
             endpointslices.discovery.k8s.io to this program's ServiceAccount"
        );
    }

    #[test]
    fn only_kinds_outside_kubernetes_itself_have_crds() {
        assert!(!Watched::of::<Service>().custom);
        assert!(!Watched::of::<EndpointSlice>().custom);
        let text = Watched::of::<Service>().explain(&failure(404, "gone"));
        assert_eq!(text, "cannot watch Service: gone (HTTP 404 Because); what is known stays in use, trying again");
    }

    #[test]
    fn a_malformed_object_is_named_and_the_others_are_read() {
        let text = r#"[{"metadata":{"name":"good","namespace":"a"},"data":{"k":"v"}},
                       {"metadata":{"name":"bad","namespace":"a"},"data":7}]"#;
        let objects: Vec<DeserializeGuard<ConfigMap>> = serde_json::from_str(text).unwrap();
        let [good, bad] = <[_; 2]>::try_from(objects).unwrap().map(unguard);
        assert!(good.is_ok());
        let broken = bad.unwrap_err();
        assert_eq!((broken.kind.as_str(), broken.namespace.as_str(), broken.name.as_str()), ("ConfigMap", "a", "bad"));
        assert!(broken.to_string().starts_with("ConfigMap a/bad cannot be read and is ignored: "), "{broken}");
    }

    #[test]
    fn pauses_grow_to_ten_seconds_and_begin_anew_after_a_quiet_minute() {
        let mut delays = Delays::default();
        let mut now = Instant::now();
        let mut seen = Vec::new();
        for _ in 0..12 {
            let delay = delays.after(now, 0);
            seen.push(delay.as_millis());
            now += delay;
        }
        assert_eq!(seen[..6], [800, 1600, 3200, 6400, 10000, 10000]);
        assert!(delays.after(now, u64::MAX) >= Duration::from_millis(7500));
        assert_eq!(delays.after(now + Duration::from_secs(120), 0), FIRST_DELAY);
    }
}
