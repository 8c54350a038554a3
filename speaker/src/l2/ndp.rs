//! Answers neighbour solicitations on one port.
//!
//! ```text
//! solicitation --packet socket--> frames::neighbor_advertisement(port's MAC, table) --same socket--> advertisement
//! ```
//! A packet socket and not a raw ICMPv6 one: hosts check a neighbour they know by asking the address itself, and ICMPv6
//! sockets never see packets to an address that no interface of the node carries.

use std::net::IpAddr;

use crate::l2::frames;
use crate::l2::packet::{PacketSocket, Responder};
use crate::l2::permit::Permit;
use crate::l2::selection::Port;
use crate::l2::table::Table;
use crate::metrics::Layer2Metrics;

/// Starts answering solicitations on `port`. Call inside the tokio runtime.
///
/// # Errors
/// The kernel refuses the socket.
pub fn respond(port: &Port, table: &Table, metrics: &Layer2Metrics, permit: &Permit) -> anyhow::Result<Responder> {
    let socket = PacketSocket::ndp(port.index)?;
    let (mac, name, table) = (port.mac, port.name.clone(), table.clone());
    Ok(Responder::spawn(port.name.clone(), socket, metrics.clone(), permit.clone(), move |frame| {
        frames::neighbor_advertisement(frame, mac, |ip| table.answers(IpAddr::V6(ip), &name))
    }))
}
