//! Kubernetes Events that never fail a caller.
//!
//! ```text
//!  publish() ──bounded queue──▶ task ──Ledger: create | raise count | drop──▶ apiserver
//! ```
//! Events are core/v1 with `source.component`, as MetalLB's are: whoever filters `kubectl get events` by source finds them.
//! The same reason and message about the same object is one Event whose count grows. What many programs see at the same time
//! is one Event too, created by whoever is first: its name follows from what it says.

mod ledger;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;

use crate::client::{explain, http_code, was_fenced};
use crate::repeats::Repeats;
use ledger::{Ledger, Notice, Step, Tellers};

/// What an Event means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// Something went as it should.
    Normal,
    /// Something needs attention.
    Warning,
}

impl EventType {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// The object an Event is about. `uid` and `resource_version` are left out when they are empty.
pub fn reference(
    api_version: &str,
    kind: &str,
    key: (&str, &str),
    uid: &str,
    resource_version: &str,
) -> ObjectReference {
    let (namespace, name) = key;
    let known = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: known(namespace),
        name: Some(name.to_owned()),
        uid: known(uid),
        resource_version: known(resource_version),
        ..ObjectReference::default()
    }
}

/// Events that may wait for the apiserver.
const QUEUE: usize = 1024;
/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// In seconds: what many programs tell within it is one Event.
const TOGETHER: i64 = 600;
/// After each write.
const PAUSE: Duration = Duration::from_millis(10);
/// The apiserver refuses longer messages.
const MESSAGE_LIMIT: usize = 1024;
/// The apiserver refuses longer names.
const NAME_LIMIT: usize = 253;

/// Writes Events in the background. Clones share the queue; the task ends with the last clone.
#[derive(Clone, Debug)]
pub struct Publisher {
    queue: mpsc::Sender<Notice>,
}

impl Publisher {
    /// Starts the background task. `component` becomes `source.component` of every Event. Call inside the tokio runtime.
    pub fn new(client: Client, component: &str) -> Self {
        let (queue, notices) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(client, component.to_owned(), notices));
        Self { queue }
    }

    /// Queues an Event about `object` and returns at once; when the queue is full the Event is dropped.
    ///
    /// The Event stands in the object's namespace, or in `default` for an object without one.
    pub fn publish(&self, object: &ObjectReference, kind: EventType, reason: &str, message: &str) {
        self.queue(object, kind, reason, message, Tellers::One);
    }

    /// As [`Publisher::publish`], for what the programs of all nodes see and tell: one Event comes of it, unless ten minutes
    /// lie between them.
    pub fn publish_with_others(&self, object: &ObjectReference, kind: EventType, reason: &str, message: &str) {
        self.queue(object, kind, reason, message, Tellers::Many);
    }

    fn queue(&self, object: &ObjectReference, kind: EventType, reason: &str, message: &str, tellers: Tellers) {
        let notice = Notice {
            object: object.clone(),
            kind,
            reason: reason.to_owned(),
            message: shortened(message, MESSAGE_LIMIT).to_owned(),
            tellers,
        };
        if self.queue.try_send(notice).is_err() {
            tracing::debug!(event = "eventDropped", reason, "too many Events are waiting; this one is dropped");
        }
    }
}

async fn write_all(client: Client, component: String, mut notices: mpsc::Receiver<Notice>) {
    let mut ledger = Ledger::default();
    let mut repeats = Repeats::default();
    while let Some(notice) = notices.recv().await {
        let written = tokio::time::timeout(WRITE_TIMEOUT, write(&client, &component, &mut ledger, &notice)).await;
        match written.unwrap_or_else(|_| Err(String::from("no answer within 10s"))) {
            Ok(()) => {
                repeats.succeeded();
            }
            Err(reason) => {
                let text = format!("cannot write Events: {reason}; they are dropped");
                if repeats.failed(&text, Instant::now()) {
                    tracing::warn!(event = "eventError", "{text}");
                }
            }
        }
        // Bounds the load on the apiserver to a hundred writes a second; meanwhile the queue fills and then drops.
        tokio::time::sleep(PAUSE).await;
    }
}

async fn write(client: &Client, component: &str, ledger: &mut Ledger, notice: &Notice) -> Result<(), String> {
    let namespace = notice.object.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default");
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let now = Timestamp::now();
    match ledger.note(notice, Instant::now()) {
        Step::Drop => Ok(()),
        Step::Repeat { name, count } => {
            let patch = json!({"count": count, "lastTimestamp": Time(now), "message": notice.message});
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => Ok(()),
                // Events live for an hour; this one is gone, so the story begins anew.
                Err(error) if http_code(&error) == Some(404) => create(&api, component, ledger, notice, now).await,
                Err(error) if was_fenced(&error) => Ok(()),
                Err(error) => Err(explain(&error)),
            }
        }
        Step::Create => create(&api, component, ledger, notice, now).await,
    }
}

async fn create(
    api: &Api<Event>,
    component: &str,
    ledger: &mut Ledger,
    notice: &Notice,
    now: Timestamp,
) -> Result<(), String> {
    let event = event(component, notice, now);
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => {}
        // Whoever leads now says what there is to say.
        Err(error) if was_fenced(&error) => return Ok(()),
        // Another teller was first.
        Err(error) if notice.tellers == Tellers::Many && http_code(&error) == Some(409) => return Ok(()),
        Err(error) => return Err(explain(&error)),
    }
    if notice.tellers == Tellers::One {
        ledger.created(notice, event.metadata.name.unwrap_or_default(), Instant::now());
    }
    Ok(())
}

/// What tells an Event from others about the same object: the moment, or for many tellers what is said.
fn distinction(notice: &Notice, now: Timestamp) -> String {
    match notice.tellers {
        Tellers::One => format!("{:x}", now.as_nanosecond()),
        Tellers::Many => {
            let mut hasher = DefaultHasher::new();
            let about = (&notice.object.kind, &notice.object.uid);
            (about, &notice.reason, &notice.message, now.as_second() / TOGETHER).hash(&mut hasher);
            format!("{:016x}", hasher.finish())
        }
    }
}

fn event(component: &str, notice: &Notice, now: Timestamp) -> Event {
    let suffix = format!(".{}", distinction(notice, now));
    let object = notice.object.name.as_deref().unwrap_or("unknown");
    let name = format!("{}{suffix}", shortened(object, NAME_LIMIT - suffix.len()).trim_end_matches(['.', '-']));
    let namespace = notice.object.namespace.clone().filter(|namespace| !namespace.is_empty());
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.unwrap_or_else(|| String::from("default"))),
            ..ObjectMeta::default()
        },
        involved_object: notice.object.clone(),
        type_: Some(notice.kind.name().to_owned()),
        reason: Some(notice.reason.clone()),
        message: Some(notice.message.clone()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some(component.to_owned()), host: None }),
        reporting_component: Some(component.to_owned()),
        ..Event::default()
    }
}

/// The beginning of a text, at most `limit` bytes and no broken character.
fn shortened(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use kube::client::Body;
    use serde_json::Value;
    use tokio::sync::Notify;

    use super::*;

    fn service(namespace: Option<&str>) -> ObjectReference {
        ObjectReference {
            kind: Some(String::from("Service")),
            name: Some(String::from("web")),
            namespace: namespace.map(str::to_owned),
            uid: Some(String::from("u1")),
            ..ObjectReference::default()
        }
    }

    fn notice(object: ObjectReference, message: &str) -> Notice {
        Notice {
            object,
            kind: EventType::Normal,
            reason: String::from("IPAllocated"),
            message: message.to_owned(),
            tellers: Tellers::One,
        }
    }

    #[test]
    fn an_event_has_the_form_of_metallbs() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let event = event("metallb-controller", &notice(service(Some("shop")), "Assigned IP [\"192.0.2.1\"]"), now);
        let value = serde_json::to_value(event).unwrap();
        assert_eq!(value["metadata"]["name"], "web.18fae27693b40000");
        assert_eq!(value["metadata"]["namespace"], "shop");
        assert_eq!(value["source"], json!({"component": "metallb-controller"}));
        assert_eq!(
            (&value["type"], &value["reason"], &value["count"]),
            (&json!("Normal"), &json!("IPAllocated"), &json!(1))
        );
        assert_eq!(value["firstTimestamp"], "2027-01-15T08:00:00Z");
        assert_eq!(value["involvedObject"]["uid"], "u1");
    }

    #[test]
    fn events_about_objects_without_a_namespace_stand_in_default() {
        let event = event("x", &notice(service(None), "m"), Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    }

    #[test]
    fn long_names_and_messages_are_cut_between_characters() {
        let mut object = service(None);
        object.name = Some("n".repeat(300));
        let event = event("x", &notice(object, "m"), Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.name.unwrap().len(), NAME_LIMIT);
        assert_eq!(shortened("aé", 2), "a");
        assert_eq!(shortened("aé", 3), "aé");
    }

    #[test]
    fn what_many_tell_within_ten_minutes_has_one_name() {
        let name = |message: &str, second: i64| {
            let told = Notice { tellers: Tellers::Many, ..notice(service(Some("shop")), message) };
            event("metallb-speaker", &told, Timestamp::from_second(second).unwrap()).metadata.name
        };
        assert_eq!(name("broken", 1_800_000_000), name("broken", 1_800_000_599));
        assert_ne!(name("broken", 1_800_000_000), name("broken", 1_800_000_600));
        assert_ne!(name("broken", 1_800_000_000), name("otherwise", 1_800_000_000));
    }

    type Requests = Arc<Mutex<Vec<(Method, Value)>>>;

    /// An apiserver that accepts Events and tells of each request; PATCHes of unknown names give 404.
    fn apiserver() -> (Client, Requests, Arc<Notify>) {
        let (requests, told) = (Requests::default(), Arc::new(Notify::new()));
        let (seen, tell) = (requests.clone(), told.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (seen, tell) = (seen.clone(), tell.clone());
            async move {
                let method = request.method().clone();
                let body: Value = serde_json::from_slice(&request.into_body().collect_bytes().await?).unwrap();
                let lost = method == Method::PATCH && body["message"] == "lost";
                seen.lock().unwrap().push((method, body));
                tell.notify_one();
                let answer = json!({"metadata": {"name": "x"}, "involvedObject": {}, "status": "Failure", "code": 404});
                let response = Response::builder().status(if lost { 404 } else { 201 });
                Ok::<_, kube::Error>(response.body(Body::from(answer.to_string().into_bytes())).unwrap())
            }
        });
        (Client::new(service, "default"), requests, told)
    }

    async fn published(messages: &[&str], expected: usize) -> Vec<(Method, Value)> {
        let (client, requests, told) = apiserver();
        let publisher = Publisher::new(client, "metallb-controller");
        for message in messages {
            publisher.publish(&service(Some("shop")), EventType::Warning, "AllocationFailed", message);
        }
        let waiting = async {
            while requests.lock().unwrap().len() < expected {
                told.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
        requests.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn a_repeated_event_raises_the_count_of_the_first() {
        let requests = published(&["no address", "no address", "other"], 3).await;
        assert_eq!(
            requests.iter().map(|(method, _)| method).collect::<Vec<_>>(),
            [Method::POST, Method::PATCH, Method::POST]
        );
        assert_eq!(requests[0].1["count"], 1);
        assert_eq!(requests[1].1["count"], 2);
        assert!(requests[1].1["lastTimestamp"].is_string());
    }

    #[tokio::test]
    async fn an_event_that_expired_is_created_anew() {
        let requests = published(&["lost", "lost"], 3).await;
        assert_eq!(
            requests.iter().map(|(method, _)| method).collect::<Vec<_>>(),
            [Method::POST, Method::PATCH, Method::POST]
        );
    }

    #[tokio::test]
    async fn a_dead_apiserver_never_holds_up_the_caller() {
        let about = service(None);
        let service =
            tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, kube::Error>>());
        let publisher = Publisher::new(Client::new(service, "default"), "x");
        for number in 0..2 * QUEUE {
            publisher.publish(&about, EventType::Normal, "r", &number.to_string());
        }
    }
}
