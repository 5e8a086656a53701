use std::time::Duration;

use bytes::{Bytes, BytesMut};
use homing_types::{Access, Epoch, IdempotencyKey, NodeId, Outcome, Role, Space};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::serve::header_block_len;
use crate::{Head, Kind, ReplyHead, Routed};

const LIMIT: usize = 32 << 10;

fn request_block(head: &Head, request: &http::Request<()>) -> Bytes {
    let mut out = BytesMut::new();
    encode_request(head, request, &mut out);
    out.freeze()
}

fn reply_block(head: &ReplyHead, response: &http::Response<()>) -> Bytes {
    let mut out = BytesMut::new();
    encode_reply(head, response, &mut out);
    out.freeze()
}

fn micros() -> impl Strategy<Value = Duration> {
    (0..1_u64 << 50).prop_map(Duration::from_micros)
}

fn node() -> impl Strategy<Value = NodeId> {
    "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?".prop_map(|id| NodeId::new(&id).unwrap())
}

fn routed() -> impl Strategy<Value = Routed> {
    let space = ".{1,60}".prop_map(|name| Space::new(&name).unwrap());
    let key = option::of((0..1_u64 << 48, any::<[u8; 10]>()))
        .prop_map(|key| key.map(|(millis, random)| IdempotencyKey::new(millis, random)));
    let access = prop::sample::select(&Access::ALL[..]);
    let group = prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    let max_age = option::of(micros());
    (space, access, any::<u64>(), any::<u8>(), any::<bool>(), any::<u32>(), key, max_age, group).prop_map(
        |(space, access, believed, hops_left, relay, attempt, idempotency_key, max_age, group)| Routed {
            space,
            access,
            believed: Epoch::new(believed),
            hops_left,
            relay,
            attempt,
            idempotency_key,
            max_age,
            group,
        },
    )
}

fn head() -> impl Strategy<Value = Head> {
    let kind = prop_oneof![routed().prop_map(Kind::Routed), node().prop_map(Kind::Direct)];
    (kind, option::of(micros()), option::of(micros()), option::of("[!-~]{0,60}")).prop_map(
        |(kind, remaining, reply_within, traceparent)| Head { kind, remaining, reply_within, traceparent },
    )
}

/// Names that have a number on the wire, others, and names that stand twice.
fn headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop_oneof!["[a-z][a-z0-9-]{0,20}", Just("content-type".to_owned()), Just("te".to_owned())];
    let value = prop_oneof![
        prop::collection::vec(0x20_u8..0x7f, 0..40),
        prop::collection::vec(0x80_u8.., 0..40),
        Just(b"application/grpc".to_vec()),
        Just(b"trailers".to_vec()),
    ];
    prop::collection::vec((name, value), 0..12).prop_map(|headers| {
        headers
            .into_iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_bytes(&value).unwrap())
            })
            .filter(|(name, _)| !["connection", "upgrade"].contains(&name.as_str()))
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    })
}

fn request() -> impl Strategy<Value = http::Request<()>> {
    let method = prop::sample::select(vec!["POST", "GET", "OPTIONS", "CONNECT", "PURGE"]);
    (method, "/[a-zA-Z0-9/.]{0,40}(\\?[a-z=&]{0,20})?", headers()).prop_map(|(method, path, headers)| {
        let mut request = http::Request::new(());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = path.parse().unwrap();
        *request.headers_mut() = headers;
        request
    })
}

fn reply_head() -> impl Strategy<Value = ReplyHead> {
    let outcome = option::of(prop::sample::select(&Outcome::ALL[..]));
    let role = (option::of(prop_oneof![Just(Role::Primary), Just(Role::Replica)]), option::of(micros()));
    let correction = prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    (
        outcome,
        option::of(micros()),
        ".{0,100}",
        option::of(node()),
        role,
        any::<u8>(),
        any::<u64>(),
        correction,
    )
        .prop_map(|(outcome, retry_after, reason, served_by, (role, age), hops, epoch, correction)| {
            ReplyHead {
                outcome,
                retry_after,
                reason,
                served_by,
                role,
                age,
                hops,
                epoch: Epoch::new(epoch),
                correction,
            }
        })
}

fn response() -> impl Strategy<Value = http::Response<()>> {
    (100_u16..=999, headers()).prop_map(|(status, headers)| {
        let mut response = http::Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        *response.headers_mut() = headers;
        response
    })
}

proptest! {
    #[test]
    fn a_request_survives((head, request) in (head(), request())) {
        let (read_head, read) = decode_request(request_block(&head, &request), LIMIT).unwrap();
        prop_assert_eq!(read_head, head);
        prop_assert_eq!(read.method(), request.method());
        prop_assert_eq!(read.uri(), request.uri());
        prop_assert_eq!(read.headers(), request.headers());
    }

    #[test]
    fn a_reply_survives((head, response) in (reply_head(), response())) {
        let (read_head, read) = decode_reply(reply_block(&head, &response), LIMIT).unwrap();
        prop_assert_eq!(read_head, head);
        prop_assert_eq!(read.status(), response.status());
        prop_assert_eq!(read.headers(), response.headers());
    }

    #[test]
    fn trailers_survive(trailers in headers()) {
        let mut out = BytesMut::new();
        encode_trailers(&trailers, &mut out);
        prop_assert_eq!(decode_trailers(out.freeze(), LIMIT).unwrap(), trailers);
    }

    /// A cut between two headers reads as fewer headers: that the block is whole is the frame's to say.
    #[test]
    fn a_block_cut_anywhere_is_an_error_or_has_fewer_headers((head, request) in (head(), request())) {
        let block = request_block(&head, &request);
        for cut in 0..block.len() {
            if let Ok((read_head, read)) = decode_request(block.slice(..cut), LIMIT) {
                prop_assert_eq!(&read_head, &head);
                prop_assert_eq!(read.uri(), request.uri());
                prop_assert!(read.headers().len() < request.headers().len());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_a_request(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut versioned = vec![VERSION];
        versioned.extend(&bytes);
        for bytes in [bytes, versioned] {
            let bytes = Bytes::from(bytes);
            let _ = decode_request(bytes.clone(), LIMIT);
            let _ = decode_reply(bytes.clone(), LIMIT);
            let _ = decode_trailers(bytes, LIMIT);
        }
    }

    /// Noise rarely passes the first fields; one wrong byte in a good block goes deeper.
    #[test]
    fn a_wrong_byte_is_an_error_or_another_request(
        (head, request) in (head(), request()),
        (at, byte) in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let mut block = request_block(&head, &request).to_vec();
        let at = at.index(block.len());
        block[at] = byte;
        let _ = decode_request(Bytes::from(block), LIMIT);
    }
}

fn direct() -> Head {
    Head::of(Kind::Direct(NodeId::new("n1").unwrap()))
}

#[test]
fn an_ordinary_grpc_call_costs_no_more_than_its_names() {
    let request = http::Request::post("https://n1:7400/kv.Kv/Get")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let block = request_block(&direct(), &request);
    assert_eq!(block.len(), 2 + 3 + 1 + 1 + "/kv.Kv/Get".len() + 2);
}

#[test]
fn of_a_uri_its_path_and_query_travel() {
    let request = http::Request::post("https://n1:7400/a?b=c").body(()).unwrap();
    let (_, read) = decode_request(request_block(&direct(), &request), LIMIT).unwrap();
    assert_eq!(read.uri(), "/a?b=c");
}

#[test]
fn headers_at_the_limit_pass_and_one_byte_more_is_named() {
    let request = |len: usize| {
        let mut request = http::Request::new(());
        request.headers_mut().insert("x", "v".repeat(len).parse().unwrap());
        request
    };
    let limit = 100;
    let fixed = header_block_len(request(0).headers()) + "/".len() + head_len(&direct());
    let fits = request_block(&direct(), &request(limit - fixed));
    assert!(decode_request(fits, limit).is_ok());
    let over = request_block(&direct(), &request(limit - fixed + 1));
    assert_eq!(decode_request(over, limit).unwrap_err(), WireError::TooLarge { size: 101, limit });
}

#[test]
fn many_tiny_headers_are_counted_and_not_kept() {
    let mut trailers = vec![VERSION];
    for _ in 0..100_000 {
        trailers.extend([5, 0]); // an empty grpc-status
    }
    let size = 100_000 * ("grpc-status".len() + 32);
    assert_eq!(decode_trailers(trailers.into(), LIMIT), Err(WireError::TooLarge { size, limit: LIMIT }));
}

#[test]
fn an_error_names_the_field_and_the_remedy() {
    let says = |block: &[u8]| decode_request(Bytes::copy_from_slice(block), LIMIT).unwrap_err().to_string();
    assert_eq!(says(&[]), "the block ends in the middle of its version: the sender must write all of it");
    assert_eq!(
        says(&[9]),
        "the head has version 9 and this node reads version 1: run one version of Homing on both"
    );
    assert_eq!(says(&[1, 0x80]), "the flag byte is not valid: 0x80 has bits outside of 0x7f");
    assert_eq!(
        says(&[1, 0, 0]),
        "the space is not valid: the space is empty: a space is 1 to 255 bytes of UTF-8"
    );
    assert_eq!(
        says(&[1, 4, 2, b'A', b'B']),
        "the node is not valid: \"AB\" is no node id: use a DNS label of 1 to 63 lower-case letters, digits and \
         inner hyphens"
    );
}

#[test]
fn what_is_not_known_is_read_with_care() {
    let mut head = ReplyHead::of(Outcome::Refused, "");
    let mut block = reply_block(&head, &http::Response::new(())).to_vec();
    block[2] = 200;
    let (read, _) = decode_reply(block.into(), LIMIT).unwrap();
    head.outcome = Some(Outcome::MaybeSent);
    assert_eq!(read, head);
}

#[test]
fn a_reason_is_written_as_far_as_it_may_be_read() {
    let head = ReplyHead { reason: "é".repeat(400), ..ReplyHead::default() };
    let (read, _) = decode_reply(reply_block(&head, &http::Response::new(())), LIMIT).unwrap();
    assert_eq!(read.reason, "é".repeat(256));
}
