//! Answers ARP requests on one port.
//!
//! ```text
//! request --packet socket--> frames::arp_reply(port's MAC, table) --same socket--> reply to the asker
//! ```

use std::net::IpAddr;

use crate::l2::frames;
use crate::l2::packet::{PacketSocket, Responder};
use crate::l2::permit::Permit;
use crate::l2::selection::Port;
use crate::l2::table::Table;
use crate::metrics::Layer2Metrics;

/// Starts answering ARP on `port`. Call inside the tokio runtime.
///
/// # Errors
/// The kernel refuses the socket.
pub fn respond(port: &Port, table: &Table, metrics: &Layer2Metrics, permit: &Permit) -> anyhow::Result<Responder> {
    let socket = PacketSocket::arp(port.index)?;
    let (mac, name, table) = (port.mac, port.name.clone(), table.clone());
    Ok(Responder::spawn(port.name.clone(), socket, metrics.clone(), permit.clone(), move |frame| {
        frames::arp_reply(frame, mac, |ip| table.answers(IpAddr::V4(ip), &name))
    }))
}
