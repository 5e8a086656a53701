//! The head of a request.

use bytes::{BufMut, Bytes, BytesMut};
use homing_types::{Access, Epoch, IdempotencyKey, NodeId, Space};
use http::uri::PathAndQuery;
use http::{Method, Uri};

use super::fields::{Fields, put_bytes, put_duration};
use super::headers::{put_headers, take_headers};
use super::{VERSION, WireError};
use crate::wire::{is_traceparent, varint};
use crate::{Head, Kind, Routed};

const REMAINING: u8 = 1;
const TRACEPARENT: u8 = 1 << 1;
const DIRECT: u8 = 1 << 2;
const RELAY: u8 = 1 << 3;
const KEY: u8 = 1 << 4;
const MAX_AGE: u8 = 1 << 5;
const REPLY_WITHIN: u8 = 1 << 6;

/// Methods by their number, from 1; 0 stands before any other, written out. The numbers are the wire's.
static METHODS: [Method; 7] =
    [Method::POST, Method::GET, Method::PUT, Method::DELETE, Method::HEAD, Method::PATCH, Method::OPTIONS];

/// The bytes of a head that its sender counts towards the limit of the header block.
#[must_use]
pub fn head_len(head: &Head) -> usize {
    let traceparent = head.traceparent.as_ref().map_or(0, String::len);
    traceparent
        + match &head.kind {
            Kind::Routed(routed) => routed.space.as_str().len() + routed.group.len(),
            Kind::Direct(node) => node.as_str().len(),
        }
}

/// Writes head, method, path, query and headers of a request as a block.
pub fn encode_request<B>(head: &Head, request: &http::Request<B>, out: &mut BytesMut) {
    out.put_u8(VERSION);
    out.put_u8(flags(head));
    if let Some(remaining) = head.remaining {
        put_duration(out, remaining);
    }
    if let Some(within) = head.reply_within {
        put_duration(out, within);
    }
    if let Some(traceparent) = traceparent(head) {
        put_bytes(out, traceparent.as_bytes());
    }
    match &head.kind {
        Kind::Routed(routed) => put_routed(out, routed),
        Kind::Direct(node) => put_bytes(out, node.as_str().as_bytes()),
    }
    put_method(out, request.method());
    put_bytes(out, request.uri().path_and_query().map_or("/", PathAndQuery::as_str).as_bytes());
    put_headers(out, request.headers());
}

/// Reads a request without its body from a block. Values share the block's memory.
///
/// # Errors
/// [`WireError`] if the block is malformed, or if its headers with [`head_len`] and path are longer than
/// `max_header_block`.
pub fn decode_request(block: Bytes, max_header_block: usize) -> Result<(Head, http::Request<()>), WireError> {
    let mut fields = Fields::of(block)?;
    let flags = fields.flags(REMAINING | TRACEPARENT | DIRECT | RELAY | KEY | MAX_AGE | REPLY_WITHIN)?;
    let has = |flag: u8| flags & flag != 0;
    let remaining = has(REMAINING).then(|| fields.duration("remaining time")).transpose()?;
    let reply_within = has(REPLY_WITHIN).then(|| fields.duration("reply-within")).transpose()?;
    let traceparent = has(TRACEPARENT).then(|| fields.parse("traceparent", printable)).transpose()?;
    let kind = if has(DIRECT) {
        Kind::Direct(fields.parse("node", NodeId::new)?)
    } else {
        Kind::Routed(take_routed(&mut fields, has)?)
    };
    let head = Head { kind, remaining, reply_within, traceparent };
    let method = take_method(&mut fields)?;
    let path = PathAndQuery::from_maybe_shared(fields.bytes("path")?)
        .map_err(|error| WireError::invalid("path", error))?;

    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.headers_mut() = take_headers(fields, head_len(&head) + path.as_str().len(), max_header_block)?;
    *request.uri_mut() = Uri::from(path);
    Ok((head, request))
}

fn flags(head: &Head) -> u8 {
    let set = |flag: u8, wanted: bool| if wanted { flag } else { 0 };
    let kind = match &head.kind {
        Kind::Routed(routed) => {
            set(RELAY, routed.relay)
                | set(KEY, routed.idempotency_key.is_some())
                | set(MAX_AGE, routed.max_age.is_some())
        }
        Kind::Direct(_) => DIRECT,
    };
    kind | set(REMAINING, head.remaining.is_some())
        | set(REPLY_WITHIN, head.reply_within.is_some())
        | set(TRACEPARENT, traceparent(head).is_some())
}

/// One that can't be carried on is dropped, as W3C Trace Context asks.
fn traceparent(head: &Head) -> Option<&String> {
    head.traceparent.as_ref().filter(|text| is_traceparent(text))
}

fn put_routed(out: &mut BytesMut, routed: &Routed) {
    put_bytes(out, routed.space.as_str().as_bytes());
    out.put_u8(access_number(routed.access));
    out.put_u64(routed.believed.number());
    out.put_u8(routed.hops_left);
    varint::put(out, routed.attempt.into());
    if let Some(key) = routed.idempotency_key {
        out.put_slice(&key.to_bytes());
    }
    if let Some(max_age) = routed.max_age {
        put_duration(out, max_age);
    }
    put_bytes(out, &routed.group);
}

fn take_routed(fields: &mut Fields, has: impl Fn(u8) -> bool) -> Result<Routed, WireError> {
    Ok(Routed {
        space: fields.parse("space", Space::new)?,
        access: access(fields.byte("access")?),
        believed: Epoch::new(u64::from_be_bytes(fields.fixed("epoch")?)),
        hops_left: fields.byte("hops left")?,
        relay: has(RELAY),
        attempt: u32::try_from(fields.varint("attempt")?)
            .map_err(|_| WireError::invalid("attempt", "it is above 2³² − 1"))?,
        idempotency_key: has(KEY).then(|| take_key(fields)).transpose()?,
        max_age: has(MAX_AGE).then(|| fields.duration("max-age")).transpose()?,
        group: fields.bytes("group")?,
    })
}

fn take_key(fields: &mut Fields) -> Result<IdempotencyKey, WireError> {
    IdempotencyKey::from_bytes(fields.fixed("idempotency key")?)
        .map_err(|error| WireError::invalid("idempotency key", error))
}

const fn access_number(access: Access) -> u8 {
    match access {
        Access::Write => 0,
        Access::Read => 1,
        Access::ReadPrimary => 2,
    }
}

/// What isn't known counts as a write: the careful reading.
const fn access(number: u8) -> Access {
    match number {
        1 => Access::Read,
        2 => Access::ReadPrimary,
        _ => Access::Write,
    }
}

fn put_method(out: &mut BytesMut, method: &Method) {
    match (1..).zip(&METHODS).find(|(_, known)| *known == method) {
        Some((number, _)) => out.put_u8(number),
        None => {
            out.put_u8(0);
            put_bytes(out, method.as_str().as_bytes());
        }
    }
}

fn take_method(fields: &mut Fields) -> Result<Method, WireError> {
    match fields.byte("method")? {
        0 => {
            Method::from_bytes(&fields.bytes("method")?).map_err(|error| WireError::invalid("method", error))
        }
        number => METHODS.get(usize::from(number) - 1).cloned().ok_or_else(|| {
            WireError::invalid("method", format_args!("number {number} is above {}", METHODS.len()))
        }),
    }
}

/// A traceparent becomes a header on other wires, so it must fit into one.
fn printable(text: &str) -> Result<String, &'static str> {
    if is_traceparent(text) { Ok(text.to_owned()) } else { Err("it must be printable ASCII") }
}
