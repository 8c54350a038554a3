//! The talk among the speakers: when it begins, whom it concerns, when it ends.
//!
//! ```text
//!  file with the key ─┐                                  ┌──▶ views ──▶ owner, renewal of the permit
//!  owner: Wanted ─────┼─▶ Membership (UDP) ──────────────┤
//!  asked to stop ─────┘        farewell                  └──▶ metrics
//! ```
//! The others give a node its addresses as soon as they hear it. So it speaks only when the owner knows enough of the cluster to
//! announce: that is when it first wants anything. Without the key, or while the port is taken, the speaker works all the same,
//! by the API's word for who lives, and tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use membership::NodeName;
use membership::shell::{Membership, View};
use runtime::repeats::Repeats;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use crate::metrics::MembershipMetrics;

/// Between two attempts to start.
const RETRY: Duration = Duration::from_secs(2);

/// Where this member is, and how it proves that it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// This node.
    pub me: NodeName,
    /// The address it speaks on.
    pub addr: SocketAddr,
    /// The file with the key that all share.
    pub key: PathBuf,
}

/// Whom the talk concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Who may be a member, and where.
    pub peers: BTreeMap<NodeName, SocketAddr>,
    /// The owners that this node stands behind.
    pub watched: BTreeSet<NodeName>,
}

/// Talks until it is asked to stop, then says farewell and waits for `shutdown`.
///
/// # Errors
/// The member ended by itself.
pub async fn run(
    bind: Bind,
    mut wanted: watch::Receiver<Option<Wanted>>,
    views: watch::Sender<Option<Arc<View>>>,
    metrics: MembershipMetrics,
    asked: Shutdown,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    if let Some(member) = asked.or(start(&bind, &mut wanted)).await {
        metrics.started(member.counters());
        tracing::info!(event = "membership", address = %member.local_addr(), "talking to the other speakers");
        let ended = asked.or(follow(&member, &mut wanted, &views, &metrics)).await;
        if ended.is_some() {
            bail!("the member on {} ended by itself", bind.addr);
        }
        member.leave().await;
        tracing::info!(event = "membership", "said farewell to the other speakers");
    }
    shutdown.wait().await;
    Ok(())
}

/// Waits until somebody wants it, then starts the member; tries until it works.
async fn start(bind: &Bind, wanted: &mut watch::Receiver<Option<Wanted>>) -> Membership {
    if wanted.wait_for(Option::is_some).await.is_err() {
        // The owner is gone, and with it the process.
        std::future::pending::<()>().await;
    }
    let mut repeats = Repeats::default();
    loop {
        match member(bind).await {
            Ok(member) => return member,
            Err(error) => {
                let text = format!("{error:#}");
                if repeats.failed(&text, Instant::now()) {
                    tracing::error!(
                        event = "membership",
                        "cannot talk to the other speakers: {text}; until then the API server says who is alive, and a dead \
                         node is replaced late"
                    );
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn member(bind: &Bind) -> anyhow::Result<Membership> {
    let key = key(&bind.key)?;
    let started = Membership::start(bind.me.clone(), bind.addr, &key).await;
    started.context("free the port, or give another one to all speakers by --ml-bindport")
}

fn key(path: &Path) -> anyhow::Result<Vec<u8>> {
    let remedy = || {
        format!(
            "cannot use the key in {}; the Secret that is mounted there must have the entry `secretkey`, which MetalLB's \
             controller makes",
            path.display()
        )
    };
    let key = std::fs::read(path).with_context(remedy)?;
    if key.trim_ascii().is_empty() {
        return Err(anyhow::anyhow!("it is empty")).with_context(remedy);
    }
    Ok(key)
}

/// Passes on what is wanted and what is seen; returns when the member has ended or nobody wants anything any more.
async fn follow(
    member: &Membership,
    wanted: &mut watch::Receiver<Option<Wanted>>,
    views: &watch::Sender<Option<Arc<View>>>,
    metrics: &MembershipMetrics,
) {
    let mut seen = member.view();
    loop {
        if let Some(Wanted { peers, watched }) = wanted.borrow_and_update().clone() {
            member.set_peers(peers);
            member.set_watched(watched);
        }
        let view = seen.borrow_and_update().clone();
        metrics.seen(view.alive.len(), view.pauses);
        views.send_if_modified(|shown| shown.replace(view.clone()).as_ref() != Some(&view));
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(name: &str, key: &Path) -> Bind {
        Bind { me: NodeName::new(name).unwrap(), addr: "127.0.0.1:0".parse().unwrap(), key: key.to_owned() }
    }

    #[test]
    fn a_key_that_cannot_be_used_is_named_with_its_remedy() {
        let folder = std::env::temp_dir().join(format!("membership-key-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("secretkey");
        let absent = format!("{:#}", key(&path).unwrap_err());
        std::fs::write(&path, " \n").unwrap();
        let empty = format!("{:#}", key(&path).unwrap_err());
        std::fs::write(&path, "0123456789abcdefghijkl").unwrap();
        assert_eq!(key(&path).unwrap().len(), 22);
        std::fs::remove_dir_all(&folder).unwrap();
        for text in [absent, empty] {
            assert!(text.contains("membership-key") && text.contains("entry `secretkey`"), "{text}");
        }
    }

    /// One speaker's end, as the wiring holds it.
    struct Talk {
        wanted: watch::Sender<Option<Wanted>>,
        views: watch::Receiver<Option<Arc<View>>>,
        asked: Shutdown,
        shutdown: Shutdown,
        task: tokio::task::JoinHandle<anyhow::Result<()>>,
    }

    fn talk(bind: Bind) -> Talk {
        let (wanted, wants) = watch::channel(None);
        let (views_in, views) = watch::channel(None);
        let (asked, shutdown) = (Shutdown::new(), Shutdown::new());
        let running = run(bind, wants, views_in, MembershipMetrics::default(), asked.clone(), shutdown.clone());
        Talk { wanted, views, asked, shutdown, task: tokio::spawn(running) }
    }

    async fn seen(talk: &Talk, what: impl FnMut(&Option<Arc<View>>) -> bool) -> Option<Arc<View>> {
        let mut views = talk.views.clone();
        let found = tokio::time::timeout(Duration::from_secs(20), views.wait_for(what)).await;
        found.expect("in time").expect("the task runs").clone()
    }

    /// A port that was free a moment ago.
    fn free() -> SocketAddr {
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn speakers_meet_once_they_are_wanted_and_have_the_key_and_a_stop_is_a_farewell() {
        let folder = std::env::temp_dir().join(format!("membership-talk-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("secretkey");
        let (mut a, mut b) = (bind("a", &path), bind("b", &path));
        (a.addr, b.addr) = (free(), free());
        let peers: BTreeMap<_, _> = [&a, &b].map(|bind| (bind.me.clone(), bind.addr)).into();
        let (a, b) = (talk(a), talk(b));
        for one in [&a, &b] {
            one.wanted.send_replace(Some(Wanted { peers: peers.clone(), ..Wanted::default() }));
        }
        assert_eq!(*a.views.borrow(), None, "there is no key yet");
        std::fs::write(&path, "0123456789abcdefghijkl").unwrap();
        let both = |view: &Option<Arc<View>>| view.as_ref().is_some_and(|view| view.alive.len() == 2);
        seen(&a, both).await;
        seen(&b, both).await;
        b.asked.trigger();
        let view = seen(&a, |view| view.as_ref().is_some_and(|view| view.alive.len() == 1)).await.unwrap();
        assert_eq!(view.lost.values().copied().collect::<Vec<_>>(), [membership::Loss::Left]);
        b.shutdown.trigger();
        b.task.await.unwrap().unwrap();
        a.task.abort();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
