//! When to stop.
//!
//! ```text
//!  SIGTERM, SIGINT, SIGQUIT ──first──▶ Shutdown fires (every clone sees it)
//!                           ──second─▶ the process ends at once, exit code 130
//! ```

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A switch that is thrown once. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A switch that only [`Shutdown::trigger`] throws. For tests and for parts of a program.
    pub fn new() -> Self {
        Self::default()
    }

    /// A switch thrown by SIGTERM, SIGINT or SIGQUIT. Call inside the tokio runtime.
    ///
    /// # Errors
    /// The kernel refuses a signal handler.
    pub fn on_signals() -> anyhow::Result<Self> {
        let mut term = listen(SignalKind::terminate(), "SIGTERM")?;
        let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
        let mut quit = listen(SignalKind::quit(), "SIGQUIT")?;
        let shutdown = Self::new();
        let switch = shutdown.clone();
        tokio::spawn(async move {
            for count in 1.. {
                let name = tokio::select! {
                    _ = term.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                    _ = quit.recv() => "SIGQUIT",
                };
                if count > 1 {
                    tracing::warn!(event = "shutdown", signal = name, "second signal: ending at once");
                    std::process::exit(130);
                }
                tracing::info!(event = "shutdown", signal = name, "stopping; a second signal ends the process at once");
                switch.trigger();
            }
        });
        Ok(shutdown)
    }

    /// Throws the switch.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether the switch was thrown.
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the switch is thrown; returns at once when it was.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// Runs `future` until it ends or the switch is thrown; `None` means the switch came first.
    pub async fn or<F: Future>(&self, future: F) -> Option<F::Output> {
        self.token.run_until_cancelled(future).await
    }

    /// The token underneath, for libraries that take one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

fn listen(kind: SignalKind, name: &str) -> anyhow::Result<Signal> {
    signal(kind).with_context(|| format!("cannot listen for {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_sees_the_switch() {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        assert!(!other.is_triggered());
        shutdown.trigger();
        other.wait().await;
        assert!(other.is_triggered());
    }

    #[tokio::test]
    async fn a_thrown_switch_ends_pending_work() {
        let shutdown = Shutdown::new();
        assert_eq!(shutdown.or(async { 7 }).await, Some(7));
        shutdown.trigger();
        assert_eq!(shutdown.or(std::future::pending::<i32>()).await, None);
    }
}
