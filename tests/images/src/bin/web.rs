//! The web server of the test pods: says which pod answered, on which node, and which address the client had.
//!
//! ```text
//! GET anything   ->   200   pod=web-1 node=node2 client=[::ffff:172.30.0.200]:41234
//! ```
//!
//! `POD_NAME` and `NODE_NAME` come from the downward API. One answer per connection.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

const PORT: u16 = 8080;
/// A client that sends no complete request within this time is cut off.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer request headers than this are refused.
const MAX_HEADER: usize = 16 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let name = |key: &str| std::env::var(key).unwrap_or_else(|_| "unknown".to_owned());
    let who = format!("pod={} node={}", name("POD_NAME"), name("NODE_NAME"));
    // An IPv6 socket on [::] takes IPv4 clients too; on a machine without IPv6 it fails and IPv4 alone is served.
    let listener = match TcpListener::bind(SocketAddr::from(([0u16; 8], PORT))).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(SocketAddr::from(([0u8; 4], PORT))).await,
    };
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("web: cannot listen on port {PORT}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        eprintln!("web: cannot listen for signals");
        return ExitCode::FAILURE;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => return ExitCode::SUCCESS,
            accepted = listener.accept() => {
                if let Ok((stream, peer)) = accepted {
                    let body = format!("{who} client={}\n", plain(peer));
                    tokio::spawn(async move { tokio::time::timeout(PATIENCE, answer(stream, body)).await });
                }
            }
        }
    }
}

/// The client's address; an IPv4 client of the IPv6 socket is shown as IPv4.
fn plain(peer: SocketAddr) -> SocketAddr {
    let address = match peer.ip() {
        IpAddr::V6(v6) => v6.to_canonical(),
        IpAddr::V4(v4) => IpAddr::V4(v4),
    };
    SocketAddr::new(address, peer.port())
}

async fn answer(mut stream: TcpStream, body: String) -> std::io::Result<()> {
    let mut header = Vec::new();
    while !header.windows(4).any(|end| end == b"\r\n\r\n") {
        if header.len() > MAX_HEADER || stream.read_buf(&mut header).await? == 0 {
            return Ok(());
        }
    }
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}
