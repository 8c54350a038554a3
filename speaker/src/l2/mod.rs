//! Layer 2: making the network send an address's packets to this node.
//!
//! ```text
//!  netlink --interfaces--> links --selection--> ports --+
//!                                                       v
//!  apply --Command{announce, withdraw}--> announcer (owns everything below)
//!                                          |-- table       address -> interfaces, read by the responders
//!                                          |-- arp, ndp    one responder per port: question in, answer out (frames)
//!                                          |-- groups      multicast memberships, so that questions reach the port
//!                                          `-- gratuitous  bursts after a takeover
//! ```
//! `selection`, `frames`, `table` and `gratuitous` are pure; the rest are shells. Only CAP_NET_RAW is needed.

pub mod announcer;
pub mod arp;
pub mod frames;
pub mod gratuitous;
pub mod groups;
pub mod interfaces;
pub mod ndp;
pub mod packet;
pub mod permit;
pub mod selection;
pub mod table;
