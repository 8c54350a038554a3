//! etcd, API server, controller manager and scheduler: the real programs, in the hub.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::audit;
use crate::testbed::layout::{self, API_PORT, HUB, SERVICE_CIDR};
use crate::testbed::pki::{Authority, Subject};
use crate::testbed::program::{Program, Recipe};
use crate::wait;

const ETCD: &str = "http://127.0.0.1:12379";
const ETCD_PEER: &str = "http://127.0.0.1:12380";

/// A node whose link is cut is NotReady after this many seconds.
pub const GRACE_SECONDS: u32 = 8;
/// Pods leave a node this many seconds after it became NotReady.
pub const EVICTION_SECONDS: u32 = 10;

fn recipe(name: &str, program: &str, flags: Vec<String>) -> Recipe {
    let argv = std::iter::once(program.to_owned()).chain(flags).collect();
    Recipe { name: name.to_owned(), host: HUB.to_owned(), argv, env: Vec::new() }
}

/// Starts etcd and the API server; does not wait for them.
pub async fn start_api(run: &Path, kubernetes: &Path, authority: &Authority) -> Result<Vec<Program>> {
    let hub = layout::hub();
    authority.sign(&Subject {
        file: "apiserver",
        common_name: "kube-apiserver",
        organization: None,
        names: &["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"],
        addresses: &[hub.v4.into(), hub.v6.into(), [127, 0, 0, 1].into(), [10, 96, 0, 1].into()],
    })?;
    authority.sign(&Subject {
        file: "front-proxy",
        common_name: "front-proxy",
        organization: None,
        names: &[],
        addresses: &[],
    })?;
    let pki = |file: &str| authority.path(file);
    let etcd = recipe(
        "etcd",
        "etcd",
        vec![
            format!("--data-dir={}", run.join("etcd").display()),
            // The data lives as long as the run; waiting for a disk would only slow it down.
            "--unsafe-no-fsync".into(),
            format!("--listen-client-urls={ETCD}"),
            format!("--advertise-client-urls={ETCD}"),
            format!("--listen-peer-urls={ETCD_PEER}"),
            format!("--initial-advertise-peer-urls={ETCD_PEER}"),
            format!("--initial-cluster=default={ETCD_PEER}"),
        ],
    );
    let mut flags = vec![
        format!("--etcd-servers={ETCD}"),
        "--bind-address=0.0.0.0".into(),
        format!("--advertise-address={}", hub.v4),
        format!("--secure-port={API_PORT}"),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--kubelet-client-certificate={}", pki("admin.crt")),
        format!("--kubelet-client-key={}", pki("admin.key")),
        // Nodes have no names that the hub could resolve.
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        "--authorization-mode=Node,RBAC".into(),
        "--allow-privileged=true".into(),
        // There is no kube-proxy in the hub: webhooks are called at their pods' addresses.
        "--enable-aggregator-routing=true".into(),
        format!("--requestheader-client-ca-file={}", pki("ca.crt")),
        "--requestheader-allowed-names=front-proxy".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        format!("--proxy-client-cert-file={}", pki("front-proxy.crt")),
        format!("--proxy-client-key-file={}", pki("front-proxy.key")),
        format!("--default-not-ready-toleration-seconds={EVICTION_SECONDS}"),
        format!("--default-unreachable-toleration-seconds={EVICTION_SECONDS}"),
    ];
    flags.extend(audit::flags(run)?);
    let apiserver = recipe("kube-apiserver", &kubernetes.join("kube-apiserver").display().to_string(), flags);
    Ok(vec![Program::start(run, etcd).await?, Program::start(run, apiserver).await?])
}

/// Waits until the API server calls itself ready.
pub async fn api_ready(client: &kube::Client, programs: &[Program]) -> Result<()> {
    wait::until("the API server to be ready", Duration::from_secs(120), || async {
        for program in programs {
            program.check().await?;
        }
        let request = http_get("/readyz")?;
        client.request_text(request).await.context("ask /readyz")?;
        Ok(())
    })
    .await
}

/// Starts controller manager and scheduler.
pub async fn start_controllers(run: &Path, kubernetes: &Path, authority: &Authority) -> Result<Vec<Program>> {
    let manager = authority.client("controller-manager", "system:kube-controller-manager", None)?;
    let scheduler = authority.client("scheduler", "system:kube-scheduler", None)?;
    let as_whom = |conf: &Path| {
        let conf = conf.display();
        vec![
            format!("--kubeconfig={conf}"),
            format!("--authentication-kubeconfig={conf}"),
            format!("--authorization-kubeconfig={conf}"),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ]
    };
    let mut flags = as_whom(&manager);
    flags.extend([
        format!("--root-ca-file={}", authority.path("ca.crt")),
        format!("--service-account-private-key-file={}", authority.path("sa.key")),
        format!("--cluster-signing-cert-file={}", authority.path("ca.crt")),
        format!("--cluster-signing-key-file={}", authority.path("ca.key")),
        "--use-service-account-credentials=true".into(),
        "--allocate-node-cidrs=false".into(),
        format!("--node-monitor-grace-period={GRACE_SECONDS}s"),
        "--node-monitor-period=1s".into(),
    ]);
    let program = |name: &str| kubernetes.join(name).display().to_string();
    let manager = recipe("kube-controller-manager", &program("kube-controller-manager"), flags);
    let scheduler = recipe("kube-scheduler", &program("kube-scheduler"), as_whom(&scheduler));
    Ok(vec![Program::start(run, manager).await?, Program::start(run, scheduler).await?])
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    http::Request::get(path).body(Vec::new()).with_context(|| format!("build request {path}"))
}
