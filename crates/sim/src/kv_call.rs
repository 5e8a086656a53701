//! One call to `kv`, as a gRPC client puts it into bytes, and what it reads out of the answer.

use bytes::{BufMut, Bytes, BytesMut};
use homing_kv::Position;
use homing_kv::proto::{GetRequest, GetResponse, PutRequest, PutResponse, Version};
use homing_router::Answer;
use homing_types::Epoch;
use http::HeaderMap;
use http_body_util::BodyExt;
use prost::Message;

const PUT: &str = "/homing.kv.v1.Kv/Put";
const GET: &str = "/homing.kv.v1.Kv/Get";

/// A request: its path and its message.
pub(crate) type Request = (&'static str, Bytes);

/// What a caller was told of one try.
pub(crate) enum Told {
    Done(Position),
    /// `None`: there is no such key.
    Read(Option<(Bytes, Position)>),
    /// It was certainly not executed.
    Not(String),
    /// Nobody can tell.
    Maybe(String),
}

impl Told {
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Done(version) => format!("done, {}/{}", version.epoch, version.seq),
            Self::Read(found) => format!("read, {}", found.as_ref().map_or("nothing", |_| "found")),
            Self::Not(why) => format!("not executed: {why}"),
            Self::Maybe(why) => format!("maybe executed: {why}"),
        }
    }
}

/// The write `number`, to the key of this number.
pub(crate) fn put(key: u64, number: u64) -> Request {
    (PUT, framed(&PutRequest { key: key_of(key), value: value_of(number) }))
}

pub(crate) fn get(key: u64) -> Request {
    (GET, framed(&GetRequest { key: key_of(key) }))
}

pub(crate) fn key_of(number: u64) -> Bytes {
    format!("key-{number}").into()
}

pub(crate) fn value_of(number: u64) -> Bytes {
    format!("value-{number}").into()
}

/// The number in a value.
pub(crate) fn number_in(value: &[u8]) -> u64 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|value| value.strip_prefix("value-")?.parse().ok())
        .unwrap_or(u64::MAX)
}

/// gRPC's frame around a message: not compressed, and its length.
fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

/// What the service said. An error of its own says that this attempt executed nothing; one before it may have.
pub(crate) async fn told(answer: Answer, path: &str) -> Told {
    let attempts = answer.attempts;
    let (head, body) = answer.response.into_parts();
    let Ok(body) = body.collect().await else { return Told::Maybe("the answer broke off".to_owned()) };
    let trailers = body.trailers().cloned().unwrap_or_default();
    let said = |name: &str| said(&head.headers, &trailers, name);
    match said("grpc-status").as_deref() {
        Some("0") => {}
        status => {
            let why = format!("status {status:?}: {:?}", said("grpc-message"));
            return if attempts > 1 { Told::Maybe(why) } else { Told::Not(why) };
        }
    }
    let message = body.to_bytes().slice(5..);
    let position = |Version { epoch, seq }| Position { epoch: Epoch::new(epoch), seq };
    if path == PUT {
        match PutResponse::decode(message) {
            Ok(PutResponse { version: Some(version) }) => Told::Done(position(version)),
            other => Told::Maybe(format!("{other:?}")),
        }
    } else {
        match GetResponse::decode(message) {
            Ok(GetResponse { found: false, .. }) => Told::Read(None),
            Ok(GetResponse { value, version: Some(version), .. }) => {
                Told::Read(Some((value, position(version))))
            }
            other => Told::Maybe(format!("{other:?}")),
        }
    }
}

fn said(headers: &HeaderMap, trailers: &HeaderMap, name: &str) -> Option<String> {
    let value = trailers.get(name).or_else(|| headers.get(name))?;
    value.to_str().ok().map(ToOwned::to_owned)
}
