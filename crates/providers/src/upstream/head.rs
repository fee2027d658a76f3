//! Which headers pass, either way.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of one hop only, and those that name it.
const HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Never sent to a provider: they are ours to set, belong to the caller, or tell who the caller is.
const NOT_SENT: [&str; 13] = [
    "host",
    "content-length",
    "accept-encoding",
    "expect",
    "authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "origin",
    "referer",
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
];

/// Never passed on to a caller. They act on whoever serves the answer, and that is the gateway: its
/// cookies, its CORS rules, its transport, the files of the proxy in front of it.
const NOT_RETURNED: [&str; 14] = [
    "content-length",
    "set-cookie",
    "alt-svc",
    "strict-transport-security",
    "public-key-pins",
    "clear-site-data",
    "service-worker-allowed",
    "sourcemap",
    "refresh",
    "link",
    "x-accel-redirect",
    "x-sendfile",
    "www-authenticate",
    "access-control-allow-origin",
];

/// Takes out of a caller's headers what must not travel, and asks for an answer that is not packed.
pub(crate) fn clean_request(headers: &mut HeaderMap) {
    drop_hop_by_hop(headers);
    for name in NOT_SENT {
        headers.remove(name);
    }
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
}

/// Takes out of a provider's headers what must not reach a caller. The length is told anew by
/// whoever sends the body on: one that contradicts the framing is how answers are smuggled.
pub(crate) fn clean_answer(headers: &mut HeaderMap) {
    drop_hop_by_hop(headers);
    for name in NOT_RETURNED {
        headers.remove(name);
    }
    let cors: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in cors {
        headers.remove(name);
    }
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn a_callers_credentials_never_travel_and_beta_headers_do() {
        let mut headers = map(&[
            ("authorization", "Bearer gateway-token"),
            ("x-api-key", "gateway-token"),
            ("cookie", "a=b"),
            ("connection", "x-secret-hop"),
            ("x-secret-hop", "1"),
            ("accept-encoding", "gzip"),
            ("anthropic-beta", "one,two"),
            ("x-unknown", "kept"),
        ]);
        clean_request(&mut headers);
        let expected = map(&[
            ("accept-encoding", "identity"),
            ("anthropic-beta", "one,two"),
            ("x-unknown", "kept"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn a_provider_cannot_speak_for_the_gateway() {
        let mut headers = map(&[
            ("content-type", "text/event-stream"),
            ("request-id", "req_1"),
            ("retry-after", "3"),
            ("set-cookie", "session=x"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("x-accel-redirect", "/etc/passwd"),
            ("content-length", "10"),
            ("transfer-encoding", "chunked"),
        ]);
        clean_answer(&mut headers);
        let expected = map(&[
            ("content-type", "text/event-stream"),
            ("request-id", "req_1"),
            ("retry-after", "3"),
        ]);
        assert_eq!(headers, expected);
    }
}
