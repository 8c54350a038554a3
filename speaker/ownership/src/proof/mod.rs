//! Proofs that the mode `lease` keeps its promises, and that each of its rules is needed for that.
//!
//! ```text
//!  Store ◀── writes, reads ── Host { Core, table of those who answer, permit } × 3      at most one host answers for an address
//!    exploration   small numbers, every order of events                                  and in quiet times exactly one
//!    simulation    real numbers, random faults, clocks that run at different speeds
//! ```
//! A rule can only be broken from inside the crate; therefore the proofs live here and not in `tests/`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "proofs may panic and print like tests")]

mod exploration;
mod host;
mod reachable;
mod simulation;
mod store;
