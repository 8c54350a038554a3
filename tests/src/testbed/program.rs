//! Long-running programs of the testbed: started, paused, killed and restarted by name; each with a log of its own.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::testbed::shell::Reach;

/// How a program is started.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Unique name; the log is `log/<name>.log` in the run's folder.
    pub name: String,
    /// Host in whose network namespace it runs.
    pub host: String,
    /// Command line.
    pub argv: Vec<String>,
    /// Its whole environment beside PATH and HOME.
    pub env: Vec<(String, String)>,
}

/// A program that runs, or did.
#[derive(Debug, Clone)]
pub struct Program {
    recipe: Arc<Recipe>,
    dir: Arc<Path>,
    child: Arc<Mutex<Option<Child>>>,
}

impl Program {
    /// Starts a program; `dir` is the run's folder.
    pub async fn start(dir: &Path, recipe: Recipe) -> Result<Self> {
        let program = Self { recipe: Arc::new(recipe), dir: dir.into(), child: Arc::default() };
        *program.child.lock().await = Some(program.spawn()?);
        Ok(program)
    }

    /// Its unique name.
    pub fn name(&self) -> &str {
        &self.recipe.name
    }

    /// Everything it wrote, over all restarts.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log").join(format!("{}.log", self.recipe.name))
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// An error with the last lines of the log when the program has ended by itself.
    pub async fn check(&self) -> Result<()> {
        let mut child = self.child.lock().await;
        let status = match child.as_mut() {
            Some(child) => child.try_wait().with_context(|| format!("look at {}", self.name()))?,
            None => bail!("{} was stopped", self.name()),
        };
        match status {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}); its last words:\n{}", self.name(), self.last_words()),
        }
    }

    /// Kills it, without a chance to say goodbye, and waits until it is gone.
    pub async fn kill(&self) -> Result<()> {
        match self.child.lock().await.take() {
            Some(mut child) => child.kill().await.with_context(|| format!("kill {}", self.name())),
            None => Ok(()),
        }
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub async fn terminate(&self) -> Result<()> {
        let mut slot = self.child.lock().await;
        if let Some(child) = slot.as_mut() {
            signal(child, Signal::SIGTERM, self.name())?;
            child.wait().await.with_context(|| format!("wait for {}", self.name()))?;
        }
        *slot = None;
        Ok(())
    }

    /// Freezes it: it keeps its sockets and does nothing.
    pub async fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP).await
    }

    /// Lets a paused program go on.
    pub async fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT).await
    }

    /// Kills it if it runs and starts it again in the same way.
    pub async fn restart(&self) -> Result<()> {
        self.kill().await?;
        *self.child.lock().await = Some(self.spawn()?);
        Ok(())
    }

    /// Sends any signal.
    pub async fn signal(&self, which: Signal) -> Result<()> {
        match self.child.lock().await.as_ref() {
            Some(child) => signal(child, which, self.name()),
            None => bail!("{} does not run", self.name()),
        }
    }

    fn spawn(&self) -> Result<Child> {
        let path = self.log();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("open {}", path.display()))?;
        let errors = log.try_clone().with_context(|| format!("open {}", path.display()))?;
        let argv: Vec<&str> = self.recipe.argv.iter().map(String::as_str).collect();
        let mut command: Command = Reach::Inside.command(&self.recipe.host, &argv);
        command
            // Proxies of the machine's environment would lead API calls away from the test network.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &*self.dir)
            .envs(self.recipe.env.iter().map(|(key, value)| (key, value)))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        command.spawn().with_context(|| format!("start {} ({})", self.name(), argv.first().unwrap_or(&"")))
    }
}

fn signal(child: &Child, which: Signal, name: &str) -> Result<()> {
    let pid = child.id().with_context(|| format!("{name} has ended"))?;
    let pid = Pid::from_raw(i32::try_from(pid).context("process id out of range")?);
    kill(pid, which).with_context(|| format!("send {which} to {name}"))
}
