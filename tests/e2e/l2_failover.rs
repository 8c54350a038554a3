//! How long an address is away when its speaker or its node dies, and that nobody answers out of turn.
//!
//! ```text
//!  client: one request every 10 ms, and a record of all ARP frames ── segment ── node1, node2, node3: one of them owns
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::install::{NAMESPACE, announced_pool, install, speakers_ready};
use e2e::prober::Prober;
use e2e::process::Process;
use e2e::suite::Suite;
use e2e::testbed::{Host, Testbed};
use e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::web::{Web, announcer, fetched};

/// Longest time without an owner.
const BOUND: Duration = Duration::from_secs(1);
/// How often each death is repeated.
const RUNS: usize = 3;
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("another node answers within a second after the owner's speaker was killed", |bed| async move {
            killed(&bed).await
        }),
        suite.trial("a client misses an owner that loses its power for less than a second", |bed| async move {
            powered_off(&bed).await
        }),
        suite.trial("a rolling restart of the speakers loses at most two requests per move", |bed| async move {
            rolled(&bed).await
        }),
        suite.trial("a speaker that was stopped does not answer for an address it lost meanwhile", |bed| async move {
            stopped(&bed).await
        }),
    ]
}

async fn prepared(bed: &Testbed) -> Result<Web> {
    install(bed).await?;
    announced_pool(bed).await?;
    Web::start(bed).await
}

/// An IPv4 Service whose address a node owns that `suits`; the address and the node.
async fn owned(bed: &Testbed, web: &Web, suits: impl Fn(&Host) -> bool) -> Result<(Ipv4Addr, Host)> {
    for number in 0..16 {
        let name = format!("web{number}");
        let addresses = web.service(bed, &name, "ipFamilyPolicy: SingleStack, ipFamilies: [IPv4]").await?;
        let Some(IpAddr::V4(address)) = addresses.first().copied() else { anyhow::bail!("{name} has no IPv4 address") };
        fetched(&bed.client(), address.into(), Duration::from_secs(20)).await?;
        let owner = wait::until("an owner", Duration::from_secs(10), || announcer(bed, address.into())).await?;
        if suits(&owner) {
            return Ok((address, owner));
        }
        bed.kubectl(&["-n", &web.namespace, "delete", "service", &name]).await?.success()?;
    }
    anyhow::bail!("none of 16 addresses is owned by the right node")
}

async fn pods_of(bed: &Testbed, namespace: &str, selector: &str) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(bed.api(), namespace);
    Ok(pods.list(&ListParams::default().labels(selector)).await?.items)
}

fn is_on(pod: &Pod, node: &str) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
}

async fn speaker_on(bed: &Testbed, node: &Host) -> Result<(Pod, Process)> {
    let speakers = pods_of(bed, NAMESPACE, "component=speaker").await?;
    let speaker = speakers.into_iter().find(|pod| is_on(pod, node.name()));
    let speaker = speaker.with_context(|| format!("{} has no speaker", node.name()))?;
    let process = Process::in_pod(bed, &speaker, "speaker")?;
    Ok((speaker, process))
}

async fn mac(node: &Host) -> Result<String> {
    let link = node.exec(&["ip", "-o", "link", "show", "dev", "eth0"]).await?.success()?;
    let mac = link.split_once("link/ether ").and_then(|(_, rest)| rest.split(' ').next());
    Ok(mac.with_context(|| format!("{} has no link-layer address: {link}", node.name()))?.to_owned())
}

/// One ARP frame in which somebody says that `address` is his, as tcpdump shows it: when, and who.
fn claim(packet: &str, address: Ipv4Addr) -> Option<(f64, String)> {
    let reply = packet.contains(&format!("Reply {address} is-at"));
    let request = packet.contains("who-has") && packet.contains(&format!("tell {address},"));
    let mut words = packet.split(' ');
    let at: f64 = words.next()?.parse().ok()?;
    let from = words.next()?.to_owned();
    (reply || request).then_some((at, from))
}

fn unix_now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Asks for an address about every 80 ms for `seconds`, whether answered or not.
async fn ask(client: &Host, address: Ipv4Addr, seconds: u32) -> Result<()> {
    let script = format!(
        "for round in $(seq {}); do arping -q -c 1 -w 1 -I eth0 {address} >/dev/null 2>&1 & sleep 0.08; done; wait",
        seconds * 1000 / 80
    );
    client.shell(&script).await?;
    Ok(())
}

async fn killed(bed: &Testbed) -> Result<()> {
    let web = prepared(bed).await?;
    let (address, _) = owned(bed, &web, |_| true).await?;
    let client = bed.client();
    for run in 1..=RUNS {
        let owner = announcer(bed, address.into()).await?;
        let (pod, process) = speaker_on(bed, &owner).await?;
        let own = mac(&owner).await?;
        let capture = client.capture("arp").await?;
        let began = unix_now();
        process.signal(Signal::SIGKILL)?;
        ask(&client, address, 2).await?;
        let packets = capture.stop().await?;
        let mut claims = packets.iter().filter_map(|packet| claim(packet, address));
        let other = claims.find(|(at, from)| *at >= began && *from != own).context("nobody took over within 2 s")?;
        let answers = packets.iter().filter(|packet| packet.contains("is-at") && !packet.contains("ff:ff:ff:ff:ff:ff"));
        let mut answers = answers.filter_map(|packet| claim(packet, address));
        let answer = answers.find(|(at, from)| *at >= began && *from != own).context("nobody answers within 2 s")?;
        eprintln!(
            "run {run}: the speaker on {} was killed, {} claims {address} after {:.0} ms and answers after {:.0} ms",
            owner.name(),
            other.1,
            (other.0 - began) * 1e3,
            (answer.0 - began) * 1e3
        );
        ensure!(answer.0 - began < BOUND.as_secs_f64(), "it took {:.3} s", answer.0 - began);
        // A new pod begins without the back-off of one that crashed.
        bed.kubectl(&["-n", NAMESPACE, "delete", "pod", &pod.name_any()]).await?.success()?;
        speakers_ready(bed).await?;
        returned(bed, address, &owner).await?;
    }
    web.end(bed).await
}

/// Waits until a node owns its address again.
async fn returned(bed: &Testbed, address: Ipv4Addr, owner: &Host) -> Result<()> {
    wait::until(&format!("{address} to be back on {}", owner.name()), Duration::from_secs(30), || async {
        let now = announcer(bed, address.into()).await?;
        ensure!(now.name() == owner.name(), "{} answers", now.name());
        Ok(())
    })
    .await
}

async fn powered_off(bed: &Testbed) -> Result<()> {
    let web = prepared(bed).await?;
    let servers = pods_of(bed, &web.namespace, "app=web").await?;
    // A node that serves takes its endpoint along, and what is sent to that one is lost whoever owns the address.
    let idle = |node: &Host| !servers.iter().any(|pod| is_on(pod, node.name()));
    let (address, owner) = owned(bed, &web, idle).await?;
    let kubelet = bed.program(&format!("{}-kubelet", owner.name()))?;
    for run in 1..=RUNS {
        let prober = Prober::start(&bed.client(), SocketAddr::new(address.into(), 80))?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        kubelet.pause().await?;
        owner.cut().await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let record = prober.finish().await;
        owner.restore().await?;
        kubelet.resume().await?;
        let record = record?;
        eprintln!(
            "run {run}: {} lost its power, the client missed it for {:.0} ms ({} of {} requests)",
            owner.name(),
            record.longest_gap().as_secs_f64() * 1e3,
            record.lost(),
            record.requests()
        );
        ensure!(record.longest_gap() < BOUND, "the client missed it for {:?}", record.longest_gap());
        bed.node_is_ready(owner.name(), true, Duration::from_secs(60)).await?;
        speakers_ready(bed).await?;
        returned(bed, address, &owner).await?;
    }
    web.end(bed).await
}

async fn rolled(bed: &Testbed) -> Result<()> {
    let web = prepared(bed).await?;
    let (address, _) = owned(bed, &web, |_| true).await?;
    let capture = bed.client().capture("arp").await?;
    let prober = Prober::start(&bed.client(), SocketAddr::new(address.into(), 80))?;
    bed.kubectl(&["-n", NAMESPACE, "rollout", "restart", "daemonset", "speaker"]).await?.success()?;
    speakers_ready(bed).await?;
    // The last move follows the last speaker's return.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let record = prober.finish().await?;
    let mut owners: Vec<String> = Vec::new();
    for (_, from) in capture.stop().await?.iter().filter_map(|packet| claim(packet, address)) {
        if owners.last() != Some(&from) {
            owners.push(from);
        }
    }
    let moves = owners.len().saturating_sub(1).max(2);
    eprintln!(
        "all speakers restarted: {} moves ({}), {} of {} requests lost, longest gap {:.0} ms",
        moves,
        owners.join(" "),
        record.lost(),
        record.requests(),
        record.longest_gap().as_secs_f64() * 1e3
    );
    ensure!(record.lost() <= 2 * moves, "{} requests were lost in {moves} moves", record.lost());
    web.end(bed).await
}

async fn stopped(bed: &Testbed) -> Result<()> {
    let web = prepared(bed).await?;
    let (address, owner) = owned(bed, &web, |_| true).await?;
    let (_, process) = speaker_on(bed, &owner).await?;
    let own = mac(&owner).await?;
    let capture = bed.client().capture("arp").await?;
    process.signal(Signal::SIGSTOP)?;
    let meanwhile = async {
        bed.kubectl(&["label", "node", owner.name(), &format!("{EXCLUDE}=")]).await?.success()?;
        // The questions of this time wait in the stopped speaker's sockets.
        ask(&bed.client(), address, 5).await?;
        let now = announcer(bed, address.into()).await?;
        ensure!(now.name() != owner.name(), "{} still answers", owner.name());
        Ok(())
    }
    .await;
    let resumed = unix_now();
    process.signal(Signal::SIGCONT)?;
    let asked = ask(&bed.client(), address, 3).await;
    // From now on the address is its own again.
    let entitled = unix_now();
    bed.kubectl(&["label", "node", owner.name(), &format!("{EXCLUDE}-")]).await?.success()?;
    meanwhile?;
    asked?;
    let packets = capture.stop().await?;
    let claims: Vec<(f64, String)> = packets.iter().filter_map(|packet| claim(packet, address)).collect();
    let late: Vec<_> = claims.iter().filter(|(at, from)| (resumed..entitled).contains(at) && *from == own).collect();
    let others = claims.iter().filter(|(at, from)| *at >= resumed && *from != own).count();
    eprintln!("after {} went on: {} claims of {address} by it, {others} by others", owner.name(), late.len());
    ensure!(others > 0, "nobody answered after the speaker went on");
    ensure!(
        late.is_empty(),
        "{} answered {} times for an address it had lost, first {:.0} ms after it went on",
        owner.name(),
        late.len(),
        late.first().map_or(0.0, |(at, _)| (at - resumed) * 1e3)
    );
    returned(bed, address, &owner).await?;
    web.end(bed).await
}
