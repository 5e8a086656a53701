//! The UDP socket under an endpoint.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What the kernel keeps of packets, in bytes each way, until this process takes them or the network does. A node that is late for a moment must not
/// lose what comes meanwhile: it would be sent again, by nodes that are late themselves. The usual 208 KiB of Linux hold some hundred small
/// packets. No more is given than `net.core.rmem_max` and `wmem_max` allow.
const BUFFER: usize = 4 << 20;

/// The longest datagram, in bytes: what an Ethernet of 9,000 bytes carries beside the headers of IPv6 and UDP. Where a path carries less, quinn finds out
/// how much (RFC 8899), and begins with 1,200.
pub(crate) const MAX_UDP_PAYLOAD: u16 = 9_000 - 40 - 8;

/// What the kernel takes or gives at once as several datagrams, in bytes (`UDP_SEGMENT`, `UDP_GRO`).
const BATCH: usize = u16::MAX as usize - 20 - 8;

/// Whether packets are taken many at a time, here (`recvmmsg`).
const TAKES_MANY: bool = cfg!(any(target_os = "linux", target_os = "android", target_os = "freebsd"));

/// How many packets are asked for at a time as long as no more come together: to ask for many costs more than to take one.
const FEW: usize = 4;

/// How many errors in a row are passed over before receiving fails, which ends the endpoint.
const MAX_FAILURES: usize = 16;

/// How long a connection that can't wait for room lets pass before it looks again.
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// Binds one; `[::]` is for IPv4, too.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
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

/// Lets the runtime tell what a socket is ready for.
fn register(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    // SAFETY: a socket of the standard library owns its descriptor, which stays open and the same until it is dropped, and only shared
    // references to it are taken.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

/// A socket as quinn uses it, which spares two things that quinn's own does for each packet.
///
/// Whoever waits until a UDP socket can be written to is woken whenever a packet has left it: here only a connection that found it full
/// waits for that. And who was given fewer packets than there was room for has seen the end of them, and need not look once more.
#[derive(Debug)]
pub(crate) struct Socket {
    io: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// A send has found no room, and nobody has seen any since.
    full: AtomicBool,
    /// The longest datagram so far, in bytes.
    longest: AtomicUsize,
    /// Whether as many packets as [`FEW`] came together last, or more.
    many: AtomicBool,
}

impl Socket {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let io = register(socket, Interest::READABLE)?;
        Ok(Self {
            io,
            state,
            full: AtomicBool::new(false),
            longest: AtomicUsize::new(1),
            many: AtomicBool::new(false),
        })
    }

    /// The same socket once more, which says when there is room; at once, if there is by now.
    fn writable_clone(&self) -> io::Result<AsyncFd<UdpSocket>> {
        register(self.io.get_ref().try_clone()?, Interest::WRITABLE)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room { socket: self, writable: None })
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        let datagram = transmit.segment_size.unwrap_or(transmit.contents.len());
        self.longest.fetch_max(datagram, Ordering::Relaxed);
        let sent = self.state.send(self.io.get_ref().into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.full.store(true, Ordering::Release);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut failures = 0;
        loop {
            let mut ready = ready!(self.io.poll_read_ready(cx))?;
            let asked = if self.many.load(Ordering::Relaxed) { bufs.len() } else { FEW.min(bufs.len()) };
            match self.state.recv(self.io.get_ref().into(), &mut bufs[..asked], meta) {
                Ok(received) => {
                    self.many.store(received >= FEW, Ordering::Relaxed);
                    // What comes from now on is told anew.
                    if TAKES_MANY && received < asked {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(received));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                // It would end all connections of the endpoint, and what failed for one packet may work for the next.
                Err(error) if failures < MAX_FAILURES => {
                    failures += 1;
                    tracing::debug!(%error, "a packet could not be received");
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        let fit = BATCH / self.longest.load(Ordering::Relaxed);
        self.state.max_gso_segments().min(fit)
    }

    /// quinn makes each buffer so many times [`MAX_UDP_PAYLOAD`] long: one that the kernel fills must fit, however many segments it has.
    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments().min(BATCH.div_ceil(MAX_UDP_PAYLOAD.into()))
    }
}

/// Wakes a task in a moment.
fn look_again(waker: Waker) {
    tokio::spawn(async move {
        tokio::time::sleep(RETRY_AFTER).await;
        waker.wake();
    });
}

/// Waits for room in a socket, on behalf of one connection.
#[derive(Debug)]
struct Room {
    socket: Arc<Socket>,
    /// The same socket once more, for as long as this waits.
    writable: Option<AsyncFd<UdpSocket>>,
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        let waiting = self.writable.take();
        if !self.socket.full.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let room = match waiting.map_or_else(|| self.socket.writable_clone(), Ok) {
            Ok(writable) => {
                let room = writable.poll_write_ready(cx).map(|_| Ok(()));
                self.writable = room.is_pending().then_some(writable);
                room
            }
            // An error here would leave a connection that neither moves nor ends.
            Err(error) => {
                tracing::debug!(%error, "can't wait for room in a socket");
                look_again(cx.waker().clone());
                Poll::Pending
            }
        };
        if self.writable.is_none() {
            self.socket.full.store(false, Ordering::Release);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;

    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn socket() -> (Arc<Socket>, SocketAddr) {
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        (Arc::new(Socket::new(socket).unwrap()), address)
    }

    fn datagram(to: SocketAddr) -> Transmit<'static> {
        Transmit { destination: to, ecn: None, contents: b"one", segment_size: None, src_ip: None }
    }

    async fn received(socket: &Socket) -> usize {
        let mut room = [[0; 16]; 4 * FEW];
        let mut bufs = room.each_mut().map(|room| IoSliceMut::new(room));
        poll_fn(|cx| socket.poll_recv(cx, &mut bufs, &mut [RecvMeta::default(); 4 * FEW])).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_datagram_is_left_lying_that_came_while_the_one_before_was_taken() {
        const MANY: usize = 20_000;
        let ((sender, _), (receiver, to)) = (socket(), socket());
        // So many fit into any socket.
        let room = Arc::new(Semaphore::new(64));
        let sending = tokio::spawn({
            let room = Arc::clone(&room);
            async move {
                for _ in 0..MANY {
                    room.acquire().await.unwrap().forget();
                    sender.try_send(&datagram(to)).unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut count = 0;
        while count < MANY {
            let came = timeout(PATIENCE, received(&receiver)).await.expect("one is left lying");
            room.add_permits(came);
            count += came;
        }
        sending.await.unwrap();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn many_are_asked_for_once_more_than_a_few_have_come_together() {
        let ((sender, _), (receiver, to)) = (socket(), socket());
        for (sent, come) in [
            (1, &[1][..]),
            (3 * FEW, &[FEW, 2 * FEW]),
            (3 * FEW, &[3 * FEW]),
            (1, &[1]),
            (2 * FEW, &[FEW, FEW]),
        ] {
            (0..sent).for_each(|_| sender.try_send(&datagram(to)).unwrap());
            for come in come {
                let came = timeout(PATIENCE, received(&receiver)).await.expect("one is left lying");
                assert_eq!(came, *come, "of {sent}");
            }
        }
    }

    #[tokio::test]
    async fn who_found_a_socket_full_goes_on_once_there_is_room() {
        let (socket, to) = socket();
        let mut rooms = [(); 3].map(|()| Arc::clone(&socket).create_io_poller());
        for room in &mut rooms {
            socket.full.store(true, Ordering::Release);
            let first = poll_fn(|cx| Poll::Ready(room.as_mut().poll_writable(cx).is_ready())).await;
            assert!(!first, "it was told before it asked");
        }
        for mut room in rooms {
            socket.full.store(true, Ordering::Release);
            // A task is polled only if it is woken; who has a deadline looks once more then.
            let told = tokio::spawn(async move { poll_fn(|cx| room.as_mut().poll_writable(cx)).await });
            timeout(PATIENCE, told).await.expect("it has room").unwrap().unwrap();
        }
        assert!(!socket.full.load(Ordering::Acquire));
        socket.try_send(&datagram(to)).unwrap();
        assert_eq!(received(&socket).await, 1);
    }

    #[tokio::test]
    async fn what_leaves_at_once_fits_into_what_the_kernel_takes() {
        let (socket, to) = socket();
        assert!(socket.max_transmit_segments() > 40 || socket.state.max_gso_segments() == 1);
        let long = [0; MAX_UDP_PAYLOAD as usize];
        socket.try_send(&Transmit { contents: &long, ..datagram(to) }).unwrap();
        assert!(socket.max_transmit_segments() * long.len() <= BATCH);
        assert!(socket.max_receive_segments() * long.len() >= BATCH || socket.state.gro_segments() == 1);
    }
}
