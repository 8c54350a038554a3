//! Web servers and LoadBalancer Services in front of them, as a user would write them.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::testbed::{Host, Testbed};
use e2e::wait;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::Api;

/// A namespace of its own with two web servers on different nodes.
pub struct Web {
    pub namespace: String,
}

impl Web {
    /// Starts the servers and waits until both answer.
    pub async fn start(bed: &Testbed) -> Result<Self> {
        // A trial that failed leaves its namespace for the dump; here it would only hold addresses.
        bed.kubectl(&["delete", "namespace", "-l", "testbed=web", "--wait=false"]).await?.success()?;
        let namespace = bed.namespace("web").await?;
        bed.apply(&SERVERS.replace("NAMESPACE", &namespace)).await?;
        let deployments: Api<Deployment> = Api::namespaced(bed.api(), &namespace);
        wait::object(deployments, "web", "two web servers", Duration::from_secs(60), |found| {
            let ready = wait::present(found)?.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
            ensure!(ready == 2, "{ready} of 2 are ready");
            Ok(())
        })
        .await?;
        Ok(Self { namespace })
    }

    /// A LoadBalancer Service in front of them; `spec` holds more lines of its spec, in flow style. Returns its addresses.
    pub async fn service(&self, bed: &Testbed, name: &str, spec: &str) -> Result<Vec<IpAddr>> {
        bed.apply(&service(&self.namespace, name, spec)).await?;
        self.addresses(bed, name).await
    }

    /// Waits until a Service has addresses.
    pub async fn addresses(&self, bed: &Testbed, name: &str) -> Result<Vec<IpAddr>> {
        let services: Api<Service> = Api::namespaced(bed.api(), &self.namespace);
        let what = format!("an address of service {name}");
        wait::object(services, name, &what, Duration::from_secs(30), |found| {
            let addresses = ingress(wait::present(found)?)?;
            ensure!(!addresses.is_empty(), "its status has none");
            Ok(addresses)
        })
        .await
    }

    /// Removes everything.
    pub async fn end(self, bed: &Testbed) -> Result<()> {
        bed.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]).await?.success()?;
        Ok(())
    }
}

/// YAML of a LoadBalancer Service in front of the web servers.
pub fn service(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{type: LoadBalancer, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}], {spec}}}\n"
    )
}

/// Addresses in the status of a Service.
pub fn ingress(service: &Service) -> Result<Vec<IpAddr>> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = balancer.and_then(|balancer| balancer.ingress.clone()).unwrap_or_default();
    let texts = entries.into_iter().filter_map(|entry| entry.ip);
    texts.map(|text| text.parse().with_context(|| format!("{text} in the status is no address"))).collect()
}

/// `http://address/` with brackets where they are needed.
pub fn url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("http://{v4}/"),
        IpAddr::V6(v6) => format!("http://[{v6}]/"),
    }
}

/// Fetches a page from a host until it comes; the page.
pub async fn fetched(host: &Host, address: IpAddr, patience: Duration) -> Result<String> {
    let url = url(address);
    let what = format!("a page of {url} on {}", host.name());
    let page = wait::until(&what, patience, || host.fetch(&url, Duration::from_secs(2))).await?;
    ensure!(page.starts_with("pod=web-"), "{url} says {page:?}");
    Ok(page)
}

/// The node that answers for an address, found as a router would find it: by its link-layer address.
pub async fn announcer(bed: &Testbed, address: IpAddr) -> Result<Host> {
    let client = bed.client();
    let asked = match address {
        IpAddr::V4(v4) => client.exec(&["arping", "-c", "1", "-w", "2", "-I", "eth0", &v4.to_string()]).await?,
        IpAddr::V6(v6) => client.exec(&["ndisc6", "-1", "-r", "2", &v6.to_string(), "eth0"]).await?,
    };
    let answer = asked.success()?.to_lowercase();
    for node in bed.nodes() {
        let link = node.exec(&["ip", "-o", "link", "show", "dev", "eth0"]).await?.success()?;
        let mac = link.split_once("link/ether ").and_then(|(_, rest)| rest.split(' ').next());
        if mac.is_some_and(|mac| answer.contains(mac)) {
            return Ok(node);
        }
    }
    anyhow::bail!("no node answers for {address}: {answer}")
}

const SERVERS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: localhost/metallb-test-web:1
        ports: [{containerPort: 8080}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
"#;
