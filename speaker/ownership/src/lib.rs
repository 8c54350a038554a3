//! Who may answer for an address.
//!
//! ```text
//!                    addresses and ranks, from the election
//!                                   │
//!  API ◀── Output::Write ── Core::handle ── Output::Grant, Withdraw ──▶ the table of those who answer
//!   │      Output::Read        ▲   ▲    └── Output::Permit ───────────▶ the moment until which they may
//!   └── WriteDone, ReadDone ───┘   └── Tick, at the moment that Core::deadline names
//! ```
//! `quorum` is the rule of the mode of that name. `lease` is the mode in which no two nodes ever answer for an address at once:
//! one Lease object per node, renewed while it claims anything. Everything is pure: time is a parameter, and nothing reads a
//! socket or a clock.
//!
//! # Why two nodes never answer at once
//!
//! 1. A node writes its claim into its Lease; when that is stored, it reads all Leases. It answers only if that read shows no
//!    claim of another. Of two that claim at once, one stored its claim first, and the other reads later than that: it sees
//!    the claim. Writes carry the version they were decided on, so a late one changes nothing.
//! 2. A claim counts until its node cannot answer any more. The node stops `duration` after it *sent* its last renewal. Others
//!    ignore its claim when a read that they *sent* `duration + margin` after they *saw* the last renewal shows nothing newer.
//!    Theirs starts later and is longer, so no clock is compared with another; they only need to run about equally fast.
//! 3. What lapsed once is claimed anew from the start, even if a renewal succeeds a moment later.
//! 4. A claim is taken back only after the address is answered no more.
//! 5. A Lease that vanishes may have claimed anything, and counts for `duration + margin`. Its node stops when it sees that. So
//!    that none can vanish unseen, a Lease exists for `duration + margin` before its node uses it, and whoever begins to look
//!    looks for that long before it believes what it sees.
//! 6. Two lives of one node share a Lease object but not the name in it; the new one waits as for any other node.
//!
//! # Why an address is not left without an owner
//!
//! An owner that is not the first choice keeps answering until somebody asks. The first choice asks by a claim and waits. Of
//! two who ask, the one with the smaller name stays; so nobody has to agree about the election. If the first choice does
//! not claim, whoever is next does so after a second. An owner that is the first choice in its own eyes keeps the address.
//!
//! Each rule is shown to be needed: `proof` breaks one after the other, and finds two owners.

pub mod claims;
mod content;
pub mod lease;
#[cfg(test)]
mod proof;
pub mod quorum;
mod requests;
mod rules;
mod sights;
mod time;
pub mod tuning;

pub use lease::{Core, Draft, Expect, Input, Output, Stored, WriteError};
pub use sights::Record;
pub use time::Millis;
