//! What a caller says with its headers, and what it is told with those of the answer.
//!
//! A caller is anyone: what only members may say (an epoch, a forward, a correction) is taken off, unread.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use homing_router::{Answer, Call, CallError};
use homing_transport::{Body, ReplyHead};
use homing_types::{Access, Outcome, Space, SpaceError};
use homing_failover::Verdict;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use thiserror::Error;
use tokio::time::Instant;

/// Where a client listener tells which node it belongs to, without a space.
pub const NODE_INFO_PATH: &str = "/homing/v1/node";

const SPACE: &str = "homing-space";
const SPACE_BIN: &str = "homing-space-bin";
const ACCESS: &str = "homing-access";
const TIMEOUT_MS: &str = "homing-timeout-ms";
const GRPC_TIMEOUT: &str = "grpc-timeout";
const IDEMPOTENCY_KEY: &str = "homing-idempotency-key";
const TRACEPARENT: &str = "traceparent";

/// The longest deadline a caller may set: a day. A longer one is cut, since it can only be a mistake.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes what a caller says off its headers.
pub(crate) fn read(headers: &mut HeaderMap, now: Instant) -> Result<Call, CallerError> {
    let call = Call {
        space: space(headers)?,
        access: match text(headers, ACCESS)? {
            Some(access) => access.parse().map_err(|_| CallerError::wrong(ACCESS, "use write, read or read-primary"))?,
            None => Access::default(),
        },
        deadline: timeout(headers)?.map(|timeout| now + timeout.min(MAX_TIMEOUT)),
        idempotency_key: match text(headers, IDEMPOTENCY_KEY)? {
            Some(key) => Some(key.parse().map_err(|_| {
                CallerError::wrong(IDEMPOTENCY_KEY, "use a UUIDv7, like 01890a5d-ac96-774b-bcce-b302099a8057")
            })?),
            None => None,
        },
        traceparent: headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).map(str::to_owned),
    };
    strip(headers);
    Ok(call)
}

/// Takes off all that only members may say, and what was read.
fn strip(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("homing-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

fn space(headers: &HeaderMap) -> Result<Space, CallerError> {
    let bytes = match (one(headers, SPACE)?, one(headers, SPACE_BIN)?) {
        (Some(space), None) => space.as_bytes().to_vec(),
        (None, Some(encoded)) => {
            let encoded = encoded.as_bytes();
            let decoded = STANDARD_NO_PAD.decode(encoded).or_else(|_| STANDARD.decode(encoded));
            decoded.map_err(|_| CallerError::wrong(SPACE_BIN, "use base64 (RFC 4648)"))?
        }
        (Some(_), Some(_)) => return Err(CallerError::wrong(SPACE, "send it or homing-space-bin, not both")),
        (None, None) => return Err(CallerError::NoSpace),
    };
    let name = std::str::from_utf8(&bytes).map_err(|_| SpaceError::NotUtf8)?;
    Ok(Space::new(name)?)
}

/// gRPC's `grpc-timeout` (a number of at most 8 digits and a unit), or `homing-timeout-ms` for plain HTTP.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, CallerError> {
    if let Some(millis) = text(headers, TIMEOUT_MS)? {
        let millis = millis.parse().map_err(|_| CallerError::wrong(TIMEOUT_MS, "use a number of milliseconds"))?;
        return Ok(Some(Duration::from_millis(millis)));
    }
    let Some(timeout) = text(headers, GRPC_TIMEOUT)? else { return Ok(None) };
    let wrong = || CallerError::wrong(GRPC_TIMEOUT, "use 1 to 8 digits and a unit of H, M, S, m, u or n");
    let (unit_at, unit) = timeout.char_indices().next_back().ok_or_else(wrong)?;
    let digits = &timeout[..unit_at];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let timeout = match unit {
        'H' => Duration::from_secs(number * 3_600),
        'M' => Duration::from_secs(number * 60),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        'u' => Duration::from_micros(number),
        'n' => Duration::from_nanos(number),
        _ => return Err(wrong()),
    };
    Ok(Some(timeout))
}

fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a HeaderValue>, CallerError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(CallerError::wrong(name, "send it once")),
        (value, None) => Ok(value),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, CallerError> {
    one(headers, name)?
        .map(|value| value.to_str().map_err(|_| CallerError::wrong(name, "use printable ASCII")))
        .transpose()
}

/// Why a caller's request can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallerError {
    /// It names no space.
    #[error("the header homing-space is missing: name the space the request is for (1 to 255 bytes of UTF-8)")]
    NoSpace,
    /// Its space is none.
    #[error("homing-space: {0}")]
    Space(#[from] SpaceError),
    /// A header holds nonsense.
    #[error("the header {header} is wrong: {remedy}")]
    Header {
        /// The header.
        header: &'static str,
        /// What would be right.
        remedy: &'static str,
    },
}

impl CallerError {
    const fn wrong(header: &'static str, remedy: &'static str) -> Self {
        Self::Header { header, remedy }
    }
}

/// The service's answer, with how it was reached.
pub(crate) fn answer(answer: Answer) -> Response<Body> {
    let Answer { head, attempts, mut response } = answer;
    let headers = response.headers_mut();
    strip(headers);
    tell(headers, &head, attempts);
    response
}

fn tell(headers: &mut HeaderMap, head: &ReplyHead, attempts: u32) {
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    if let Some(served_by) = &head.served_by {
        put("homing-served-by", served_by.as_str());
    }
    if let Some(role) = head.role {
        put("homing-role", role.as_str());
    }
    put("homing-hops", &head.hops.to_string());
    put("homing-epoch", &head.epoch.to_string());
    put("homing-attempts", &attempts.to_string());
}

/// What a caller gets where there is no answer of the service: a gRPC status for gRPC, else an HTTP status and a line.
pub(crate) fn failure(grpc: bool, error: &CallError) -> Response<Body> {
    let last = error.tried.last().map(|tried| tried.outcome);
    let (code, status, outcome) = match error.verdict {
        // Not UNAVAILABLE: clients retry that, and this may have been executed.
        Verdict::Ambiguous => (GrpcCode::Unknown, StatusCode::BAD_GATEWAY, Some(Outcome::MaybeSent)),
        Verdict::Expired { last } => (GrpcCode::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, last),
        Verdict::Exhausted { last: Some(Outcome::Overloaded) } => {
            (GrpcCode::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS, last)
        }
        Verdict::Exhausted { last } => (GrpcCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE, last),
        Verdict::Refused => (GrpcCode::ResourceExhausted, StatusCode::BAD_REQUEST, Some(Outcome::Refused)),
    };
    let mut response = refusal(grpc, code, status, &error.to_string());
    let headers = response.headers_mut();
    if let Some(outcome) = outcome {
        headers.insert("homing-outcome", HeaderValue::from_static(outcome.as_str()));
    }
    headers.insert("homing-attempts", error.attempts.into());
    response
}

/// What a caller gets whose request can't be understood.
pub(crate) fn wrong_input(grpc: bool, error: &CallerError) -> Response<Body> {
    refusal(grpc, GrpcCode::InvalidArgument, StatusCode::BAD_REQUEST, &error.to_string())
}

/// gRPC status codes (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>) that Homing itself says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrpcCode {
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unavailable = 14,
}

fn refusal(grpc: bool, code: GrpcCode, status: StatusCode, message: &str) -> Response<Body> {
    if grpc {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        grpc_status(response.headers_mut(), code, message);
        return response;
    }
    let mut response = Response::new(Body::from(format!("{message}\n").into_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// What gRPC percent-encodes in a message: all but printable ASCII, and `%` itself.
const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// Writes a status where a reader of gRPC looks for it: in trailers, or in the headers of a reply without a body.
pub(crate) fn grpc_status(headers: &mut HeaderMap, code: GrpcCode, message: &str) {
    headers.insert("grpc-status", (code as u16).into());
    let encoded = utf8_percent_encode(message, GRPC_MESSAGE).to_string();
    if let Ok(message) = HeaderValue::from_str(&encoded) {
        headers.insert("grpc-message", message);
    }
}

/// Whether a request or response speaks gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())).collect()
    }

    fn read_at_zero(pairs: &[(&'static str, &str)]) -> Result<Call, CallerError> {
        read(&mut headers(pairs), Instant::now())
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
            (vec![("homing-space", "")], "homing-space: the space is empty"),
            (vec![("homing-space", long.as_str())], "homing-space: the space has 256 bytes"),
            (vec![("homing-space", "a"), ("homing-space", "b")], "the header homing-space is wrong: send it once"),
            (vec![("homing-space-bin", "*")], "the header homing-space-bin is wrong: use base64"),
            (vec![("homing-space", "a"), ("homing-access", "rw")], "the header homing-access is wrong"),
            (vec![("homing-space", "a"), ("grpc-timeout", "1")], "the header grpc-timeout is wrong"),
            (vec![("homing-space", "a"), ("grpc-timeout", "123456789S")], "the header grpc-timeout is wrong"),
            (vec![("homing-space", "a"), ("grpc-timeout", "é")], "the header grpc-timeout is wrong"),
            (vec![("homing-space", "a"), ("homing-timeout-ms", "-1")], "the header homing-timeout-ms is wrong"),
            (vec![("homing-space", "a"), ("homing-idempotency-key", "1")], "the header homing-idempotency-key"),
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
