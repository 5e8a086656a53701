//! The head of a reply.

use bytes::{BufMut, Bytes, BytesMut};
use homing_types::{Epoch, NodeId, Outcome, Role};
use http::StatusCode;

use super::fields::{Fields, put_bytes, put_duration};
use super::headers::{put_headers, take_headers};
use super::{VERSION, WireError};
use crate::ReplyHead;

const OUTCOME: u8 = 1;
const RETRY_AFTER: u8 = 1 << 1;
const SERVED_BY: u8 = 1 << 2;
const PRIMARY: u8 = 1 << 3;
const REPLICA: u8 = 1 << 4;
const AGE: u8 = 1 << 5;

/// Writes head, status and headers of a reply as a block. Of the reason, what fits into
/// [`ReplyHead::MAX_REASON`] is written.
pub fn encode_reply<B>(head: &ReplyHead, response: &http::Response<B>, out: &mut BytesMut) {
    out.put_u8(VERSION);
    out.put_u8(flags(head));
    if let Some(outcome) = head.outcome {
        out.put_u8(outcome_number(outcome));
    }
    if let Some(retry_after) = head.retry_after {
        put_duration(out, retry_after);
    }
    if let Some(node) = &head.served_by {
        put_bytes(out, node.as_str().as_bytes());
    }
    if let Some(age) = head.age {
        put_duration(out, age);
    }
    put_bytes(out, ReplyHead::cut(&head.reason).as_bytes());
    out.put_u8(head.hops);
    out.put_u64(head.epoch.number());
    put_bytes(out, &head.correction);
    out.put_u16(response.status().as_u16());
    put_headers(out, response.headers());
}

/// Reads a reply without its body from a block. Values share the block's memory.
///
/// # Errors
/// [`WireError`] if the block is malformed, or if its headers are longer than `max_header_block`.
pub fn decode_reply(
    block: Bytes,
    max_header_block: usize,
) -> Result<(ReplyHead, http::Response<()>), WireError> {
    let mut fields = Fields::of(block)?;
    let flags = fields.flags(OUTCOME | RETRY_AFTER | SERVED_BY | PRIMARY | REPLICA | AGE)?;
    let has = |flag: u8| flags & flag != 0;
    let head = ReplyHead {
        outcome: has(OUTCOME).then(|| fields.byte("outcome").map(outcome)).transpose()?,
        retry_after: has(RETRY_AFTER).then(|| fields.duration("retry-after")).transpose()?,
        served_by: has(SERVED_BY).then(|| fields.parse("served-by", NodeId::new)).transpose()?,
        role: role(has(PRIMARY), has(REPLICA))?,
        age: has(AGE).then(|| fields.duration("age")).transpose()?,
        reason: fields.parse("reason", short)?,
        hops: fields.byte("hops")?,
        epoch: Epoch::new(u64::from_be_bytes(fields.fixed("epoch")?)),
        correction: fields.bytes("correction")?,
    };
    let status = StatusCode::from_u16(u16::from_be_bytes(fields.fixed("status")?))
        .map_err(|error| WireError::invalid("status", error))?;

    let mut response = http::Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = take_headers(fields, 0, max_header_block)?;
    Ok((head, response))
}

fn flags(head: &ReplyHead) -> u8 {
    let set = |flag: u8, wanted: bool| if wanted { flag } else { 0 };
    let role = match head.role {
        Some(Role::Primary) => PRIMARY,
        Some(Role::Replica) => REPLICA,
        None => 0,
    };
    role | set(OUTCOME, head.outcome.is_some())
        | set(RETRY_AFTER, head.retry_after.is_some())
        | set(SERVED_BY, head.served_by.is_some())
        | set(AGE, head.age.is_some())
}

fn role(primary: bool, replica: bool) -> Result<Option<Role>, WireError> {
    match (primary, replica) {
        (false, false) => Ok(None),
        (true, false) => Ok(Some(Role::Primary)),
        (false, true) => Ok(Some(Role::Replica)),
        (true, true) => Err(WireError::invalid("role", "it is primary and replica: it must be one")),
    }
}

fn short(text: &str) -> Result<String, String> {
    if text.len() <= ReplyHead::MAX_REASON {
        Ok(text.to_owned())
    } else {
        Err(format!("it has {} bytes: it may have {}", text.len(), ReplyHead::MAX_REASON))
    }
}

const fn outcome_number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::NotSent => 0,
        Outcome::MaybeSent => 1,
        Outcome::NotOwner => 2,
        Outcome::NotReady => 3,
        Outcome::Overloaded => 4,
        Outcome::Expired => 5,
        Outcome::Refused => 6,
    }
}

/// What isn't known may have been executed: the careful reading.
const fn outcome(number: u8) -> Outcome {
    match number {
        0 => Outcome::NotSent,
        2 => Outcome::NotOwner,
        3 => Outcome::NotReady,
        4 => Outcome::Overloaded,
        5 => Outcome::Expired,
        6 => Outcome::Refused,
        _ => Outcome::MaybeSent,
    }
}
