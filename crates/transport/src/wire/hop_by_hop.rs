//! What is about one HTTP/1.1 connection, and must not be passed on (RFC 9110, section 7.6.1).

use http::header::{CONNECTION, HeaderMap, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};

/// Removes it: HTTP/2 resets a stream that brings it (RFC 9113, section 8.2.2). A request or response that entered over
/// HTTP/1.1 may have it. What Homing itself says is never about one connection, whatever a stranger lists.
pub fn strip(headers: &mut HeaderMap) {
    if headers.is_empty() {
        return;
    }
    if headers.contains_key(CONNECTION) {
        let listed: Vec<String> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.to_str().unwrap_or_default().split(','))
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| !name.starts_with(super::headers::PREFIX))
            .collect();
        headers.remove(CONNECTION);
        for name in listed {
            headers.remove(name);
        }
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    if headers.get_all(TE).iter().any(|te| te != "trailers") {
        headers.remove(TE);
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_belongs_to_the_request_is_left() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("homing-epoch", "7"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("x-kept", "1"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.append(CONNECTION, HeaderValue::from_static("x-second, Homing-Epoch"));
        headers.insert("x-second", HeaderValue::from_static("1"));
        strip(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["homing-epoch", "te", "x-kept"]);
        headers.append(TE, HeaderValue::from_static("gzip"));
        strip(&mut headers);
        assert!(!headers.contains_key(TE));
    }
}
