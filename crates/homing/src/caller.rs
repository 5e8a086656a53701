//! What a caller says with its headers, and what it is told with those of the answer.
//!
//! A caller is anyone: what only members may say (an epoch, a forward, a correction) is taken off, unread.

use std::str::FromStr;
use std::time::Duration;

use homing_router::{Answer, Call};
use homing_transport::wire::headers::{self, HeadError, Said};
use homing_transport::wire::hop_by_hop;
use homing_transport::{Body, ReplyHead};
use http::header::HeaderValue;
use http::{HeaderMap, Response};
use tokio::time::Instant;

/// Where a client listener tells which node it belongs to, without a space.
pub const NODE_INFO_PATH: &str = "/homing/v1/node";

/// The longest deadline a caller may set: a day. A longer one is cut, since it can only be a mistake.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes what a caller says off its headers.
pub(crate) fn read(headers: &mut HeaderMap, now: Instant) -> Result<Call, HeadError> {
    let (grpc_timeout, is_grpc_retry) = (grpc_timeout(headers)?, is_grpc_retry(headers)?);
    let traceparent = headers::read_traceparent(headers);
    let said = Said::of(headers);
    let by = |time: Duration| now + time.min(MAX_TIMEOUT);
    let call = Call {
        space: said.required_space()?,
        access: said.access()?,
        deadline: said.timeout()?.or(grpc_timeout).map(by),
        reply_by: said.reply_within()?.map(by),
        idempotency_key: said.idempotency_key()?,
        max_age: said.max_age()?,
        retry: said.attempt()? > 1 || is_grpc_retry,
        traceparent,
    };
    headers::strip(headers);
    hop_by_hop::strip(headers);
    Ok(call)
}

/// Whether this is somebody's retry, as a gRPC client says (gRFC A6); a service that is told of one by us passes it on as an attempt.
/// It lessens what a caller gets, and costs this node's budget no more than a retry of its own, its reserve aside: so anyone may say so.
fn is_grpc_retry(headers: &mut HeaderMap) -> Result<bool, HeadError> {
    let before: Option<u32> =
        headers::parsed(headers, headers::GRPC_PREVIOUS_ATTEMPTS, "use the number of attempts before")?;
    Ok(before.is_some_and(|before| before > 0))
}

fn grpc_timeout(headers: &mut HeaderMap) -> Result<Option<Duration>, HeadError> {
    let remedy = "use 1 to 8 digits and a unit of H, M, S, m, u or n";
    let grpc: Option<GrpcTimeout> = headers::parsed(headers, headers::GRPC_TIMEOUT, remedy)?;
    Ok(grpc.map(|GrpcTimeout(timeout)| timeout))
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
    headers.insert(headers::HOPS, headers::number_value(head.hops.into()));
    headers.insert(headers::EPOCH, headers::number_value(head.epoch.number()));
    headers.insert(headers::ATTEMPTS, headers::number_value(attempts.into()));
}

#[cfg(test)]
mod tests {
    use homing_types::Access;
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
                vec![("homing-space", "a"), ("homing-reply-within-us", "1s")],
                "the header homing-reply-within-us",
            ),
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
            assert_eq!(call.reply_by, None);
        }
        let hurried = read_at_zero(&[("homing-space", "a"), ("homing-reply-within-us", "1500")]).unwrap();
        assert_eq!(hurried.reply_by, Some(Instant::now() + Duration::from_micros(1_500)));
        assert_eq!(hurried.deadline, None);
    }
}
