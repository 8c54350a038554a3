//! The long-running parts of a program.
//!
//! ```text
//!  spawn("watch services", ...) ─┐
//!  spawn("metrics", ...)        ─┼─▶ run(): one ends or fails before the shutdown ──▶ throw the switch, return its error
//!  spawn("owner", ...)          ─┘          the switch is thrown ──▶ wait for all, at most the grace period
//! ```
//! Half a daemon is worse than none: a part that ends unexpectedly ends the process, and Kubernetes starts it afresh.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::task::{Id, JoinError, JoinSet};

use crate::shutdown::Shutdown;

/// A set of named tasks that live and end together.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    names: BTreeMap<String, String>,
    shutdown: Shutdown,
}

impl Tasks {
    /// An empty set that ends with `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { set: JoinSet::new(), names: BTreeMap::new(), shutdown }
    }

    /// Starts a task. It should run until the shutdown; `name` is what error messages call it.
    pub fn spawn<F>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let handle = self.set.spawn(task);
        self.names.insert(handle.id().to_string(), name.into());
    }

    /// Waits for the shutdown and then for every task, at most `grace`; what still runs after that is dropped.
    ///
    /// # Errors
    /// The first task that failed, or that ended although no shutdown was asked for.
    pub async fn run(mut self, grace: Duration) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while !self.shutdown.is_triggered() {
            let ended = tokio::select! {
                () = self.shutdown.wait() => break,
                ended = self.set.join_next_with_id() => ended,
            };
            // An empty set has nothing to watch: the program lives until it is told to stop.
            let Some(ended) = ended else {
                self.shutdown.wait().await;
                break;
            };
            if self.shutdown.is_triggered() {
                outcome = self.verdict(ended, true);
                break;
            }
            outcome = self.verdict(ended, false);
            self.shutdown.trigger();
        }
        let drained = tokio::time::timeout(grace, async {
            while let Some(ended) = self.set.join_next_with_id().await {
                let verdict = self.verdict(ended, true);
                if outcome.is_ok() {
                    outcome = verdict;
                }
            }
        })
        .await;
        if drained.is_err() {
            tracing::warn!(
                event = "shutdown",
                tasks = self.set.len(),
                "some tasks did not stop in time and are dropped"
            );
        }
        outcome
    }

    fn verdict(&self, ended: Result<(Id, anyhow::Result<()>), JoinError>, expected: bool) -> anyhow::Result<()> {
        match ended {
            Ok((_, Ok(()))) if expected => Ok(()),
            Ok((id, Ok(()))) => Err(anyhow!("{} ended although nobody asked it to", self.name(id))),
            Ok((id, Err(error))) => Err(error).with_context(|| format!("{} failed", self.name(id))),
            Err(error) if expected && error.is_cancelled() => Ok(()),
            Err(error) => Err(anyhow!("{} crashed: {error}", self.name(error.id()))),
        }
    }

    fn name(&self, id: Id) -> &str {
        self.names.get(&id.to_string()).map_or("a task", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_task_that_ends_early_ends_the_others_and_is_named() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        let waiting = shutdown.clone();
        tasks.spawn("the server", async move {
            waiting.wait().await;
            Ok(())
        });
        tasks.spawn("the watch", async { Ok(()) });
        let error = tasks.run(GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), "the watch ended although nobody asked it to");
        assert!(shutdown.is_triggered());
    }

    #[tokio::test]
    async fn a_failing_task_gives_its_error() {
        let mut tasks = Tasks::new(Shutdown::new());
        tasks.spawn("the server", async { Err(anyhow!("port 1 is taken")) });
        let error = tasks.run(GRACE).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "the server failed: port 1 is taken");
    }

    #[tokio::test]
    async fn a_crashing_task_is_an_error_and_not_a_hang() {
        let mut tasks = Tasks::new(Shutdown::new());
        tasks.spawn("the owner", async { panic!("on purpose") });
        let error = tasks.run(GRACE).await.unwrap_err();
        assert!(error.to_string().starts_with("the owner crashed"), "{error}");
    }

    #[tokio::test]
    async fn tasks_that_end_after_the_shutdown_are_fine() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        for name in ["one", "two"] {
            let waiting = shutdown.clone();
            tasks.spawn(name, async move {
                waiting.wait().await;
                Ok(())
            });
        }
        shutdown.trigger();
        tasks.run(GRACE).await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_ignores_the_shutdown_is_dropped_after_the_grace_period() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("the deaf one", std::future::pending());
        shutdown.trigger();
        tasks.run(Duration::from_millis(20)).await.unwrap();
    }
}
