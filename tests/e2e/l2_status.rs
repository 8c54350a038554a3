//! What the speakers tell about layer 2: ServiceL2Status, metrics, log and events, against what is on the wire.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::exposition::{self, Sample};
use e2e::install::{NAMESPACE, announced_pool, install, kind, speakers_ready};
use e2e::suite::Suite;
use e2e::testbed::{Host, Testbed};
use e2e::{account, wait};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use tokio::task::JoinHandle;

use crate::balancers::Balancers;
use crate::metrics::{READERS, scrape, split};
use crate::web::{Web, announcer, fetched};

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("i14 the status of a service follows the wire within five seconds", |bed| async move {
            follows(&bed).await
        }),
        suite.trial(
            "i14 what somebody edits or deletes of a status is put right within five seconds",
            |bed| async move { put_right(&bed).await },
        ),
        suite.trial("i14 the status of a node that is cut off goes when another takes over", |bed| async move {
            leftover(&bed).await
        }),
        suite.trial("i14 the metrics of layer 2 are true and leave nothing behind", |bed| async move {
            measured(&bed).await
        }),
        suite.trial("r18 a service that nobody announces says why in one event and one metric", |bed| async move {
            silent(&bed).await
        }),
        suite.trial("t3 the log of a speaker has the lines that guides quote", |bed| async move { quoted(&bed).await }),
    ]
}

/// What is told must be true this long after the wire changed (invariant I14).
const BOUND: Duration = Duration::from_secs(5);
/// How long the wire may take to change; that is measured elsewhere.
const PATIENCE: Duration = Duration::from_secs(60);
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

fn statuses(bed: &Testbed) -> Api<DynamicObject> {
    Api::namespaced_with(bed.api(), NAMESPACE, &kind("ServiceL2Status"))
}

fn of(namespace: &str, service: &str) -> String {
    format!("metallb.io/service-name={service},metallb.io/service-namespace={namespace}")
}

fn text<'a>(object: &'a DynamicObject, field: &str) -> &'a str {
    object.data["status"][field].as_str().unwrap_or_default()
}

/// A web server behind one address, and who answers for it.
async fn scene(bed: &Testbed) -> Result<(Web, IpAddr, Host)> {
    install(bed).await?;
    announced_pool(bed).await?;
    let web = Web::start(bed).await?;
    let addresses = web.service(bed, "web", "ipFamilies: [IPv4]").await?;
    let address = *addresses.first().context("web has no address")?;
    fetched(&bed.client(), address, Duration::from_secs(20)).await?;
    let node = announcer(bed, address).await?;
    Ok((web, address, node))
}

/// Waits until exactly the status of this node is found by the labels of the Service, complete.
async fn status_of(bed: &Testbed, web: &Web, node: &str) -> Result<DynamicObject> {
    let labels = of(&web.namespace, "web");
    let what = format!("the status of web to name {node} alone");
    wait::until(&what, BOUND, || async {
        let found = statuses(bed).list(&ListParams::default().labels(&labels)).await?.items;
        let [object] = found.as_slice() else { anyhow::bail!("there are {}", found.len()) };
        let said = (text(object, "node"), text(object, "serviceName"), text(object, "serviceNamespace"));
        ensure!(said == (node, "web", web.namespace.as_str()), "it says {said:?}");
        ensure!(
            object.labels().get("metallb.io/node").is_some_and(|label| label == node),
            "its label names another node"
        );
        let owner = object.owner_references().first().context("it belongs to nobody")?;
        ensure!(owner.kind == "Pod", "it belongs to a {}", owner.kind);
        Ok(object.clone())
    })
    .await
}

async fn no_status(bed: &Testbed, web: &Web) -> Result<()> {
    let labels = of(&web.namespace, "web");
    wait::until("web to have no status", BOUND, || async {
        let found = statuses(bed).list(&ListParams::default().labels(&labels)).await?.items;
        ensure!(found.is_empty(), "{} is there", found[0].name_any());
        Ok(())
    })
    .await
}

/// Sees every form of the statuses of one Service, as a reader that watches by labels does.
struct Reader {
    wrong: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Reader {
    fn start(bed: &Testbed, labels: &str) -> Self {
        let wrong: Arc<Mutex<Vec<String>>> = Arc::default();
        let (api, notes, config) = (statuses(bed), Arc::clone(&wrong), Config::default().labels(labels));
        let task = tokio::spawn(async move {
            let events = watcher(api, config);
            pin_mut!(events);
            let mut known = std::collections::BTreeSet::new();
            while let Some(event) = events.next().await {
                let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => {
                        if text(&object, "node").is_empty() {
                            notes.push(format!("{} is empty", object.name_any()));
                        }
                        known.insert(object.name_any());
                        if known.len() > 1 {
                            notes.push(format!("{known:?} at the same time"));
                        }
                    }
                    Ok(Event::Delete(object)) => drop(known.remove(&object.name_any())),
                    Ok(Event::Init | Event::InitDone) | Err(_) => {}
                }
            }
        });
        Self { wrong, task }
    }

    fn nothing_wrong(&self) -> Result<()> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn exclude(bed: &Testbed, node: &str, yes: bool) -> Result<()> {
    let label = if yes { format!("{EXCLUDE}=true") } else { format!("{EXCLUDE}-") };
    bed.kubectl(&["label", "node", node, &label, "--overwrite"]).await?.success()?;
    Ok(())
}

/// Waits until a node other than `before` answers; the node.
async fn moved(bed: &Testbed, address: IpAddr, before: &str) -> Result<Host> {
    wait::until(&format!("a node other than {before} to answer for {address}"), PATIENCE, || async {
        let node = announcer(bed, address).await?;
        ensure!(node.name() != before, "{before} answers");
        Ok(node)
    })
    .await
}

async fn follows(bed: &Testbed) -> Result<()> {
    let (web, address, first) = scene(bed).await?;
    let reader = Reader::start(bed, &of(&web.namespace, "web"));
    status_of(bed, &web, first.name()).await?;
    exclude(bed, first.name(), true).await?;
    let second = moved(bed, address, first.name()).await;
    let followed = async {
        let (second, since) = (second?, Instant::now());
        status_of(bed, &web, second.name()).await?;
        eprintln!("the status named {} {} ms after it answered", second.name(), since.elapsed().as_millis());
        anyhow::Ok(second)
    }
    .await;
    exclude(bed, first.name(), false).await?;
    moved(bed, address, followed?.name()).await?;
    status_of(bed, &web, first.name()).await?;
    bed.kubectl(&["-n", &web.namespace, "delete", "service", "web"]).await?.success()?;
    no_status(bed, &web).await?;
    reader.nothing_wrong()?;
    web.end(bed).await
}

async fn put_right(bed: &Testbed) -> Result<()> {
    let (web, _, node) = scene(bed).await?;
    let object = status_of(bed, &web, node.name()).await?;
    let name = object.name_any();
    let one = |verb: &'static str| vec!["-n", NAMESPACE, verb, "servicel2statuses.metallb.io"];
    let edits: [(&str, Vec<&str>); 4] = [
        (
            "interfaces",
            [
                one("patch"),
                vec![
                    &name,
                    "--subresource=status",
                    "--type=merge",
                    "-p",
                    r#"{"status": {"interfaces": [{"name": "eth9"}]}}"#,
                ],
            ]
            .concat(),
        ),
        ("labels", [one("label"), vec![&name, "metallb.io/service-name=other", "--overwrite"]].concat()),
        (
            "owner",
            [one("patch"), vec![&name, "--type=merge", "-p", r#"{"metadata": {"ownerReferences": null}}"#]].concat(),
        ),
        ("all of it", [one("delete"), vec![&name]].concat()),
    ];
    for (what, argv) in edits {
        bed.kubectl(&argv).await?.success()?;
        let awaited = format!("{what} to be as before");
        let mended = wait::until(&awaited, BOUND, || async {
            let object = status_of(bed, &web, node.name()).await?;
            ensure!(object.data["status"]["interfaces"].is_null(), "it names interfaces");
            Ok(())
        });
        mended.await.with_context(|| format!("after somebody changed {what}"))?;
    }
    // A status that was never true.
    let foreign = format!(
        "apiVersion: metallb.io/v1beta1\nkind: ServiceL2Status\nmetadata: {{name: l2-foreign, namespace: {NAMESPACE}, \
         labels: {{metallb.io/node: nowhere, metallb.io/service-name: web, metallb.io/service-namespace: {}}}}}\n",
        web.namespace
    );
    bed.apply(&foreign).await?;
    status_of(bed, &web, node.name()).await.context("after somebody added one")?;
    web.end(bed).await
}

async fn leftover(bed: &Testbed) -> Result<()> {
    let (web, address, first) = scene(bed).await?;
    status_of(bed, &web, first.name()).await?;
    first.cut().await?;
    let second = moved(bed, address, first.name()).await;
    let followed = match &second {
        Ok(second) => status_of(bed, &web, second.name()).await.map(drop),
        Err(_) => Ok(()),
    };
    first.restore().await?;
    second?;
    followed.context("while the node is cut off")?;
    bed.node_is_ready(first.name(), true, PATIENCE).await?;
    speakers_ready(bed).await?;
    // It is the first choice: the address goes back to it.
    wait::until("the address to go back", PATIENCE, || async {
        let now = announcer(bed, address).await?;
        ensure!(now.name() == first.name(), "{} answers", now.name());
        Ok(())
    })
    .await?;
    status_of(bed, &web, first.name()).await.context("after the node came back")?;
    web.end(bed).await
}

/// The metrics of every speaker, with the node it runs on.
async fn pages(bed: &Testbed, token: &str) -> Result<Vec<(String, Vec<Sample>)>> {
    let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
    let labels = ListParams::default().labels("app=metallb,component=speaker");
    let mut pages = Vec::new();
    for pod in pods.list(&labels).await?.items {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).context("it has no address")?;
        let output = scrape(bed, &format!("https://{address}:9120/metrics"), Some(token)).await?;
        let (page, code) = split(&output)?;
        ensure!(code == "200", "the speaker on {node} answers {code}");
        pages.push((node, exposition::parse(page)));
    }
    Ok(pages)
}

/// The nodes whose speaker shows such a sample.
fn showing(pages: &[(String, Vec<Sample>)], fits: impl Fn(&Sample) -> bool) -> Vec<String> {
    pages.iter().filter(|(_, samples)| samples.iter().any(&fits)).map(|(node, _)| node.clone()).collect()
}

async fn measured(bed: &Testbed) -> Result<()> {
    let (web, address, first) = scene(bed).await?;
    bed.apply(READERS).await?;
    let token = account::token(bed, NAMESPACE, "reader").await?;
    let (service, ip) = (format!("{}/web", web.namespace), address.to_string());
    let announced = |sample: &Sample| {
        sample.name == "metallb_speaker_announced"
            && sample.label("service") == service
            && sample.label("protocol") == "layer2"
            && sample.label("ip") == ip
    };
    let alone = async |node: &str, patience: Duration| {
        wait::until(&format!("the speaker on {node} alone to show {service} as announced"), patience, || async {
            let pages = pages(bed, &token).await?;
            let shown = showing(&pages, |sample| announced(sample) && sample.value == 1.0);
            ensure!(shown == [node], "{shown:?} do");
            ensure!(
                showing(&pages, |sample| announced(sample) && sample.label("node") == node) == [node],
                "label node"
            );
            Ok(pages)
        })
        .await
    };
    // A right that was just given reaches the API server's authorizer a moment later.
    let pages_of_first = alone(first.name(), Duration::from_secs(20)).await?;
    for name in ["metallb_layer2_requests_received", "metallb_layer2_responses_sent", "metallb_layer2_gratuitous_sent"]
    {
        let counted = |sample: &Sample| sample.name == name && sample.label("ip") == ip && sample.value >= 1.0;
        ensure!(showing(&pages_of_first, counted).iter().any(|node| node == first.name()), "{name} counts nothing");
    }
    exclude(bed, first.name(), true).await?;
    let second = moved(bed, address, first.name()).await;
    let told = match &second {
        Ok(second) => alone(second.name(), BOUND).await.map(drop),
        Err(_) => Ok(()),
    };
    exclude(bed, first.name(), false).await?;
    second?;
    told?;
    bed.kubectl(&["-n", &web.namespace, "delete", "service", "web"]).await?.success()?;
    wait::until("no speaker to show the service", BOUND, || async {
        let pages = pages(bed, &token).await?;
        let shown = showing(&pages, |sample| sample.label("service") == service);
        ensure!(shown.is_empty(), "{shown:?} do");
        Ok(())
    })
    .await?;
    bed.delete(READERS).await?;
    web.end(bed).await
}

async fn silent(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    announced_pool(bed).await?;
    bed.apply(READERS).await?;
    let token = account::token(bed, NAMESPACE, "reader").await?;
    let balancers = Balancers::new(bed).await?;
    balancers.create(bed, "mute", "", "").await?;
    balancers.addresses(bed, "mute").await?;
    let service = format!("{}/mute", balancers.namespace);
    let told = async |reason: &str, words: &str| {
        let of_service = |sample: &Sample| {
            sample.name == "metallb_speaker_not_announced" && sample.label("service") == service && sample.value == 1.0
        };
        wait::until(&format!("one speaker to show {reason}"), Duration::from_secs(20), || async {
            let pages = pages(bed, &token).await?;
            let right = showing(&pages, |sample| of_service(sample) && sample.label("reason") == reason);
            let all = showing(&pages, of_service);
            ensure!(right.len() == 1 && all == right, "{right:?} show it, {all:?} show some reason");
            Ok(())
        })
        .await?;
        let line = balancers.event(bed, "mute", "notAnnounced", words).await?;
        ensure!(line.starts_with("Warning notAnnounced metallb-speaker "), "{line}");
        anyhow::Ok(())
    };
    told("noEndpoint", "none of its endpoints can serve").await?;
    let field = "involvedObject.kind=Service,involvedObject.name=mute,reason=notAnnounced";
    let argv = ["-n", &balancers.namespace, "get", "events", "--field-selector", field, "-o", "name"];
    let events = bed.kubectl(&argv).await?.success()?;
    ensure!(events.lines().count() == 1, "three speakers made these events:\n{events}");
    let argv = ["-n", NAMESPACE, "delete", "l2advertisements.metallb.io", "lan"];
    bed.kubectl(&argv).await?.success()?;
    let reported = told("noAdvertisement", "no L2Advertisement selects the pool").await;
    announced_pool(bed).await?;
    reported?;
    // Nodes that may not announce come before endpoints that are missing, once there are endpoints.
    let slice = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nendpoints: [{{addresses: [192.0.2.77]}}]\n\
         ports: [{{port: 80}}]\n\
         metadata: {{name: mute-1, namespace: {}, labels: {{kubernetes.io/service-name: mute}}}}\n",
        balancers.namespace
    );
    bed.apply(&slice).await?;
    let nodes = bed.nodes();
    for node in &nodes {
        exclude(bed, node.name(), true).await?;
    }
    let reported = told("nodesExcluded", EXCLUDE).await;
    for node in &nodes {
        exclude(bed, node.name(), false).await?;
    }
    reported?;
    wait::until("no speaker to show the service as not announced", Duration::from_secs(20), || async {
        let pages = pages(bed, &token).await?;
        let silent =
            |sample: &Sample| sample.name == "metallb_speaker_not_announced" && sample.label("service") == service;
        let shown = showing(&pages, silent);
        ensure!(shown.is_empty(), "{shown:?} do");
        Ok(())
    })
    .await?;
    bed.delete(READERS).await?;
    balancers.end(bed).await
}

async fn quoted(bed: &Testbed) -> Result<()> {
    install(bed).await?;
    let argv = ["-n", NAMESPACE, "logs", "-l", "component=speaker", "-c", "speaker", "--tail=-1"];
    let log = bed.kubectl(&argv).await?.success()?;
    for parts in [
        &["\"level\":\"info\"", "\"msg\":\"MetalLB speaker starting (commit ", "\"version\":\"", "\"branch\":\""][..],
        &[
            "\"event\":\"createARPResponder\"",
            "\"interface\":\"eth0\"",
            "\"msg\":\"created ARP responder for interface\"",
        ],
        &[
            "\"event\":\"createNDPResponder\"",
            "\"interface\":\"eth0\"",
            "\"msg\":\"created NDP responder for interface\"",
        ],
        &["\"msg\":\"Starting Manager\""],
        &["\"msg\":\"node event - forcing sync\"", "\"node event\":\"NodeJoin\"", "\"node name\":\"node"],
    ] {
        let found = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        ensure!(found, "no line of a speaker's log has {parts:?}:\n{log}");
    }
    Ok(())
}
