use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

use super::wait::within;
use crate::{Body, BodyError};

/// A body that a case feeds by hand. Dropping the feed ends the body in good order.
pub(super) fn feed() -> (Feed, Body) {
    let (sender, mut receiver) = mpsc::channel(1);
    let frames = stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (Feed(sender), Body::new(StreamBody::new(frames)))
}

/// The hand that feeds a body.
pub(super) struct Feed(mpsc::Sender<Result<Frame<Bytes>, BodyError>>);

impl Feed {
    /// Adds bytes; waits until the ones before were taken.
    ///
    /// # Panics
    /// If the body is gone.
    pub(super) async fn data(&self, data: impl Into<Bytes>) {
        self.frame(Ok(Frame::data(data.into()))).await;
    }

    /// Adds bytes as soon as the ones before were taken; `false` if the body is gone.
    pub(super) async fn offer(&self, data: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(data.into()))).await.is_ok()
    }

    /// Ends the body with trailers.
    pub(super) async fn trailers(self, trailers: HeaderMap) {
        self.frame(Ok(Frame::trailers(trailers))).await;
    }

    /// Makes the body fail.
    pub(super) async fn fail(self) {
        self.frame(Err(BodyError::Source("the disk is on fire".to_owned()))).await;
    }

    /// Waits until the body was dropped by who should read it.
    pub(super) async fn dropped(&self, what: &str) {
        within(what, self.0.closed()).await;
    }

    async fn frame(&self, frame: Result<Frame<Bytes>, BodyError>) {
        let sent = within("a body to be read", self.0.send(frame)).await;
        sent.expect("the body is still there");
    }
}

/// Reads a body message by message, however the wire has cut it.
pub(super) struct Reader {
    body: Body,
    read: BytesMut,
}

impl Reader {
    pub(super) fn new(body: Body) -> Self {
        Self { body, read: BytesMut::new() }
    }

    /// The next `len` bytes; `None` at the end of the body.
    pub(super) async fn next(&mut self, len: usize) -> Result<Option<Bytes>, BodyError> {
        while self.read.len() < len {
            match within("the next bytes of a body", self.body.frame()).await {
                Some(frame) => self.read.extend_from_slice(&frame?.into_data().unwrap_or_default()),
                None if self.read.is_empty() => return Ok(None),
                None => panic!("the body ended with {} of {len} bytes", self.read.len()),
            }
        }
        Ok(Some(self.read.split_to(len).freeze()))
    }
}

/// Reads a body to its end.
pub(super) async fn read(body: Body) -> Result<(Bytes, Option<HeaderMap>), BodyError> {
    let collected = within("the end of a body", body.collect()).await?;
    let trailers = collected.trailers().cloned();
    Ok((collected.to_bytes(), trailers))
}

/// Reads a body until it fails.
///
/// # Panics
/// If it doesn't fail.
pub(super) async fn read_error(body: Body) -> BodyError {
    match read(body).await {
        Ok((bytes, _)) => panic!("the body looks complete after {} bytes", bytes.len()),
        Err(error) => error,
    }
}

/// A body whose every byte follows from its position, made as it is read.
pub(super) struct Pattern {
    taken: Arc<AtomicU64>,
}

impl Pattern {
    /// The length of its frames in bytes.
    pub(super) const FRAME: usize = 16 << 10;

    pub(super) fn new() -> Self {
        Self { taken: Arc::default() }
    }

    /// A body of `frames` frames.
    pub(super) fn body(&self, frames: u64) -> Body {
        let taken = Arc::clone(&self.taken);
        let frames = (0..frames).map(move |frame| {
            taken.fetch_add(Self::FRAME as u64, Ordering::Relaxed);
            let start = frame * Self::FRAME as u64;
            let bytes: Vec<u8> = (start..start + Self::FRAME as u64).map(pattern).collect();
            Ok::<_, BodyError>(Frame::data(Bytes::from(bytes)))
        });
        Body::new(StreamBody::new(stream::iter(frames)))
    }

    /// How many bytes were taken of all its bodies.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits until at least `least` bytes were taken and then no more, while other calls come and go.
    pub(super) async fn settles<F: Future<Output = ()>>(
        &self,
        least: u64,
        other_call: impl Fn() -> F,
    ) -> u64 {
        let (mut taken, mut rounds) = (0, 0);
        while rounds < 3 || taken < least {
            for _ in 0..100 {
                other_call().await;
            }
            rounds = if taken == self.taken() { rounds + 1 } else { 0 };
            taken = self.taken();
        }
        taken
    }

    /// Reads a body to its end and checks every byte of it.
    ///
    /// # Panics
    /// If the body fails or has another content or length.
    pub(super) async fn check(mut body: Body, frames: u64) {
        let mut position = 0;
        while let Some(frame) = within("the next frame of a long body", body.frame()).await {
            let data = frame.expect("a body without error").into_data().unwrap_or_default();
            for byte in &data {
                assert_eq!(*byte, pattern(position), "the byte at {position}");
                position += 1;
            }
        }
        assert_eq!(position, frames * Self::FRAME as u64, "the length of the body");
    }
}

/// The byte at a position: changes with every step and doesn't repeat with any power of two.
const fn pattern(position: u64) -> u8 {
    (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}
