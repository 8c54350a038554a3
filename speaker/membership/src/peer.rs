//! What is known of another member.
//!
//! ```text
//!              heard, or vouched for                     no answer, or told so
//!   Unknown ─────────────────────────▶ Alive ◀──────────────────────────────────▶ Suspect
//!                                      │   ▲        heard, or vouched for            │
//!                    it said so        │   └──────────────────────────────┐          │ not refuted in time
//!                                      ▼      heard, vouched, new life    │          ▼
//!                                    Left ───────── new life ───────────▶ └──────── Lost
//! ```

use std::net::SocketAddr;

use crate::replay::Window;
use crate::time::Millis;
use crate::tuning::{MEMORY, NONCE, QUICK};

/// One other member.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    pub(crate) standing: Standing,
    /// The boot number it is known by; 0 when none is.
    pub(crate) life: u64,
    /// The highest counter of this life that we or anybody who told us has heard.
    pub(crate) seen: u64,
    pub(crate) session: Option<Session>,
    pub(crate) probe: Option<Probe>,
    /// When we heard it ourselves.
    pub(crate) heard_at: Option<Millis>,
    pub(crate) answers: Answers,
    pub(crate) replies: Bucket,
    /// When to knock again while it is not alive.
    pub(crate) retry_at: Millis,
    /// It stands in the queue of those that are knocked at.
    pub(crate) queued: bool,
    nonce: Option<(u64, Millis)>,
    /// Boot numbers of earlier lives, the oldest first.
    retired: Vec<u64>,
}

/// Whether it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing heard yet.
    Unknown,
    Alive,
    Suspect {
        /// A counter higher than this refutes.
        base: u64,
        /// When it is given up.
        until: Millis,
        /// Our own probes as its watcher say that it is gone: it is out of our view already.
        accused: bool,
    },
    Lost,
    /// Gone by its own word, in this life.
    Left,
}

/// Boot numbers were exchanged: its datagrams can be taken.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) boot: u64,
    pub(crate) window: Window,
}

/// A probe that is not answered yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    /// When the first ping was sent that it did not answer.
    pub(crate) since: Millis,
    /// When to ping again.
    pub(crate) next: Millis,
    /// Somebody else heard it meanwhile: the fault may be ours.
    pub(crate) vouched: bool,
}

impl Peer {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            standing: Standing::Unknown,
            life: 0,
            seen: 0,
            session: None,
            probe: None,
            heard_at: None,
            answers: Answers::default(),
            replies: Bucket::default(),
            retry_at: Millis::default(),
            queued: false,
            nonce: None,
            retired: Vec::new(),
        }
    }

    /// It takes part in the protocol.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.standing, Standing::Alive | Standing::Suspect { .. })
    }

    /// It belongs into the view.
    pub(crate) fn is_in_view(&self) -> bool {
        matches!(self.standing, Standing::Alive | Standing::Suspect { accused: false, .. })
    }

    pub(crate) fn was_heard_within(&self, now: Millis, span: u64) -> bool {
        self.heard_at.is_some_and(|heard| now.since(heard) <= span)
    }

    /// It is known by `boot` from now on; what was known of another life no longer counts.
    pub(crate) fn begin_life(&mut self, boot: u64) {
        if self.life == boot {
            return;
        }
        self.retire();
        // Wrongly taken for over, by news that was older than we could know.
        self.retired.retain(|over| *over != boot);
        self.life = boot;
        self.seen = 0;
        self.standing = Standing::Unknown;
        self.probe = None;
        if self.session.as_ref().is_some_and(|session| session.boot != boot) {
            self.session = None;
        }
    }

    /// The life of this boot number is over. Boot numbers are random, so only memory tells old from new.
    pub(crate) fn is_retired(&self, boot: u64) -> bool {
        self.retired.contains(&boot)
    }

    fn retire(&mut self) {
        const REMEMBERED: usize = 4;
        if self.life == 0 {
            return;
        }
        if self.retired.len() == REMEMBERED {
            self.retired.remove(0);
        }
        self.retired.push(self.life);
    }

    /// Nothing is known any more but its address and which lives of it are over.
    pub(crate) fn forget(&mut self) {
        let retired = std::mem::take(&mut self.retired);
        let queued = self.queued;
        *self = Self { retired, queued, ..Self::new(self.addr) };
    }

    /// The nonce of a question to it: the one under way, or `fresh`.
    pub(crate) fn ask(&mut self, now: Millis, fresh: u64) -> u64 {
        match self.nonce {
            Some((nonce, asked)) if now.since(asked) < NONCE / 2 => nonce,
            _ => {
                self.nonce = Some((fresh, now));
                fresh
            }
        }
    }

    /// Whether `echo` answers our question. It can be answered once.
    pub(crate) fn is_answer(&mut self, now: Millis, echo: u64) -> bool {
        let answered = self.nonce.is_some_and(|(nonce, asked)| nonce == echo && now.since(asked) <= NONCE);
        if answered {
            self.nonce = None;
        }
        answered
    }
}

/// How long a member takes to answer.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) measured: u32,
    worst: u64,
}

impl Answers {
    /// Takes in one answer time.
    pub(crate) fn measure(&mut self, elapsed: u64) {
        self.measured = self.measured.saturating_add(1);
        // Rounded up, so that it does not stay above 0 for ever.
        let faded = self.worst - self.worst.div_ceil(MEMORY);
        self.worst = faded.max(elapsed);
    }

    /// By how much longer than others it may stay silent: a member that has answered late lately will again.
    pub(crate) fn allowance(&self) -> u64 {
        self.worst.saturating_sub(QUICK) * 5 / 4
    }
}

/// Limits what a stranger who replays datagrams can make us send: 40 answers per second, 8 at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: u64,
    filled: Millis,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { tokens: Self::MOST, filled: Millis::default() }
    }
}

impl Bucket {
    const MOST: u64 = 8;
    const EVERY: u64 = 25;

    pub(crate) fn take(&mut self, now: Millis) -> bool {
        let earned = now.since(self.filled) / Self::EVERY;
        if earned > 0 {
            self.tokens = (self.tokens + earned).min(Self::MOST);
            self.filled = now;
        }
        let granted = self.tokens > 0;
        self.tokens -= u64::from(granted);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        Peer::new("10.0.0.1:7946".parse().unwrap())
    }

    #[test]
    fn a_question_is_answered_once_and_in_time() {
        let mut peer = peer();
        assert_eq!(peer.ask(Millis(0), 7), 7);
        assert_eq!(peer.ask(Millis(100), 8), 7, "an answer under way must still count");
        assert!(!peer.is_answer(Millis(100), 8));
        assert!(peer.is_answer(Millis(100), 7));
        assert!(!peer.is_answer(Millis(100), 7));
        assert_eq!(peer.ask(Millis(200), 9), 9);
        assert!(!peer.is_answer(Millis(200 + NONCE + 1), 9));
    }

    #[test]
    fn lives_that_are_over_are_remembered() {
        let mut peer = peer();
        (1..=6).for_each(|boot| peer.begin_life(boot));
        assert_eq!(
            (1..=6).map(|boot| peer.is_retired(boot)).collect::<Vec<_>>(),
            [false, true, true, true, true, false]
        );
        peer.forget();
        assert!(peer.is_retired(5));
        assert_eq!(peer.life, 0);
    }

    #[test]
    fn one_late_answer_buys_time_for_a_while() {
        let mut answers = Answers::default();
        (0..100).for_each(|_| answers.measure(2));
        assert_eq!(answers.allowance(), 0);
        answers.measure(400);
        assert_eq!(answers.allowance(), 437);
        (0..90).for_each(|_| answers.measure(2));
        assert!((140..=160).contains(&answers.allowance()), "{}", answers.allowance());
        (0..2_000).for_each(|_| answers.measure(0));
        assert_eq!(answers.allowance(), 0);
    }

    #[test]
    fn replies_are_bounded() {
        let mut bucket = Bucket::default();
        let granted = (0..1_000).filter(|ms| bucket.take(Millis(1_000_000 + ms))).count();
        assert_eq!(granted, 8 + 39);
    }
}
