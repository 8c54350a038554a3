//! The story of `make demo`, told on a running cluster: install, configure, reach a Service from another host, cut the node
//! that answers, reach it again.
//!
//! ```text
//! demo --id demo      attaches to the cluster of `cluster --id demo up`
//! ```
//! Every step prints what it did and how long it took. On failure everything that may explain it is written to one folder
//! and the last lines say what was wrong.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use e2e::testbed::layout::{INTERFACE, POOL_V4};
use e2e::testbed::progress::Progress;
use e2e::testbed::{Cluster, Host, artifacts};
use e2e::wait;

/// Where the demo's objects live.
const MANIFEST: &str = "manifests/metallb-operator.yaml";
const STEPS: usize = 7;

const METALLB: &str = "\
apiVersion: metallb.io/v1beta1
kind: MetalLB
metadata: {name: metallb, namespace: metallb-system}
";

const CONFIGURATION: &str = "\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: lan, namespace: metallb-system}
spec: {addresses: [POOL]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: lan, namespace: metallb-system}
spec: {ipAddressPools: [lan]}
";

const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: localhost/metallb-test-web:1
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
";

#[derive(Parser)]
#[command(version, about = "Shows the product at work on a running cluster")]
struct Cli {
    /// Name of the cluster.
    #[arg(long, default_value = "demo")]
    id: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let cluster = match Cluster::attach(&cli.id) {
        Ok(cluster) => cluster,
        Err(error) => return failed(&format!("{error:#}")),
    };
    match tell(&cluster).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let folder = artifacts::repository().join("target/demo-dump");
            let mut text = format!("{error:#}");
            match cluster.dump(&folder).await {
                Ok(()) => text = format!("logs, objects and network state are in {}\n{text}", folder.display()),
                Err(dump) => text = format!("no dump could be written: {dump:#}\n{text}"),
            }
            failed(&text)
        }
    }
}

fn failed(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "\nThe demo failed: {text}");
    ExitCode::FAILURE
}

async fn tell(cluster: &Cluster) -> Result<()> {
    let mut progress = Progress::new(STEPS);
    install(cluster).await?;
    progress.done(&format!("operator and webhook run ({MANIFEST})"));
    cluster.apply(METALLB).await?;
    wait_for(cluster, "metallb/metallb", "condition=Available", "55s").await?;
    progress.done("one MetalLB resource: controller and speakers run");
    let refusal = refused(cluster).await?;
    progress.done("a pool with a bad range is refused");
    cluster.apply(&CONFIGURATION.replace("POOL", POOL_V4)).await?;
    cluster.apply(WEB).await?;
    let address = address_of(cluster).await?;
    progress.done(&format!("pool, L2Advertisement and Service: address {address}"));
    kubectl(cluster, &["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    let client = cluster.client();
    let url = format!("http://{address}/");
    let patience = Duration::from_secs(30);
    let before =
        wait::until(&format!("{url} from the client"), patience, || client.fetch(&url, Duration::from_secs(1))).await?;
    let owner = owner_of(cluster, &client, &address).await?;
    progress.done(&format!("the client fetches {url}, {} answers ARP", owner.name()));

    owner.cut().await?;
    let cut = Instant::now();
    let outcome = async {
        // The first request that fails shows that the cut is felt; the first that succeeds after it ends the gap.
        let gone = || async {
            ensure!(client.fetch(&url, Duration::from_millis(500)).await.is_err(), "the client still gets answers");
            Ok(())
        };
        wait::until("the client to feel the cut", Duration::from_secs(10), gone).await?;
        let again = || client.fetch(&url, Duration::from_secs(1));
        let after = wait::until(&format!("{url} through another node"), Duration::from_secs(60), again).await?;
        let gap = cut.elapsed();
        let heir = owner_of(cluster, &client, &address).await?;
        ensure!(heir.name() != owner.name(), "{} is cut off and yet answers", heir.name());
        Ok((after, gap, heir))
    };
    let outcome = outcome.await;
    if outcome.is_err() {
        owner.restore().await?;
    }
    let (after, gap, heir) = outcome?;
    progress.done(&format!("{} is cut off, {} answers ARP, the client fetches again", owner.name(), heir.name()));
    let table = Table { address, refusal, before, after, owner, heir, gap };
    table.print(cluster).await?;
    table.owner.restore().await?;
    kubectl(cluster, &["wait", "--for=condition=Ready", "node", table.owner.name(), "--timeout=60s"]).await?;
    progress.done(&format!("{} is connected again", table.owner.name()));
    say(&format!("The demo is done after {:.1} s.", progress.seconds()))
}

async fn install(cluster: &Cluster) -> Result<()> {
    let path = artifacts::repository().join(MANIFEST);
    let manifest = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    cluster.apply(&manifest).await?;
    wait_for(cluster, "deployment/metallb-operator-controller-manager", "condition=Available", "55s").await?;
    wait_for(cluster, "deployment/metallb-operator-webhook-server", "condition=Available", "55s").await
}

/// kubectl's words about a pool that cannot work.
async fn refused(cluster: &Cluster) -> Result<String> {
    let bad = CONFIGURATION.replace("POOL", "192.0.2.20-192.0.2.10");
    let output = cluster.try_apply(bad.split("---").next().unwrap_or(&bad)).await?;
    ensure!(!output.ok(), "a pool whose range ends before it starts was accepted");
    ensure!(output.stderr.contains("denied the request"), "the pool was refused, but not by the webhook: {output}");
    Ok(output.stderr.trim().to_owned())
}

async fn wait_for(cluster: &Cluster, object: &str, condition: &str, patience: &str) -> Result<()> {
    let (condition, timeout) = (format!("--for={condition}"), format!("--timeout={patience}"));
    let waited = kubectl(cluster, &["-n", "metallb-system", "wait", &condition, object, &timeout]).await;
    if waited.is_ok() {
        return Ok(());
    }
    // kubectl only says that time ran out; the object and its pods say why.
    bail!("{object} did not become Available within {patience}:\n{}", why_not(cluster, object).await)
}

/// The conditions of an object and the states of the containers that do not run, as users read them.
async fn why_not(cluster: &Cluster, object: &str) -> String {
    let conditions = "jsonpath={range .status.conditions[*]}{.type}={.status} {.reason} {.message}{\"\\n\"}{end}";
    let states = "jsonpath={range .items[*]}{.metadata.name}{range .status.containerStatuses[*]} \
                  {.state.waiting.reason} {.state.waiting.message} {.lastState.terminated.message}{end}{\"\\n\"}{end}";
    let mut lines = Vec::new();
    for argv in [
        ["-n", "metallb-system", "get", object, "-o", conditions],
        ["-n", "metallb-system", "get", "pods", "-o", states],
    ] {
        match kubectl(cluster, &argv).await {
            // A pod of which nothing is wrong has only its name.
            Ok(text) => lines.extend(text.lines().map(str::trim).filter(|line| line.contains(' ')).map(str::to_owned)),
            Err(error) => lines.push(format!("{error:#}")),
        }
    }
    lines.join("\n")
}

async fn kubectl(cluster: &Cluster, argv: &[&str]) -> Result<String> {
    cluster.kubectl(argv).await?.success()
}

async fn address_of(cluster: &Cluster) -> Result<String> {
    let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
    kubectl(cluster, &["wait", "--for=jsonpath={.status.loadBalancer.ingress}", "service/web", "--timeout=30s"])
        .await?;
    kubectl(cluster, &["get", "service", "web", "-o", path]).await
}

/// The node whose interface the client knows as the owner of the address.
async fn owner_of(cluster: &Cluster, client: &Host, address: &str) -> Result<Host> {
    let told = client.exec(&["ip", "-o", "neigh", "show", address, "dev", INTERFACE]).await?.success()?;
    let mac = told.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
    let mac = mac.with_context(|| format!("the client knows no link-layer address of {address}: {}", told.trim()))?;
    for node in cluster.nodes() {
        if node.exec(&["ip", "-o", "link", "show", INTERFACE]).await?.success()?.contains(mac) {
            return Ok(node);
        }
    }
    bail!("no node has the link-layer address {mac} that answers for {address}")
}

struct Table {
    address: String,
    refusal: String,
    before: String,
    after: String,
    owner: Host,
    heir: Host,
    gap: Duration,
}

impl Table {
    async fn print(&self, cluster: &Cluster) -> Result<()> {
        let service = kubectl(cluster, &["get", "service", "web"]).await?;
        let columns = "custom-columns=TYPE:.type,REASON:.reason,FROM:.source.component,MESSAGE:.message";
        let field = "--field-selector=involvedObject.kind=Service,involvedObject.name=web";
        let events = kubectl(cluster, &["get", "events", field, "-o", columns]).await?;
        let pool =
            kubectl(cluster, &["-n", "metallb-system", "get", "ipaddresspool", "lan", "-o", "jsonpath={.status}"])
                .await?;
        let pods = kubectl(cluster, &["-n", "metallb-system", "get", "pods", "-o", "wide"]).await?;
        let nodes = kubectl(cluster, &["get", "nodes"]).await?;
        for (title, text) in [
            ("kubectl get service web", service),
            ("events of the Service", events),
            ("status of the pool", pool),
            ("kubectl -n metallb-system get pods", pods),
            ("kubectl get nodes, with one cut off", nodes),
            ("what a bad pool is told", self.refusal.clone()),
        ] {
            say(&format!("\n--- {title}\n{}", text.trim()))?;
        }
        let Self { address, owner, heir, gap, .. } = self;
        say("\n--- seen by a client on another host")?;
        say(&format!("before the cut   HTTP 200   {}", self.before.trim()))?;
        say(&format!("after the cut    HTTP 200   {}", self.after.trim()))?;
        say(&format!("{address} was answered by {}, now by {}", owner.name(), heir.name()))?;
        say(&format!("gap until the first answer: {:.1} s\n", gap.as_secs_f64()))
    }
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("print")
}
