//! A raw socket on one interface that sees only the questions we might answer.
//!
//! ```text
//! socket (protocol 0: receives nothing) -> kernel filter -> bind(EtherType, interface) -> questions only
//! ```
//! The order matters: a packet socket opened with a protocol receives from every interface at once, unfiltered.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use runtime::clock::Moment;
use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::l2::frames::Answer;
use crate::l2::permit::Permit;
use crate::metrics::Layer2Metrics;
use crate::sys;

// Classic BPF, see the kernel's documentation of socket filters: (operation, skip if true, skip if false, operand).
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
/// Pseudo offset at which the kernel shows the direction of the frame.
const PACKET_TYPE: u32 = 0xffff_f004;
/// Directions from here on are copies for other hosts (also frames of foreign VLANs) and our own frames.
const OTHER_HOST: u32 = 3;
const WHOLE_FRAME: u32 = 0xffff;

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// ARP requests for this host or for everybody.
const ARP_REQUESTS: [SockFilter; 8] = [
    SockFilter::new(LOAD_WORD, 0, 0, PACKET_TYPE),
    SockFilter::new(JUMP_IF_AT_LEAST, 5, 0, OTHER_HOST),
    SockFilter::new(LOAD_HALF, 0, 0, 12), // EtherType
    SockFilter::new(JUMP_IF_EQUAL, 0, 3, 0x0806),
    SockFilter::new(LOAD_HALF, 0, 0, 20), // ARP operation
    SockFilter::new(JUMP_IF_EQUAL, 0, 1, 1),
    SockFilter::new(RETURN, 0, 0, WHOLE_FRAME),
    SockFilter::new(RETURN, 0, 0, 0),
];

/// ICMPv6 neighbour solicitations that were not routed.
const SOLICITATIONS: [SockFilter; 12] = [
    SockFilter::new(LOAD_WORD, 0, 0, PACKET_TYPE),
    SockFilter::new(JUMP_IF_AT_LEAST, 9, 0, OTHER_HOST),
    SockFilter::new(LOAD_HALF, 0, 0, 12), // EtherType
    SockFilter::new(JUMP_IF_EQUAL, 0, 7, 0x86dd),
    SockFilter::new(LOAD_BYTE, 0, 0, 20), // next header
    SockFilter::new(JUMP_IF_EQUAL, 0, 5, 58),
    SockFilter::new(LOAD_BYTE, 0, 0, 21), // hop limit
    SockFilter::new(JUMP_IF_EQUAL, 0, 3, 255),
    SockFilter::new(LOAD_BYTE, 0, 0, 54), // ICMPv6 type
    SockFilter::new(JUMP_IF_EQUAL, 0, 1, 135),
    SockFilter::new(RETURN, 0, 0, WHOLE_FRAME),
    SockFilter::new(RETURN, 0, 0, 0),
];

/// Longest question that can be valid: a solicitation with options is far shorter.
const LONGEST: usize = 1518;
/// Pause after a receive error, so that a broken interface costs nothing until netlink reports it gone.
const AFTER_ERROR: Duration = Duration::from_millis(200);

/// A raw socket on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    fd: AsyncFd<Socket>,
}

impl PacketSocket {
    /// Receives ARP requests on the interface with this index and sends any frame there.
    ///
    /// # Errors
    /// The kernel refuses: no CAP_NET_RAW, or the interface is gone.
    pub fn arp(index: u32) -> anyhow::Result<Self> {
        Self::open(index, ETHERTYPE_ARP, &ARP_REQUESTS)
    }

    /// Receives neighbour solicitations on the interface with this index and sends any frame there.
    ///
    /// # Errors
    /// As [`PacketSocket::arp`].
    pub fn ndp(index: u32) -> anyhow::Result<Self> {
        Self::open(index, ETHERTYPE_IPV6, &SOLICITATIONS)
    }

    fn open(index: u32, ethertype: u16, filter: &[SockFilter]) -> anyhow::Result<Self> {
        let socket = raw()?;
        socket.set_nonblocking(true).context("cannot make the packet socket non-blocking")?;
        socket.attach_filter(filter).context("cannot attach the packet filter")?;
        socket
            .bind(&sys::packet_address(ethertype, index)?)
            .context("cannot bind the packet socket to the interface")?;
        Ok(Self { fd: sys::readiness(socket).context("cannot wait on the packet socket")? })
    }

    /// Waits for the next question and copies it to `buffer`; returns its length.
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

/// A socket with the task that answers the questions it receives. Dropping it ends the task.
#[derive(Debug)]
pub struct Responder {
    socket: Arc<PacketSocket>,
    permit: Permit,
    task: JoinHandle<()>,
}

impl Responder {
    /// Answers questions on `socket` by `answer`, counted in `metrics`, while there is a permit.
    pub fn spawn(
        interface: String,
        socket: PacketSocket,
        metrics: Layer2Metrics,
        permit: Permit,
        answer: impl Fn(&[u8]) -> Option<Answer> + Send + 'static,
    ) -> Self {
        let socket = Arc::new(socket);
        let task = tokio::spawn(serve(interface, socket.clone(), metrics, permit.clone(), answer));
        Self { socket, permit, task }
    }

    /// Sends a frame of our own, through the same socket.
    ///
    /// # Errors
    /// The frame was not sent.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        if !self.permit.is_valid(Moment::now()) {
            return Err(io::Error::other("there is no permit to send"));
        }
        self.socket.send(frame)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    interface: String,
    socket: Arc<PacketSocket>,
    metrics: Layer2Metrics,
    permit: Permit,
    answer: impl Fn(&[u8]) -> Option<Answer>,
) {
    let mut buffer = [0; LONGEST];
    loop {
        let length = match socket.receive(&mut buffer).await {
            Ok(length) => length,
            Err(error) => {
                tracing::debug!(event = "receiveFailed", interface, error = %error, "cannot receive, trying again");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        let Some(answer) = buffer.get(..length).and_then(&answer) else { continue };
        metrics.received(answer.ip);
        if !permit.is_valid(Moment::now()) {
            continue;
        }
        match socket.send(&answer.frame) {
            Ok(()) => metrics.responded(answer.ip),
            Err(error) => {
                tracing::debug!(event = "sendFailed", interface, ip = %answer.ip, error = %error, "cannot answer");
            }
        }
    }
}
