//! A client that asks a Service for a page a hundred times a second, from another host.
//!
//! ```text
//!  thread in the host's network namespace: every 10 ms a connection of its own ──▶ Vec<Probe>
//!  probes:   ok ok ok  -- -- -- -- --  ok ok        lost: 5    gap: start of the first lost to start of the next answered
//! ```

use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::testbed::Host;

/// Between two requests.
pub const EVERY: Duration = Duration::from_millis(10);
/// A request without an answer by then is lost. Below the kernel's first repetition of a SYN after a second.
const PATIENCE: Duration = Duration::from_millis(500);

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// When it began.
    pub at: Instant,
    /// Whether it was answered.
    pub answered: bool,
}

/// A client under way; ends when dropped.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Probe>>>>,
}

impl Prober {
    /// Starts to ask for `http://address/` from `host`. Only inside the sandbox.
    ///
    /// # Errors
    /// The host's network namespace cannot be opened.
    pub fn start(host: &Host, address: IpAddr) -> Result<Self> {
        let path = format!("/run/netns/{}", host.name());
        let namespace = File::open(&path).with_context(|| format!("open {path}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).context("enter the client's network namespace")?;
            // All sockets are made by this thread, so they belong to the namespace it entered.
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
            Ok(runtime.block_on(ask(address, &stopped)))
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it; what it saw, oldest first.
    ///
    /// # Errors
    /// It could not start.
    pub async fn stop(mut self) -> Result<Vec<Probe>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a prober stops once")?;
        let seen = tokio::task::spawn_blocking(|| thread.join()).await.context("wait for the prober")?;
        seen.map_err(|_| anyhow!("the prober panicked"))?
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn ask(address: IpAddr, stop: &AtomicBool) -> Vec<Probe> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut requests, mut probes) = (JoinSet::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        requests.spawn(request(address));
        while let Some(Ok(probe)) = requests.try_join_next() {
            probes.push(probe);
        }
    }
    while let Some(done) = requests.join_next().await {
        probes.extend(done);
    }
    probes.sort_by_key(|probe: &Probe| probe.at);
    probes
}

async fn request(address: IpAddr) -> Probe {
    let at = Instant::now();
    let asked = async {
        let mut stream = TcpStream::connect((address, 80)).await?;
        // A reset at the end: thousands of connections must not wait for late segments.
        stream.set_zero_linger()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: service\r\nconnection: close\r\n\r\n").await?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await?;
        std::io::Result::Ok(&start == b"HTTP/1.1 200")
    };
    Probe { at, answered: matches!(timeout(PATIENCE, asked).await, Ok(Ok(true))) }
}

/// Requests that were not answered.
pub fn lost(probes: &[Probe]) -> usize {
    probes.iter().filter(|probe| !probe.answered).count()
}

/// From the start of the first request of a row of lost ones to the start of the next that was answered; the longest such
/// row. A row that lasts to the end counts to the last request.
pub fn gap(probes: &[Probe]) -> Duration {
    let (mut longest, mut since) = (Duration::ZERO, None);
    for probe in probes {
        let began = *since.get_or_insert(probe.at);
        if probe.answered {
            if probe.at != began {
                longest = longest.max(probe.at.saturating_duration_since(began));
            }
            since = None;
        }
    }
    match (since, probes.last()) {
        (Some(began), Some(last)) => longest.max(last.at.saturating_duration_since(began) + EVERY),
        (_, _) => longest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(text: &str) -> Vec<Probe> {
        let start = Instant::now();
        let at = |number: usize| start + EVERY * u32::try_from(number).unwrap();
        text.chars().enumerate().map(|(number, mark)| Probe { at: at(number), answered: mark == 'a' }).collect()
    }

    #[test]
    fn a_gap_is_the_longest_row_of_lost_requests() {
        assert_eq!((lost(&probes("aaaa")), gap(&probes("aaaa"))), (0, Duration::ZERO));
        assert_eq!((lost(&probes("a-a---a")), gap(&probes("a-a---a"))), (4, EVERY * 3));
        assert_eq!(gap(&probes("a----")), EVERY * 4);
        assert_eq!(gap(&[]), Duration::ZERO);
    }
}
