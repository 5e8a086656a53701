//! How TCP sends what little is on a connection between nodes: at once, and soon again where it was lost.
//!
//! Linux waits at least 200 ms before it sends a lost packet again, and twice as long each time after that, up to two minutes. The
//! waits that double keep a network from drowning, which few packets can't do; the 200 ms are from a time of coarser clocks
//! and longer ways (Vasudevan et al., "Safe and Effective Fine-grained TCP Retransmissions for Datacenter Communication", SIGCOMM
//! 2009). What a network takes in truth is added to these: on a long way nothing is sent again too early.

use std::io;

use tokio::net::TcpStream;

/// Sets the options of a connection between nodes.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    linux::resend_soon(stream);
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::AsRawFd;

    use socket2::SockRef;
    use tokio::net::TcpStream;

    /// Options of Linux 6.15 and later, from its `include/uapi/linux/tcp.h`. An older kernel doesn't know them, and waits longer.
    const TCP_RTO_MAX_MS: libc::c_int = 44;
    const TCP_RTO_MIN_US: libc::c_int = 45;
    const TCP_DELACK_MAX_US: libc::c_int = 46;

    /// The shortest wait before a packet is sent again, on top of the round trip; and the longest. A kernel takes no less
    /// than two ticks of its clock, of 10 ms at most, and no less than 1 s.
    const RESEND_MIN_US: libc::c_int = 20_000;
    const RESEND_MAX_MS: libc::c_int = 1_000;

    /// The longest time until what came is acknowledged: less than the peer waits for it.
    const ACKNOWLEDGE_US: libc::c_int = 10_000;

    /// Each option by itself: a system that lacks one may have the others.
    pub(super) fn resend_soon(stream: &TcpStream) {
        let _ = SockRef::from(stream).set_tcp_thin_linear_timeouts(true);
        set(stream, TCP_RTO_MIN_US, RESEND_MIN_US);
        set(stream, TCP_RTO_MAX_MS, RESEND_MAX_MS);
        set(stream, TCP_DELACK_MAX_US, ACKNOWLEDGE_US);
    }

    /// Sets an option, where the kernel has it.
    fn set(stream: &TcpStream, option: libc::c_int, value: libc::c_int) {
        // SAFETY: the socket is open as long as it is borrowed, and the kernel reads an integer of the size that it is told.
        let _ = unsafe {
            libc::setsockopt(
                stream.as_raw_fd(),
                libc::IPPROTO_TCP,
                option,
                (&raw const value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
    }
}
