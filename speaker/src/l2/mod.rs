//! Layer 2: making the network send an address's packets to this node.
//!
//! ```text
//!  netlink --interfaces--> links --selection--> ports --+
//!                                                       v
//!  apply --Command{announce, withdraw}--> announcer (owns everything below) --Report{conflict, resolved}-->
//!                                          |-- table       address -> interfaces and standing, read by the responders
//!                                          |-- probe       is a new address free? asked before it is announced
//!                                          |-- conflicts   how often somebody else's claim is reported and answered
//!                                          `-- station     one for each port
//!                                               |-- responder   ARP or NDP: question in, permit, answer out (frames)
//!                                               |-- filter      so that only frames about our addresses wake us
//!                                               |-- groups      multicast memberships, so that questions reach the port
//!                                               `-- gratuitous  bursts after a takeover
//!  owner of the decisions --renew--> permit (no frame leaves without)
//! ```
//! `selection`, `frames`, `filter`, `table`, `probe`, `conflicts` and `gratuitous` are pure; the rest are shells. Only CAP_NET_RAW
//! is needed.

pub mod announcer;
pub mod conflicts;
pub mod filter;
pub mod frames;
pub mod gratuitous;
pub mod groups;
pub mod interfaces;
pub mod packet;
pub mod permit;
pub mod probe;
pub mod responder;
pub mod selection;
pub mod station;
pub mod table;
