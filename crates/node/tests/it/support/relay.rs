//! What can go wrong between two nodes, without any right but to listen on a port.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Stands before one node, on either wire, and passes on what it is sent for as long as it is let. Dropping it closes it.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    /// The node.
    to: SocketAddr,
    passing: watch::Sender<Passing>,
    delay: watch::Sender<Duration>,
    requests: Counts,
    replies: Counts,
}

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passing {
    All,
    /// Only what goes to the node.
    Requests,
    Nothing,
}

/// Bytes over TCP, datagrams over UDP. A connection that was refused is one request swallowed.
#[derive(Default)]
struct Counts {
    passed: AtomicU64,
    swallowed: AtomicU64,
}

#[derive(Clone, Copy)]
enum Way {
    Request,
    Reply,
}

impl Relay {
    /// Listens at one address, for who speaks this wire with the node at the other.
    pub(crate) async fn start(wire: &str, listen: SocketAddr, to: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            to,
            passing: watch::Sender::new(Passing::All),
            delay: watch::Sender::default(),
            requests: Counts::default(),
            replies: Counts::default(),
        });
        let mut serving = JoinSet::new();
        match wire {
            "grpc" => {
                serving.spawn(connections(TcpListener::bind(listen).await.unwrap(), Arc::clone(&shared)))
            }
            "quic" => serving.spawn(datagrams(UdpSocket::bind(listen).await.unwrap(), Arc::clone(&shared))),
            wire => panic!("no relay speaks {wire}"),
        };
        Self { shared, _serving: serving }
    }

    /// From now on, all takes this much longer in each direction.
    pub(crate) fn delay(&self, delay: Duration) {
        self.shared.delay.send_replace(delay);
    }

    /// Nothing passes any more, in either direction. TCP connections are lost and new ones refused; UDP is silent.
    pub(crate) fn cut(&self) {
        self.shared.passing.send_replace(Passing::Nothing);
    }

    /// All passes again.
    pub(crate) fn mend(&self) {
        self.shared.passing.send_replace(Passing::All);
    }

    /// The node still gets what it is sent, and its answers are swallowed: until [`Self::cut`], by which TCP connections
    /// are lost, too, or [`Self::mend`], which ends only those that miss something.
    ///
    /// When the answer is lost is left to the test, which knows whether the node has done what it was asked: a wire
    /// acknowledges a request long before that.
    pub(crate) fn drop_replies(&self) {
        self.shared.passing.send_replace(Passing::Requests);
    }

    /// What went to the node.
    pub(crate) fn requests_passed(&self) -> u64 {
        self.shared.requests.passed.load(Ordering::Relaxed)
    }

    /// What was kept from the node.
    pub(crate) fn requests_swallowed(&self) -> u64 {
        self.shared.requests.swallowed.load(Ordering::Relaxed)
    }

    /// What was kept of the node's answers.
    pub(crate) fn replies_swallowed(&self) -> u64 {
        self.shared.replies.swallowed.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Whether what goes this way passes now.
    fn passes(&self, way: Way, size: u64) -> bool {
        let (counts, passes) = match (way, *self.passing.borrow()) {
            (Way::Request, passing) => (&self.requests, passing != Passing::Nothing),
            (Way::Reply, passing) => (&self.replies, passing == Passing::All),
        };
        let count = if passes { &counts.passed } else { &counts.swallowed };
        count.fetch_add(size, Ordering::Relaxed);
        passes
    }

    /// When what comes now may arrive.
    fn due(&self) -> Instant {
        Instant::now() + *self.delay.borrow()
    }
}

async fn connections(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        if *shared.passing.borrow() == Passing::Nothing {
            shared.passes(Way::Request, 1);
            continue;
        }
        open.spawn(connection(near, Arc::clone(&shared)));
        while open.try_join_next().is_some() {}
    }
}

/// A connection, until one side closes it or it can't go on: it is cut, or all passes again and it misses something.
async fn connection(near: TcpStream, shared: Arc<Shared>) {
    let misses = AtomicBool::new(false);
    let carried = async {
        let Ok(far) = TcpStream::connect(shared.to).await else { return };
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let (from_near, to_near) = near.into_split();
        let (from_far, to_far) = far.into_split();
        tokio::select! {
            () = carry(from_near, to_far, Way::Request, &shared, &misses) => {}
            () = carry(from_far, to_near, Way::Reply, &shared, &misses) => {}
        }
    };
    let over = |passing: &Passing| match passing {
        Passing::All => misses.load(Ordering::Relaxed),
        Passing::Requests => false,
        Passing::Nothing => true,
    };
    let mut passing = shared.passing.subscribe();
    tokio::select! {
        () = carried => {}
        _ = passing.wait_for(over) => {}
    }
}

/// Carries what comes from one side to the other, in order, and ends when either side does.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    shared: &Shared,
    misses: &AtomicBool,
) {
    let (queue, mut queued) = mpsc::unbounded_channel();
    let read = async move {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(size @ 1..) = from.read(&mut bytes).await {
            let _ = queue.send((shared.due(), bytes[..size].to_vec()));
        }
    };
    let write = async {
        while let Some((due, bytes)) = queued.recv().await {
            tokio::time::sleep_until(due).await;
            if !shared.passes(way, bytes.len() as u64) {
                misses.store(true, Ordering::Relaxed);
            } else if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = write => {}
        // What was read before the end still arrives.
        () = async { read.await; std::future::pending().await } => {}
    }
}

async fn datagrams(socket: UdpSocket, shared: Arc<Shared>) {
    let near = Arc::new(socket);
    let mut senders = HashMap::new();
    let mut carrying = JoinSet::new();
    let mut bytes = vec![0; 64 << 10];
    loop {
        let Ok((size, from)) = near.recv_from(&mut bytes).await else { continue };
        let far = match senders.get(&from) {
            Some(far) => Arc::clone(far),
            None => {
                let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                far.connect(shared.to).await.unwrap();
                senders.insert(from, Arc::clone(&far));
                carrying.spawn(replies(Arc::clone(&far), Arc::clone(&near), from, Arc::clone(&shared)));
                far
            }
        };
        pass(&shared, Way::Request, bytes[..size].to_vec(), far, shared.to).await;
    }
}

/// Carries what the node answers back to one who asked.
async fn replies(far: Arc<UdpSocket>, near: Arc<UdpSocket>, to: SocketAddr, shared: Arc<Shared>) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        // Who is dead refuses what was sent, once a datagram.
        let Ok(size) = far.recv(&mut bytes).await else { continue };
        pass(&shared, Way::Reply, bytes[..size].to_vec(), Arc::clone(&near), to).await;
    }
}

/// Passes on one datagram. One that waits lets others overtake it.
async fn pass(shared: &Arc<Shared>, way: Way, bytes: Vec<u8>, by: Arc<UdpSocket>, to: SocketAddr) {
    let (due, shared) = (shared.due(), Arc::clone(shared));
    let passing = async move {
        tokio::time::sleep_until(due).await;
        if shared.passes(way, 1) {
            let _ = by.send_to(&bytes, to).await;
        }
    };
    if due <= Instant::now() { passing.await } else { drop(tokio::spawn(passing)) }
}
