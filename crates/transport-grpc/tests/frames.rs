//! h2 closes connections that bring many small or empty frames: not those of honest streams.

mod common;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use common::{Grpc, handler, head, ok, post, within, works};
use homing_transport::{Body, Limits};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::{Notify, mpsc};

/// One reader is slow, and what it doesn't read yet are the smallest gRPC messages there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_full_of_tiny_messages_costs_nobody_the_connection() {
    const MESSAGES: usize = 100_000;
    let (bodies, mut kept) = mpsc::unbounded_channel();
    let slow = handler(move |request| {
        let bodies = bodies.clone();
        async move {
            if request.uri().path() == "/slow" {
                bodies.send(request.into_body()).expect("the test keeps it");
                std::future::pending::<()>().await;
                return ok(Body::empty());
            }
            ok(request.into_body())
        }
    });
    let grpc = Grpc::default();
    let listener = grpc.listen(Limits::default(), slow).await;
    let connection = grpc.dial(&listener.address(), Limits::default()).await.expect("a connection");
    let all_sent = Arc::new(Notify::new());
    let frames =
        Repeat { frame: Bytes::from_static(&[0; 5]), left: MESSAGES, done: Some(Arc::clone(&all_sent)) };
    let mut request = post(Body::new(StreamBody::new(frames)));
    *request.uri_mut() = http::Uri::from_static("/slow");
    let mut call = connection.send(head(), request);
    let sending = async {
        let body = within("the handler", kept.recv()).await.expect("the handler ran");
        within("the messages to be sent", all_sent.notified()).await;
        body
    };
    let body = tokio::select! {
        result = &mut call => panic!("nobody answers, and yet: {result:?}"),
        body = sending => body,
    };
    works(&*connection).await;
    // What was sent and not read is all there.
    let read = within("the unread messages", body.collect()).await.expect("the body arrives");
    assert_eq!(read.to_bytes().len(), 5 * MESSAGES);
    works(&*connection).await;
}

/// A source may yield empty frames; they mean nothing, and are not sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_frames_cost_nobody_the_connection() {
    let grpc = Grpc::default();
    let listener = grpc.listen(Limits::default(), common::echo()).await;
    let connection = grpc.dial(&listener.address(), Limits::default()).await.expect("a connection");
    for _ in 0..3 {
        let frames = Repeat { frame: Bytes::new(), left: 200, done: None };
        let body = Body::new(StreamBody::new(frames));
        let reply = within("a reply", connection.send(head(), post(body))).await.expect("a reply");
        assert_eq!(common::read(reply).await, "");
    }
    works(&*connection).await;
}

/// The same frame, many times.
struct Repeat {
    frame: Bytes,
    left: usize,
    done: Option<Arc<Notify>>,
}

impl futures_core::Stream for Repeat {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            if let Some(done) = self.done.take() {
                done.notify_one();
            }
            return Poll::Ready(None);
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.frame.clone()))))
    }
}
