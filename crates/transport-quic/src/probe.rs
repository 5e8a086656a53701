//! Asks the kernel of a peer whether anybody listens on a port.
//!
//! A TCP connection to a process that died is reset at once; a QUIC connection only falls silent, since quinn's
//! one socket for all peers never hears of an ICMP "port unreachable". A socket that is connected to the peer
//! does hear of it. Where such answers are filtered, nothing is lost: the timeouts remain.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How often the kernel is asked: a datagram, or its answer, may be lost.
const AGAIN: Duration = Duration::from_millis(250);

/// A datagram that is no QUIC packet (RFC 9000, section 17: it needs a connection id), and is dropped unread.
const NO_PACKET: [u8; 1] = [0];

/// Ends once the kernel at `address` says that the port is closed; never if it says nothing.
pub(crate) async fn refused(address: SocketAddr) {
    match ask(address).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => (),
        _ => pending().await,
    }
}

async fn ask(address: SocketAddr) -> io::Result<()> {
    // A socket for both families sees IPv4 addresses as IPv6.
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    loop {
        socket.send(&NO_PACKET).await?;
        if let Ok(answer) = timeout(AGAIN, socket.recv(&mut [0])).await {
            return answer.map(drop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_port_is_refused_and_an_open_one_is_not() {
        let open = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = open.local_addr().unwrap();
        assert!(timeout(AGAIN * 2, refused(address)).await.is_err());
        drop(open);
        timeout(Duration::from_secs(20), refused(address)).await.unwrap();
    }
}
