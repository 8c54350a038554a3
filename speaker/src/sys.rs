//! The one place with `unsafe`: what the kernel offers and no safe wrapper gives.
//!
//! ```text
//! (EtherType, interface index) --packet_address--> SockAddr --bind--> AF_PACKET socket on one interface
//! socket --readiness--> AsyncFd, to wait for frames without a thread
//! ```

use std::io;
use std::mem::size_of;

use socket2::{SockAddr, SockAddrStorage, Socket};
use tokio::io::unix::AsyncFd;

// `bind` reads exactly this many bytes; a storage that is smaller would be written past its end.
const _: () = assert!(size_of::<libc::sockaddr_ll>() == 20);
const _: () = assert!(size_of::<libc::sockaddr_ll>() <= size_of::<SockAddrStorage>());

/// The link-layer address that binds an `AF_PACKET` socket to the frames of one EtherType on one interface.
///
/// `ethertype` is in host order (for example `0x0806`), `index` is the kernel's interface index.
///
/// # Errors
/// The index does not fit the kernel's type.
pub fn packet_address(ethertype: u16, index: u32) -> io::Result<SockAddr> {
    let index = i32::try_from(index).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let family = libc::sa_family_t::try_from(libc::AF_PACKET)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    // SAFETY: `try_init` hands out zeroed storage that is at least as large and as aligned as any socket address (asserted
    // above for `sockaddr_ll`). All-zero bytes are a valid `sockaddr_ll`, the fields written are plain integers, and the
    // length returned is exactly that of the type written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, size| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = family;
            (*link).sll_protocol = ethertype.to_be();
            (*link).sll_ifindex = index;
            *size = length;
            Ok(())
        })
    }?;
    Ok(address)
}

/// Makes a non-blocking socket something to wait on. Call inside the tokio runtime.
///
/// # Errors
/// The kernel's event queue refuses the socket.
pub fn readiness(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: the socket owns its file descriptor and is moved in; it always names the same open file, and it is closed only when
    // the AsyncFd, which deregisters it first, is dropped.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_carries_family_and_length_of_a_packet_socket() {
        let address = packet_address(0x0806, 7).unwrap();
        assert_eq!(i32::from(address.family()), libc::AF_PACKET);
        assert_eq!(address.len(), 20);
    }

    #[test]
    fn an_index_beyond_the_kernels_type_is_refused() {
        assert_eq!(packet_address(0x0806, u32::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
