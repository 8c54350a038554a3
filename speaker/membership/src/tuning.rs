//! The numbers of the protocol, in milliseconds unless they say otherwise, and the arithmetic they follow from.
//!
//! ```text
//!  death                                                                          known to all
//!    │◀─ PERIOD ─▶│◀────────── RAISE ─────────▶│◀────────── SUSPICION ─────────────▶│
//!    │            first probe unanswered       suspicion, told to all at once       each by its own clock
//!    │            │◀──────────── ACCUSE ────────────▶│ the runner-up, for itself
//!    0          100                     300  370                                  650
//! ```
//! - A death is noticed by all after PERIOD + RAISE + SUSPICION at the latest, and some network delay: 650 of 700.
//! - A node whose answers are up to 400 late is not lost: its first answer arrives before RAISE + SUSPICION - 400 = 150 have
//!   to be spent on telling the others.
//! - Its runner-up takes over after PERIOD + ACCUSE = 370 of 400; what lies between RAISE and ACCUSE is time for others, who
//!   may have heard the node, to object.
//! - Loss: from the first missed probe on, a node is probed every URGENT, so a runner-up is wrong only if six probes or their
//!   answers are lost one after the other.

/// Between two probes of the same member. Shortened by up to [`JITTER`], so that nodes do not march in step.
pub const PERIOD: u64 = 100;
/// See [`PERIOD`].
pub const JITTER: u64 = 15;
/// A probe is late when it is not answered within this time; the member is then probed every [`URGENT`].
pub const ANSWER: u64 = 100;
/// Between two probes of a member that owes an answer.
pub const URGENT: u64 = 35;
/// A member that answered no probe since is suspected, and the others are told.
pub const RAISE: u64 = 200;
/// A watched owner that answered no probe since is lost for its watcher. More than three answers overdue.
pub const ACCUSE: u64 = 270;
/// A suspicion that nobody refuted for this long is a loss.
pub const SUSPICION: u64 = 350;
/// Whoever heard a suspected member this recently objects at once. Shorter than [`RAISE`] by more than the delay of a LAN:
/// of a dead member nobody has heard that recently when the first suspicion is raised.
pub const HEARD: u64 = 120;
/// Answers measured before a watcher trusts its own probes: until then it cannot know whether the owner is always slow.
pub const SAMPLES: u32 = 5;
/// Between two probes of a member that is not alive. Times the number of peers / [`SMALL`], so that a member that comes back
/// is found at once by somebody, and one that does not is not knocked at by a thousand nodes.
pub const RETRY: u64 = 400;
/// Members that are not alive, probed per period at most.
pub const RETRIES: usize = 4;
/// Live successors on the ring that a node probes in every period.
pub const SUCCESSORS: usize = 2;
/// Clusters up to this size hear news directly from whoever has it; and so many members check a suspicion themselves.
pub const SMALL: usize = 16;
/// Members that urgent news is sent to directly in larger clusters.
pub const FANOUT: usize = 6;
/// How often a piece of news is sent, times the binary logarithm of the number of peers.
pub const REPEATS: u32 = 3;
/// How often a node asks a random member for all it knows.
pub const PULL: u64 = 10_000;
/// How many members a node that knows nothing asks.
pub const FIRST_PULLS: u32 = 3;
/// A timer that fires later than this counts against our own health, not against the members.
pub const LATE: u64 = 50;
/// A timer that fires later than this means that the process was stopped. What it knew is worth nothing.
pub const PAUSED: u64 = 2_000;
/// How long a nonce waits for its answer.
pub const NONCE: u64 = 1_000;
/// How often, and how far apart, a leaving node says so.
pub const FAREWELLS: u32 = 3;
/// See [`FAREWELLS`].
pub const FAREWELL_EVERY: u64 = 20;
/// Answer times up to this are those of a LAN, and of a process that shares its processor: patience does not grow by them.
pub const QUICK: u64 = 50;
/// The remembered worst answer time of a member shrinks by this fraction with every quicker answer: by half in 9 s.
pub const MEMORY: u64 = 128;
