//! tokio as quinn's runtime, under which a connection sends together what is handed to it at about the same time, over a [`Socket`] of ours.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use homing_transport::{Deferred, Handed};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};

use crate::socket::Socket;

/// tokio, under which a connection made by [`counted`] runs as [`Deferred`] says.
#[derive(Debug)]
pub(crate) struct Deferring;

thread_local! {
    /// What is handed to the connection that is being made on this thread.
    static HANDED: RefCell<Option<Handed>> = const { RefCell::new(None) };
}

/// Makes a connection, whose task quinn spawns meanwhile. What is handed to it is to be counted.
pub(crate) fn counted<T>(make: impl FnOnce() -> T) -> (T, Handed) {
    let handed = Handed::default();
    HANDED.set(Some(handed.clone()));
    let made = make();
    HANDED.set(None);
    (made, handed)
}

impl Runtime for Deferring {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        match HANDED.take() {
            Some(handed) => drop(tokio::spawn(Deferred::new(task, handed))),
            None => drop(tokio::spawn(task)),
        }
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket::new(socket)?))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
