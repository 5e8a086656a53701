//! Transports that are wrong on purpose, to show that the suite can fail.
//!
//! A twin stands before an honest transport and breaks one promise, as a real one would by mistake.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use homing_types::NodeId;
use http_body::{Body as HttpBody, Frame};

use super::{Fixture, Proof};
use crate::{
    Body, BodyError, BoxFuture, Connection, Handler, Head, Lane, Limits, Listener, Peer, Reply, SendError,
    Sent, Transport,
};

/// The promise that a twin breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Trailers get lost.
    NoTrailers,
    /// A long body ends early, in good order.
    ShortBodies,
    /// A body that fails ends in good order.
    HiddenErrors,
    /// What may have been sent is reported as not sent.
    NotSent,
}

/// A fixture whose transports lie. Its listeners are honest.
pub struct TwinFixture<F> {
    honest: F,
    lie: Lie,
}

impl<F: Fixture> TwinFixture<F> {
    /// The twin of an honest fixture.
    pub const fn new(honest: F, lie: Lie) -> Self {
        Self { honest, lie }
    }
}

impl<F: Fixture> Fixture for TwinFixture<F> {
    fn listen<'a>(
        &'a self,
        node: &'a NodeId,
        proof: Proof,
        address: Option<&'a str>,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> BoxFuture<'a, Box<dyn Listener>> {
        self.honest.listen(node, proof, address, limits, handler)
    }

    fn transport(&self, node: &NodeId, proof: Proof, limits: Limits) -> Arc<dyn Transport> {
        Arc::new(Twin { honest: self.honest.transport(node, proof, limits), lie: self.lie })
    }
}

struct Twin<T: ?Sized> {
    lie: Lie,
    honest: Arc<T>,
}

impl Transport for Twin<dyn Transport> {
    fn name(&self) -> &'static str {
        self.honest.name()
    }

    fn dial<'a>(
        &'a self,
        peer: &'a Peer,
        lane: Lane,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, SendError>> {
        Box::pin(async move {
            let honest = self.honest.dial(peer, lane).await?;
            Ok(Arc::new(Twin { honest, lie: self.lie }) as Arc<dyn Connection>)
        })
    }
}

impl Connection for Twin<dyn Connection> {
    fn send(&self, head: Head, request: http::Request<Body>) -> BoxFuture<'static, Result<Reply, SendError>> {
        let request = request.map(|body| self.lie.over(body));
        let (lie, sending) = (self.lie, self.honest.send(head, request));
        Box::pin(async move {
            match sending.await {
                Ok(Reply { head, response }) => {
                    Ok(Reply { head, response: response.map(|body| lie.over(body)) })
                }
                Err(error) if lie == Lie::NotSent => Err(SendError { sent: Sent::NotSent, ..error }),
                Err(error) => Err(error),
            }
        })
    }

    fn is_open(&self) -> bool {
        self.honest.is_open()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        self.honest.closed()
    }
}

impl Lie {
    fn over(self, body: Body) -> Body {
        Body::new(Lying { body, lie: self, passed: 0 })
    }
}

struct Lying {
    body: Body,
    lie: Lie,
    passed: usize,
}

impl Lying {
    /// What becomes of the next step of the honest body.
    fn twist(
        &mut self,
        frame: Option<Result<Frame<Bytes>, BodyError>>,
    ) -> Option<Result<Frame<Bytes>, BodyError>> {
        let frame = frame?;
        if let Ok(data) = &frame {
            self.passed += data.data_ref().map_or(0, Bytes::len);
        }
        let swallowed = match self.lie {
            Lie::NoTrailers => frame.as_ref().is_ok_and(Frame::is_trailers),
            Lie::ShortBodies => self.passed > 1 << 20,
            Lie::HiddenErrors => frame.is_err(),
            Lie::NotSent => false,
        };
        (!swallowed).then_some(frame)
    }
}

impl HttpBody for Lying {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(self.twist(frame))
    }
}
