//! The webhook in a cluster with many pools and peers.
//!
//! ```text
//!  kubectl --▶ API server ──AdmissionReview──▶ webhook        1. the API server's own histogram of these calls
//!  this program ─────────────AdmissionReview──▶ webhook       2. the same calls, timed one by one
//! ```
//! The API server's histogram has no bucket between 5 and 25 ms; the second way gives the percentiles. All of them are tried
//! only: what was admitted and is not stored would have to be judged with the rest, and in a cluster it is stored at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::exposition::{self, Sample};
use e2e::install::{self, NAMESPACE};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::Args;
use crate::cluster::Bench;
use crate::report::{Report, milliseconds, percentile};

const PART: &str = "admission";
const CREATORS: usize = 8;
const HISTOGRAM: &str = "apiserver_admission_webhook_admission_duration_seconds";
/// Warm-up calls that are not counted: the first ones make connections.
const UNCOUNTED: usize = 20;

struct Kind {
    plural: &'static str,
    resource: ApiResource,
    path: &'static str,
    webhook: &'static str,
}

fn kinds() -> [Kind; 2] {
    let resource = |version, kind| ApiResource::from_gvk(&GroupVersionKind::gvk("metallb.io", version, kind));
    [
        Kind {
            plural: "pools",
            resource: resource("v1beta1", "IPAddressPool"),
            path: "/validate-metallb-io-v1beta1-ipaddresspool",
            webhook: "ipaddresspoolvalidationwebhook.metallb.io",
        },
        Kind {
            plural: "peers",
            resource: resource("v1beta2", "BGPPeer"),
            path: "/validate-metallb-io-v1beta2-bgppeer",
            webhook: "bgppeersvalidationwebhook.metallb.io",
        },
    ]
}

impl Kind {
    fn object(&self, number: usize) -> Value {
        let (third, fourth) = (number / 250, number % 250 + 1);
        let spec = match self.plural {
            "pools" => json!({"addresses": [format!("10.{}.{}.0/24", 100 + third, fourth)]}),
            _ => json!({"myASN": 64500, "peerASN": 64501, "peerAddress": format!("10.99.{third}.{fourth}")}),
        };
        json!({
            "apiVersion": self.resource.api_version, "kind": self.resource.kind,
            "metadata": {"name": format!("bench-{number}"), "namespace": NAMESPACE},
            "spec": spec,
        })
    }

    fn api(&self, client: Client) -> Api<DynamicObject> {
        Api::namespaced_with(client, NAMESPACE, &self.resource)
    }

    async fn create(&self, client: &Client, numbers: std::ops::Range<usize>, dry_run: bool) -> Result<()> {
        let api = self.api(client.clone());
        let params = PostParams { dry_run, ..PostParams::default() };
        let requests = numbers.map(|number| {
            let (api, params) = (api.clone(), params.clone());
            async move {
                let object = serde_json::from_value(self.object(number)).context("write an object")?;
                api.create(&params, &object).await.with_context(|| format!("make {} {number}", self.plural))?;
                Ok::<_, anyhow::Error>(())
            }
        });
        let at_once = if dry_run { 1 } else { CREATORS };
        stream::iter(requests).buffer_unordered(at_once).try_collect().await
    }

    /// What the API server sends to the webhook.
    fn review(&self, number: usize) -> Value {
        let (group, version) = (&self.resource.group, &self.resource.version);
        let kind = json!({"group": group, "version": version, "kind": self.resource.kind});
        let resource = json!({"group": group, "version": version, "resource": self.resource.plural});
        json!({
            "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": format!("00000000-0000-0000-0000-{number:012}"),
                "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
                "name": format!("bench-{number}"), "namespace": NAMESPACE, "operation": "CREATE",
                "userInfo": {"username": "admin", "groups": ["system:masters"]},
                "object": self.object(number), "oldObject": null, "dryRun": true,
                "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
            },
        })
    }
}

/// Times creations of one more pool and one more peer.
pub async fn measure(bench: &Bench<'_>, args: &Args, report: &mut Report) -> Result<()> {
    let client = bench.bed.api();
    for kind in &kinds() {
        kind.create(&client, 0..args.objects, false).await?;
    }
    let webhook = webhook_client(bench).await?;
    for kind in &kinds() {
        let first = args.objects;
        kind.create(&client, first..first + UNCOUNTED, true).await?;
        let before = scraped(&client).await?;
        kind.create(&client, first..first + args.admissions, true).await?;
        let after = scraped(&client).await?;
        let fits = |sample: &Sample| sample.label("name") == kind.webhook && sample.label("operation") == "CREATE";
        let grown = |name: &str, bucket: Option<&str>| {
            let fits = |sample: &Sample| fits(sample) && bucket.is_none_or(|bucket| sample.label("le") == bucket);
            exposition::sum(&after, name, fits) - exposition::sum(&before, name, fits)
        };
        let count = grown(&format!("{HISTOGRAM}_count"), None);
        ensure!(count >= args.admissions as f64, "the API server counted {count} calls of {}", kind.webhook);
        let mean = Duration::from_secs_f64(grown(&format!("{HISTOGRAM}_sum"), None) / count);
        let quick = grown(&format!("{HISTOGRAM}_bucket"), Some("0.005")) / count * 100.0;
        let title = format!("admission of one of {} more {}", args.admissions, kind.plural);
        let title = format!("{title}, with {0} pools and {0} peers: ", args.objects);
        report.figure(
            PART,
            &format!("{title}as the API server saw it"),
            format!("mean {}, {quick:.1} % within 5 ms", milliseconds(mean)),
        );
        let mut times = Vec::new();
        for number in first..first + UNCOUNTED + args.admissions {
            let body = serde_json::to_vec(&kind.review(number)).context("write a review")?;
            let request = http::Request::post(kind.path).header("content-type", "application/json").body(body)?;
            let began = Instant::now();
            let answer: Value = webhook.request(request).await.context("call the webhook")?;
            times.push(began.elapsed());
            ensure!(answer.pointer("/response/allowed") == Some(&Value::Bool(true)), "the webhook says {answer}");
        }
        let mut times = times.split_off(UNCOUNTED);
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(&mut times, share));
        let value = format!("p50 {}, p99 {}, longest {}", milliseconds(p50), milliseconds(p99), milliseconds(max));
        report.judged(
            PART,
            &format!("{title}call to answer"),
            value,
            "p99 below 10 ms",
            p99 < Duration::from_millis(10),
        );
    }
    Ok(())
}

async fn scraped(client: &Client) -> Result<Vec<Sample>> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    Ok(exposition::parse(&client.request_text(request).await.context("read the API server's metrics")?))
}

/// A client of the webhook's pod itself.
async fn webhook_client(bench: &Bench<'_>) -> Result<Client> {
    let pods: Api<Pod> = Api::namespaced(bench.bed.api(), NAMESPACE);
    let pods = pods.list(&ListParams::default().labels("component=webhook-server")).await?.items;
    let address = pods.iter().find_map(|pod| pod.status.as_ref()?.pod_ip.clone());
    let url = format!("https://{}:9443", address.context("the webhook has no pod with an address")?);
    let mut config = kube::Config::new(url.parse().context("write the webhook's address")?);
    config.accept_invalid_certs = true;
    config.proxy_url = None;
    install::available(bench.bed, "metallb-operator-webhook-server").await?;
    Client::try_from(config).context("make a client of the webhook")
}
