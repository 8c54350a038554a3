//! Who is alive among the speakers, quickly and safely.
//!
//! ```text
//!            peers, watched owners (from API objects)
//!                              │
//!  UDP ──▶ Seal::open ──▶ Core::handle ──▶ Output::Send ──▶ Seal::seal ──▶ UDP
//!            │ drops           │   ▲
//!            ▼                 │   └── Tick, at the moment that Core::deadline names
//!        Counters              ▼
//!                      Output::Changed ──▶ watch<View>
//! ```
//! `core` and what it is made of are pure: time is a parameter, randomness comes from a seed, nothing reads a socket, and the
//! same inputs give the same outputs. `seal` is pure too, apart from the random nonce that its caller brings. Only `shell`
//! knows sockets, clocks and tasks.
//!
//! The protocol is SWIM (Das, Gupta, Motivala 2002) with suspicion, and with what the Lifeguard paper (Dadgar, Phillips,
//! Currey 2017) adds for members that are slow. It differs from both in three points, each of them because the members are
//! known beforehand from the Kubernetes API and failover must be fast:
//!
//! - Every datagram of a node carries a counter that only grows. It takes the place of SWIM's incarnation number: whoever
//!   heard a higher counter than the one a suspicion names can refute that suspicion, not the suspected node alone. A node
//!   whose answers come late is thus saved by the first answer that reaches anybody.
//! - A suspicion runs out on every node by that node's own clock. Deaths are concluded, never believed: gossip carries
//!   suspicions, refutations and departures only.
//! - Whom a node probes is its two live successors on a ring, one random member, and the owners it stands behind. So every
//!   node is probed by two others in every period, and the cost per node does not grow with the cluster.
//!
//! Those three are why this is not built on `foca`, which implements SWIM as published: its incarnations can be raised by
//! the suspected node alone, only the node that raised a suspicion lets it run out, and timeouts cannot follow local health.
//! With that, "lost after 650 ms" and "not lost while 400 ms late" exclude each other.

pub mod core;
pub mod counters;
mod dice;
mod gossip;
mod health;
mod name;
mod peer;
mod probe;
mod replay;
mod ring;
pub mod seal;
mod session;
pub mod shell;
mod time;
pub mod tuning;
pub mod wire;

pub use crate::core::{Change, Core, Dropped, Input, Loss, Output};
pub use name::{BadName, NodeName};
pub use time::Millis;
