//! A client that asks all the time: one request every few milliseconds, each on a connection of its own.
//!
//! ```text
//!  thread in the host's network namespace ── every 10 ms ──▶ connect, GET /, first bytes ──▶ Attempt { at, ok }
//! ```
//! No request is sent twice: an attempt gives up before TCP would repeat its first packet, after a second. So what is counted
//! is what the network lost.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::testbed::Host;

/// Between two requests.
pub const EVERY: Duration = Duration::from_millis(10);
/// For how long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// When it was begun.
    pub at: Instant,
    /// Whether it was answered.
    pub ok: bool,
}

/// A client at work; ends when dropped.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Attempt>>>>,
}

impl Prober {
    /// Asks `address` from `host`, from now on. Only from inside the sandbox.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(host: &Host, address: SocketAddr) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, namespace) = (Arc::clone(&stop), format!("/run/netns/{}", host.name()));
        let ask = move || {
            let file = File::open(&namespace).with_context(|| format!("open {namespace}"))?;
            setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {namespace}"))?;
            // All on this thread: its sockets are those of the namespace.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ask_until(address, &until))
        };
        let thread = std::thread::Builder::new().name("prober".to_owned()).spawn(ask).context("start the prober")?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends the client; all its requests in their order.
    ///
    /// # Errors
    /// It could not do its work.
    pub async fn finish(mut self) -> Result<Record> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the prober was finished already")?;
        let joined = tokio::task::spawn_blocking(|| thread.join()).await.context("wait for the prober")?;
        let mut attempts = joined.map_err(|_| anyhow!("the prober crashed"))??;
        attempts.sort_by_key(|attempt| attempt.at);
        ensure!(attempts.iter().any(|attempt| attempt.ok), "none of {} requests was answered", attempts.len());
        Ok(Record(attempts))
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn ask_until(address: SocketAddr, stop: &AtomicBool) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    let mut running = JoinSet::new();
    let mut pulse = tokio::time::interval(EVERY);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        pulse.tick().await;
        running.spawn(async move {
            let at = Instant::now();
            let ok = tokio::time::timeout(PATIENCE, request(address)).await.is_ok_and(|answer| answer.is_ok());
            Attempt { at, ok }
        });
        while let Some(done) = running.try_join_next() {
            attempts.push(done.context("a request crashed")?);
        }
    }
    while let Some(done) = running.join_next().await {
        attempts.push(done.context("a request crashed")?);
    }
    Ok(attempts)
}

async fn request(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: probe\r\n\r\n").await?;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    ensure!(start.ends_with(b" 200"), "the answer is no 200");
    Ok(())
}

/// What a client saw.
#[derive(Debug, Clone)]
pub struct Record(Vec<Attempt>);

impl Record {
    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.0.len()
    }

    /// How many were not answered.
    pub fn lost(&self) -> usize {
        self.0.iter().filter(|attempt| !attempt.ok).count()
    }

    /// The longest time between the beginnings of two answered requests with none between them.
    pub fn longest_gap(&self) -> Duration {
        let answered: Vec<Instant> = self.0.iter().filter(|attempt| attempt.ok).map(|attempt| attempt.at).collect();
        let gaps = answered.windows(2).filter_map(|pair| match pair {
            [one, next] => Some(next.duration_since(*one)),
            _ => None,
        });
        gaps.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lies_between_two_answered_requests() {
        let begin = Instant::now();
        let attempt = |millis, ok| Attempt { at: begin + Duration::from_millis(millis), ok };
        let record = Record(vec![attempt(0, true), attempt(10, false), attempt(20, false), attempt(30, true)]);
        assert_eq!((record.requests(), record.lost()), (4, 2));
        assert_eq!(record.longest_gap(), Duration::from_millis(30));
    }
}
