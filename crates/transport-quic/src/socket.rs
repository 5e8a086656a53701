//! The UDP socket under an endpoint.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel keeps of packets, in bytes each way, until this process takes them or the network does. A node that is late for a moment must not
/// lose what comes meanwhile: it would be sent again, by nodes that are late themselves. The usual 208 KiB of Linux hold some hundred small
/// packets. No more is given than `net.core.rmem_max` and `wmem_max` allow.
const BUFFER: usize = 4 << 20;

/// Binds one; `[::]` is for IPv4, too.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Where a system has IPv6 alone, that is all there is.
        let _ = socket.set_only_v6(false);
    }
    // Less will do, only not as well.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
