//! A full node: containerd, kubelet and kube-proxy in a network namespace, with Debian's CNI plugins.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

use crate::cgroup;
use crate::testbed::layout::{self, POD_CIDR, Place};
use crate::testbed::network;
use crate::testbed::pki::{Authority, Subject};
use crate::testbed::program::{Program, Recipe};
use crate::testbed::shell::{Reach, run};
use crate::wait;

/// A full node being started.
pub struct Node {
    number: usize,
    place: Place,
    run: PathBuf,
    dir: PathBuf,
    cgroup: String,
}

impl Node {
    /// Makes the node's namespace, cgroup and folders.
    pub async fn make(id: &str, run: &Path, number: usize) -> Result<Self> {
        let place = layout::node(number);
        let dir = run.join(&place.name);
        for folder in ["kubelet", "containerd", "cni", "pods"] {
            fs::create_dir_all(dir.join(folder)).with_context(|| format!("make {}", dir.join(folder).display()))?;
        }
        network::make_host(&place).await?;
        network::forward(&place.name).await?;
        let cgroup = cgroup::make(id, &place.name)?;
        Ok(Self { number, run: run.to_owned(), dir, place, cgroup })
    }

    /// Path of the node's containerd socket.
    pub fn socket(run: &Path, node: &str) -> String {
        run.join(node).join("containerd.sock").display().to_string()
    }

    /// Starts containerd and loads images into it.
    pub async fn start_runtime(&self, images: &[PathBuf]) -> Result<Program> {
        self.write("cni/10-bridge.conflist", &self.pod_network())?;
        self.write("containerd.toml", &self.containerd_config())?;
        let config = self.path("containerd.toml");
        let program = self.start("containerd", &["containerd", "--config", &config]).await?;
        let socket = Self::socket(&self.run, &self.place.name);
        wait::until(&format!("containerd of {}", self.place.name), Duration::from_secs(60), || async {
            program.check().await?;
            let command = Reach::Inside.command(&self.place.name, &["ctr", "--address", &socket, "version"]);
            run(command, None, Duration::from_secs(10)).await?.success()
        })
        .await?;
        for image in images {
            load_image(&Reach::Inside, &self.run, &self.place.name, image).await?;
        }
        Ok(program)
    }

    /// Starts kubelet and kube-proxy; the API server is there.
    pub async fn start_agents(&self, kubernetes: &Path, authority: &Authority, proxy: &Path) -> Result<Vec<Program>> {
        let Place { name, v4, v6 } = &self.place;
        authority.sign(&Subject {
            file: &format!("{name}-serving"),
            common_name: name,
            organization: None,
            names: &[name],
            addresses: &self.place.addresses(),
        })?;
        let kubeconfig = authority.client(name, &format!("system:node:{name}"), Some("system:nodes"))?;
        self.write("kubelet.json", &self.kubelet_config(authority))?;
        self.write("proxy.json", &self.proxy_config(proxy))?;
        // Nothing in the test network resolves names; an empty file keeps the machine's own servers out of the pods.
        self.write("resolv.conf", "")?;
        let kubelet = [
            &kubernetes.join("kubelet").display().to_string(),
            "--config",
            &self.path("kubelet.json"),
            "--kubeconfig",
            &kubeconfig.display().to_string(),
            "--hostname-override",
            name,
            "--node-ip",
            &format!("{v4},{v6}"),
            "--root-dir",
            &self.path("kubelet"),
            "--cert-dir",
            &self.path("pki"),
        ];
        let kubelet = self.start("kubelet", &kubelet).await?;
        let proxy = kubernetes.join("kube-proxy").display().to_string();
        let proxy = self.start("kube-proxy", &[&proxy, "--config", &self.path("proxy.json")]).await?;
        Ok(vec![kubelet, proxy])
    }

    async fn start(&self, program: &str, argv: &[&str]) -> Result<Program> {
        let recipe = Recipe {
            name: format!("{}-{program}", self.place.name),
            host: self.place.name.clone(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
        };
        Program::start(&self.run, recipe).await
    }

    fn path(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    fn pod_network(&self) -> String {
        let ranges =
            [[json!({"subnet": layout::pods_v4(self.number)})], [json!({"subnet": layout::pods_v6(self.number)})]];
        json!({
            "cniVersion": "0.4.0",
            "name": "testbed",
            "plugins": [
                {
                    "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
                    "ipam": {
                        "type": "host-local", "ranges": ranges, "dataDir": self.path("cni-data"),
                        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        })
        .to_string()
    }

    fn containerd_config(&self) -> String {
        let dir = self.dir.display();
        let snapshotter = if overlay_works(&self.dir) { "overlayfs" } else { "native" };
        format!(
            r#"version = 2
root = "{dir}/containerd/root"
state = "{dir}/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
address = "{dir}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
# Machines that lack CAP_SYS_RESOURCE cannot lower the score of a process.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{dir}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
"#
        )
    }

    fn kubelet_config(&self, authority: &Authority) -> String {
        let name = &self.place.name;
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": authority.path("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup,
            "failCgroupV1": false,
            "enforceNodeAllocatable": [],
            "localStorageCapacityIsolation": false,
            "evictionHard": {},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "containerRuntimeEndpoint": format!("unix://{}", Self::socket(&self.run, name)),
            "clusterDomain": "cluster.local",
            "resolvConf": self.path("resolv.conf"),
            "failSwapOn": false,
            "oomScoreAdj": 0,
            "tlsCertFile": authority.path(&format!("{name}-serving.crt")),
            "tlsPrivateKeyFile": authority.path(&format!("{name}-serving.key")),
            // Each its own, else kubelets delete one another's logs.
            "podLogsDir": self.path("pods"),
            "healthzPort": 0,
            // A node that cannot be reached must be noticed within seconds.
            "nodeStatusUpdateFrequency": "2s",
            "nodeLeaseDurationSeconds": 8,
        })
        .to_string()
    }

    fn proxy_config(&self, kubeconfig: &Path) -> String {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": kubeconfig},
            "mode": "nftables",
            "clusterCIDR": POD_CIDR,
            "hostnameOverride": self.place.name,
            // The table belongs to the whole machine; it is not this node's to resize.
            "conntrack": {"maxPerCore": 0},
            "healthzBindAddress": "",
            "metricsBindAddress": "127.0.0.1:10249",
        })
        .to_string()
    }
}

/// Loads an image (docker-archive) into a full node.
pub async fn load_image(reach: &Reach, run_dir: &Path, node: &str, archive: &Path) -> Result<()> {
    let (socket, archive) = (Node::socket(run_dir, node), archive.display().to_string());
    let argv = ["ctr", "--address", &socket, "--namespace", "k8s.io", "images", "import", &archive];
    let output = run(reach.command(node, &argv), None, Duration::from_secs(120)).await?;
    output.success().with_context(|| format!("load image {archive} into {node}"))?;
    Ok(())
}

/// Whether overlays can be mounted here: not on top of another overlay, as inside some containers.
fn overlay_works(dir: &Path) -> bool {
    let probe = dir.join("overlay-probe");
    let parts = ["lower", "upper", "work", "merged"].map(|part| probe.join(part));
    let [lower, upper, work, merged] = &parts;
    if parts.iter().any(|part| fs::create_dir_all(part).is_err()) {
        return false;
    }
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let works = mount(Some("overlay"), merged, Some("overlay"), MsFlags::empty(), Some(options.as_str())).is_ok();
    if works {
        let _ = umount(merged);
    }
    let _ = fs::remove_dir_all(&probe);
    works
}
