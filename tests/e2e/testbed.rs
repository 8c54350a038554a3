//! The testbed itself: what every other trial takes for granted.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::suite::Suite;
use e2e::testbed::Testbed;
use e2e::wait;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Api;
use kube::runtime::watcher::Config;
use libtest_mimic::Trial;

pub fn trials(suite: &Suite) -> Vec<Trial> {
    vec![
        suite.trial("the nodes of the cluster are ready and have both address families", |bed| async move {
            dual_stack_nodes(&bed).await
        }),
        suite.trial("a pod on every node answers through the service in both address families", |bed| async move {
            pods_answer(&bed).await
        }),
        suite.trial(
            "a node that is cut off becomes not ready and comes back",
            |bed| async move { cut_node(&bed).await },
        ),
        suite.trial("a program can be paused and killed and comes back", |bed| async move { programs(&bed).await }),
        suite.trial("a capture shows the frames on the wire", |bed| async move { capture(&bed).await }),
        suite.trial("a dump holds logs, objects and neighbour tables", |bed| async move { dump(&bed).await }),
    ]
}

async fn dual_stack_nodes(bed: &Testbed) -> Result<()> {
    bed.nodes_ready(Duration::from_secs(5)).await?;
    let nodes: Api<Node> = Api::all(bed.api());
    for host in bed.nodes() {
        let status = nodes.get(host.name()).await?.status.unwrap_or_default();
        let addresses = status.addresses.unwrap_or_default();
        let internal: Vec<&str> =
            addresses.iter().filter(|a| a.type_ == "InternalIP").map(|a| a.address.as_str()).collect();
        let wanted = host.place().addresses().map(|address| address.to_string());
        ensure!(internal == wanted, "{} has addresses {internal:?}, wanted {wanted:?}", host.name());
    }
    Ok(())
}

/// A DaemonSet of web servers and a dual-stack Service in front of it.
const WEB: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: web
        image: localhost/metallb-test-web:1
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAMESPACE}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"#;

async fn pods_answer(bed: &Testbed) -> Result<()> {
    let namespace = bed.namespace("web").await?;
    bed.apply(&WEB.replace("NAMESPACE", &namespace)).await?;
    let pods: Api<Pod> = Api::namespaced(bed.api(), &namespace);
    let wanted = bed.nodes().len();
    let ips = wait::objects(pods, Config::default(), "a running pod on every node", Duration::from_secs(60), |pods| {
        let running: Vec<_> = pods
            .values()
            .filter_map(|pod| pod.status.as_ref())
            .filter(|status| status.phase.as_deref() == Some("Running"))
            .filter_map(|status| status.pod_ips.clone())
            .collect();
        ensure!(running.len() == wanted, "{} of {wanted} run", running.len());
        Ok(running)
    })
    .await?;
    for ip in ips.iter().flatten() {
        let url =
            if ip.ip.contains(':') { format!("http://[{}]:8080/", ip.ip) } else { format!("http://{}:8080/", ip.ip) };
        bed.hub().fetch(&url, Duration::from_secs(5)).await?;
    }
    let service = Api::<Service>::namespaced(bed.api(), &namespace).get("web").await?;
    let cluster_ips = service.spec.and_then(|spec| spec.cluster_ips).unwrap_or_default();
    ensure!(cluster_ips.len() == 2, "the service has addresses {cluster_ips:?}");
    for ip in cluster_ips {
        let url = if ip.contains(':') { format!("http://[{ip}]/") } else { format!("http://{ip}/") };
        for node in bed.nodes() {
            let what = format!("an answer of {url} on {}", node.name());
            let body = wait::until(&what, Duration::from_secs(20), || node.fetch(&url, Duration::from_secs(2))).await?;
            ensure!(body.starts_with("pod=web-"), "{url} on {} says {body:?}", node.name());
        }
    }
    bed.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).await?.success()?;
    Ok(())
}

async fn cut_node(bed: &Testbed) -> Result<()> {
    let node = bed.node(2);
    node.cut().await?;
    let unready = bed.node_is_ready("node2", false, Duration::from_secs(20)).await;
    node.restore().await?;
    bed.node_is_ready("node2", true, Duration::from_secs(30)).await?;
    unready
}

async fn programs(bed: &Testbed) -> Result<()> {
    let scheduler = bed.program("kube-scheduler")?;
    scheduler.pause().await?;
    scheduler.resume().await?;
    scheduler.kill().await?;
    ensure!(scheduler.check().await.is_err(), "a killed program still runs");
    scheduler.restart().await?;
    scheduler.check().await?;
    let Err(error) = bed.program("kube-sheduler") else { anyhow::bail!("a program that is not there was found") };
    ensure!(error.to_string().contains("there are etcd"), "{error}");
    Ok(())
}

async fn capture(bed: &Testbed) -> Result<()> {
    let (client, node) = (bed.client(), bed.node(1));
    let capture = node.capture("arp").await?;
    client.exec(&["arping", "-c", "1", "-I", "eth0", &node.place().v4.to_string()]).await?.success()?;
    let asked = format!("who-has {}", node.place().v4);
    capture.packet("the request for node1", Duration::from_secs(5), |packet| packet.contains(&asked)).await?;
    capture.packet("the answer of node1", Duration::from_secs(5), |packet| packet.contains("Reply")).await?;
    capture.stop().await?;
    Ok(())
}

async fn dump(bed: &Testbed) -> Result<()> {
    let folder = bed.dir().join("dump");
    bed.dump(&folder).await?;
    for (file, word) in [
        ("logs/kube-apiserver.log", "Serving securely"),
        ("logs/node1-kubelet.log", "kubelet"),
        ("hosts/node1", "ip neigh"),
        ("objects/nodes", "node3"),
        ("overview", "node1"),
    ] {
        let text = std::fs::read_to_string(folder.join(file))?;
        ensure!(text.contains(word), "{file} does not mention {word}");
    }
    Ok(())
}
