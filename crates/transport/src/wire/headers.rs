//! Heads as HTTP headers: the form on gRPC's wire, and at the client listener.
//!
//! Binary values follow gRPC's convention: a name that ends in `-bin` holds base64, written without padding
//! and read with or without it (gRPC over HTTP/2, "Binary-Header"). What has its default is not written.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD_INDIFFERENT as BASE64;
use bytes::Bytes;
use homing_types::{Access, Epoch, IdempotencyKey, Outcome, Role, Space, SpaceError};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, PercentEncode, percent_decode, utf8_percent_encode};
use thiserror::Error;

use crate::{Head, Kind, ReplyHead, Routed};

/// The space, where its name is printable ASCII without blanks at its ends.
pub const SPACE: HeaderName = HeaderName::from_static("homing-space");
/// The space, where its name is anything else: base64 of its UTF-8.
pub const SPACE_BIN: HeaderName = HeaderName::from_static("homing-space-bin");
/// The access: `write` (also if absent), `read` or `read-primary`.
pub const ACCESS: HeaderName = HeaderName::from_static("homing-access");
/// An epoch, as a number: what a request's sender believes, or under which a reply was made.
pub const EPOCH: HeaderName = HeaderName::from_static("homing-epoch");
/// Of a request: how often it may still be forwarded. Of a reply: how often the request was.
pub const HOPS: HeaderName = HeaderName::from_static("homing-hops");
/// `true` on a detour by way of a node that isn't the owner.
pub const RELAY: HeaderName = HeaderName::from_static("homing-relay");
/// Which try of the entry node this is, from 1.
pub const ATTEMPT: HeaderName = HeaderName::from_static("homing-attempt");
/// Names the write: a UUIDv7.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("homing-idempotency-key");
/// The oldest answer of a replica that will do, in milliseconds.
pub const MAX_AGE_MS: HeaderName = HeaderName::from_static("homing-max-age-ms");
/// How old a replica's answer may be, in milliseconds: the time since it last heard from its primary.
pub const AGE_MS: HeaderName = HeaderName::from_static("homing-age-ms");
/// The group that a forward rests on.
pub const GROUP_BIN: HeaderName = HeaderName::from_static("homing-group-bin");
/// The time left for the whole exchange, in microseconds.
pub const REMAINING_US: HeaderName = HeaderName::from_static("homing-remaining-us");
/// The time in which the reply must begin, in microseconds, if less than all that is left.
pub const REPLY_WITHIN_US: HeaderName = HeaderName::from_static("homing-reply-within-us");
/// The node that a direct request is for, in place of a space.
pub const DIRECT: HeaderName = HeaderName::from_static("homing-direct");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What became of a request that has no service's answer.
pub const OUTCOME: HeaderName = HeaderName::from_static("homing-outcome");
/// When to try again, in milliseconds.
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("homing-retry-after-ms");
/// Why there is an outcome, percent-encoded as gRPC encodes `grpc-message`.
pub const REASON: HeaderName = HeaderName::from_static("homing-reason");
/// The node that executed the request.
pub const SERVED_BY: HeaderName = HeaderName::from_static("homing-served-by");
/// In which role it did: `primary` or `replica`.
pub const ROLE: HeaderName = HeaderName::from_static("homing-role");
/// What a caller says: the time for the whole call, in milliseconds.
pub const TIMEOUT_MS: HeaderName = HeaderName::from_static("homing-timeout-ms");
/// What a caller of gRPC says: the time for the whole call (gRPC over HTTP/2, "Timeout").
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// What a caller of gRPC says whose call is a retry: the attempts before (gRFC A6).
pub const GRPC_PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
/// What a caller is told: how many attempts its call took.
pub const ATTEMPTS: HeaderName = HeaderName::from_static("homing-attempts");
/// A newer group for the sender.
pub const CORRECTION_BIN: HeaderName = HeaderName::from_static("homing-correction-bin");

pub(super) const PREFIX: &str = "homing-";

/// A header that says nothing that can be understood. The request or reply as a whole can't be either.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the header {header} {problem}: {remedy}")]
pub struct HeadError {
    /// Which header.
    pub header: HeaderName,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub remedy: &'static str,
}

/// Writes a request's head, in place of whatever `homing-` headers there were.
pub fn write_head(head: &Head, headers: &mut HeaderMap) {
    strip(headers);
    match &head.kind {
        Kind::Direct(node) => put(headers, DIRECT, node.as_str()),
        Kind::Routed(routed) => write_routed(routed, headers),
    }
    write_time_left(head, headers);
    if let Some(traceparent) = &head.traceparent {
        put(headers, TRACEPARENT, traceparent);
    }
}

/// Writes the time left, or writes it once more after some of it was spent waiting.
pub fn write_time_left(head: &Head, headers: &mut HeaderMap) {
    if let Some(remaining) = head.remaining {
        write_micros(REMAINING_US, remaining, headers);
    }
    if let Some(within) = head.reply_within {
        write_reply_within(within, headers);
    }
}

/// Writes the time in which a reply must begin.
pub fn write_reply_within(within: Duration, headers: &mut HeaderMap) {
    write_micros(REPLY_WITHIN_US, within, headers);
}

fn write_micros(header: HeaderName, time: Duration, headers: &mut HeaderMap) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    headers.insert(header, HeaderValue::from(micros));
}

fn write_routed(routed: &Routed, headers: &mut HeaderMap) {
    write_space(&routed.space, headers);
    if routed.access != Access::default() {
        put(headers, ACCESS, routed.access.as_str());
    }
    if !routed.believed.is_zero() {
        headers.insert(EPOCH, number_value(routed.believed.number()));
    }
    headers.insert(HOPS, number_value(routed.hops_left.into()));
    if routed.relay {
        headers.insert(RELAY, HeaderValue::from_static("true"));
    }
    if routed.attempt > 1 {
        headers.insert(ATTEMPT, number_value(routed.attempt.into()));
    }
    if let Some(key) = routed.idempotency_key {
        put(headers, IDEMPOTENCY_KEY, &key.to_string());
    }
    if let Some(max_age) = routed.max_age {
        write_max_age(max_age, headers);
    }
    if !routed.group.is_empty() {
        put(headers, GROUP_BIN, &BASE64.encode(&routed.group));
    }
}

/// Takes a request's head out of its headers. No header that starts with `homing-` is left.
///
/// # Errors
/// [`HeadError`] for the first header that is missing, stands twice or can't be understood.
pub fn read_head(headers: &mut HeaderMap) -> Result<Head, HeadError> {
    let remaining = number(headers, REMAINING_US)?.map(Duration::from_micros);
    let reply_within = read_reply_within(headers)?;
    let traceparent = read_traceparent(headers);
    let kind = match parsed(headers, DIRECT, "use the id of the node, like n1")? {
        Some(node) if read_space(headers)?.is_none() => Kind::Direct(node),
        Some(_) => {
            let problem = "stands beside a space";
            return Err(error(DIRECT, problem, "use homing-space or homing-direct, not both"));
        }
        None => Kind::Routed(read_routed(headers)?),
    };
    strip(headers);
    Ok(Head { kind, remaining, reply_within, traceparent })
}

fn read_routed(headers: &mut HeaderMap) -> Result<Routed, HeadError> {
    Ok(Routed {
        space: read_required_space(headers)?,
        access: read_access(headers)?,
        believed: read_epoch(headers)?,
        hops_left: read_hops(headers)?,
        relay: parsed(headers, RELAY, "use true or false")?.unwrap_or_default(),
        attempt: read_attempt(headers)?,
        idempotency_key: read_idempotency_key(headers)?,
        max_age: read_max_age(headers)?,
        group: binary(headers, GROUP_BIN)?,
    })
}

/// Writes a space in the form that its name needs.
pub fn write_space(space: &Space, headers: &mut HeaderMap) {
    let space = space.as_str();
    if is_literal(space) {
        put(headers, SPACE, space);
    } else {
        put(headers, SPACE_BIN, &BASE64.encode(space));
    }
}

/// Takes the space of a request that must name one.
///
/// # Errors
/// [`HeadError`] as [`read_space`], and if there is none.
pub fn read_required_space(headers: &mut HeaderMap) -> Result<Space, HeadError> {
    read_space(headers)?.ok_or_else(|| {
        error(SPACE, "is missing", "name the space that the request is for, 1 to 255 bytes of UTF-8")
    })
}

/// Takes the access out of the headers.
///
/// # Errors
/// [`HeadError`] if it is none.
pub fn read_access(headers: &mut HeaderMap) -> Result<Access, HeadError> {
    Ok(parsed(headers, ACCESS, "use write, read or read-primary")?.unwrap_or_default())
}

/// Takes the idempotency key out of the headers.
///
/// # Errors
/// [`HeadError`] if it is none.
pub fn read_idempotency_key(headers: &mut HeaderMap) -> Result<Option<IdempotencyKey>, HeadError> {
    parsed(headers, IDEMPOTENCY_KEY, "use a UUIDv7, like 01890a5d-ac96-774b-bcce-b302099a8057")
}

/// Takes the time in which the reply must begin out of the headers.
///
/// # Errors
/// [`HeadError`] if it is no number of microseconds.
pub fn read_reply_within(headers: &mut HeaderMap) -> Result<Option<Duration>, HeadError> {
    Ok(number(headers, REPLY_WITHIN_US)?.map(Duration::from_micros))
}

/// Writes the oldest answer that will do, rounded down: what is told never allows more than what was said.
pub fn write_max_age(max_age: Duration, headers: &mut HeaderMap) {
    headers.insert(MAX_AGE_MS, HeaderValue::from(u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX)));
}

/// Takes the oldest answer that will do out of the headers.
///
/// # Errors
/// [`HeadError`] if it is no number of milliseconds.
pub fn read_max_age(headers: &mut HeaderMap) -> Result<Option<Duration>, HeadError> {
    Ok(number(headers, MAX_AGE_MS)?.map(Duration::from_millis))
}

/// Writes how old an answer may be, rounded up.
pub fn write_age(age: Duration, headers: &mut HeaderMap) {
    let millis = u64::try_from(age.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    headers.insert(AGE_MS, HeaderValue::from(millis));
}

/// Takes how old an answer may be out of the headers.
///
/// # Errors
/// [`HeadError`] if it is no number of milliseconds.
pub fn read_age(headers: &mut HeaderMap) -> Result<Option<Duration>, HeadError> {
    Ok(number(headers, AGE_MS)?.map(Duration::from_millis))
}

/// Takes the space out of the headers, in either form. Raw UTF-8 in [`SPACE`] is a name too.
///
/// # Errors
/// [`HeadError`] if it is no [`Space`], or there are two.
pub fn read_space(headers: &mut HeaderMap) -> Result<Option<Space>, HeadError> {
    let literal = take(headers, SPACE)?;
    let bytes = match (literal, take(headers, SPACE_BIN)?) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(error(SPACE_BIN, "stands beside homing-space", "use one of the two"));
        }
        (Some(literal), None) => return space(SPACE, literal.as_bytes()).map(Some),
        (None, Some(encoded)) => decoded(SPACE_BIN, &encoded)?,
    };
    space(SPACE_BIN, &bytes).map(Some)
}

fn space(header: HeaderName, bytes: &[u8]) -> Result<Space, HeadError> {
    let space = std::str::from_utf8(bytes).map_err(|_| SpaceError::NotUtf8).and_then(Space::new);
    space.map_err(|wrong| {
        let problem = match wrong {
            SpaceError::Empty => "is empty".to_owned(),
            SpaceError::TooLong { len } => format!("has {len} bytes"),
            SpaceError::NotUtf8 => "is not UTF-8".to_owned(),
        };
        error(header, problem, "a space is 1 to 255 bytes of UTF-8")
    })
}

fn read_epoch(headers: &mut HeaderMap) -> Result<Epoch, HeadError> {
    Ok(Epoch::new(number(headers, EPOCH)?.unwrap_or_default()))
}

fn read_hops(headers: &mut HeaderMap) -> Result<u8, HeadError> {
    let remedy = "use a number from 0 to 255";
    parsed(headers, HOPS, remedy)?.ok_or_else(|| error(HOPS, "is missing", remedy))
}

fn read_attempt(headers: &mut HeaderMap) -> Result<u32, HeadError> {
    let remedy = "use a number from 1 to 4294967295";
    match parsed(headers, ATTEMPT, remedy)? {
        Some(0) => Err(error(ATTEMPT, "is 0", remedy)),
        attempt => Ok(attempt.unwrap_or(1)),
    }
}

/// Takes the trace context out of the headers. One that can't be carried on is dropped, as W3C Trace Context asks: it is
/// no reason to refuse a request.
pub fn read_traceparent(headers: &mut HeaderMap) -> Option<String> {
    let alone = headers.get_all(TRACEPARENT).iter().count() == 1;
    let value = headers.remove(TRACEPARENT).filter(|_| alone)?;
    value.to_str().ok().filter(|text| super::is_traceparent(text)).map(str::to_owned)
}

/// Writes a reply's head, in place of whatever `homing-` headers the service wrote. [`HOPS`] is always
/// among them: a response without it does not come from a node.
pub fn write_reply_head(head: &ReplyHead, headers: &mut HeaderMap) {
    strip(headers);
    headers.insert(HOPS, number_value(head.hops.into()));
    if !head.epoch.is_zero() {
        headers.insert(EPOCH, number_value(head.epoch.number()));
    }
    if let Some(outcome) = head.outcome {
        put(headers, OUTCOME, outcome.as_str());
    }
    if let Some(retry_after) = head.retry_after {
        // Rounded up, so that nobody comes back too early.
        let millis = u64::try_from(retry_after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
    }
    if !head.reason.is_empty() {
        put(headers, REASON, &grpc_message(ReplyHead::cut(&head.reason)).to_string());
    }
    if let Some(node) = &head.served_by {
        put(headers, SERVED_BY, node.as_str());
    }
    if let Some(role) = head.role {
        put(headers, ROLE, role.as_str());
    }
    if let Some(age) = head.age {
        write_age(age, headers);
    }
    if !head.correction.is_empty() {
        put(headers, CORRECTION_BIN, &BASE64.encode(&head.correction));
    }
}

/// Takes a reply's head out of its headers. No header that starts with `homing-` is left. An outcome that
/// is unknown here reads as [`Outcome::MaybeSent`], which promises least.
///
/// # Errors
/// [`HeadError`] for the first header that is missing, stands twice or can't be understood.
pub fn read_reply_head(headers: &mut HeaderMap) -> Result<ReplyHead, HeadError> {
    let outcome = take(headers, OUTCOME)?
        .map(|value| value.to_str().ok().and_then(|word| word.parse().ok()).unwrap_or(Outcome::MaybeSent));
    let role = take(headers, ROLE)?
        .map(|value| {
            let role = value.to_str().ok().and_then(Role::parse);
            role.ok_or_else(|| error(ROLE, shown(&value), "use primary or replica"))
        })
        .transpose()?;
    let reason = take(headers, REASON)?
        .map(|value| percent_decode(value.as_bytes()).decode_utf8_lossy().into_owned())
        .unwrap_or_default();
    let head = ReplyHead {
        outcome,
        retry_after: number(headers, RETRY_AFTER_MS)?.map(Duration::from_millis),
        reason: ReplyHead::cut(&reason).to_owned(),
        served_by: parsed(headers, SERVED_BY, "use the id of a node, like n1")?,
        role,
        age: read_age(headers)?,
        hops: read_hops(headers)?,
        epoch: read_epoch(headers)?,
        correction: binary(headers, CORRECTION_BIN)?,
    };
    strip(headers);
    Ok(head)
}

/// Removes every header that starts with `homing-`.
pub fn strip(headers: &mut HeaderMap) {
    let ours = |name: &&HeaderName| name.as_str().starts_with(PREFIX);
    let names: Vec<HeaderName> = headers.keys().filter(ours).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a header's value holds this name as it is: gRPC's ASCII-Value, which may have no blank at its
/// ends since those are not part of a value in HTTP.
fn is_literal(space: &str) -> bool {
    space.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && space.trim_ascii() == space
}

/// A number as a header's value. The small ones that most heads bear are not allocated.
#[must_use]
pub fn number_value(number: u64) -> HeaderValue {
    const SMALL: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let small = usize::try_from(number).ok().and_then(|number| SMALL.get(number));
    small.map_or_else(|| HeaderValue::from(number), |small| HeaderValue::from_static(small))
}

/// What no header can hold (a control character in a foreign trace id) is left out.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn take(headers: &mut HeaderMap, name: HeaderName) -> Result<Option<HeaderValue>, HeadError> {
    // Not by an entry, which makes room for a value whether there is one or not.
    if headers.get_all(&name).iter().nth(1).is_some() {
        return Err(error(name, "stands twice", "use it once"));
    }
    Ok(headers.remove(&name))
}

/// Takes one header out and reads its text; `None` if it isn't there.
///
/// # Errors
/// [`HeadError`] with this remedy if it stands twice or can't be understood.
pub fn parsed<T: FromStr>(
    headers: &mut HeaderMap,
    name: HeaderName,
    remedy: &'static str,
) -> Result<Option<T>, HeadError> {
    let Some(value) = take(headers, name.clone())? else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| error(name, shown(&value), remedy))
}

fn number(headers: &mut HeaderMap, name: HeaderName) -> Result<Option<u64>, HeadError> {
    parsed(headers, name, "use a number from 0 to 18446744073709551615")
}

fn binary(headers: &mut HeaderMap, name: HeaderName) -> Result<Bytes, HeadError> {
    match take(headers, name.clone())? {
        Some(value) => decoded(name, &value).map(Bytes::from),
        None => Ok(Bytes::new()),
    }
}

fn decoded(name: HeaderName, value: &HeaderValue) -> Result<Vec<u8>, HeadError> {
    BASE64.decode(value).map_err(|wrong| error(name, format!("is no base64 ({wrong})"), "use base64"))
}

fn error(header: HeaderName, problem: impl Display, remedy: &'static str) -> HeadError {
    HeadError { header, problem: problem.to_string(), remedy }
}

/// Keeps an error to one readable line, whatever was sent.
fn shown(value: &HeaderValue) -> String {
    let text: String = String::from_utf8_lossy(value.as_bytes()).chars().take(80).collect();
    format!("is {text:?}")
}

/// What gRPC percent-encodes in a message (gRPC over HTTP/2, "Status-Message"): all but printable ASCII, and `%` itself.
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// A message as a header's value holds it.
#[must_use]
pub fn grpc_message(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, MESSAGE)
}

#[cfg(test)]
mod tests;
