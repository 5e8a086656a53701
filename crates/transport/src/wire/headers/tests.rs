use homing_types::{IdempotencyKey, NodeId};
use proptest::prelude::*;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn routed(space: &str) -> Routed {
    Routed {
        space: Space::new(space).unwrap(),
        access: Access::Write,
        believed: Epoch::ZERO,
        hops_left: 3,
        relay: false,
        attempt: 1,
        idempotency_key: None,
        max_age: None,
        group: Bytes::new(),
    }
}

fn written(space: &str) -> HeaderMap {
    let head = Head::of(Kind::Routed(routed(space)));
    let mut headers = HeaderMap::new();
    write_head(&head, &mut headers);
    headers
}

fn refused(pairs: &[(&'static str, &str)]) -> String {
    read_head(&mut headers(pairs)).unwrap_err().to_string()
}

#[test]
fn a_plain_space_travels_as_it_is_and_any_other_as_base64() {
    for plain in ["acme", "{acme}/orders", "a b", "100%", "~"] {
        assert_eq!(written(plain)[SPACE], plain);
    }
    for other in ["ü", " acme", "acme ", "a\nb", "\u{7f}"] {
        let headers = written(other);
        assert!(!headers.contains_key(SPACE), "{other:?}");
        assert_eq!(BASE64.decode(&headers[SPACE_BIN]).unwrap(), other.as_bytes());
    }
}

#[test]
fn a_space_is_read_raw_and_with_or_without_padding() {
    for (name, value) in
        [("homing-space", "grün"), ("homing-space-bin", "Z3LDvG4="), ("homing-space-bin", "Z3LDvG4")]
    {
        let head = read_head(&mut headers(&[(name, value), ("homing-hops", "3")])).unwrap();
        assert_eq!(head.kind, Kind::Routed(routed("grün")), "{name}: {value}");
    }
}

#[test]
fn an_error_names_the_header_the_problem_and_the_remedy() {
    let hops = ("homing-hops", "3");
    let acme = ("homing-space", "acme");
    let long = "x".repeat(256);
    for (pairs, wanted) in [
        (vec![hops], "homing-space is missing: name the space that"),
        (vec![("homing-space", "")], "homing-space is empty: a space is 1 to 255"),
        (vec![("homing-space", &*long)], "homing-space has 256 bytes: a space is 1 to 255"),
        (vec![("homing-space-bin", "/w")], "homing-space-bin is not UTF-8: a space is"),
        (vec![("homing-space-bin", "*")], "homing-space-bin is no base64"),
        (vec![acme, ("homing-space-bin", "YQ")], "homing-space-bin stands beside homing-space: use one"),
        (vec![acme, acme], "homing-space stands twice: use it once"),
        (vec![acme], "homing-hops is missing: use a number from 0 to 255"),
        (vec![acme, ("homing-hops", "256")], "homing-hops is \"256\": use a number from 0 to 255"),
        (vec![acme, hops, ("homing-access", "own")], "homing-access is \"own\": use write, read or"),
        (vec![acme, hops, ("homing-epoch", "-1")], "homing-epoch is \"-1\": use a number from 0 to 1844"),
        (vec![acme, hops, ("homing-relay", "1")], "homing-relay is \"1\": use true or false"),
        (vec![acme, hops, ("homing-attempt", "0")], "homing-attempt is 0: use a number from 1"),
        (vec![acme, hops, ("homing-idempotency-key", "x")], "homing-idempotency-key is \"x\": use a UUIDv7"),
        (vec![acme, hops, ("homing-group-bin", "=")], "homing-group-bin is no base64"),
        (vec![acme, hops, ("homing-remaining-us", "1s")], "homing-remaining-us is \"1s\": use a number"),
        (
            vec![acme, hops, ("homing-reply-within-us", "-1")],
            "homing-reply-within-us is \"-1\": use a number",
        ),
        (vec![("homing-direct", "N1")], "homing-direct is \"N1\": use the id of the node"),
        (vec![("homing-direct", "n1"), acme], "homing-direct stands beside a space: use homing-space or"),
    ] {
        let error = refused(&pairs);
        assert!(error.starts_with(&format!("the header {wanted}")), "{error}");
    }
}

#[test]
fn what_a_service_or_a_client_wrote_is_never_taken_for_ours() {
    let mut headers = headers(&[("homing-outcome", "not-sent"), ("homing-made-up", "x"), ("kept", "y")]);
    write_reply_head(&ReplyHead::default(), &mut headers);
    assert_eq!(read_reply_head(&mut headers), Ok(ReplyHead::default()));
    assert_eq!(headers.len(), 1);
    assert_eq!(headers["kept"], "y");
}

#[test]
fn a_reader_leaves_nothing_that_looks_like_ours() {
    let mut request = headers(&[("homing-direct", "n1"), ("homing-made-up", "x"), ("kept", "y")]);
    let mut reply = headers(&[("homing-hops", "0"), ("homing-made-up", "x"), ("kept", "y")]);
    read_head(&mut request).unwrap();
    read_reply_head(&mut reply).unwrap();
    assert_eq!(request, headers(&[("kept", "y")]));
    assert_eq!(reply, headers(&[("kept", "y")]));
}

#[test]
fn an_unknown_outcome_promises_least() {
    let mut headers = headers(&[("homing-outcome", "teleported"), ("homing-hops", "0")]);
    assert_eq!(read_reply_head(&mut headers).unwrap().outcome, Some(Outcome::MaybeSent));
}

#[test]
fn a_response_without_hops_is_no_reply() {
    let error = read_reply_head(&mut HeaderMap::new()).unwrap_err();
    assert_eq!(error.header, HOPS);
}

#[test]
fn a_reason_is_one_header_of_bounded_length() {
    let head = ReplyHead { reason: "ü\n%".repeat(500), ..ReplyHead::default() };
    let mut headers = HeaderMap::new();
    write_reply_head(&head, &mut headers);
    assert!(headers[REASON].len() <= 3 * ReplyHead::MAX_REASON);
    let read = read_reply_head(&mut headers).unwrap();
    assert_eq!(read.reason, head.reason[..ReplyHead::MAX_REASON]);
}

#[test]
fn a_retry_comes_never_too_early() {
    let retry_after = Some(Duration::from_micros(1_001));
    let mut headers = HeaderMap::new();
    write_reply_head(&ReplyHead { retry_after, ..ReplyHead::default() }, &mut headers);
    assert_eq!(headers[RETRY_AFTER_MS], "2");
}

fn some_bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

fn some_node() -> impl Strategy<Value = NodeId> {
    "[a-z0-9]{1,8}".prop_map(|id| NodeId::new(&id).unwrap())
}

prop_compose! {
    fn some_routed()(
        space in "[ -~]{1,60}|\\PC{1,60}",
        access in proptest::sample::select(Access::ALL.to_vec()),
        believed in any::<u64>(),
        hops_left in any::<u8>(),
        relay in any::<bool>(),
        attempt in 1_u32..,
        key in proptest::option::of((any::<u32>(), any::<[u8; 10]>())),
        max_age in proptest::option::of(any::<u64>().prop_map(Duration::from_millis)),
        group in some_bytes(),
    ) -> Routed {
        Routed {
            space: Space::new(&space).unwrap(),
            access,
            believed: Epoch::new(believed),
            hops_left,
            relay,
            attempt,
            idempotency_key: key.map(|(at, random)| IdempotencyKey::new(at.into(), random)),
            max_age,
            group,
        }
    }
}

prop_compose! {
    fn some_head()(
        kind in prop_oneof![some_routed().prop_map(Kind::Routed), some_node().prop_map(Kind::Direct)],
        remaining in proptest::option::of(any::<u64>().prop_map(Duration::from_micros)),
        reply_within in proptest::option::of(any::<u64>().prop_map(Duration::from_micros)),
        traceparent in proptest::option::of("[!-~]{0,60}"),
    ) -> Head {
        Head { kind, remaining, reply_within, traceparent }
    }
}

prop_compose! {
    fn some_reply_head()(
        outcome in proptest::option::of(proptest::sample::select(Outcome::ALL.to_vec())),
        retry_after in proptest::option::of(any::<u64>().prop_map(Duration::from_millis)),
        reason in ".{0,60}",
        served_by in proptest::option::of(some_node()),
        role in proptest::option::of(proptest::sample::select(vec![Role::Primary, Role::Replica])),
        age in proptest::option::of(any::<u64>().prop_map(Duration::from_millis)),
        hops in any::<u8>(),
        epoch in any::<u64>().prop_map(Epoch::new),
        correction in some_bytes(),
    ) -> ReplyHead {
        ReplyHead { outcome, retry_after, reason, served_by, role, age, hops, epoch, correction }
    }
}

/// Any headers of these names, with values as a stranger could send them.
fn some_headers() -> impl Strategy<Value = HeaderMap> {
    let names = [
        SPACE,
        SPACE_BIN,
        ACCESS,
        EPOCH,
        HOPS,
        RELAY,
        ATTEMPT,
        IDEMPOTENCY_KEY,
        GROUP_BIN,
        REMAINING_US,
        DIRECT,
        TRACEPARENT,
        OUTCOME,
        RETRY_AFTER_MS,
        REASON,
        SERVED_BY,
        ROLE,
        CORRECTION_BIN,
    ];
    let bytes = proptest::collection::vec(any::<u8>(), 0..40);
    let value =
        prop_oneof![bytes, "[0-9]{1,3}".prop_map(String::into_bytes), "%.{2}".prop_map(String::into_bytes)]
            .prop_filter_map("no header value", |bytes| HeaderValue::from_bytes(&bytes).ok());
    let pair = (proptest::sample::select(names.to_vec()), value);
    proptest::collection::vec(pair, 0..12).prop_map(|pairs| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    })
}

proptest! {
    #[test]
    fn a_head_is_read_as_it_was_written(head in some_head()) {
        let mut headers = headers(&[("kept", "x"), ("homing-epoch", "7")]);
        write_head(&head, &mut headers);
        prop_assert_eq!(read_head(&mut headers), Ok(head));
        prop_assert_eq!(headers.len(), 1);
    }

    #[test]
    fn a_reply_head_is_read_as_it_was_written(head in some_reply_head()) {
        let mut headers = headers(&[("kept", "x")]);
        write_reply_head(&head, &mut headers);
        prop_assert_eq!(read_reply_head(&mut headers), Ok(head));
        prop_assert_eq!(headers.len(), 1);
    }

    #[test]
    fn any_headers_are_a_head_or_an_error(headers in some_headers()) {
        if let Ok(head) = read_head(&mut headers.clone()) {
            let mut again = HeaderMap::new();
            write_head(&head, &mut again);
            prop_assert_eq!(read_head(&mut again), Ok(head));
        }
        if let Ok(head) = read_reply_head(&mut headers.clone()) {
            prop_assert!(head.reason.len() <= ReplyHead::MAX_REASON);
        }
    }
}
