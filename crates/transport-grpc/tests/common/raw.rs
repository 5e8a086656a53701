//! HTTP/2 by the byte, for what h2 can't be made to say (RFC 9113, section 6).

use std::collections::HashSet;
use std::sync::Arc;

use homing_transport::contract::Proof;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Grpc, node, within};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` and `homing-hops: 0`, without compression (RFC 7541).
const OK: &[u8] = b"\x88\x00\x0bhoming-hops\x010";

/// `:method: POST`, `:scheme: https`, `:path: /`, `:authority: n2` and `homing-direct: n2`.
const POST: &[u8] = b"\x83\x87\x84\x01\x02n2\x00\x0dhoming-direct\x02n2";

pub async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

pub fn address(listener: &TcpListener) -> String {
    listener.local_addr().expect("an address").to_string()
}

/// Accepts one connection and its TLS, as `n2`.
pub async fn secure(grpc: &Grpc, listener: &TcpListener) -> TlsStream<TcpStream> {
    let (tcp, _) = within("a connection", listener.accept()).await.expect("a connection");
    let config = grpc.certificates.credentials(&node("n2"), Proof::Own).server_config(b"h2");
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("TLS takes the credentials")));
    within("TLS", acceptor.accept(tcp)).await.expect("TLS")
}

/// Takes three requests, says that it has processed the first alone, and hangs up.
pub async fn serve_one_and_go_away(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    greet(io).await;
    let mut requests = 0;
    while requests < 3 {
        let Some(frame) = next(io).await else { return };
        requests += usize::from(frame.kind == HEADERS);
    }
    // Stream 1 was the last, NO_ERROR.
    write(io, GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).await;
    let _ = io.shutdown().await;
    while next(io).await.is_some() {}
}

/// Answers requests that are cancelled, too late, and then the one request that has no body.
pub async fn answer_what_was_cancelled(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    greet(io).await;
    let (mut open, mut last) = (HashSet::new(), None);
    while let Some(Frame { kind, flags, stream, .. }) = next(io).await {
        match kind {
            HEADERS if flags & END_STREAM != 0 => last = Some(stream),
            HEADERS => drop(open.insert(stream)),
            RST_STREAM if open.remove(&stream) => {
                write(io, HEADERS, END_STREAM | END_HEADERS, stream, OK).await
            }
            _ => {}
        }
        if open.is_empty()
            && let Some(stream) = last.take()
        {
            write(io, HEADERS, END_STREAM | END_HEADERS, stream, OK).await;
        }
    }
}

/// Dials as `n1`, sends a request with its cancellation in one piece, then a whole one, and waits for the reply.
pub async fn cancel_before_the_start(grpc: &Grpc, address: &str) {
    let credentials = grpc.certificates.credentials(&node("n1"), Proof::Own);
    let config = credentials.client_config(b"h2").expect("TLS takes the credentials");
    let name = credentials.server_name(&node("n2")).expect("a name");
    let tcp = TcpStream::connect(address).await.expect("a connection");
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("TLS");
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_HEADERS, 1, POST));
    bytes.extend(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 3, POST));
    send(&mut tls, &bytes).await;
    while next(&mut tls).await.expect("a reply").kind != HEADERS {}
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

async fn greet(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut preface = [0; 24];
    io.read_exact(&mut preface).await.expect("the preface");
    write(io, SETTINGS, 0, 0, &[]).await;
}

/// The next frame that says something; `None` if the peer hung up.
async fn next(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<Frame> {
    loop {
        let frame = read(io).await?;
        match frame.kind {
            SETTINGS if frame.flags == 0 => write(io, SETTINGS, ACK, 0, &[]).await,
            PING if frame.flags == 0 => write(io, PING, ACK, 0, &frame.payload).await,
            _ => return Some(frame),
        }
    }
}

async fn read(io: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut header = [0; 9];
    io.read_exact(&mut header).await.ok()?;
    let [a, b, c, kind, flags, stream @ ..] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    io.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
}

async fn write(io: &mut (impl AsyncWrite + Unpin), kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    send(io, &frame(kind, flags, stream, payload)).await;
}

async fn send(io: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    io.write_all(bytes).await.expect("the peer reads");
    io.flush().await.expect("the peer reads");
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("a short payload");
    let mut frame = vec![0, 0, len, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
