//! Listening on TCP addresses.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use anyhow::Context;

/// All addresses of the machine, IPv6 and IPv4, at `port`: what Go means by `:9120`.
pub fn all_interfaces(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

/// Listens on `addr`. On a machine without IPv6, `[::]` means `0.0.0.0`.
///
/// # Errors
/// The address is taken or is none of this machine's; the text names `what` is served and the `flag` that changes it.
pub fn listen(addr: SocketAddr, what: &str, flag: &str) -> anyhow::Result<TcpListener> {
    let bound = match TcpListener::bind(addr) {
        Err(error) if error.kind() != ErrorKind::AddrInUse && addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, addr.port()))
        }
        bound => bound,
    };
    let listener = bound.with_context(|| format!("cannot listen on {addr} for {what}; choose a free {flag}"))?;
    listener.set_nonblocking(true).context("cannot use a socket")?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_interfaces_answer_over_ipv4_too() {
        let listener = listen(all_interfaces(0), "tests", "--port").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[test]
    fn a_taken_port_names_the_flag() {
        let taken = listen("127.0.0.1:0".parse().unwrap(), "tests", "--port").unwrap();
        let addr = taken.local_addr().unwrap();
        let error = listen(addr, "metrics", "--port").unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {addr} for metrics; choose a free --port"));
    }
}
