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
        headers.insert(ACCESS, HeaderValue::from_static(routed.access.as_str()));
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
    let said = Said::of(headers);
    let kind = match said.parsed(Name::Direct, "use the id of the node, like n1")? {
        Some(node) if said.space()?.is_none() => Kind::Direct(node),
        Some(_) => {
            let problem = "stands beside a space";
            return Err(error(DIRECT, problem, "use homing-space or homing-direct, not both"));
        }
        None => Kind::Routed(said.routed()?),
    };
    let (remaining, reply_within) = (said.micros(Name::RemainingUs)?, said.reply_within()?);
    strip(headers);
    Ok(Head { kind, remaining, reply_within, traceparent: read_traceparent(headers) })
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

/// Writes the oldest answer that will do, rounded down: what is told never allows more than what was said.
pub fn write_max_age(max_age: Duration, headers: &mut HeaderMap) {
    headers.insert(MAX_AGE_MS, HeaderValue::from(u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX)));
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
    Ok(parsed(headers, AGE_MS, NUMBER)?.map(Duration::from_millis))
}

/// What Homing's headers say, found in one pass: most of those that could be there are not, and to look for each would cost more.
pub struct Said<'a> {
    found: [Option<&'a HeaderValue>; NAMES.len()],
    /// A bit for each that stands twice.
    twice: u32,
}

/// The headers that are read, in the order of [`NAMES`].
#[derive(Debug, Clone, Copy)]
enum Name {
    Space,
    SpaceBin,
    Access,
    Epoch,
    Hops,
    Relay,
    Attempt,
    IdempotencyKey,
    MaxAgeMs,
    AgeMs,
    GroupBin,
    RemainingUs,
    ReplyWithinUs,
    Direct,
    Outcome,
    RetryAfterMs,
    Reason,
    ServedBy,
    Role,
    TimeoutMs,
    CorrectionBin,
}

static NAMES: [HeaderName; Name::CorrectionBin as usize + 1] = [
    SPACE,
    SPACE_BIN,
    ACCESS,
    EPOCH,
    HOPS,
    RELAY,
    ATTEMPT,
    IDEMPOTENCY_KEY,
    MAX_AGE_MS,
    AGE_MS,
    GROUP_BIN,
    REMAINING_US,
    REPLY_WITHIN_US,
    DIRECT,
    OUTCOME,
    RETRY_AFTER_MS,
    REASON,
    SERVED_BY,
    ROLE,
    TIMEOUT_MS,
    CORRECTION_BIN,
];

impl Name {
    fn header(self) -> &'static HeaderName {
        &NAMES[self as usize]
    }
}

impl<'a> Said<'a> {
    /// What these headers say.
    #[must_use]
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut said = Self { found: [None; NAMES.len()], twice: 0 };
        for (name, value) in headers {
            if is_ours(name)
                && let Some(index) = NAMES.iter().position(|known| known == name)
                && said.found[index].replace(value).is_some()
            {
                said.twice |= 1 << index;
            }
        }
        said
    }

    /// The space of a request that must name one.
    ///
    /// # Errors
    /// [`HeadError`] if there is none, or two, or it is no [`Space`].
    pub fn required_space(&self) -> Result<Space, HeadError> {
        self.space()?.ok_or_else(|| {
            error(SPACE, "is missing", "name the space that the request is for, 1 to 255 bytes of UTF-8")
        })
    }

    /// The space, in either form. Raw UTF-8 in [`SPACE`] is a name too.
    fn space(&self) -> Result<Option<Space>, HeadError> {
        let literal = self.value(Name::Space)?;
        let bytes = match (literal, self.value(Name::SpaceBin)?) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(error(SPACE_BIN, "stands beside homing-space", "use one of the two"));
            }
            (Some(literal), None) => return space(SPACE, literal.as_bytes()).map(Some),
            (None, Some(encoded)) => decoded(SPACE_BIN, encoded)?,
        };
        space(SPACE_BIN, &bytes).map(Some)
    }

    /// The access.
    ///
    /// # Errors
    /// [`HeadError`] if it is none.
    pub fn access(&self) -> Result<Access, HeadError> {
        Ok(self.parsed(Name::Access, "use write, read or read-primary")?.unwrap_or_default())
    }

    /// The idempotency key.
    ///
    /// # Errors
    /// [`HeadError`] if it is none.
    pub fn idempotency_key(&self) -> Result<Option<IdempotencyKey>, HeadError> {
        self.parsed(Name::IdempotencyKey, "use a UUIDv7, like 01890a5d-ac96-774b-bcce-b302099a8057")
    }

    /// The time in which the reply must begin.
    ///
    /// # Errors
    /// [`HeadError`] if it is no number of microseconds.
    pub fn reply_within(&self) -> Result<Option<Duration>, HeadError> {
        self.micros(Name::ReplyWithinUs)
    }

    /// The oldest answer that will do.
    ///
    /// # Errors
    /// [`HeadError`] if it is no number of milliseconds.
    pub fn max_age(&self) -> Result<Option<Duration>, HeadError> {
        self.millis(Name::MaxAgeMs)
    }

    /// The time for the whole call, as a caller says it.
    ///
    /// # Errors
    /// [`HeadError`] if it is no number of milliseconds.
    pub fn timeout(&self) -> Result<Option<Duration>, HeadError> {
        self.millis(Name::TimeoutMs)
    }

    /// Which try of its entry node it is, from 1.
    ///
    /// # Errors
    /// [`HeadError`] if it is no such number.
    pub fn attempt(&self) -> Result<u32, HeadError> {
        let remedy = "use a number from 1 to 4294967295";
        match self.parsed(Name::Attempt, remedy)? {
            Some(0) => Err(error(ATTEMPT, "is 0", remedy)),
            attempt => Ok(attempt.unwrap_or(1)),
        }
    }

    fn routed(&self) -> Result<Routed, HeadError> {
        Ok(Routed {
            space: self.required_space()?,
            access: self.access()?,
            believed: self.epoch()?,
            hops_left: self.hops()?,
            relay: self.parsed(Name::Relay, "use true or false")?.unwrap_or_default(),
            attempt: self.attempt()?,
            idempotency_key: self.idempotency_key()?,
            max_age: self.max_age()?,
            group: self.binary(Name::GroupBin)?,
        })
    }

    fn epoch(&self) -> Result<Epoch, HeadError> {
        Ok(Epoch::new(self.parsed(Name::Epoch, NUMBER)?.unwrap_or_default()))
    }

    fn hops(&self) -> Result<u8, HeadError> {
        let remedy = "use a number from 0 to 255";
        self.parsed(Name::Hops, remedy)?.ok_or_else(|| error(HOPS, "is missing", remedy))
    }

    fn micros(&self, name: Name) -> Result<Option<Duration>, HeadError> {
        Ok(self.parsed(name, NUMBER)?.map(Duration::from_micros))
    }

    fn millis(&self, name: Name) -> Result<Option<Duration>, HeadError> {
        Ok(self.parsed(name, NUMBER)?.map(Duration::from_millis))
    }

    fn binary(&self, name: Name) -> Result<Bytes, HeadError> {
        match self.value(name)? {
            Some(value) => decoded(name.header().clone(), value).map(Bytes::from),
            None => Ok(Bytes::new()),
        }
    }

    fn parsed<T: FromStr>(&self, name: Name, remedy: &'static str) -> Result<Option<T>, HeadError> {
        match self.value(name)? {
            Some(value) => text_of(value, name.header(), remedy).map(Some),
            None => Ok(None),
        }
    }

    fn value(&self, name: Name) -> Result<Option<&'a HeaderValue>, HeadError> {
        if self.twice >> name as u32 & 1 == 1 {
            return Err(twice(name.header().clone()));
        }
        Ok(self.found[name as usize])
    }
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

/// Takes the trace context out of the headers. One that can't be carried on is dropped, as W3C Trace Context asks: it is
/// no reason to refuse a request.
pub fn read_traceparent(headers: &mut HeaderMap) -> Option<String> {
    if !headers.contains_key(TRACEPARENT) {
        return None;
    }
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
        headers.insert(OUTCOME, HeaderValue::from_static(outcome.as_str()));
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
        headers.insert(ROLE, HeaderValue::from_static(role.as_str()));
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
    let said = Said::of(headers);
    let outcome = said
        .value(Name::Outcome)?
        .map(|value| value.to_str().ok().and_then(|word| word.parse().ok()).unwrap_or(Outcome::MaybeSent));
    let role = said
        .value(Name::Role)?
        .map(|value| {
            let role = value.to_str().ok().and_then(Role::parse);
            role.ok_or_else(|| error(ROLE, shown(value), "use primary or replica"))
        })
        .transpose()?;
    let reason = said
        .value(Name::Reason)?
        .map(|value| percent_decode(value.as_bytes()).decode_utf8_lossy().into_owned())
        .unwrap_or_default();
    let head = ReplyHead {
        outcome,
        retry_after: said.millis(Name::RetryAfterMs)?,
        reason: ReplyHead::cut(&reason).to_owned(),
        served_by: said.parsed(Name::ServedBy, "use the id of a node, like n1")?,
        role,
        age: said.millis(Name::AgeMs)?,
        hops: said.hops()?,
        epoch: said.epoch()?,
        correction: said.binary(Name::CorrectionBin)?,
    };
    strip(headers);
    Ok(head)
}

/// Removes every header that starts with `homing-`.
pub fn strip(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

fn is_ours(name: &HeaderName) -> bool {
    name.as_str().as_bytes().starts_with(PREFIX.as_bytes())
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

/// Takes one header out and reads its text; `None` if it isn't there.
///
/// # Errors
/// [`HeadError`] with this remedy if it stands twice or can't be understood.
pub fn parsed<T: FromStr>(
    headers: &mut HeaderMap,
    name: HeaderName,
    remedy: &'static str,
) -> Result<Option<T>, HeadError> {
    let mut values = headers.get_all(&name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(twice(name));
    }
    let parsed = text_of(value, &name, remedy).map(Some);
    headers.remove(&name);
    parsed
}

const NUMBER: &str = "use a number from 0 to 18446744073709551615";

/// What the text of a header stands for.
fn text_of<T: FromStr>(value: &HeaderValue, name: &HeaderName, remedy: &'static str) -> Result<T, HeadError> {
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| error(name.clone(), shown(value), remedy))
}

fn twice(header: HeaderName) -> HeadError {
    error(header, "stands twice", "use it once")
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
