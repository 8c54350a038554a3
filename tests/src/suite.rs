//! Trials that share one cluster, started when the first of them runs.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use libtest_mimic::{Failed, Trial};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::sandbox::Sandbox;
use crate::testbed::{Options, Testbed, artifacts};

/// A trial that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the trials share.
#[derive(Clone)]
pub struct Suite(Arc<Shared>);

struct Shared {
    runtime: Runtime,
    /// `None` where trials are only listed.
    sandbox: Option<Sandbox>,
    options: Options,
    testbed: OnceCell<Result<Arc<Testbed>, String>>,
}

impl Suite {
    /// For running trials inside a sandbox, or (without one) for listing them.
    pub fn new(sandbox: Option<Sandbox>, options: Options) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("start the asynchronous runtime")?;
        Ok(Self(Arc::new(Shared { runtime, sandbox, options, testbed: OnceCell::new() })))
    }

    /// A trial with a sentence for a name. When it fails, the state of the cluster is dumped to `target/testbed-dump`.
    pub fn trial<F, Fut>(&self, sentence: &str, body: F) -> Trial
    where
        F: FnOnce(Arc<Testbed>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let (suite, name) = (self.clone(), sentence.to_owned());
        Trial::test(sentence, move || suite.0.runtime.block_on(suite.0.run(&name, body)))
    }
}

impl Shared {
    async fn run<F, Fut>(&self, name: &str, body: F) -> Result<(), Failed>
    where
        F: FnOnce(Arc<Testbed>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let testbed = match self.testbed.get_or_init(|| self.start()).await {
            Ok(testbed) => Arc::clone(testbed),
            Err(text) => return Err(Failed::from(format!("the cluster did not start: {text}"))),
        };
        // A task of its own, so that a panic of a trial is its failure and not the suite's.
        let body = tokio::spawn(body(Arc::clone(&testbed)));
        let result = match tokio::time::timeout(PATIENCE, body).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(anyhow!("{panic}")),
            Err(_) => Err(anyhow!("not done after {} s", PATIENCE.as_secs())),
        };
        let Err(error) = result else { return Ok(()) };
        let folder = dump_folder(name);
        let dumped = match testbed.dump(&folder).await {
            Ok(()) => format!("state of the cluster: {}", folder.display()),
            Err(error) => format!("the state of the cluster could not be dumped: {error:#}"),
        };
        Err(Failed::from(format!("{error:#}\n{dumped}")))
    }

    async fn start(&self) -> Result<Arc<Testbed>, String> {
        let Some(sandbox) = self.sandbox.clone() else { return Err("there is no sandbox here".to_owned()) };
        let dir = sandbox.dir();
        match Testbed::start(sandbox, &self.options).await {
            Ok(testbed) => Ok(Arc::new(testbed)),
            Err(error) => {
                let folder = dump_folder("start of the cluster");
                let kept = copy_logs(&dir.join("log"), &folder);
                Err(format!("{error:#}\nlogs: {}", if kept { folder.display().to_string() } else { "none".to_owned() }))
            }
        }
    }
}

/// Where the state of the cluster goes when this trial fails.
pub fn dump_folder(trial: &str) -> PathBuf {
    let name: String = trial.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    artifacts::repository().join("target/testbed-dump").join(name)
}

fn copy_logs(from: &std::path::Path, to: &std::path::Path) -> bool {
    let Ok(entries) = std::fs::read_dir(from) else { return false };
    std::fs::create_dir_all(to).is_ok()
        && entries.flatten().all(|entry| std::fs::copy(entry.path(), to.join(entry.file_name())).is_ok())
}
