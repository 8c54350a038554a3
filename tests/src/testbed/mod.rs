//! A real Kubernetes cluster made of processes, on one machine, for one run.
//!
//! ```text
//!  Testbed::start ── pki ── network (hub, hosts) ── control_plane ── node × N ── light × M
//!     │                                                  │
//!     │ derefs to Cluster: hosts, kubectl, apply, load_image, dump
//!     └ programs by name: kill, pause, resume, restart      client: the kube client, for watches
//! ```
//!
//! It runs inside a [`Sandbox`](crate::sandbox); nothing here cleans up, because the sandbox does.

pub mod artifacts;
pub mod cluster;
pub mod control_plane;
pub mod dump;
pub mod host;
pub mod layout;
pub mod light;
pub mod network;
pub mod node;
pub mod outer;
pub mod pki;
pub mod program;
pub mod progress;
pub mod shell;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Node as NodeObject, ServiceAccount};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};

pub use cluster::{Cluster, Shape};
pub use host::{Capture, Host};
pub use program::{Program, Recipe};
pub use shell::Output;

use crate::sandbox::Sandbox;
use crate::testbed::node::Node;
use crate::testbed::pki::Authority;
use crate::testbed::progress::Progress;
use crate::testbed::shell::Reach;
use crate::wait;

/// What a cluster shall consist of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Full nodes, at least one.
    pub nodes: usize,
    /// Light nodes.
    pub light_nodes: usize,
    /// Images (docker-archives) to load into each full node, beside those of the testbed itself.
    pub images: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { nodes: 3, light_nodes: 0, images: Vec::new() }
    }
}

/// A cluster that this process started.
pub struct Testbed {
    cluster: Cluster,
    client: Client,
    programs: std::sync::Mutex<BTreeMap<String, Program>>,
    _heartbeats: Vec<light::Heartbeat>,
    namespaces: AtomicU32,
}

impl Deref for Testbed {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Testbed {
    /// Starts a cluster in this process's sandbox and waits until all nodes are Ready.
    pub async fn start(sandbox: Sandbox, options: &Options) -> Result<Self> {
        ensure!((1..=layout::MAX_NODES).contains(&options.nodes), "a cluster has 1 to {} nodes", layout::MAX_NODES);
        ensure!(options.light_nodes <= layout::MAX_LIGHT_NODES, "at most {} light nodes", layout::MAX_LIGHT_NODES);
        let mut progress = Progress::new(5);
        let kubernetes = artifacts::kubernetes()?;
        let run = sandbox.dir();
        for folder in ["log", "etcd"] {
            fs::create_dir_all(run.join(folder)).with_context(|| format!("make {}", run.join(folder).display()))?;
        }
        let authority = Authority::new(&run)?;
        let admin = authority.client("admin", "admin", Some("system:masters"))?;
        let proxy = authority.client("kube-proxy", "system:kube-proxy", None)?;
        network::make_hub().await?;
        let mut programs = control_plane::start_api(&run, &kubernetes, &authority).await?;
        network::make_host(&layout::client()).await?;
        let nodes = try_join_all((1..=options.nodes).map(|number| Node::make(sandbox.id(), &run, number))).await?;
        network::route_pods(options.nodes).await?;
        progress.done("network and certificates");

        let mut images = vec![artifacts::image("pause"), artifacts::image("web")];
        images.extend(options.images.iter().cloned());
        programs.extend(try_join_all(nodes.iter().map(|node| node.start_runtime(&images))).await?);
        progress.done("container runtimes, images loaded");

        let client = client_of(&admin).await?;
        control_plane::api_ready(&client, &programs).await?;
        progress.done("etcd and API server");

        programs.extend(control_plane::start_controllers(&run, &kubernetes, &authority).await?);
        let agents = nodes.iter().map(|node| node.start_agents(&kubernetes, &authority, &proxy));
        programs.extend(try_join_all(agents).await?.into_iter().flatten());
        let mut heartbeats = Vec::new();
        for place in (1..=options.light_nodes).map(layout::light) {
            network::make_host(&place).await?;
            heartbeats.push(light::join(&client, &place).await?);
        }
        progress.done("controllers, kubelets and proxies started");

        let shape = Shape { nodes: options.nodes, light_nodes: options.light_nodes, kubernetes };
        let cluster = Cluster { sandbox, reach: Reach::Inside, shape };
        let kubelets: Vec<Program> =
            programs.iter().filter(|program| program.name().ends_with("-kubelet")).cloned().collect();
        let programs = programs.into_iter().map(|program| (program.name().to_owned(), program)).collect();
        let testbed = Self {
            cluster,
            client,
            programs: std::sync::Mutex::new(programs),
            _heartbeats: heartbeats,
            namespaces: AtomicU32::new(1),
        };
        tokio::select! {
            ready = testbed.nodes_ready(Duration::from_secs(120)) => ready?,
            stopped = keep_running(&kubelets) => stopped?,
        }
        testbed.default_account("default").await?;
        progress.done(&format!("{} nodes Ready", options.nodes + options.light_nodes));
        testbed.cluster.announce()?;
        Ok(testbed)
    }

    /// A client with administrator's rights.
    pub fn api(&self) -> Client {
        self.client.clone()
    }

    /// A program of the testbed: `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`,
    /// `node1-containerd`, `node1-kubelet`, `node1-kube-proxy`, or one started with [`Testbed::run_program`].
    pub fn program(&self, name: &str) -> Result<Program> {
        let programs = self.lock_programs();
        programs.get(name).cloned().with_context(|| {
            let names: Vec<&str> = programs.keys().map(String::as_str).collect();
            format!("there is no program {name:?}; there are {}", names.join(", "))
        })
    }

    /// Starts another program, for example one under test on a light node.
    pub async fn run_program(&self, recipe: Recipe) -> Result<Program> {
        let name = recipe.name.clone();
        if self.lock_programs().contains_key(&name) {
            bail!("program {name:?} exists already; restart it");
        }
        let program = Program::start(&self.dir(), recipe).await?;
        self.lock_programs().insert(name, program.clone());
        Ok(program)
    }

    fn lock_programs(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Program>> {
        self.programs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until every node, full or light, is Ready.
    pub async fn nodes_ready(&self, patience: Duration) -> Result<()> {
        let wanted = self.shape.nodes + self.shape.light_nodes;
        let nodes: Api<NodeObject> = Api::all(self.api());
        wait::objects(nodes, kube::runtime::watcher::Config::default(), "all nodes to be Ready", patience, |nodes| {
            let unready: Vec<&str> =
                nodes.iter().filter(|(_, node)| !is_ready(node)).map(|(name, _)| name.as_str()).collect();
            ensure!(nodes.len() == wanted, "{} of {wanted} nodes have joined", nodes.len());
            ensure!(unready.is_empty(), "{} not Ready", unready.join(", "));
            Ok(())
        })
        .await
    }

    /// Waits until one node is Ready, or is not.
    pub async fn node_is_ready(&self, name: &str, ready: bool, patience: Duration) -> Result<()> {
        let what = format!("{name} to be {}", if ready { "Ready" } else { "NotReady" });
        let nodes: Api<NodeObject> = Api::all(self.api());
        wait::object(nodes, name, &what, patience, |node| {
            let is = is_ready(wait::present(node)?);
            ensure!(is == ready, "it is {}", if is { "Ready" } else { "NotReady" });
            Ok(())
        })
        .await
    }

    /// Makes a namespace with a name of its own and the label `testbed=<prefix>`, in which pods can be made at once.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let name = format!("{prefix}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        let labels = format!("{{testbed: {prefix}}}");
        self.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {labels}}}}}"))
            .await?;
        self.default_account(&name).await?;
        Ok(name)
    }

    async fn default_account(&self, namespace: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.api(), namespace);
        let what = format!("the default service account of namespace {namespace}");
        wait::object(accounts, "default", &what, Duration::from_secs(60), |account| {
            wait::present(account)?;
            Ok(())
        })
        .await
    }

    /// Process ids of a pod's containers, by the pod's uid: to kill or pause a program that runs in a pod.
    pub fn pod_processes(&self, uid: &str) -> Result<Vec<i32>> {
        let entries = fs::read_dir("/proc").context("read /proc")?;
        let pids = entries.flatten().filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let groups = fs::read_to_string(entry.path().join("cgroup")).ok()?;
            groups.contains(&format!("pod{uid}")).then_some(pid)
        });
        let mut pids: Vec<i32> = pids.collect();
        pids.sort_unstable();
        if pids.is_empty() { Err(anyhow!("pod {uid} has no processes")) } else { Ok(pids) }
    }
}

/// Starts again what ends, as a service manager would. All kubelets of a machine make one socket,
/// /var/lib/kubelet/device-plugins/kubelet.sock, each after removing it; one that does so in the same moment as another ends.
async fn keep_running(programs: &[Program]) -> Result<()> {
    loop {
        for program in programs {
            if program.check().await.is_err() {
                program.restart().await?;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// True when the node's condition Ready is True.
pub fn is_ready(node: &NodeObject) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

async fn client_of(kubeconfig: &PathBuf) -> Result<Client> {
    // Two crypto providers could be linked in; the choice must be made once per process. A second call is harmless.
    let kubeconfig = Kubeconfig::read_from(kubeconfig).context("read the administrator's kubeconfig")?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .context("use the administrator's kubeconfig")?;
    config.proxy_url = None;
    Client::try_from(config).context("make the API client")
}
