//! What a caller gets where there is no answer of the service: a status, a line for people, details for programs.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use homing_failover::Verdict;
use homing_router::CallError;
use homing_transport::wire::headers::{self, HeadError};
use homing_transport::{Body, BodyError};
use homing_types::Outcome;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// What a caller gets where there is no answer of the service: a gRPC status for gRPC, else an HTTP status and a line.
pub(crate) fn failed(grpc: bool, error: &CallError) -> Response<Body> {
    let (code, status, outcome) = match error.verdict {
        // Not UNAVAILABLE: clients retry that, and this may have been executed.
        Verdict::Ambiguous => (Code::Unknown, StatusCode::BAD_GATEWAY, Some(Outcome::MaybeSent)),
        Verdict::Expired { last } => (Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, last),
        Verdict::Exhausted { last: last @ Some(Outcome::Overloaded) } => {
            (Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS, last)
        }
        Verdict::Exhausted { last } => (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, last),
        Verdict::Refused => (Code::ResourceExhausted, StatusCode::BAD_REQUEST, Some(Outcome::Refused)),
    };
    let line = error.to_string();
    let mut response =
        if grpc { grpc_refusal(&explained(code, header_line(&line), error)) } else { refusal(status, &line) };
    let headers = response.headers_mut();
    if let Some(outcome) = outcome {
        headers.insert(headers::OUTCOME, HeaderValue::from_static(outcome.as_str()));
    }
    if outcome == Some(Outcome::Overloaded) {
        headers.insert(headers::RETRY_AFTER_MS, RETRY_AFTER_MS.into());
    }
    headers.insert(headers::EPOCH, error.epoch.number().into());
    headers.insert(headers::ATTEMPTS, error.attempts.into());
    response
}

/// What a caller gets from a node at its limit: little, as there is much of it.
pub(crate) fn overloaded(grpc: bool, reason: &str) -> Response<Body> {
    let mut response = if grpc {
        grpc_refusal(&Status::resource_exhausted(reason))
    } else {
        refusal(StatusCode::TOO_MANY_REQUESTS, reason)
    };
    let headers = response.headers_mut();
    headers.insert(headers::OUTCOME, HeaderValue::from_static(Outcome::Overloaded.as_str()));
    headers.insert(headers::RETRY_AFTER_MS, RETRY_AFTER_MS.into());
    headers.insert(headers::ATTEMPTS, 0.into());
    response
}

/// How soon a caller may ask again who found every node at its limit, in milliseconds.
const RETRY_AFTER_MS: u64 = 100;

/// The longest line that explains a failure, as a header holds it, and the longest reason of one attempt in its details, in
/// bytes. A caller whose limit for headers is 8 KiB, as gRPC's often is, must not lose the status to its explanation.
const MAX_LINE: usize = 2 << 10;
const MAX_REASON: usize = 80;

/// As much of a line as a header is to hold.
fn header_line(line: &str) -> &str {
    let mut fits = cut(line, MAX_LINE);
    while headers::grpc_message(fits).map(str::len).sum::<usize>() > MAX_LINE {
        fits = cut(fits, fits.len() * 3 / 4);
    }
    fits
}

fn cut(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

/// A status that is explained to people by its line, and to programs by its details.
fn explained(code: Code, line: &str, error: &CallError) -> Status {
    // The details hold a message of their own, so that one is short.
    let detailed = Status::with_error_details(code, error.problem(), details(error));
    Status::with_details(code, line, Bytes::copy_from_slice(detailed.details()))
}

/// How a call failed, for programs: `google.rpc.ErrorInfo` of the domain `homing`. Its reason is the verdict; its metadata
/// has `space`, `access`, `epoch`, `starved` (waited for its budget last), `attempts`, `took_ms`, `omitted`, and for each attempt of the trail, from `attempt.00` on, the
/// node, the outcome, the milliseconds from the beginning of the call, and why.
fn details(error: &CallError) -> ErrorDetails {
    let CallError { space, access, verdict, starved, epoch, attempts, took, trail, omitted } = error;
    let mut metadata = HashMap::from([
        ("space".to_owned(), space.to_string()),
        ("access".to_owned(), access.to_string()),
        ("epoch".to_owned(), epoch.to_string()),
        ("attempts".to_owned(), attempts.to_string()),
        ("starved".to_owned(), starved.to_string()),
        ("took_ms".to_owned(), took.as_millis().to_string()),
        ("omitted".to_owned(), omitted.to_string()),
    ]);
    metadata.extend(trail.iter().enumerate().map(|(i, tried)| {
        let (after, reason) = (tried.after.as_millis(), cut(&tried.reason, MAX_REASON));
        (format!("attempt.{i:02}"), format!("{} {} {after} {reason}", tried.node, tried.outcome))
    }));
    ErrorDetails::with_error_info(verdict.as_str().to_uppercase(), "homing", metadata)
}

/// What a caller gets whose request can't be understood.
pub(crate) fn wrong_input(grpc: bool, error: &HeadError) -> Response<Body> {
    if grpc {
        grpc_refusal(&Status::invalid_argument(error.to_string()))
    } else {
        refusal(StatusCode::BAD_REQUEST, &error.to_string())
    }
}

fn refusal(status: StatusCode, line: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{line}\n").into_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A reply without a body: its status stands in the headers.
fn grpc_refusal(status: &Status) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    write_status(status, response.headers_mut());
    response
}

fn write_status(status: &Status, headers: &mut HeaderMap) {
    if status.add_header(headers).is_err() {
        headers.insert("grpc-status", (status.code() as u16).into());
    }
}

/// Ends a gRPC answer that breaks off with a status that says why, instead of a bare reset.
pub(crate) fn explain_cut(body: Body) -> Body {
    if body.in_hand().is_some() { body } else { Body::new(ExplainCut { body, ended: false }) }
}

struct ExplainCut {
    body: Body,
    ended: bool,
}

impl HttpBody for ExplainCut {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let Some(Err(error)) = frame else { return Poll::Ready(frame) };
        self.ended = true;
        let code = match error {
            BodyError::Deadline => Code::DeadlineExceeded,
            BodyError::TooLarge(_) => Code::ResourceExhausted,
            _ => Code::Unknown,
        };
        let mut trailers = HeaderMap::new();
        write_status(&Status::new(code, error.to_string()), &mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use homing_failover::Attempted;
    use homing_types::{Access, Epoch, NodeId, Space};

    use super::*;

    #[test]
    fn the_explanation_of_the_longest_failure_fits_into_the_headers_of_any_client() {
        let tried = |i| Attempted {
            node: NodeId::new(&"n".repeat(63)).unwrap(),
            outcome: Outcome::MaybeSent,
            after: Duration::from_secs(86_400),
            reason: format!("{i}{}", "ü".repeat(250)),
        };
        let error = CallError {
            space: Space::new(&"ä".repeat(127)).unwrap(),
            access: Access::ReadPrimary,
            verdict: Verdict::Ambiguous,
            starved: true,
            epoch: Epoch::new(u64::MAX),
            attempts: 256,
            took: Duration::from_secs(86_400),
            trail: (0..16).map(tried).collect(),
            omitted: 240,
        };
        let response = failed(true, &error);
        let len: usize =
            response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(len <= 8 << 10, "{len} bytes");
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::Unknown);
        assert!(status.message().contains("it may have been executed"), "{}", status.message());
        let details = status.get_details_error_info().unwrap();
        assert_eq!((details.reason.as_str(), details.domain.as_str()), ("AMBIGUOUS", "homing"));
        assert!(
            details.metadata["attempt.15"].starts_with(&format!("{} maybe-sent 86400000 15", "n".repeat(63)))
        );
        assert_eq!(details.metadata["omitted"], "240");
    }
}
