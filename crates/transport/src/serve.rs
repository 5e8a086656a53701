//! The part of an exchange that is the same on every wire: limits and deadlines, on both sides.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use homing_types::{NodeId, Outcome};
use http::HeaderMap;
use tokio::time::Instant;

use crate::guard::{Guard, MessageMeter, TooLarge, Tripwire};
use crate::wire::hop_by_hop;
use crate::{Body, Handler, Head, Limits, Reply, ReplyHead, SendError, SendErrorKind};

const LATE: &str = "the deadline passed before the reply came";

/// What watches over the exchange of a request that keeps the limits.
#[derive(Debug)]
pub struct Outgoing {
    prepared: Instant,
    deadline: Option<Instant>,
    reply_by: Option<Instant>,
    max_message: u64,
    max_header_block: usize,
    tripwire: Option<Tripwire>,
}

/// Holds a request against the limits before anything of it is sent. It comes back with its body guarded, beside what watches over the
/// exchange.
///
/// # Errors
/// [`SendErrorKind::Limit`] if its header block or a message in hand is too large, or
/// [`SendErrorKind::Deadline`] if no time is left; always not sent.
pub fn prepare(
    head: &Head,
    request: http::Request<Body>,
    extra_header_bytes: usize,
    limits: &Limits,
) -> Result<(http::Request<Body>, Outgoing), SendError> {
    check_header_block("request", request_block_len(&request) + extra_header_bytes, limits.max_header_block)
        .map_err(|message| SendError::not_sent(SendErrorKind::Limit, message))?;
    if [head.remaining, head.reply_within].contains(&Some(Duration::ZERO)) {
        return Err(SendError::not_sent(SendErrorKind::Deadline, "the deadline passed before sending"));
    }
    let (deadline, reply_by) = (by(head.remaining), by(head.reply_within));
    let (mut parts, body) = request.into_parts();
    hop_by_hop::strip(&mut parts.headers);
    let tripwire = Tripwire::of(&body);
    let guard = Guard { deadline, meter: meter(&parts.headers, limits), tripwire: tripwire.clone() };
    let body =
        guard.over(body).map_err(|error| SendError::not_sent(SendErrorKind::Limit, error.to_string()))?;
    let request = http::Request::from_parts(parts, body);
    let Limits { max_message, max_header_block, .. } = *limits;
    let prepared = Instant::now();
    Ok((request, Outgoing { prepared, deadline, reply_by, max_message, max_header_block, tripwire }))
}

impl Outgoing {
    /// Takes what was spent waiting off the time left, for the head that is sent now.
    pub fn count_down(&self, head: &mut Head) {
        head.count_down(self.prepared.elapsed());
    }

    /// Waits for a place on the connection for as long as anybody waits for the reply. What didn't get one was not sent.
    ///
    /// # Errors
    /// [`SendErrorKind::Deadline`], not sent.
    pub fn place<F: Future>(&self, place: F) -> impl Future<Output = Result<F::Output, SendError>> + use<F> {
        let late = self.reply_by.into_iter().chain(self.deadline).min();
        async move {
            tokio::select! {
                biased;
                place = place => Ok(place),
                () = passed(late) => {
                    let message = "the deadline passed while the request waited for a place on the connection";
                    Err(SendError::not_sent(SendErrorKind::Deadline, message))
                }
            }
        }
    }

    /// Waits for the head of the reply until the deadline passes or the request's own body breaks a limit. The waiting is pinned by who calls: a future
    /// that it is moved into holds it twice.
    ///
    /// # Errors
    /// Those of `head`, and those named above as maybe sent.
    pub async fn run<T>(
        &self,
        head: Pin<&mut impl Future<Output = Result<T, SendError>>>,
    ) -> Result<T, SendError> {
        tokio::select! {
            biased;
            head = head => head,
            error = broken(self.tripwire.as_ref()) => {
                Err(SendError::maybe_sent(SendErrorKind::Limit, error.to_string()))
            }
            () = passed(self.deadline) => Err(SendError::maybe_sent(SendErrorKind::Deadline, LATE)),
        }
    }

    /// The reply with its body guarded, or what went wrong with the exchange.
    ///
    /// # Errors
    /// The error of the exchange, and [`SendErrorKind::Limit`], maybe sent, for a reply over a limit.
    pub fn guard(&self, reply: Result<Reply, SendError>) -> Result<Reply, SendError> {
        let mut reply = reply.map_err(|error| self.explain(error))?;
        let block = header_block_len(reply.response.headers());
        check_header_block("response", block, self.max_header_block)
            .map_err(|message| SendError::maybe_sent(SendErrorKind::Limit, message))?;
        let guard = Guard {
            deadline: self.deadline,
            meter: is_grpc(reply.response.headers()).then(|| MessageMeter::new(self.max_message)),
            tripwire: None,
        };
        let body = std::mem::take(reply.response.body_mut());
        *reply.response.body_mut() = guard
            .over(body)
            .map_err(|error| SendError::maybe_sent(SendErrorKind::Limit, error.to_string()))?;
        Ok(reply)
    }

    /// A request whose body broke its limit or met its deadline fails on the wire as a failed body;
    /// that is not the reason.
    fn explain(&self, error: SendError) -> SendError {
        if let Some(too_large) = self.tripwire.as_ref().and_then(Tripwire::tripped) {
            return SendError { kind: SendErrorKind::Limit, message: too_large.to_string(), ..error };
        }
        let late = self.deadline.is_some_and(|at| at <= Instant::now());
        if late && error.kind == SendErrorKind::Body {
            return SendError { kind: SendErrorKind::Deadline, message: LATE.to_owned(), ..error };
        }
        error
    }
}

/// Lets the handler answer one request within the limits and the deadline of its head.
///
/// What can be done at once is done when this is called (docs/ARCHITECTURE.md).
pub fn serve<'a>(
    handler: &'a dyn Handler,
    from: NodeId,
    head: Head,
    request: http::Request<Body>,
    limits: &'a Limits,
) -> impl Future<Output = Reply> + Send + 'a {
    let deadline = by(head.remaining);
    let taken = take(request, deadline, limits).map(|(request, tripwire)| {
        // The handler has begun: what it made of the messages before, nobody can tell.
        (handler.handle(from, head, request), tripwire)
    });
    async move {
        let (handling, tripwire) = match taken {
            Ok(taken) => taken,
            Err(reply) => return *reply,
        };
        let reply = tokio::select! {
            biased;
            error = broken(tripwire.as_ref()) => Reply::of(Outcome::MaybeSent, error.to_string()),
            reply = handling => reply,
            () = passed(deadline) => Reply::of(Outcome::MaybeSent, "the deadline passed while the request was executed"),
        };
        finish_reply(reply, deadline, limits)
    }
}

/// A request as the handler gets it, or why it gets none.
fn take(
    request: http::Request<Body>,
    deadline: Option<Instant>,
    limits: &Limits,
) -> Result<(http::Request<Body>, Option<Tripwire>), Box<Reply>> {
    let refused = |reason| Box::new(Reply::of(Outcome::Refused, reason));
    if deadline.is_some_and(|at| at <= Instant::now()) {
        return Err(Box::new(Reply::of(
            Outcome::Expired,
            "the deadline passed before the request was executed",
        )));
    }
    check_header_block("request", request_block_len(&request), limits.max_header_block).map_err(refused)?;
    let (parts, body) = request.into_parts();
    let tripwire = Tripwire::of(&body);
    let guard = Guard { deadline, meter: meter(&parts.headers, limits), tripwire: tripwire.clone() };
    let body = guard.over(body).map_err(|error| refused(error.to_string()))?;
    Ok((http::Request::from_parts(parts, body), tripwire))
}

/// Holds a reply against the limits before it is sent: one with too large a header block becomes an outcome that says
/// so (*maybe sent*, since the request was executed), a correction that doesn't fit beside the headers is left out, and
/// the body is guarded by the deadline.
fn finish_reply(reply: Reply, deadline: Option<Instant>, limits: &Limits) -> Reply {
    let block = header_block_len(reply.response.headers());
    if let Err(reason) = check_header_block("response", block, limits.max_header_block) {
        return Reply::without_answer(ReplyHead {
            outcome: Some(Outcome::MaybeSent),
            reason,
            correction: bytes::Bytes::new(),
            ..reply.head
        });
    }
    let Reply { mut head, response } = reply;
    // As a header it is base64: four bytes for three.
    if block + head.correction.len().div_ceil(3) * 4 > limits.max_header_block {
        head.correction = bytes::Bytes::new();
    }
    let (mut parts, body) = response.into_parts();
    hop_by_hop::strip(&mut parts.headers);
    let guard = Guard { deadline, meter: None, tripwire: None };
    match guard.over(body) {
        Ok(body) => Reply { head, response: http::Response::from_parts(parts, body) },
        Err(error) => Reply::of(Outcome::MaybeSent, error.to_string()),
    }
}

/// The length of a header block as HTTP/2 counts it (RFC 9113, section 6.5.2).
#[must_use]
pub(crate) fn header_block_len(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// Ends when a body has broken its limit.
async fn broken(tripwire: Option<&Tripwire>) -> TooLarge {
    match tripwire {
        Some(tripwire) => tripwire.wait().await,
        None => std::future::pending().await,
    }
}

/// Ends when the deadline has passed.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// When the time left from now is over. What outlasts the clock has no end.
fn by(left: Option<Duration>) -> Option<Instant> {
    left.and_then(|left| Instant::now().checked_add(left))
}

fn request_block_len(request: &http::Request<Body>) -> usize {
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    header_block_len(request.headers()) + path
}

fn check_header_block(what: &str, block: usize, limit: usize) -> Result<(), String> {
    if block <= limit {
        return Ok(());
    }
    Err(format!(
        "the {what}'s header block of {block} bytes is over the limit of {limit} bytes (max_header_block)"
    ))
}

fn meter(headers: &HeaderMap, limits: &Limits) -> Option<MessageMeter> {
    is_grpc(headers).then(|| MessageMeter::new(limits.max_message))
}

/// Whether a request or response speaks gRPC. Only its bodies consist of messages.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
