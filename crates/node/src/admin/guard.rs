//! Keeps web pages out. A browser on the operator's host reaches the admin listener as the operator does, with whatever
//! page it shows: by a form that posts to it, or by a name of the page's own that suddenly resolves to loopback.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::answers::Wrong;

/// Refuses what only a web page would ask. `name` is the host by which others know this node.
pub(super) async fn guard(
    State(name): State<Arc<str>>,
    request: Request,
    next: Next,
) -> Result<Response, Wrong> {
    // In HTTP/2 it stands in the URI. Without any, no name was resolved.
    let header = request.headers().get(HOST).map(|host| host.to_str().unwrap_or_default());
    let host = header.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    if let Some(host) = host
        && !is_ours(host, &name)
    {
        let host: String = host.chars().take(80).collect();
        return Err((
            StatusCode::FORBIDDEN,
            format!("host: {host:?} is not this node: ask it by an IP address, localhost or {name}\n"),
        ));
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        // A form can't send JSON, and a script of another origin is asked for leave first, which nobody gives.
        if kind.split(';').next().unwrap_or_default().trim() != "application/json" {
            return Err((
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("content-type: {kind:?} is not taken: send application/json\n"),
            ));
        }
    }
    Ok(next.run(request).await)
}

/// Whether `host:port` names this node in a way that no stranger can make it do.
fn is_ours(host: &str, name: &str) -> bool {
    let host = without_port(host);
    let ip = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ip.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost") || host.eq_ignore_ascii_case(name)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((before, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => before,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_nobody_else_can_take_is_ours() {
        for ours in [
            "127.0.0.1",
            "10.0.0.1:7402",
            "[::1]",
            "[::1]:7402",
            "localhost:7402",
            "LOCALHOST",
            "n1.example:1",
        ] {
            assert!(is_ours(ours, "n1.example"), "{ours}");
        }
        for foreign in [
            "",
            ":7402",
            "evil.example",
            "evil.example:7402",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_ours(foreign, "n1.example"), "{foreign}");
        }
    }
}
