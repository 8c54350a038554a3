//! A running cluster as seen by whoever may reach it: from inside its sandbox (tests) or from outside (the program
//! `cluster`, scripts).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::sandbox::Sandbox;
use crate::testbed::host::Host;
use crate::testbed::layout::{self, HUB, Place};
use crate::testbed::shell::{Output, PATIENCE, Reach, run};
use crate::testbed::{dump, node};

/// What a cluster consists of; written to `cluster.json` in the run's folder when the cluster is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Number of full nodes.
    pub nodes: usize,
    /// Number of light nodes.
    pub light_nodes: usize,
    /// Folder of the Kubernetes programs.
    pub kubernetes: PathBuf,
}

/// A running cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(crate) sandbox: Sandbox,
    pub(crate) reach: Reach,
    pub(crate) shape: Shape,
}

impl Cluster {
    /// A running cluster, from outside.
    pub fn attach(id: &str) -> Result<Self> {
        let sandbox = Sandbox::named(id)?;
        if !sandbox.is_alive() {
            bail!("cluster {id:?} is not running; `make cluster ID={id}` starts it");
        }
        let path = sandbox.dir().join("cluster.json");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cluster {id:?} is not ready yet: cannot read {}", path.display()))?;
        let shape = serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
        Ok(Self { reach: Reach::into_sandbox(&sandbox)?, sandbox, shape })
    }

    pub(crate) fn announce(&self) -> Result<()> {
        let path = self.dir().join("cluster.json");
        fs::write(&path, serde_json::to_string_pretty(&self.shape)?)
            .with_context(|| format!("write {}", path.display()))
    }

    /// The cluster's name.
    pub fn id(&self) -> &str {
        self.sandbox.id()
    }

    /// The command line that runs `argv` on a host of the cluster from where this process is.
    pub fn argv(&self, host: &str, argv: &[&str]) -> Vec<OsString> {
        self.reach.argv(host, argv)
    }

    /// Path of the real kubectl.
    pub fn kubectl_program(&self) -> String {
        self.shape.kubernetes.join("kubectl").display().to_string()
    }

    /// The run's folder.
    pub fn dir(&self) -> PathBuf {
        self.sandbox.dir()
    }

    /// Administrator's kubeconfig for use inside the sandbox.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("pki/admin.conf")
    }

    /// Administrator's kubeconfig for use on the machine itself; exists for clusters started with `cluster up`.
    pub fn outer_kubeconfig(&self) -> PathBuf {
        self.dir().join("kubeconfig")
    }

    /// Full node `number`, from 1.
    pub fn node(&self, number: usize) -> Host {
        self.at(layout::node(number))
    }

    /// All full nodes.
    pub fn nodes(&self) -> Vec<Host> {
        (1..=self.shape.nodes).map(|number| self.node(number)).collect()
    }

    /// All light nodes.
    pub fn light_nodes(&self) -> Vec<Host> {
        (1..=self.shape.light_nodes).map(|number| self.at(layout::light(number))).collect()
    }

    /// The host outside the cluster.
    pub fn client(&self) -> Host {
        self.at(layout::client())
    }

    /// Where the control plane runs.
    pub fn hub(&self) -> Host {
        self.at(layout::hub())
    }

    /// Every host.
    pub fn hosts(&self) -> Vec<Host> {
        let mut hosts = vec![self.hub(), self.client()];
        hosts.extend(self.nodes());
        hosts.extend(self.light_nodes());
        hosts
    }

    /// The host with this name.
    pub fn host(&self, name: &str) -> Result<Host> {
        let hosts = self.hosts();
        let names: Vec<String> = hosts.iter().map(|host| host.name().to_owned()).collect();
        hosts
            .into_iter()
            .find(|host| host.name() == name)
            .with_context(|| format!("there is no host {name:?}; there are {}", names.join(", ")))
    }

    fn at(&self, place: Place) -> Host {
        Host { sandbox: self.sandbox.clone(), reach: self.reach.clone(), place }
    }

    /// Runs the real kubectl as administrator, with `input` on its standard input.
    pub async fn kubectl_with(&self, argv: &[&str], input: Option<&str>) -> Result<Output> {
        let program = self.kubectl_program();
        let config = format!("--kubeconfig={}", self.kubeconfig().display());
        // Discovery is cached in the run's folder, so nothing is left in a home directory.
        let cache = format!("--cache-dir={}", self.dir().join("kubectl").display());
        let mut line = vec![program.as_str(), &config, &cache];
        line.extend(argv);
        let mut command = self.reach.command(HUB, &line);
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy).env_remove(proxy.to_lowercase());
        }
        run(command, input, PATIENCE).await
    }

    /// Runs the real kubectl as administrator. A refused request is an output, not an error.
    pub async fn kubectl(&self, argv: &[&str]) -> Result<Output> {
        self.kubectl_with(argv, None).await
    }

    /// Applies YAML, as `kubectl apply --server-side` does. Returns kubectl's words, or an error with them.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        self.try_apply(yaml).await?.success()
    }

    /// As [`Cluster::apply`], for objects that may be refused.
    pub async fn try_apply(&self, yaml: &str) -> Result<Output> {
        self.kubectl_with(&["apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-"], Some(yaml))
            .await
    }

    /// Deletes what the YAML names and waits until it is gone; what does not exist is fine.
    pub async fn delete(&self, yaml: &str) -> Result<String> {
        self.kubectl_with(&["delete", "--ignore-not-found", "--wait", "-f", "-"], Some(yaml)).await?.success()
    }

    /// Loads an image (docker-archive) into every full node.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        let dir = self.dir();
        let loads = self.nodes().into_iter().map(|host| {
            let dir = dir.clone();
            async move { node::load_image(&self.reach, &dir, host.name(), archive).await }
        });
        futures::future::try_join_all(loads).await?;
        Ok(())
    }

    /// Writes everything that may explain a failure into `folder`: logs of programs and pods, objects, events, neighbour
    /// tables, addresses, routes, packet filters. What cannot be had is noted there and stops nothing.
    pub async fn dump(&self, folder: &Path) -> Result<()> {
        dump::dump(self, folder).await
    }
}
