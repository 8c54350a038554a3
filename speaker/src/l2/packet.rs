//! A raw socket on one interface that sees only the frames that could concern us.
//!
//! ```text
//! socket (protocol 0: receives nothing) -> kernel filter -> bind(EtherType, interface) -> frames about our addresses
//! ```
//! The order matters: a packet socket opened with a protocol receives from every interface at once, unfiltered.

use std::io::{self, Read, Write};

use anyhow::Context;
use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::l2::filter::{self, Ranges};
use crate::sys;

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// What a socket listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// ARP requests and replies.
    Arp,
    /// Neighbour solicitations and advertisements.
    Ndp,
}

impl Protocol {
    fn ethertype(self) -> u16 {
        match self {
            Self::Arp => ETHERTYPE_ARP,
            Self::Ndp => ETHERTYPE_IPV6,
        }
    }

    fn program(self, ranges: &Ranges) -> Vec<SockFilter> {
        let steps = match self {
            Self::Arp => filter::arp(ranges),
            Self::Ndp => filter::ndp(ranges),
        };
        steps.iter().map(|step| SockFilter::new(step.code, step.if_true, step.if_false, step.operand)).collect()
    }
}

/// A raw socket on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    fd: AsyncFd<Socket>,
    protocol: Protocol,
}

impl PacketSocket {
    /// Receives frames about addresses in `ranges` on the interface with this index, and sends any frame there.
    ///
    /// # Errors
    /// The kernel refuses: no CAP_NET_RAW, or the interface is gone.
    pub fn open(index: u32, protocol: Protocol, ranges: &Ranges) -> anyhow::Result<Self> {
        let socket = raw()?;
        socket.set_nonblocking(true).context("cannot make the packet socket non-blocking")?;
        attach(&socket, protocol, ranges).context("cannot attach the packet filter")?;
        socket
            .bind(&sys::packet_address(protocol.ethertype(), index)?)
            .context("cannot bind the packet socket to the interface")?;
        Ok(Self { fd: sys::readiness(socket).context("cannot wait on the packet socket")?, protocol })
    }

    /// Receives frames about addresses in `ranges` from now on. No frame is lost or seen twice meanwhile.
    ///
    /// # Errors
    /// The kernel has no memory for the filter; the one before is still in force.
    pub fn listen(&self, ranges: &Ranges) -> io::Result<()> {
        attach(self.fd.get_ref(), self.protocol, ranges)
    }

    /// Waits for the next frame and copies it to `buffer`; returns its length.
    ///
    /// # Errors
    /// The interface went down or away.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fd.async_io(Interest::READABLE, |mut socket: &Socket| read(&mut socket, buffer)).await
    }

    /// Sends one Ethernet frame without waiting: a frame that does not fit the queue is dropped, as on any busy network.
    ///
    /// # Errors
    /// The frame was not sent.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let mut socket = self.fd.get_ref();
        socket.write(frame).map(drop)
    }
}

fn read(socket: &mut &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    socket.read(buffer)
}

/// A filter that is too long for the kernel's limits is replaced by one that lets everything of the protocol through.
fn attach(socket: &Socket, protocol: Protocol, ranges: &Ranges) -> io::Result<()> {
    socket
        .attach_filter(&protocol.program(ranges))
        .or_else(|_| socket.attach_filter(&protocol.program(&Ranges::everything())))
}

fn raw() -> anyhow::Result<Socket> {
    Socket::new(Domain::PACKET, Type::RAW, None).context(
        "cannot open a packet socket; the speaker needs the capability NET_RAW (securityContext.capabilities.add)",
    )
}

/// Checks that this process may open packet sockets at all.
///
/// # Errors
/// It may not; the text says what is missing.
pub fn probe() -> anyhow::Result<()> {
    raw().map(drop)
}
