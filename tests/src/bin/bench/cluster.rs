//! The cluster as the parts share it: product without speakers, one pool, one namespace, a watch.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::audit::Mark;
use e2e::install::{self, NAMESPACE};
use e2e::process::Process;
use e2e::testbed::Testbed;
use e2e::{account, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Config;
use kube::{Api, Client};

use crate::observer::Observer;
use crate::services;

/// Namespace of the Services.
pub const BENCH: &str = "bench";
/// Labels of the controller's pods.
pub const CONTROLLER: &str = "app=metallb,component=controller";
/// How long thousands of Services may take.
pub const PATIENCE: Duration = Duration::from_secs(300);

const METALLB: &str = "
apiVersion: metallb.io/v1beta1
kind: MetalLB
metadata: {name: metallb, namespace: metallb-system}
spec: {nodeSelector: {bench: no-speaker}}
";

const POOL: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: bench, namespace: metallb-system}
spec: {addresses: [10.200.0.0/16], avoidBuggyIPs: true}
";

/// What the parts share.
pub struct Bench<'a> {
    /// The cluster.
    pub bed: &'a Testbed,
    /// A client that has the rights of the controller, and takes the API server as long to check.
    pub controller: Client,
    /// When Services got their addresses.
    pub observer: Observer,
}

impl<'a> Bench<'a> {
    /// Installs the product and stops what would only share the processors.
    pub async fn prepare(bed: &'a Testbed) -> Result<Self> {
        bed.apply(&install::manifest()?).await?;
        install::available(bed, "metallb-operator-controller-manager").await?;
        install::available(bed, "metallb-operator-webhook-server").await?;
        install::apply(bed, METALLB).await?;
        install::available(bed, "controller").await?;
        install::apply(bed, POOL).await?;
        // The operator would put the number of controllers back.
        bed.kubectl(&["-n", NAMESPACE, "scale", "deployment/metallb-operator-controller-manager", "--replicas=0"])
            .await?
            .success()?;
        install::pods_gone(bed, "control-plane=controller-manager").await?;
        // What it wrote stays: the controller goes on reaching the API server.
        bed.program("node1-kube-proxy")?.kill().await?;
        let controller = account::client(bed, NAMESPACE, "controller").await?;
        Ok(Self { bed, controller, observer: Observer::start(bed.api(), BENCH) })
    }

    /// Makes Services until there are this many, and waits until each has an address.
    pub async fn settle(&self, number: usize) -> Result<()> {
        let have = self.observer.count();
        if have < number {
            let names = services::names("settled", have..number);
            services::create(&self.bed.api(), BENCH, &names, None).await?;
            self.observer.all(&names, PATIENCE).await?;
        }
        Ok(())
    }

    /// Waits until the product has written nothing for two seconds: what a measurement counts must not be left from before.
    pub async fn quiet(&self) -> Result<()> {
        const QUIET: Duration = Duration::from_secs(2);
        let (mut mark, mut since) = (Mark::now(self.bed)?, Instant::now());
        wait::until("the product to write nothing", Duration::from_secs(60), || {
            let looked = mark.writes();
            let written = looked.as_ref().map_or(0, Vec::len);
            if written > 0 {
                (mark, since) = (mark.end().unwrap_or_else(|_| mark.clone()), Instant::now());
            }
            let quiet = since.elapsed();
            async move {
                looked?;
                ensure!(quiet >= QUIET, "it has been quiet for {:.1} s", quiet.as_secs_f64());
                Ok(())
            }
        })
        .await
    }

    /// Sets the number of controllers; waits until no pod is left when it is 0.
    pub async fn controllers(&self, number: usize) -> Result<()> {
        let replicas = format!("--replicas={number}");
        self.bed.kubectl(&["-n", NAMESPACE, "scale", "deployment/controller", &replicas]).await?.success()?;
        if number == 0 { install::pods_gone(self.bed, CONTROLLER).await } else { Ok(()) }
    }

    /// The controller's pod once it has an address.
    pub async fn pod(&self) -> Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.bed.api(), NAMESPACE);
        wait::objects(pods, Config::default().labels(CONTROLLER), "a controller", Duration::from_secs(60), |pods| {
            let mut living = pods.values().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let pod = living.next().context("there is no pod")?;
            ensure!(address(pod).is_some(), "it has no address");
            Ok(pod.clone())
        })
        .await
    }

    /// The controller's process, other than `not`, as soon as it runs.
    pub async fn process(&self, pod: &Pod, not: Option<Process>) -> Result<Process> {
        wait::until("the controller's process", Duration::from_secs(60), || async {
            let process = Process::in_pod(self.bed, pod, "controller")?;
            ensure!(not.is_none_or(|not| not.pid != process.pid), "it is the old one");
            Ok(process)
        })
        .await
    }

    /// When the controller called itself ready; asked every few milliseconds.
    pub async fn ready(&self, pod: &Pod) -> Result<Instant> {
        let address = address(pod).context("the controller's pod has no address")?;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if answers(&address).await {
                return Ok(Instant::now());
            }
            ensure!(Instant::now() < deadline, "the controller was not ready within 60 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// IPv4 address of a pod.
fn address(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.pod_ip.clone()
}

/// Whether `/readyz` says 200. Spoken by hand: a started curl takes longer than the answer.
async fn answers(address: &str) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect((address, 17472)).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: controller\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), asked).await, Ok(Ok(true)))
}
