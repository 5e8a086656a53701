use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use futures_util::future::BoxFuture;
use futures_util::stream;
use homing_transport::tls::Credentials;
use homing_types::NodeId;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{ClientStreamingService, NamedService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tonic::{Request, Response, Status, Streaming};
use tower_service::Service;

use super::BareError;

const ALPN: &[u8] = b"h2";
const ECHO: &str = "/bare.Echo/Echo";
const COUNT: &str = "/bare.Echo/Count";

/// The longest message, in bytes.
const LONGEST_MESSAGE: usize = 16 << 20;

/// Connections whose handshake is done and that the server hasn't taken yet.
const BACKLOG: usize = 16;

/// Connects to the node, with mutual TLS.
pub(super) async fn connect(
    credentials: &Credentials,
    node: &NodeId,
    to: SocketAddr,
) -> Result<Channel, BareError> {
    let connector = TlsConnector::from(Arc::new(credentials.client_config(ALPN)?));
    let name = credentials.server_name(node)?;
    let endpoint = Endpoint::from_shared(format!("http://{}", credentials.cluster().dns_name(node)))?;
    let dial = Dial(move |_: Uri| {
        let (connector, name) = (connector.clone(), name.clone());
        async move {
            let tcp = TcpStream::connect(to).await?;
            tcp.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
        }
    });
    Ok(endpoint.connect_with_connector(dial).await?)
}

/// Connects without TLS.
pub(super) async fn connect_plain(to: SocketAddr) -> Result<Channel, BareError> {
    Ok(Endpoint::from_shared(format!("http://{to}"))?.tcp_nodelay(true).connect().await?)
}

/// Asks an echo over gRPC, through whatever brings its requests there: a channel of tonic's, or one of ours.
#[derive(Debug, Clone)]
pub struct GrpcEcho<S>(tonic::client::Grpc<S>);

impl<S> GrpcEcho<S>
where
    S: tonic::client::GrpcService<tonic::body::Body> + Clone,
    S::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<BareError> + Send,
    S::Error: Into<BareError>,
{
    /// An echo through `channel`.
    #[must_use]
    pub fn new(channel: S) -> Self {
        Self(tonic::client::Grpc::new(channel).max_decoding_message_size(LONGEST_MESSAGE))
    }

    /// Sends bytes with these headers, and returns what came back.
    ///
    /// # Errors
    /// [`BareError`] as tonic says it.
    pub async fn echo(&self, bytes: Bytes, headers: http::HeaderMap) -> Result<Bytes, BareError> {
        let mut client = self.0.clone();
        client.ready().await.map_err(Into::into)?;
        let path = http::uri::PathAndQuery::from_static(ECHO);
        Ok(client.unary(with(headers, bytes), path, Raw).await?.into_inner())
    }

    /// Streams a piece so many times with these headers, and returns how many bytes have come there.
    ///
    /// # Errors
    /// [`BareError`] as tonic says it.
    pub async fn count(
        &self,
        piece: Bytes,
        times: usize,
        headers: http::HeaderMap,
    ) -> Result<u64, BareError> {
        let mut client = self.0.clone();
        client.ready().await.map_err(Into::into)?;
        let path = http::uri::PathAndQuery::from_static(COUNT);
        let pieces = stream::iter(std::iter::repeat_n(piece, times));
        let counted = client.client_streaming(with(headers, pieces), path, Raw).await?.into_inner();
        super::number(&counted)
    }
}

fn with<T>(headers: http::HeaderMap, message: T) -> Request<T> {
    let metadata = tonic::metadata::MetadataMap::from_headers(headers);
    Request::from_parts(metadata, tonic::Extensions::default(), message)
}

/// A function as the service that tonic takes for a connector.
#[derive(Clone)]
struct Dial<F>(F);

impl<F, T> Service<Uri> for Dial<F>
where
    F: FnMut(Uri) -> T,
    T: Future<Output = io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>>> + Send + 'static,
{
    type Response = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = T;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> T {
        (self.0)(uri)
    }
}

/// The address that was bound, and what serves it: with mutual TLS, or without any.
pub(super) async fn serve(
    credentials: Option<&Credentials>,
    at: SocketAddr,
) -> Result<(SocketAddr, BoxFuture<'static, ()>), BareError> {
    let listener = TcpListener::bind(at).await?;
    let bound = listener.local_addr()?;
    let Some(credentials) = credentials else {
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = Server::builder().serve_with_incoming(EchoService, incoming);
        return Ok((bound, Box::pin(async { drop(serving.await) })));
    };
    let acceptor = TlsAcceptor::from(Arc::new(credentials.server_config(ALPN)?));
    let (secured, mut incoming) = mpsc::channel(BACKLOG);
    let accepting = async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, secured) = (acceptor.clone(), secured.clone());
            tokio::spawn(async move {
                let _ = tcp.set_nodelay(true);
                if let Ok(tls) = acceptor.accept(tcp).await {
                    let _ = secured.send(Ok::<_, io::Error>(tls)).await;
                }
            });
        }
    };
    let serving =
        Server::builder().serve_with_incoming(EchoService, stream::poll_fn(move |cx| incoming.poll_recv(cx)));
    Ok((
        bound,
        Box::pin(async move {
            tokio::select! {
                () = accepting => {}
                _ = serving => {}
            }
        }),
    ))
}

/// The echo, as a service of tonic's.
#[derive(Debug, Clone, Copy)]
pub struct EchoService;

impl NamedService for EchoService {
    const NAME: &'static str = "bare.Echo";
}

impl<B> Service<http::Request<B>> for EchoService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BareError> + Send,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(async {
            let mut grpc = tonic::server::Grpc::new(Raw).max_decoding_message_size(LONGEST_MESSAGE);
            Ok(match request.uri().path() {
                COUNT => grpc.client_streaming(Count, request).await,
                _ => grpc.unary(Echo, request).await,
            })
        })
    }
}

struct Echo;

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

struct Count;

impl ClientStreamingService<Bytes> for Count {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async {
            let (mut pieces, mut counted) = (request.into_inner(), 0_u64);
            while let Some(piece) = pieces.message().await? {
                counted += piece.len() as u64;
            }
            Ok(Response::new(Bytes::copy_from_slice(&counted.to_be_bytes())))
        })
    }
}

/// Messages that are their own bytes.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
