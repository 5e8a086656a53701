//! Peers that break the protocol: quinn's own connections under our listener and our transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use homing_transport::contract::{Certificates, Proof};
use homing_transport::wire::binary;
use homing_transport::{
    Body, BodyError, BoxFuture, Connection, Handler, Head, Kind, Lane, Limits, Listener, Peer, Reply,
    ReplyHead, SendErrorKind, Sent, Transport,
};
use homing_types::{NodeId, Outcome};
use http_body_util::BodyExt;
use quinn::{Endpoint, VarInt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::config;
use crate::frame::{Batch, Frame};
use crate::runtime::Deferring;
use crate::socket::{self, MAX_UDP_PAYLOAD};
use crate::stream::{Code, ReceiveError, Receiver};
use crate::{QuicListener, QuicTransport};

const PATIENCE: Duration = Duration::from_secs(20);

fn node(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn head() -> Head {
    Head::of(Kind::Direct(node("n2")))
}

fn head_frame(batch: &mut Batch) {
    batch.head(|out| binary::encode_request(&head(), &http::Request::post("/").body(()).unwrap(), out));
}

/// Counts the requests and tells how their bodies ended.
struct Listening {
    requests: AtomicUsize,
    ends: mpsc::UnboundedSender<Result<Bytes, BodyError>>,
}

impl Handler for Listening {
    fn handle(&self, _: NodeId, _: Head, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            let body = request.into_body().collect().await.map(|body| body.to_bytes());
            self.ends.send(body).unwrap();
            Reply { head: ReplyHead::default(), response: http::Response::new(Body::empty()) }
        })
    }
}

/// Our listener `n2`, and a connection to it that `n1` uses as it likes.
struct Abused {
    listener: QuicListener,
    handler: Arc<Listening>,
    ends: mpsc::UnboundedReceiver<Result<Bytes, BodyError>>,
    connection: quinn::Connection,
    _client: Endpoint,
}

impl Abused {
    async fn new(limits: Limits) -> Self {
        let certificates = Certificates::new();
        let credentials = |id| certificates.credentials(&node(id), Proof::Own);
        let (sender, ends) = mpsc::unbounded_channel();
        let handler = Arc::new(Listening { requests: AtomicUsize::new(0), ends: sender });
        let shown = Arc::clone(&handler) as Arc<dyn Handler>;
        let listener = QuicListener::bind(any(), credentials("n2"), limits.clone(), shown).unwrap();
        let socket = socket::bind(any()).unwrap();
        let mut client = Endpoint::new(config::client_endpoint(), None, socket, Arc::new(Deferring)).unwrap();
        client.set_default_client_config(config::client(&credentials("n1"), &limits).unwrap());
        let address = listener.address().parse().unwrap();
        let connection = client.connect(address, "n2.test.example").unwrap().await.unwrap();
        Self { listener, handler, ends, connection, _client: client }
    }

    /// Sends what `write` puts into a batch, and then a FIN.
    async fn send(&self, write: impl FnOnce(&mut Batch)) -> Receiver {
        let mut batch = Batch::default();
        write(&mut batch);
        self.send_bytes(&batch.chunks().concat()).await
    }

    async fn send_bytes(&self, bytes: &[u8]) -> Receiver {
        let (mut send, receive) = self.connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        Receiver::new(receive, 1 << 20)
    }

    fn requests(&self) -> usize {
        self.handler.requests.load(Ordering::Relaxed)
    }
}

async fn reply_head(reply: &mut Receiver) -> ReplyHead {
    match timeout(PATIENCE, reply.frame()).await.unwrap().unwrap() {
        Frame::Head(block) => binary::decode_reply(block, 1 << 20).unwrap().0,
        other => panic!("{other:?} is no head"),
    }
}

#[tokio::test]
async fn a_request_that_finishes_without_its_end_is_cut_short() {
    let mut abused = Abused::new(Limits::default()).await;
    let _reply = abused
        .send(|batch| {
            head_frame(batch);
            batch.data(Bytes::from_static(b"half of it"));
        })
        .await;
    assert_eq!(abused.ends.recv().await, Some(Err(BodyError::Aborted)));
}

#[tokio::test]
async fn a_body_with_frames_that_are_none_breaks_the_protocol() {
    let mut abused = Abused::new(Limits::default()).await;
    for nonsense in [&[99, 0][..], &[6, 1, 0]] {
        let mut batch = Batch::default();
        head_frame(&mut batch);
        let bytes = [batch.chunks().concat().as_slice(), nonsense].concat();
        let _reply = abused.send_bytes(&bytes).await;
        assert!(matches!(abused.ends.recv().await, Some(Err(BodyError::Protocol(_)))));
    }
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_refused_and_not_shown() {
    let abused = Abused::new(Limits::default()).await;
    let mut reply = abused.send(|batch| batch.head(|out| out.put_u8(9))).await;
    let head = reply_head(&mut reply).await;
    assert_eq!(head.outcome, Some(Outcome::Refused));
    assert!(head.reason.contains("version 9"), "{}", head.reason);

    let mut reply = abused.send(|batch| batch.head(|out| out.put_bytes(1, 100_000))).await;
    let head = reply_head(&mut reply).await;
    assert_eq!(head.outcome, Some(Outcome::Refused));
    assert!(
        head.reason.contains("100000 bytes") && head.reason.contains("max_header_block"),
        "{}",
        head.reason
    );

    let mut reply = abused.send(Batch::end).await;
    assert_eq!(reply_head(&mut reply).await.outcome, Some(Outcome::Refused));
    assert_eq!(abused.requests(), 0);
}

#[tokio::test]
async fn a_head_that_does_not_come_is_refused_in_time() {
    let limits = Limits { handshake_timeout: Duration::from_secs(2), ..Limits::default() };
    let abused = Abused::new(limits).await;
    let (mut send, mut receive) = abused.connection.open_bi().await.unwrap();
    send.write_all(&[1]).await.unwrap();
    let reset = timeout(PATIENCE, receive.received_reset()).await.unwrap().unwrap();
    assert_eq!(reset, Some(VarInt::from(Code::Refused)));
    assert_eq!(timeout(PATIENCE, send.stopped()).await.unwrap().unwrap(), Some(Code::Refused.into()));
    assert_eq!(abused.requests(), 0);
}

#[tokio::test]
async fn a_listener_that_drains_says_so_and_refuses_what_comes_all_the_same() {
    let mut abused = Abused::new(Limits::default()).await;
    let mut control = Receiver::new(abused.connection.accept_uni().await.unwrap(), 100);
    assert_eq!(control.frame().await, Ok(Frame::Hello));
    let write = |batch: &mut Batch| {
        head_frame(batch);
        batch.end();
    };
    let _reply = abused.send(write).await;
    assert_eq!(abused.ends.recv().await, Some(Ok(Bytes::new())));
    let stubborn = async {
        assert_eq!(control.frame().await, Ok(Frame::GoAway(1)));
        let mut late = abused.send(write).await;
        assert_eq!(late.frame().await, Err(ReceiveError::Reset(Code::Refused.into())));
        abused.connection.close(Code::Done.into(), b"");
    };
    let shutdown = abused.listener.shutdown(PATIENCE * 10);
    timeout(PATIENCE, async { tokio::join!(stubborn, shutdown) }).await.unwrap();
    assert_eq!(abused.requests(), 1);
}

#[tokio::test]
async fn the_head_says_what_time_is_left_when_it_is_sent() {
    struct Noting(mpsc::UnboundedSender<Head>);

    impl Handler for Noting {
        fn handle(&self, _: NodeId, head: Head, _: http::Request<Body>) -> BoxFuture<'_, Reply> {
            self.0.send(head).unwrap();
            Box::pin(async { Reply::without_answer(ReplyHead::default()) })
        }
    }

    let certificates = Certificates::new();
    let credentials = |id| certificates.credentials(&node(id), Proof::Own);
    let limits = Limits::default();
    let (sender, mut heads) = mpsc::unbounded_channel();
    let noting = Arc::new(Noting(sender));
    let listener = QuicListener::bind(any(), credentials("n2"), limits.clone(), noting).unwrap();
    let transport = QuicTransport::new(any(), credentials("n1"), limits).unwrap();
    let peer = Peer { node: node("n2"), address: listener.address() };
    let connection = dial(&transport, &peer).await;
    let given = Head { remaining: Some(PATIENCE), reply_within: Some(PATIENCE / 2), ..head() };
    connection.send(given.clone(), http::Request::new(Body::empty())).await.unwrap();
    let seen = heads.recv().await.unwrap();
    assert!(seen.remaining < given.remaining && seen.reply_within < given.reply_within, "{seen:?}");
    let Head { remaining, reply_within, .. } = given;
    assert_eq!(Head { remaining, reply_within, ..seen }, given);
}

/// A listener `n2` that answers each request with these bytes and a FIN, and our transport as `n1`.
async fn answering(hello: &'static [u8], answer: Vec<u8>) -> (Endpoint, QuicTransport, Peer) {
    let certificates = Certificates::new();
    let credentials = |id| certificates.credentials(&node(id), Proof::Own);
    let limits = Limits::default();
    let server = config::server(&credentials("n2"), &limits).unwrap();
    let endpoint = Endpoint::server(server, any()).unwrap();
    let transport = QuicTransport::new(any(), credentials("n1"), limits).unwrap();
    let peer = Peer { node: node("n2"), address: endpoint.local_addr().unwrap().to_string() };
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        let connection = accepting.accept().await.unwrap().await.unwrap();
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(hello).await.unwrap();
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            receive.read_to_end(1 << 20).await.unwrap();
            send.write_all(&answer).await.unwrap();
            send.finish().unwrap();
        }
    });
    (endpoint, transport, peer)
}

const HELLO: &[u8] = &[5, 0];

fn reply_frames(write: impl FnOnce(&mut Batch)) -> Vec<u8> {
    let mut batch = Batch::default();
    batch.head(|out| binary::encode_reply(&ReplyHead::default(), &http::Response::new(()), out));
    write(&mut batch);
    batch.chunks().concat()
}

async fn dial(transport: &QuicTransport, peer: &Peer) -> Arc<dyn Connection> {
    timeout(PATIENCE, transport.dial(peer, Lane::Payload)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_reply_that_finishes_without_its_end_is_cut_short() {
    let half = reply_frames(|batch| batch.data(Bytes::from_static(b"half of it")));
    let (_endpoint, transport, peer) = answering(HELLO, half).await;
    let connection = dial(&transport, &peer).await;
    let reply = connection.send(head(), http::Request::new(Body::empty())).await.unwrap();
    assert_eq!(reply.response.into_body().collect().await.unwrap_err(), BodyError::Aborted);
}

#[tokio::test]
async fn trailers_over_the_limit_are_named() {
    let trailers = reply_frames(|batch| {
        batch.trailers(|out| {
            out.put_u8(1);
            // The first header of the table, 2,000 times: it counts 60 bytes each.
            out.put_bytes(1, 2_000);
        });
    });
    let (_endpoint, transport, peer) = answering(HELLO, trailers).await;
    let connection = dial(&transport, &peer).await;
    let reply = connection.send(head(), http::Request::new(Body::empty())).await.unwrap();
    let BodyError::Protocol(why) = reply.response.into_body().collect().await.unwrap_err() else {
        panic!("the trailers are over the limit");
    };
    assert!(why.contains("120000 bytes") && why.contains("max_header_block"), "{why}");
}

#[tokio::test]
async fn a_reply_that_is_none_may_have_been_a_reply() {
    for (answer, kind) in [
        (vec![], SendErrorKind::Protocol),
        (vec![99, 0], SendErrorKind::Protocol),
        (vec![4, 0], SendErrorKind::Protocol),
        (vec![1, 1, 9], SendErrorKind::Protocol),
        (vec![1, 0xbf, 0xff, 0xff, 0xff], SendErrorKind::Limit),
    ] {
        let (_endpoint, transport, peer) = answering(HELLO, answer).await;
        let connection = dial(&transport, &peer).await;
        let error = connection.send(head(), http::Request::new(Body::empty())).await.unwrap_err();
        assert_eq!((error.sent, error.kind), (Sent::MaybeSent, kind), "{error}");
        assert!(error.message.starts_with(&peer.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_listener_that_says_something_else_than_hello_is_not_used() {
    let (_endpoint, transport, peer) = answering(&[4, 0], vec![]).await;
    let error = timeout(PATIENCE, transport.dial(&peer, Lane::Payload)).await.unwrap().map(drop).unwrap_err();
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Protocol), "{error}");
}

#[tokio::test]
async fn a_path_that_carries_long_datagrams_is_used_for_them() {
    let mut abused = Abused::new(Limits::default()).await;
    let mtu = |abused: &Abused| abused.connection.stats().path.current_mtu;
    let began = Instant::now();
    while mtu(&abused) < MAX_UDP_PAYLOAD {
        assert!(began.elapsed() < PATIENCE, "after a while it is {}", mtu(&abused));
        let mut reply = abused
            .send(|batch| {
                head_frame(batch);
                batch.data(Bytes::from_static(&[0; 32 << 10]));
                batch.end();
            })
            .await;
        assert_eq!(reply_head(&mut reply).await, ReplyHead::default());
        assert_eq!(abused.ends.recv().await.unwrap().unwrap().len(), 32 << 10);
    }
}
