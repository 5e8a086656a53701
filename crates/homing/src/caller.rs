//! What a caller says with its headers, and what it is told with those of the answer.
//!
//! A caller is anyone: what only members may say (an epoch, a forward, a correction) is taken off, unread.

use std::collections::HashMap;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use homing_failover::Verdict;
use homing_router::{Answer, Call, CallError};
use homing_transport::wire::headers::{self, HeadError};
use homing_transport::wire::hop_by_hop;
use homing_transport::{Body, BodyError, ReplyHead};
use homing_types::Outcome;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Where a client listener tells which node it belongs to, without a space.
pub const NODE_INFO_PATH: &str = "/homing/v1/node";

/// The longest deadline a caller may set: a day. A longer one is cut, since it can only be a mistake.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes what a caller says off its headers.
pub(crate) fn read(headers: &mut HeaderMap, now: Instant) -> Result<Call, HeadError> {
    let call = Call {
        space: headers::read_required_space(headers)?,
        access: headers::read_access(headers)?,
        deadline: timeout(headers)?.map(|timeout| now + timeout.min(MAX_TIMEOUT)),
        idempotency_key: headers::read_idempotency_key(headers)?,
        max_age: headers::read_max_age(headers)?,
        retry: retry(headers)?,
        traceparent: headers::read_traceparent(headers),
    };
    headers::strip(headers);
    hop_by_hop::strip(headers);
    Ok(call)
}

/// Whether this is somebody's retry: as a service is told by us and passes on, or as a gRPC client says (gRFC A6). It only
/// lessens what a caller gets, so anyone may say so.
fn retry(headers: &mut HeaderMap) -> Result<bool, HeadError> {
    let attempt: Option<u32> = headers::parsed(headers, headers::ATTEMPT, "use a number from 1")?;
    let before: Option<u32> =
        headers::parsed(headers, headers::GRPC_PREVIOUS_ATTEMPTS, "use the number of attempts before")?;
    Ok(attempt.is_some_and(|attempt| attempt > 1) || before.is_some_and(|before| before > 0))
}

fn timeout(headers: &mut HeaderMap) -> Result<Option<Duration>, HeadError> {
    let ours: Option<u64> = headers::parsed(headers, headers::TIMEOUT_MS, "use a number of milliseconds")?;
    let remedy = "use 1 to 8 digits and a unit of H, M, S, m, u or n";
    let grpc: Option<GrpcTimeout> = headers::parsed(headers, headers::GRPC_TIMEOUT, remedy)?;
    Ok(ours.map(Duration::from_millis).or(grpc.map(|GrpcTimeout(timeout)| timeout)))
}

/// gRPC over HTTP/2, "Timeout": at most 8 digits and a unit.
struct GrpcTimeout(Duration);

impl FromStr for GrpcTimeout {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (unit_at, unit) = text.char_indices().next_back().ok_or(())?;
        let digits = &text[..unit_at];
        if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(());
        }
        let number: u64 = digits.parse().map_err(drop)?;
        Ok(Self(match unit {
            'H' => Duration::from_secs(number * 3_600),
            'M' => Duration::from_secs(number * 60),
            'S' => Duration::from_secs(number),
            'm' => Duration::from_millis(number),
            'u' => Duration::from_micros(number),
            'n' => Duration::from_nanos(number),
            _ => return Err(()),
        }))
    }
}

/// The service's answer, with how it was reached.
pub(crate) fn answer(answer: Answer) -> Response<Body> {
    let Answer { head, attempts, mut response } = answer;
    let headers = response.headers_mut();
    headers::strip(headers);
    tell(headers, &head, attempts);
    response
}

fn tell(headers: &mut HeaderMap, head: &ReplyHead, attempts: u32) {
    if let Some(Ok(served_by)) = head.served_by.as_ref().map(|node| HeaderValue::from_str(node.as_str())) {
        headers.insert(headers::SERVED_BY, served_by);
    }
    if let Some(role) = head.role {
        headers.insert(headers::ROLE, HeaderValue::from_static(role.as_str()));
    }
    if let Some(age) = head.age {
        headers::write_age(age, headers);
    }
    headers.insert(headers::HOPS, u16::from(head.hops).into());
    headers.insert(headers::EPOCH, head.epoch.number().into());
    headers.insert(headers::ATTEMPTS, attempts.into());
}

/// What a caller gets where there is no answer of the service: a gRPC status for gRPC, else an HTTP status and a line.
pub(crate) fn failure(grpc: bool, error: &CallError) -> Response<Body> {
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
/// has `space`, `access`, `epoch`, `attempts`, `took_ms`, `omitted`, and for each attempt of the trail, from `attempt.00` on, the
/// node, the outcome, the milliseconds from the beginning of the call, and why.
fn details(error: &CallError) -> ErrorDetails {
    let CallError { space, access, verdict, epoch, attempts, took, trail, omitted } = error;
    let mut metadata = HashMap::from([
        ("space".to_owned(), space.to_string()),
        ("access".to_owned(), access.to_string()),
        ("epoch".to_owned(), epoch.to_string()),
        ("attempts".to_owned(), attempts.to_string()),
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
    if body.bytes().is_some() { body } else { Body::new(ExplainCut { body, ended: false }) }
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
    use homing_router::Tried;
    use homing_types::{Access, Epoch, NodeId, Space};
    use http::header::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
            .collect()
    }

    fn read_at_zero(pairs: &[(&'static str, &str)]) -> Result<Call, HeadError> {
        read(&mut headers(pairs), Instant::now())
    }

    #[test]
    fn the_explanation_of_the_longest_failure_fits_into_the_headers_of_any_client() {
        let tried = |i| Tried {
            node: NodeId::new(&"n".repeat(63)).unwrap(),
            outcome: Outcome::MaybeSent,
            after: Duration::from_secs(86_400),
            reason: format!("{i}{}", "ü".repeat(250)),
        };
        let error = CallError {
            space: Space::new(&"ä".repeat(127)).unwrap(),
            access: Access::ReadPrimary,
            verdict: Verdict::Ambiguous,
            epoch: Epoch::new(u64::MAX),
            attempts: 256,
            took: Duration::from_secs(86_400),
            trail: (0..16).map(tried).collect(),
            omitted: 240,
        };
        let response = failure(true, &error);
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

    #[tokio::test]
    async fn what_only_members_may_say_is_taken_off() {
        let mut said = headers(&[
            ("homing-space", "acme"),
            ("homing-epoch", "18446744073709551615"),
            ("homing-relay", "1"),
            ("homing-group-bin", "AAAA"),
            ("homing-direct", "n1"),
            ("user-agent", "test"),
        ]);
        let call = read(&mut said, Instant::now()).unwrap();
        assert_eq!(call.space.as_str(), "acme");
        assert_eq!(call.access, Access::Write);
        assert_eq!(said.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["user-agent"]);
    }

    #[tokio::test]
    async fn a_space_of_any_utf8_can_be_named() {
        for (name, value, space) in [
            ("homing-space", "größe", "größe"),
            ("homing-space-bin", "Z3LDtsOfZQ", "größe"),
            ("homing-space-bin", "Z3LDtsOfZQ==", "größe"),
            ("homing-space", "100%", "100%"),
        ] {
            assert_eq!(read_at_zero(&[(name, value)]).unwrap().space.as_str(), space);
        }
    }

    #[tokio::test]
    async fn nonsense_is_named_with_its_remedy() {
        let long = "x".repeat(256);
        for (pairs, says) in [
            (vec![], "the header homing-space is missing"),
            (vec![("homing-space", "")], "the header homing-space is empty"),
            (vec![("homing-space", long.as_str())], "the header homing-space has 256 bytes"),
            (vec![("homing-space", "a"), ("homing-space", "b")], "the header homing-space stands twice"),
            (vec![("homing-space-bin", "*")], "the header homing-space-bin is no base64"),
            (vec![("homing-space", "a"), ("homing-access", "rw")], "the header homing-access"),
            (vec![("homing-space", "a"), ("grpc-timeout", "1")], "the header grpc-timeout"),
            (vec![("homing-space", "a"), ("grpc-timeout", "123456789S")], "the header grpc-timeout"),
            (vec![("homing-space", "a"), ("grpc-timeout", "é")], "the header grpc-timeout"),
            (vec![("homing-space", "a"), ("homing-timeout-ms", "-1")], "the header homing-timeout-ms"),
            (
                vec![("homing-space", "a"), ("homing-idempotency-key", "1")],
                "the header homing-idempotency-key",
            ),
        ] {
            let mut said = HeaderMap::new();
            for (name, value) in &pairs {
                said.append(*name, HeaderValue::from_str(value).unwrap());
            }
            let error = read(&mut said, Instant::now()).unwrap_err().to_string();
            assert!(error.starts_with(says), "{pairs:?}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_is_grpcs_or_ours() {
        for (name, value, millis) in [
            ("grpc-timeout", "2S", 2_000),
            ("grpc-timeout", "1500m", 1_500),
            ("homing-timeout-ms", "7", 7),
            ("grpc-timeout", "99999999H", 86_400_000),
        ] {
            let call = read_at_zero(&[("homing-space", "a"), (name, value)]).unwrap();
            assert_eq!(call.deadline, Some(Instant::now() + Duration::from_millis(millis)), "{value}");
        }
    }
}
