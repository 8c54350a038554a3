//! The testbed, and what the cluster tests share.
//!
//! - [`sandbox`]: private namespaces that vanish with the process.
//! - [`testbed`]: a real cluster inside them: control plane, nodes, hosts.
//! - [`wait`]: conditions with a deadline and a reason.
//! - [`suite`]: trials that share one cluster.
//! - [`install`]: the product on it, as a user installs it.
//! - [`audit`], [`exposition`], [`process`]: what it asked the API server for, what it counts, what it costs.
//! - [`prober`]: a client that notices every lost request.
//! - [`account`]: the rights of its service accounts.
//! - [`hostile`]: an API server that misbehaves.
#![forbid(unsafe_code)]

pub mod account;
pub mod audit;
pub mod cgroup;
pub mod exposition;
pub mod hostile;
pub mod install;
pub mod prober;
pub mod process;
pub mod sandbox;
pub mod suite;
pub mod testbed;
pub mod wait;
