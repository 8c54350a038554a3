//! The controller of the image as a program in the hub, in front of an API server that can be made to misbehave.
//!
//! The one in the cluster is stopped meanwhile; the next trial that calls `install` brings it back.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::hostile::Hostile;
use e2e::install::{NAMESPACE, pods_gone};
use e2e::testbed::layout::HUB;
use e2e::testbed::{Program, Recipe, Testbed, artifacts};
use e2e::{account, wait};

static NUMBER: AtomicU32 = AtomicU32::new(1);

/// A controller and the proxy through which it sees the cluster.
pub struct Outside {
    pub server: Hostile,
    pub program: Program,
    health: u16,
}

impl Outside {
    /// Stops the controller of the cluster and makes one outside that does not run yet.
    pub async fn prepare(bed: &Testbed) -> Result<Hostile> {
        let rights = account::client(bed, NAMESPACE, "controller").await?;
        // The operator would put the number of controllers back.
        for (deployment, selector) in [
            ("metallb-operator-controller-manager", "control-plane=controller-manager"),
            ("controller", "app=metallb,component=controller"),
        ] {
            let what = format!("deployment/{deployment}");
            bed.kubectl(&["-n", NAMESPACE, "scale", &what, "--replicas=0"]).await?.success()?;
            pods_gone(bed, selector).await?;
        }
        Hostile::start(rights).await
    }

    /// Starts the controller in front of a prepared server.
    pub async fn start(bed: &Testbed, server: Hostile) -> Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let kubeconfig = bed.dir().join(format!("outside-{number}.conf"));
        std::fs::write(&kubeconfig, server.kubeconfig()).with_context(|| format!("write {}", kubeconfig.display()))?;
        let health = free_port()?;
        let program = artifacts::repository().join("target/image/context/metallb-rs/rootfs/metallb");
        let recipe = Recipe {
            name: format!("controller-outside-{number}"),
            host: HUB.to_owned(),
            argv: vec![
                program.display().to_string(),
                "controller".into(),
                "--port=0".into(),
                format!("--health-probe-port={health}"),
                format!("--namespace={NAMESPACE}"),
            ],
            env: vec![("KUBECONFIG".into(), kubeconfig.display().to_string())],
        };
        let program = bed.run_program(recipe).await?;
        Ok(Self { server, program, health })
    }

    /// Waits until it calls itself ready.
    pub async fn ready(&self, bed: &Testbed, patience: Duration) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.health);
        wait::until("the controller outside to be ready", patience, || async {
            self.program.check().await?;
            bed.hub().fetch(&url, Duration::from_secs(1)).await
        })
        .await?;
        Ok(())
    }

    /// Stops it in good order.
    pub async fn end(self) -> Result<()> {
        self.program.check().await?;
        self.program.terminate().await
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    let port = listener.local_addr().context("ask for the port")?.port();
    ensure!(port > 0, "there is no free port");
    Ok(port)
}
