//! Headers and trailers: one byte for what most calls bear, name and value for the rest.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::WireError;
use super::fields::{Fields, put_bytes};

/// What most calls bear, numbered from 1: with its value, or as a name alone. The numbers are the wire's: new
/// ones are added at the end.
static COMMON: [(HeaderName, Option<HeaderValue>); 13] = [
    (header::CONTENT_TYPE, Some(HeaderValue::from_static("application/grpc"))),
    (header::TE, Some(HeaderValue::from_static("trailers"))),
    (HeaderName::from_static("grpc-status"), Some(HeaderValue::from_static("0"))),
    (header::CONTENT_TYPE, None),
    (HeaderName::from_static("grpc-status"), None),
    (HeaderName::from_static("grpc-message"), None),
    (HeaderName::from_static("grpc-timeout"), None),
    (HeaderName::from_static("grpc-encoding"), None),
    (HeaderName::from_static("grpc-accept-encoding"), None),
    (header::USER_AGENT, None),
    (header::CONTENT_LENGTH, None),
    (header::DATE, None),
    (header::HOST, None),
];

/// A header that is not among [`COMMON`].
const LITERAL: u8 = 0;

/// Writes trailers as a block.
pub fn encode_trailers(trailers: &HeaderMap, out: &mut BytesMut) {
    out.put_u8(super::VERSION);
    put_headers(out, trailers);
}

/// Reads trailers from a block.
///
/// # Errors
/// [`WireError`] if the block is malformed or longer than `max_header_block`.
pub fn decode_trailers(block: Bytes, max_header_block: usize) -> Result<HeaderMap, WireError> {
    take_headers(Fields::of(block)?, 0, max_header_block)
}

pub(super) fn put_headers(out: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        put_header(out, name, value);
    }
}

fn put_header(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    let fits = |(known, fixed): &(HeaderName, Option<HeaderValue>)| {
        known == name && fixed.as_ref().is_none_or(|fixed| fixed == value)
    };
    match (1..).zip(&COMMON).find(|(_, common)| fits(common)) {
        Some((number, (_, fixed))) => {
            out.put_u8(number);
            if fixed.is_none() {
                put_bytes(out, value.as_bytes());
            }
        }
        None => {
            out.put_u8(LITERAL);
            put_bytes(out, name.as_str().as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }
}

/// Reads headers to the end of the block. `size` is what the block counts already.
///
/// A header costs three bytes on the wire and a hundred in a map, so what is over the limit is counted on but
/// not kept.
pub(super) fn take_headers(
    mut fields: Fields,
    mut size: usize,
    limit: usize,
) -> Result<HeaderMap, WireError> {
    let mut headers = HeaderMap::new();
    while !fields.is_empty() {
        let (name, value) = take_header(&mut fields)?;
        size += name.as_str().len() + value.len() + 32;
        if size <= limit {
            headers
                .try_append(name, value)
                .map_err(|_| WireError::invalid("header count", "there are more than 24,576 names"))?;
        }
    }
    if size > limit { Err(WireError::TooLarge { size, limit }) } else { Ok(headers) }
}

fn take_header(fields: &mut Fields) -> Result<(HeaderName, HeaderValue), WireError> {
    let (name, fixed) = match fields.byte("header")? {
        LITERAL => {
            let name = HeaderName::from_bytes(&fields.bytes("header name")?)
                .map_err(|error| WireError::invalid("header name", error))?;
            (name, None)
        }
        number => COMMON.get(usize::from(number) - 1).cloned().ok_or_else(|| {
            WireError::invalid("header", format_args!("number {number} is above {}", COMMON.len()))
        })?,
    };
    let value = match fixed {
        Some(value) => value,
        None => HeaderValue::from_maybe_shared(fields.bytes("header value")?)
            .map_err(|error| WireError::invalid("header value", error))?,
    };
    Ok((name, value))
}
