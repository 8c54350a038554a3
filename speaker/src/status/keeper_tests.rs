//! The shell against an apiserver in memory.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// What the apiserver stores and was asked.
#[derive(Default)]
struct Stored {
    objects: BTreeMap<String, Value>,
    requests: Vec<(Method, String, Value, Instant)>,
    /// Answers of the next requests in place of doing them.
    refusals: VecDeque<u16>,
    version: u64,
}

impl Stored {
    fn serve(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        if let Some(code) = self.refusals.pop_front() {
            return (code, failure(code));
        }
        self.version += 1;
        let name = path.split('/').nth(7).unwrap_or_default().to_owned();
        match *method {
            Method::POST => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                if self.objects.contains_key(&name) {
                    return (409, failure(409));
                }
                let mut object = body.clone();
                object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
                // The status subresource: what a create says of it is dropped.
                object["status"] = Value::Null;
                self.put(&name, object)
            }
            Method::PATCH => {
                let Some(mut object) = self.objects.get(&name).cloned() else { return (404, failure(404)) };
                let part = if path.ends_with("/status") { "status" } else { "metadata" };
                if object[part].is_null() {
                    object[part] = json!({});
                }
                let fields = object[part].as_object_mut().unwrap();
                for (field, value) in body[part].as_object().unwrap() {
                    // JSON merge patch: null removes.
                    fields.insert(field.clone(), value.clone());
                    fields.retain(|_, value| !value.is_null());
                }
                self.put(&name, object)
            }
            Method::DELETE => match self.objects.remove(&name) {
                Some(object) => (200, object),
                None => (404, failure(404)),
            },
            _ => (405, failure(405)),
        }
    }

    fn put(&mut self, name: &str, mut object: Value) -> (u16, Value) {
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(name.to_owned(), object.clone());
        (200, object)
    }
}

fn failure(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "refused", "reason": "R"})
}

struct Scene {
    stored: Arc<Mutex<Stored>>,
    changed: Arc<tokio::sync::Notify>,
    desk: Desk,
    events: futures::channel::mpsc::UnboundedSender<Event<Seen>>,
    keeper: tokio::task::JoinHandle<()>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Scene {
    /// A keeper that knows its first list, which is empty, and its first decisions, which are none.
    fn start() -> Self {
        let (stored, changed) = (Arc::new(Mutex::new(Stored::default())), Arc::new(tokio::sync::Notify::new()));
        let (state, tell) = (Arc::clone(&stored), Arc::clone(&changed));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (state, tell) = (Arc::clone(&state), Arc::clone(&tell));
            async move {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let bytes = request.into_body().collect_bytes().await?;
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                let mut state = state.lock().unwrap();
                let (code, answer) = state.serve(&method, &path, &body);
                state.requests.push((method, path, body, Instant::now()));
                tell.notify_one();
                let response = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, kube::Error>(response.unwrap())
            }
        });
        let api = Api::namespaced(Client::new(service, "default"), "metallb-system");
        let owner = OwnerReference { uid: "pod-uid".to_owned(), ..OwnerReference::default() };
        let book = Book::new(Identity { node: "node-a".to_owned(), owner: Some(owner) });
        let (desk, (events, seen)) = (Desk::default(), futures::channel::mpsc::unbounded());
        let keeper = tokio::spawn(Keeper::new(api, book).run(seen, desk.clone()));
        events.unbounded_send(Event::Init).unwrap();
        events.unbounded_send(Event::InitDone).unwrap();
        desk.live(&BTreeSet::from(["node-a"]));
        Self { stored, changed, desk, events, keeper }
    }

    fn decide(&self, name: &str, stand: Option<Stand>) {
        self.desk.stand(web(name), stand);
    }

    /// Waits until the requests and objects are so; the requests since the last call.
    async fn until(&self, what: impl Fn(&Stored) -> bool) -> Vec<(Method, String, Value, Instant)> {
        let waiting = async {
            while !what(&self.stored.lock().unwrap()) {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it does not come");
        std::mem::take(&mut self.stored.lock().unwrap().requests)
    }
}

fn web(name: &str) -> ServiceKey {
    ServiceKey { namespace: "default".to_owned(), name: name.to_owned() }
}

const PATH: &str = "/apis/metallb.io/v1beta1/namespaces/metallb-system/servicel2statuses";

#[tokio::test]
async fn an_object_is_created_filled_and_labelled_and_deleted_by_its_uid() {
    let scene = Scene::start();
    scene.decide("web", Some(Stand::Ours(vec!["eth0".to_owned()])));
    let requests = scene.until(|stored| stored.requests.len() == 3).await;
    let asked: Vec<(&str, &str)> = requests.iter().map(|(method, path, ..)| (method.as_str(), path.as_str())).collect();
    let name = requests[0].2["metadata"]["name"].as_str().unwrap();
    let object = format!("{PATH}/{name}");
    assert_eq!(asked, [("POST", PATH), ("PATCH", &format!("{object}/status")), ("PATCH", &object)]);
    assert!(requests[0].2["metadata"]["labels"].is_null(), "found by its labels only once it is complete");
    assert_eq!(requests[1].2["status"]["interfaces"], json!([{"name": "eth0"}]));
    assert_eq!(requests[2].2["metadata"]["labels"]["metallb.io/service-name"], "web");
    let uid = scene.stored.lock().unwrap().objects[name]["metadata"]["uid"].clone();
    scene.decide("web", Some(Stand::Others));
    let requests = scene.until(|stored| stored.objects.is_empty()).await;
    assert_eq!((requests.len(), &requests[0].0), (1, &Method::DELETE));
    assert_eq!(requests[0].2["preconditions"]["uid"], uid);
}

#[tokio::test]
async fn an_apiserver_that_asks_for_a_pause_is_asked_for_nothing_meanwhile() {
    let scene = Scene::start();
    scene.stored.lock().unwrap().refusals.extend([429; LIMIT]);
    for number in 0..LIMIT * 2 {
        scene.decide(&format!("web-{number}"), Some(Stand::Ours(Vec::new())));
    }
    let complete = |stored: &Stored| stored.objects.values().filter(|one| !one["metadata"]["labels"].is_null()).count();
    let requests = scene.until(|stored| complete(stored) == LIMIT * 2).await;
    let refused = requests[LIMIT - 1].3;
    let pause = requests[LIMIT].3.duration_since(refused);
    assert!(pause > Duration::from_millis(900), "{pause:?} between the refusals and the next request");
    assert_eq!(requests.len(), LIMIT + 3 * LIMIT * 2);
}

#[tokio::test]
async fn a_refused_write_is_tried_again_and_holds_up_no_other_service() {
    let scene = Scene::start();
    scene.stored.lock().unwrap().refusals.push_back(500);
    scene.decide("first", Some(Stand::Ours(Vec::new())));
    scene.until(|stored| stored.requests.len() == 1).await;
    scene.decide("second", Some(Stand::Ours(Vec::new())));
    let requests = scene.until(|stored| stored.requests.len() == 6).await;
    let service = |object: &Value| object["status"]["serviceName"].as_str().map(str::to_owned);
    let filled: Vec<String> = requests.iter().filter_map(|(_, _, body, _)| service(body)).collect();
    assert_eq!(filled, ["second", "first"]);
}

#[tokio::test]
async fn what_somebody_deletes_comes_back_but_a_quarrel_is_slow() {
    let scene = Scene::start();
    scene.decide("web", Some(Stand::Ours(Vec::new())));
    let started = Instant::now();
    let mut writes = 0;
    // Each round costs three writes; a burst of them is free.
    for _ in 0..usize::try_from(BURST).unwrap() / 3 {
        let requests = scene.until(|stored| stored.requests.len() == 3).await;
        writes += requests.len();
        let object = std::mem::take(&mut scene.stored.lock().unwrap().objects).into_values().next().unwrap();
        let seen = Seen::from(serde_json::from_value::<ServiceL2Status>(object).unwrap());
        scene.events.unbounded_send(Event::Delete(seen)).unwrap();
    }
    assert!(started.elapsed() < STEADY, "{:?} for {writes} writes", started.elapsed());
    scene.until(|stored| stored.requests.len() == 3).await;
    assert!(started.elapsed() > STEADY / 2, "{:?}: a quarrel goes on unhindered", started.elapsed());
}
