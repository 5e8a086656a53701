//! Cancelled calls are resets, and h2 closes connections over too many of them: not over ours.

mod common;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use common::{Grpc, handler, head, ok, post, raw, within, works};
use homing_transport::{Body, Limits};

/// Hedging cancels losers, and a node that gives up cancels all it had under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_of_cancelled_calls_leave_the_connection_usable() {
    let grpc = Grpc::default();
    let listener = grpc.listen(Limits::default(), common::echo()).await;
    let connection = grpc.dial(&listener.address(), Limits::default()).await.expect("a connection");
    for _ in 0..5 {
        let mut calls: Vec<_> = (0..1_000).map(|_| connection.send(head(), post("cancelled"))).collect();
        for call in &mut calls {
            start(call.as_mut()).await;
        }
        drop(calls);
        works(&*connection).await;
    }
}

/// More streams than h2 remembers as reset get their replies after they were cancelled. h2 counts those as
/// errors for as long as a connection lives; a connection that lives long sees any number of them.
#[tokio::test]
async fn replies_to_cancelled_calls_do_not_wear_the_connection_out() {
    let (grpc, listener) = (Grpc::default(), raw::listen().await);
    let serving = async {
        let mut tls = raw::secure(&grpc, &listener).await;
        raw::answer_what_was_cancelled(&mut tls).await;
    };
    let calling = async {
        let limits = Limits { max_streams: 4, ..Limits::default() };
        let connection = grpc.dial(&raw::address(&listener), limits).await.expect("a connection");
        for _ in 0..1_500 {
            let mut call = connection.send(head(), post("cancelled"));
            start(call.as_mut()).await;
            drop(call);
        }
        // The reply to this one comes after all the late ones.
        within("a reply", connection.send(head(), post(Body::empty()))).await.expect("a reply");
        assert!(connection.is_open());
    };
    tokio::select! { () = serving => panic!("the connection was closed"), () = calling => {} }
}

/// A server that gives requests up for good reasons isn't worn out either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_to_requests_that_still_stream_do_not_wear_the_connection_out() {
    let hasty = handler(|request| async move {
        let echo = request.body().bytes().is_some_and(|bytes| !bytes.is_empty());
        ok(if echo { request.into_body() } else { "no, thank you".into() })
    });
    let grpc = Grpc::default();
    let limits = Limits { max_streams: 4, ..Limits::default() };
    let listener = grpc.listen(limits.clone(), hasty).await;
    let connection = grpc.dial(&listener.address(), limits).await.expect("a connection");
    for _ in 0..1_200 {
        let endless = Body::new(http_body_util::StreamBody::new(Endless));
        let reply = within("a reply", connection.send(head(), post(endless))).await.expect("a reply");
        assert_eq!(common::read(reply).await, "no, thank you");
    }
    assert!(connection.is_open());
}

/// What its sender has given up by the time it arrives isn't executed.
#[tokio::test]
async fn a_request_that_is_cancelled_before_its_start_is_not_executed() {
    let executed = Arc::new(AtomicUsize::new(0));
    let counting = {
        let executed = Arc::clone(&executed);
        handler(move |_| {
            executed.fetch_add(1, Ordering::Relaxed);
            async { ok(Body::empty()) }
        })
    };
    let grpc = Grpc::default();
    let listener = grpc.listen(Limits::default(), counting).await;
    within("a reply", raw::cancel_before_the_start(&grpc, &listener.address())).await;
    assert_eq!(executed.load(Ordering::Relaxed), 1, "requests that were executed");
}

/// A body that never ends.
struct Endless;

impl futures_core::Stream for Endless {
    type Item = Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>;

    fn poll_next(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(Ok(http_body::Frame::data(bytes::Bytes::from_static(&[7; 1_024])))))
    }
}

/// Polls a call once, which writes its request. (tokio would make a task that has done much wait for others.)
async fn start<T>(mut call: Pin<&mut (dyn Future<Output = T> + Send + '_)>) {
    let once = poll_fn(|cx| {
        let _ = call.as_mut().poll(cx);
        Poll::Ready(())
    });
    tokio::task::unconstrained(once).await;
}
