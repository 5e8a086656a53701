//! Peers that don't answer: dead, frozen or stuck. UDP has no connection that the kernel would reset.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homing_transport::contract::{Certificates, PATIENCE, Proof};
use homing_transport::tls::Credentials;
use homing_transport::{
    Body, BoxFuture, Connection, Handler, Head, Kind, Lane, Limits, Listener, Peer, Reply, SendError,
    SendErrorKind, Sent, Transport,
};
use homing_transport_quic::{QuicListener, QuicTransport};
use homing_types::NodeId;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// Longer than any of these tests: what ends sooner was not ended by it.
const NEVER: Duration = Duration::from_secs(1_000);

fn node(id: &str) -> NodeId {
    NodeId::new(id).expect("a node id")
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn patient() -> Limits {
    Limits {
        keepalive_interval: Duration::from_secs(2),
        keepalive_timeout: NEVER,
        handshake_timeout: NEVER,
        ..Limits::default()
    }
}

/// Says when it has a request, and never answers.
struct Mute(Notify);

impl Handler for Mute {
    fn handle(&self, _: NodeId, _: Head, _: http::Request<Body>) -> BoxFuture<'_, Reply> {
        self.0.notify_one();
        Box::pin(std::future::pending())
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn listen(
    at: SocketAddr,
    credentials: &Arc<Credentials>,
    limits: &Limits,
    theirs: &Runtime,
    handler: &Arc<Mute>,
) -> QuicListener {
    let _inside = theirs.enter();
    QuicListener::bind(at, Arc::clone(credentials), limits.clone(), Arc::clone(handler) as Arc<dyn Handler>)
        .expect("a listener")
}

/// `n2` listens in a runtime of its own, which the test can stop or freeze; `n1` dials.
struct Stage {
    credentials: Arc<Credentials>,
    limits: Limits,
    theirs: Runtime,
    listener: QuicListener,
    handler: Arc<Mute>,
    transport: QuicTransport,
    peer: Peer,
}

impl Stage {
    fn new(limits: Limits) -> Self {
        let certificates = Certificates::new();
        let theirs = runtime();
        let handler = Arc::new(Mute(Notify::new()));
        let [own, credentials] = ["n1", "n2"].map(|id| certificates.credentials(&node(id), Proof::Own));
        let listener = listen(any(), &credentials, &limits, &theirs, &handler);
        let transport = QuicTransport::new(any(), own, limits.clone()).expect("a transport");
        let peer = Peer { node: node("n2"), address: listener.address() };
        Self { credentials, limits, theirs, listener, handler, transport, peer }
    }

    async fn dial(&self) -> Result<Arc<dyn Connection>, SendError> {
        timeout(PATIENCE, self.transport.dial(&self.peer, Lane::Payload)).await.expect("the dial ends")
    }

    /// A call that has reached the handler.
    async fn call(&self, connection: &Arc<dyn Connection>) -> tokio::task::JoinHandle<SendError> {
        let connection = Arc::clone(connection);
        let call = tokio::spawn(async move { send(&*connection).await });
        timeout(PATIENCE, self.handler.0.notified()).await.expect("the handler runs");
        call
    }

    /// Closes the port without a word: with its runtime, the listener loses all that could send one.
    async fn die(self) -> QuicTransport {
        let Self { theirs, listener, transport, .. } = self;
        tokio::task::spawn_blocking(move || theirs.shutdown_timeout(PATIENCE)).await.expect("it ends");
        drop(listener);
        transport
    }

    /// Dies, and listens at the same address again.
    async fn start_again(&mut self) {
        let address = self.peer.address.parse().expect("an address");
        let theirs = std::mem::replace(&mut self.theirs, runtime());
        tokio::task::spawn_blocking(move || theirs.shutdown_timeout(PATIENCE)).await.expect("it ends");
        // The old one still holds its socket, as long as it is there.
        self.listener = self.listen(any());
        self.listener = self.listen(address);
    }

    fn listen(&self, at: SocketAddr) -> QuicListener {
        listen(at, &self.credentials, &self.limits, &self.theirs, &self.handler)
    }

    /// Keeps the one thread of the listener busy for good: its socket stays open, and it never answers.
    async fn freeze(&self) {
        let (freezing, frozen) = oneshot::channel();
        self.theirs.spawn(async {
            freezing.send(()).expect("the test waits for it");
            loop {
                std::thread::park();
            }
        });
        timeout(PATIENCE, frozen).await.expect("it freezes").expect("it says so");
    }
}

async fn send(connection: &dyn Connection) -> SendError {
    let head = Head::of(Kind::Direct(node("n2")));
    let call = connection.send(head, http::Request::new(Body::empty()));
    timeout(PATIENCE, call).await.expect("the call ends").expect_err("nobody answers")
}

#[tokio::test]
async fn a_peer_that_died_without_a_word_is_noticed_by_its_port() {
    let stage = Stage::new(patient());
    let connection = stage.dial().await.unwrap();
    let call = stage.call(&connection).await;
    let peer = stage.peer.clone();
    stage.die().await;
    let error = call.await.unwrap();
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Lost));
    assert_eq!(error.message, format!("{peer}: connection refused: its port is closed"));
    timeout(PATIENCE, connection.closed()).await.expect("the connection closes");
    assert!(!connection.is_open());
}

/// Who has started again has forgotten its connections, and says so when something comes on one of them.
#[tokio::test]
async fn a_peer_that_started_again_says_that_its_connections_are_gone() {
    let mut stage = Stage::new(patient());
    let connection = stage.dial().await.unwrap();
    // Nothing is under way, so nobody looks whether the port is closed for a moment.
    stage.start_again().await;
    let error = send(&*connection).await;
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Lost));
    assert_eq!(
        error.message,
        format!("{}: it has started again, and knows the connection no more", stage.peer)
    );
    timeout(PATIENCE, connection.closed()).await.expect("the connection closes");
    stage.call(&stage.dial().await.unwrap()).await;
    stage.theirs.shutdown_background();
}

#[tokio::test]
async fn a_dial_to_a_port_where_nobody_listens_is_refused_at_once() {
    let stage = Stage::new(patient());
    let peer = stage.peer.clone();
    let transport = stage.die().await;
    let error = timeout(PATIENCE, transport.dial(&peer, Lane::Payload)).await.unwrap().map(drop).unwrap_err();
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable));
    assert_eq!(error.message, format!("{peer}: connection refused"));
}

#[tokio::test]
async fn a_frozen_peer_is_noticed_by_keepalive() {
    let limits = Limits {
        keepalive_interval: Duration::from_millis(400),
        keepalive_timeout: Duration::from_secs(2),
        ..patient()
    };
    let stage = Stage::new(limits);
    let connection = stage.dial().await.unwrap();
    let call = stage.call(&connection).await;
    stage.freeze().await;
    let error = call.await.unwrap();
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Lost));
    assert_eq!(error.message, format!("{}: it fell silent (keepalive_timeout)", stage.peer));
    stage.theirs.shutdown_background();
}

#[tokio::test]
async fn keepalive_keeps_a_connection_on_which_nothing_happens() {
    let limits = Limits {
        keepalive_interval: Duration::from_millis(250),
        keepalive_timeout: Duration::from_millis(1_500),
        ..patient()
    };
    let stage = Stage::new(limits);
    let connection = stage.dial().await.unwrap();
    assert!(timeout(Duration::from_secs(3), connection.closed()).await.is_err(), "it was closed");
    assert!(connection.is_open());
    stage.theirs.shutdown_background();
}

#[tokio::test]
async fn a_dial_to_a_frozen_peer_ends_with_handshake_timeout() {
    let limits = Limits { handshake_timeout: Duration::from_millis(300), ..patient() };
    let stage = Stage::new(limits);
    stage.freeze().await;
    let error = stage.dial().await.map(drop).unwrap_err();
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable));
    assert_eq!(error.message, format!("{}: no answer within 300ms (handshake_timeout)", stage.peer));
    stage.theirs.shutdown_background();
}

#[tokio::test]
async fn a_connection_stuck_at_its_limit_takes_no_more_requests() {
    let limits = Limits {
        max_streams: 1,
        keepalive_interval: Duration::from_millis(400),
        keepalive_timeout: Duration::from_secs(2),
        ..patient()
    };
    let stage = Stage::new(limits);
    let connection = stage.dial().await.unwrap();
    let first = stage.call(&connection).await;
    let error = send(&*connection).await;
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable));
    assert!(!connection.is_open());
    assert!(!first.is_finished(), "the call that holds the place goes on");
    first.abort();
    stage.theirs.shutdown_background();
}

#[tokio::test]
async fn a_connection_that_was_told_to_go_away_says_nothing_of_a_closed_port() {
    let stage = Stage::new(patient());
    let connection = stage.dial().await.unwrap();
    timeout(PATIENCE, stage.listener.shutdown(NEVER)).await.expect("nothing runs");
    timeout(PATIENCE, connection.closed()).await.expect("the connection closes");
    let error = send(&*connection).await;
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable));
    assert!(!error.message.contains("refused"), "{error}");
    stage.theirs.shutdown_background();
}

#[tokio::test]
async fn a_listener_says_which_address_it_could_not_have() {
    let Stage { theirs, listener, .. } = Stage::new(patient());
    let address: SocketAddr = listener.address().parse().unwrap();
    let certificates = Certificates::new();
    let credentials = certificates.credentials(&node("n2"), Proof::Own);
    let handler = Arc::new(Mute(Notify::new()));
    let error =
        QuicListener::bind(address, credentials, patient(), handler).map(drop).unwrap_err().to_string();
    assert!(error.starts_with(&format!("can't bind UDP {address}: ")), "{error}");
    theirs.shutdown_background();
}
