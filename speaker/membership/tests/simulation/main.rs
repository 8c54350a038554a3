//! What the protocol promises, in virtual time: many members, and a network and machines that misbehave.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests may panic and print like tests")]

mod faults;
mod hostile;
mod peace;
mod world;
