//! How long an address is away when its node dies, stops in good order, or may no longer announce.
//!
//! ```text
//!  client ──100 requests/s──▶ address ── owner ──▶ pod on node3          1. requests lost, and the gap
//!  client ──tcpdump arp─────▶ who says for the first time that the address is his    2. takeover, of every address
//! ```
//! The pod is on a node that is never touched, and the address that is asked belongs to another one: only the announcement
//! moves.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use e2e::install::{self, NAMESPACE};
use e2e::prober::Prober;
use e2e::process::Process;
use e2e::testbed::{Capture, Host, Testbed};
use e2e::wait;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::runtime::watcher::Config;
use kube::{Api, ResourceExt};
use nix::sys::signal::Signal;

use crate::Args;
use crate::cluster::{BENCH, PATIENCE};
use crate::report::{Report, milliseconds, percentile};

const PART: &str = "failover";
/// Where the pod runs.
const SERVER: &str = "node3";
/// How long a client asks on after an event: longer than any gap that is still good.
const AFTER: Duration = Duration::from_millis(2500);
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: bench, namespace: metallb-system}
spec: {addresses: [172.30.128.0-172.30.191.255]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: bench, namespace: metallb-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: bench}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node3}
      containers:
      - name: web
        image: localhost/metallb-test-web:1
        ports: [{containerPort: 8080}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
"#;

/// What happens to the node that announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Killed,
    Cut,
    Stopped,
    Drained,
}

impl Event {
    const ALL: [Self; 4] = [Self::Killed, Self::Cut, Self::Stopped, Self::Drained];

    fn title(self) -> &'static str {
        match self {
            Self::Killed => "its speaker is killed (SIGKILL)",
            Self::Cut => "its node is cut off",
            Self::Stopped => "its speaker stops in good order",
            Self::Drained => "its node gets the exclude label",
        }
    }

    /// Whether the addresses move as somebody planned it.
    fn is_planned(self) -> bool {
        matches!(self, Self::Stopped | Self::Drained)
    }
}

/// One run.
struct Outcome {
    /// From the event until another node said that it has the address that is asked.
    asked: Duration,
    /// The same, of the last address.
    last: Duration,
    gap: Duration,
    lost: usize,
    /// Requests lost when the addresses went back.
    lost_on_return: usize,
}

/// Runs every kind of event, with each of these numbers of addresses.
pub async fn measure(bed: &Testbed, args: &Args, report: &mut Report) -> Result<()> {
    install::install(bed).await?;
    install::apply(bed, OBJECTS).await?;
    for number in &args.addresses {
        services(bed, *number).await?;
        for event in Event::ALL {
            let mut outcomes = Vec::new();
            for run in 0..args.runs {
                let outcome = once(bed, event).await.with_context(|| format!("run {run}, {}", event.title()))?;
                eprintln!(
                    "{number} addresses, {}: takeover {} (last {}), gap {}, lost {} and {} on return",
                    event.title(),
                    milliseconds(outcome.asked),
                    milliseconds(outcome.last),
                    milliseconds(outcome.gap),
                    outcome.lost,
                    outcome.lost_on_return
                );
                outcomes.push(outcome);
            }
            tell(report, *number, event, &outcomes);
        }
    }
    Ok(())
}

fn tell(report: &mut Report, number: usize, event: Event, outcomes: &[Outcome]) {
    let title = format!("{number} addresses, {}, {} runs: ", event.title(), outcomes.len());
    let spread = |of: fn(&Outcome) -> Duration| {
        let mut values: Vec<Duration> = outcomes.iter().map(of).collect();
        [0.5, 0.95, 1.0].map(|share| percentile(&mut values, share))
    };
    let text = |[p50, p95, max]: [Duration; 3]| {
        format!("p50 {}, p95 {}, longest {}", milliseconds(p50), milliseconds(p95), milliseconds(max))
    };
    let is_good = |[_, p95, max]: [Duration; 3]| p95 < Duration::from_millis(500) && max < Duration::from_secs(1);
    let target = "p95 below 0.5 s, all below 1 s";
    let lost = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).max().unwrap_or(0);
    if event.is_planned() {
        let most = lost(|outcome| outcome.lost);
        let value = format!("at most {most}");
        report.judged(PART, &format!("{title}requests lost (100 per s)"), value, "at most 2", most <= 2);
    } else {
        let (asked, last) = (spread(|outcome| outcome.asked), spread(|outcome| outcome.last));
        report.judged(
            PART,
            &format!("{title}another node says the address is its own"),
            text(asked),
            target,
            is_good(asked),
        );
        report.figure(PART, &format!("{title}the same of the last address"), text(last));
        let gaps = spread(|outcome| outcome.gap);
        report.judged(PART, &format!("{title}gap of a client"), text(gaps), target, is_good(gaps));
    }
    let back = lost(|outcome| outcome.lost_on_return);
    let (row, value) = (format!("{title}requests lost when they go back"), format!("at most {back}"));
    if event == Event::Cut {
        // Nobody planned the end of a partition: both sides announce until they hear one another.
        report.figure(PART, &row, value);
    } else {
        report.judged(PART, &row, value, "at most 2", back <= 2);
    }
}

/// Makes Services until there are this many, and waits for their addresses.
async fn services(bed: &Testbed, number: usize) -> Result<()> {
    let api: Api<Service> = Api::namespaced(bed.api(), BENCH);
    let have = api.list_metadata(&ListParams::default()).await.context("list Services")?.items.len();
    for first in (have..number).step_by(500) {
        let some: Vec<String> = (first..number.min(first + 500)).map(service).collect();
        bed.apply(&some.join("---\n")).await?;
    }
    wait::objects(api, Config::default(), "an address for every Service", PATIENCE, |services| {
        let have = services.values().filter(|service| address(service).is_some()).count();
        ensure!(have >= number, "{have} of {number} have one");
        Ok(())
    })
    .await
}

fn service(number: usize) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web-{number}, namespace: {BENCH}}}\n\
         spec: {{type: LoadBalancer, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}], \
         allocateLoadBalancerNodePorts: false}}\n"
    )
}

fn address(service: &Service) -> Option<Ipv4Addr> {
    let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
    balancer.ingress.as_ref()?.first()?.ip.as_ref()?.parse().ok()
}

async fn once(bed: &Testbed, event: Event) -> Result<Outcome> {
    install::speakers_ready(bed).await?;
    let (address, owner) = subject(bed).await?;
    let mac = mac(&owner).await?;
    let client = bed.client();
    let capture = client.capture("arp").await?;
    let prober = asked(&client, address).await?;
    let (began, at) = (Instant::now(), SystemTime::now());
    happen(bed, &owner, event).await?;
    let elapsed = began.elapsed();
    // Announcements are on the wire for five seconds: what is asked is when they began.
    let taken = format!("{address} to be taken over from {}", owner.name());
    wait::until(&taken, Duration::from_secs(30), || async {
        let seen = takeovers(&capture, at, &mac)?;
        seen.get(&address).map(|_| ()).context("nobody else has announced it")
    })
    .await?;
    tokio::time::sleep(AFTER.saturating_sub(began.elapsed())).await;
    let seen_by_client = prober.finish().await?;
    let seen = takeovers(&capture, at, &mac)?;
    ensure!(elapsed < AFTER, "the event itself took {} ms", elapsed.as_millis());
    let asked_after = seen.get(&address).copied().context("the takeover is gone from the record")?;
    let last = seen.values().copied().max().unwrap_or(asked_after);
    drop(capture);

    let prober = asked(&client, address).await?;
    undo(bed, &owner, event).await?;
    returned(bed, &client, address, &mac).await?;
    tokio::time::sleep(AFTER).await;
    let lost_on_return = prober.finish().await?.lost();
    Ok(Outcome {
        asked: asked_after,
        last,
        gap: seen_by_client.longest_gap(),
        lost: seen_by_client.lost(),
        lost_on_return,
    })
}

/// An address whose owner is not the node with the pod.
async fn subject(bed: &Testbed) -> Result<(Ipv4Addr, Host)> {
    let api: Api<Service> = Api::namespaced(bed.api(), BENCH);
    let services = api.list(&ListParams::default().limit(50)).await.context("list Services")?.items;
    for address in services.iter().filter_map(address) {
        let owner = wait::until("an owner", Duration::from_secs(30), || owner(bed, address)).await?;
        if owner.name() != SERVER {
            return Ok((address, owner));
        }
        // A single Service: another address has another owner.
        if let [one] = services.as_slice() {
            let next = Ipv4Addr::from_bits(address.to_bits() + 1);
            let patch = format!("{{\"metadata\":{{\"annotations\":{{\"metallb.io/loadBalancerIPs\":\"{next}\"}}}}}}");
            bed.kubectl(&["-n", BENCH, "patch", "service", &one.name_any(), "-p", &patch]).await?.success()?;
            let name = one.name_any();
            wait::object(api.clone(), &name, "the next address", Duration::from_secs(30), |found| {
                ensure!(wait::present(found).map(|found| self::address(found) == Some(next))?, "not yet");
                Ok(())
            })
            .await?;
            return Box::pin(subject(bed)).await;
        }
    }
    bail!("every address belongs to {SERVER}")
}

/// The node that answers for the address.
async fn owner(bed: &Testbed, address: Ipv4Addr) -> Result<Host> {
    let argv = ["arping", "-c", "1", "-w", "2", "-I", "eth0", &address.to_string()];
    let answer = bed.client().exec(&argv).await?.success()?.to_lowercase();
    for node in bed.nodes() {
        if answer.contains(&mac(&node).await?) {
            return Ok(node);
        }
    }
    bail!("no node answers for {address}: {answer}")
}

async fn mac(node: &Host) -> Result<String> {
    let link = node.exec(&["ip", "-o", "link", "show", "dev", "eth0"]).await?.success()?;
    let mac = link.split_once("link/ether ").and_then(|(_, rest)| rest.split(' ').next());
    mac.map(str::to_owned).context("eth0 has no link-layer address")
}

/// A client that has had its first answers.
async fn asked(client: &Host, address: Ipv4Addr) -> Result<Prober> {
    let url = format!("http://{address}/");
    wait::until(&url, Duration::from_secs(30), || client.fetch(&url, Duration::from_secs(1))).await?;
    Prober::start(client, SocketAddr::from((address, 80)))
}

async fn happen(bed: &Testbed, owner: &Host, event: Event) -> Result<()> {
    match event {
        Event::Killed => speaker(bed, owner).await?.1.signal(Signal::SIGKILL),
        Event::Cut => owner.cut().await,
        Event::Stopped => {
            let (pod, _) = speaker(bed, owner).await?;
            bed.kubectl(&["-n", NAMESPACE, "delete", "pod", &pod.name_any(), "--wait=false"]).await?.success()?;
            Ok(())
        }
        Event::Drained => label(bed, owner, &format!("{EXCLUDE}=")).await,
    }
}

async fn undo(bed: &Testbed, owner: &Host, event: Event) -> Result<()> {
    match event {
        Event::Killed => {
            // A new pod: a container that is started again and again waits longer each time.
            let (pod, _) = speaker(bed, owner).await?;
            bed.kubectl(&["-n", NAMESPACE, "delete", "pod", &pod.name_any(), "--wait=false"]).await?.success()?;
            Ok(())
        }
        Event::Cut => {
            owner.restore().await?;
            bed.node_is_ready(owner.name(), true, Duration::from_secs(60)).await
        }
        Event::Stopped => Ok(()),
        Event::Drained => label(bed, owner, &format!("{EXCLUDE}-")).await,
    }
}

async fn label(bed: &Testbed, node: &Host, label: &str) -> Result<()> {
    bed.kubectl(&["label", "node", node.name(), label]).await?.success()?;
    Ok(())
}

/// The speaker of a node; its process may be gone for the moment.
async fn speaker(bed: &Testbed, node: &Host) -> Result<(Pod, Process)> {
    let pods: Api<Pod> = Api::namespaced(bed.api(), NAMESPACE);
    let here = ListParams::default().labels("component=speaker").fields(&format!("spec.nodeName={}", node.name()));
    wait::until("the node's speaker", Duration::from_secs(60), || async {
        let found = pods.list(&here).await.context("list speakers")?.items;
        let mut living = found.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let pod = living.next().with_context(|| format!("{} has no speaker", node.name()))?;
        let process = Process::in_pod(bed, &pod, "speaker")?;
        Ok((pod, process))
    })
    .await
}

/// Waits until the address is answered by this link-layer address again.
async fn returned(bed: &Testbed, client: &Host, address: Ipv4Addr, mac: &str) -> Result<()> {
    install::speakers_ready(bed).await?;
    let what = format!("{address} to go back");
    wait::until(&what, Duration::from_secs(60), || async {
        let known =
            client.exec(&["ip", "-o", "neigh", "show", &address.to_string(), "dev", "eth0"]).await?.success()?;
        ensure!(known.contains(mac), "the client knows {}", known.trim());
        Ok(())
    })
    .await
}

/// For each address: how long after `since` somebody other than `old` first said that it is his.
fn takeovers(capture: &Capture, since: SystemTime, old: &str) -> Result<BTreeMap<Ipv4Addr, Duration>> {
    let since = since.duration_since(UNIX_EPOCH).context("read the clock")?.as_secs_f64();
    let mut first = BTreeMap::new();
    for packet in capture.packets()? {
        if let Some((at, address)) = claim(&packet, old).filter(|(at, _)| *at >= since) {
            first.entry(address).or_insert(Duration::from_secs_f64(at - since));
        }
    }
    Ok(first)
}

/// Time and address of a reply by somebody other than `old`, in tcpdump's words.
fn claim(packet: &str, old: &str) -> Option<(f64, Ipv4Addr)> {
    let (time, rest) = packet.split_once(' ')?;
    let (_, reply) = rest.split_once("Reply ")?;
    let mut words = reply.split([' ', ',']);
    let address = words.next()?.parse().ok()?;
    let mac = words.skip_while(|word| *word != "is-at").nth(1)?;
    (mac != old).then_some((time.parse().ok()?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_another_node_is_a_claim() {
        let packet = "1700000000.250000 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: \
                      Ethernet (len 6), IPv4 (len 4), Reply 172.30.128.1 is-at 02:00:00:00:00:01, length 28";
        let claimed = Some((1_700_000_000.25, Ipv4Addr::new(172, 30, 128, 1)));
        assert_eq!(claim(packet, "02:00:00:00:00:02"), claimed);
        assert_eq!(claim(packet, "02:00:00:00:00:01"), None);
        assert_eq!(claim("1.0 a > b, Request who-has 172.30.128.1 tell 172.30.0.1, length 28", "x"), None);
    }
}
