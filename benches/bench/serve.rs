//! What is called: an echo of one kind, in a process of its own, until its standard input ends.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::{Bytes, BytesMut};
use homing::tls::Credentials;
use homing::{Body, BoxFuture, Declined, Granted, HttpService, Node, NodeId, Service, Wire};
use homing_benches::{Bare, EchoService};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::credentials::{self, owner};
use crate::nodes;

/// Serves, says where on standard output, and ends with standard input.
pub(crate) async fn run(
    kind: &str,
    folder: &Path,
    number: usize,
    epoch: u64,
    moved: Option<SocketAddr>,
) -> Result<()> {
    let id = owner(number)?;
    let at = start(kind, &id, credentials::read(folder, &id)?, epoch, moved).await?;
    {
        use std::io::Write as _;
        let mut out = std::io::stdout();
        writeln!(out, "{at}")?;
        out.flush()?;
    }
    tokio::task::spawn_blocking(|| {
        let mut unread = [0; 64];
        while std::io::stdin().read(&mut unread).is_ok_and(|read| read > 0) {}
    })
    .await?;
    Ok(())
}

/// Serves for as long as the runtime runs, and tells where.
pub(crate) async fn start(
    kind: &str,
    id: &NodeId,
    credentials: Arc<Credentials>,
    epoch: u64,
    moved: Option<SocketAddr>,
) -> Result<String> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    match kind {
        "tcp" => tcp(any).await,
        "udp" => udp(any).await,
        "tonic-plain" => bare(Bare::GrpcPlain, &credentials, any).await,
        "tonic" => bare(Bare::Grpc, &credentials, any).await,
        "quinn" => bare(Bare::Quic, &credentials, any).await,
        "homing-grpc" => {
            let service = Arc::new(HttpService::new(EchoService));
            node(nodes::owner(id, Wire::Grpc, credentials, service, epoch, moved).await?)
        }
        "homing-grpc-far" => {
            let service = Arc::new(Far(HttpService::new(EchoService)));
            node(nodes::owner(id, Wire::Grpc, credentials, service, epoch, moved).await?)
        }
        "homing-quic" => {
            node(nodes::owner(id, Wire::Quic, credentials, Arc::new(RawEcho), epoch, moved).await?)
        }
        "homing-quic-far" => {
            node(nodes::owner(id, Wire::Quic, credentials, Arc::new(Far(RawEcho)), epoch, moved).await?)
        }
        _ => bail!("there is no echo called {kind}"),
    }
}

async fn bare(wire: Bare, credentials: &Credentials, at: SocketAddr) -> Result<String> {
    let (at, serving) = wire.serve(credentials, at).await.map_err(|error| anyhow!("{error}"))?;
    tokio::spawn(serving);
    Ok(at.to_string())
}

/// Our node serves for as long as this process runs.
fn node(node: Node) -> Result<String> {
    let at = node.address();
    std::mem::forget(node);
    Ok(at)
}

/// Each message is its length, four bytes, and itself; and so is its answer.
async fn tcp(at: SocketAddr) -> Result<String> {
    let listener = TcpListener::bind(at).await?;
    let at = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                let (read, mut write) = stream.split();
                let mut read = tokio::io::BufReader::with_capacity(64 << 10, read);
                let mut message = Vec::new();
                loop {
                    let length = read.read_u32().await?;
                    message.resize(4 + length as usize, 0);
                    message[..4].copy_from_slice(&length.to_be_bytes());
                    read.read_exact(&mut message[4..]).await?;
                    write.write_all(&message).await?;
                }
                #[allow(unreachable_code)]
                std::io::Result::Ok(())
            });
        }
    });
    Ok(at.to_string())
}

async fn udp(at: SocketAddr) -> Result<String> {
    let socket = UdpSocket::bind(at).await?;
    let at = socket.local_addr()?;
    tokio::spawn(async move {
        let mut datagram = vec![0; 64 << 10];
        while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
            let _ = socket.send_to(&datagram[..length], from).await;
        }
    });
    Ok(at.to_string())
}

/// A service that answers late, as if it were far; its connections are dialled as if it were near.
struct Far<S>(S);

/// How far, there and back: about what two zones of a region are apart. It is one to two milliseconds, since tokio's timer rounds up.
const DISTANCE: Duration = Duration::from_millis(1);

impl<S: Service> Service for Far<S> {
    fn call(&self, granted: Granted) -> BoxFuture<'_, Result<http::Response<Body>, Declined>> {
        Box::pin(async move {
            tokio::time::sleep(DISTANCE).await;
            self.0.call(granted).await
        })
    }
}

/// An echo without gRPC above it. Of what is longer than any echo it tells the length.
pub(crate) struct RawEcho;

/// The longest echo, in bytes.
const LONGEST: usize = 16 << 20;

impl Service for RawEcho {
    fn call(&self, granted: Granted) -> BoxFuture<'_, Result<http::Response<Body>, Declined>> {
        Box::pin(async move {
            let mut body = granted.request.into_body();
            if let Some(bytes) = body.bytes() {
                return Ok(http::Response::new(Body::from(bytes.clone())));
            }
            let (mut bytes, mut counted) = (BytesMut::new(), 0_u64);
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(data) = frame.into_data() else { continue };
                counted += data.len() as u64;
                if counted <= LONGEST as u64 {
                    bytes.extend_from_slice(&data);
                }
            }
            let back = if counted <= LONGEST as u64 {
                bytes.freeze()
            } else {
                Bytes::copy_from_slice(&counted.to_be_bytes())
            };
            Ok(http::Response::new(Body::from(back)))
        })
    }
}
