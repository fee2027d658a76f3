//! The edge: what a request must pass before anyone asks who sent it.

use crate::answer::ApiError;
use crate::limit::{Admission, Limit, SlidingLog};
use clawdbot_domain::TokenId;
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use ipnet::IpNet;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How many failed authentications an address may have in [`FAILURE_WINDOW`] before it is told to
/// wait. A valid token is never kept out by failures from its address: many users may share one.
const FAILURES: u32 = 10;

/// The window of [`FAILURES`].
const FAILURE_WINDOW: Duration = Duration::from_secs(60);

/// `gateway.cors`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cors {
    /// No page of another origin may read answers.
    Disabled,
    /// Pages of exactly these origins may.
    Allow(Vec<String>),
}

/// The rules of the edge, from settings.
#[derive(Debug, Clone)]
pub struct EdgeRules {
    /// Host names (lower case, without port) this gateway answers to.
    pub hosts: HashSet<String>,
    /// Cross-origin rules.
    pub cors: Cors,
    /// Only from these is `X-Forwarded-For` believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The rate limit, per address and per token; `None` when switched off.
    pub limit: Option<Limit>,
}

/// The counts of the edge; they outlive a change of rules.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    by_address: SlidingLog<IpAddr>,
    by_token: SlidingLog<TokenId>,
    failures: SlidingLog<IpAddr>,
}

impl EdgeRules {
    /// Whose request it is: the peer, or what a trusted proxy says of it. The rightmost address that
    /// is no trusted proxy counts; whatever a client wrote further left is never looked at.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusted = |address: IpAddr| self.trusted_proxies.iter().any(|n| n.contains(&address));
        if self.trusted_proxies.is_empty() || !trusted(peer) {
            return peer;
        }
        let lines = headers.get_all("x-forwarded-for").into_iter();
        let mut hops = lines
            .flat_map(|v| v.to_str().unwrap_or("?").split(','))
            .collect::<Vec<_>>();
        let mut client = peer;
        while let Some(hop) = hops.pop() {
            let Ok(address) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            client = address.to_canonical();
            if !trusted(client) {
                break;
            }
        }
        client
    }

    /// Host and origin. A page that rebinds its name to this address arrives with a foreign `Host`;
    /// a page of another site arrives with a foreign `Origin`.
    pub(crate) fn admit_site(&self, parts: &Parts) -> Result<(), ApiError> {
        let host =
            host_of(parts).ok_or_else(|| ApiError::misdirected("the request names no host"))?;
        if !self.hosts.contains(bare_host(&host)) {
            let why = format!("host {host:?} is not one of gateway.allowedHosts");
            return Err(ApiError::misdirected(why));
        }
        match parts.headers.get(header::ORIGIN) {
            None => Ok(()),
            Some(origin) if self.allows_origin(origin) || is_own_origin(origin, &host) => Ok(()),
            Some(origin) => Err(ApiError::foreign_origin(origin)),
        }
    }

    fn allows_origin(&self, origin: &HeaderValue) -> bool {
        match &self.cors {
            Cors::Disabled => false,
            Cors::Allow(origins) => origins.iter().any(|o| o.as_bytes() == origin.as_bytes()),
        }
    }

    /// The headers that let an allowed page read the answer.
    pub(crate) fn cors_headers(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        let Cors::Allow(_) = self.cors else { return };
        answer.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin.filter(|o| self.allows_origin(o)) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            let exposed = HeaderValue::from_static("x-request-id, retry-after, ratelimit");
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// The answer to a preflight of an allowed origin. It is the same for every path, so that it
    /// tells nothing about which routes exist.
    pub(crate) fn preflight(&self, parts: &Parts) -> Option<HeaderMap> {
        let asks = parts.method == Method::OPTIONS
            && parts
                .headers
                .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let origin = parts.headers.get(header::ORIGIN)?;
        if !asks || !self.allows_origin(origin) {
            return None;
        }
        let mut headers = HeaderMap::new();
        let methods = HeaderValue::from_static("GET, POST");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let allowed = HeaderValue::from_static(
            "authorization, content-type, x-api-key, anthropic-version, anthropic-beta",
        );
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("600"),
        );
        Some(headers)
    }
}

impl Edge {
    /// Counts a request of an address; the headers tell a client how much is left.
    pub(crate) fn admit_address(
        &self,
        rules: &EdgeRules,
        client: IpAddr,
        now: Instant,
        headers: &mut HeaderMap,
    ) -> Result<(), ApiError> {
        let Some(limit) = rules.limit else {
            return Ok(());
        };
        match self.by_address.admit(&network(client), limit, now) {
            Admission::Admitted { remaining } => {
                describe(limit, remaining, None, headers);
                Ok(())
            }
            Admission::Refused { retry_after } => {
                describe(limit, 0, Some(retry_after), headers);
                Err(ApiError::too_many("rate limit of the address", retry_after))
            }
        }
    }

    /// Counts a request of a token, from whatever address.
    pub(crate) fn admit_token(
        &self,
        rules: &EdgeRules,
        token: &TokenId,
        now: Instant,
    ) -> Result<(), ApiError> {
        let Some(limit) = rules.limit else {
            return Ok(());
        };
        match self.by_token.admit(token, limit, now) {
            Admission::Admitted { .. } => Ok(()),
            Admission::Refused { retry_after } => {
                Err(ApiError::too_many("rate limit of the token", retry_after))
            }
        }
    }

    /// Counts a failed authentication; past the cap the address is told to wait instead of why.
    pub(crate) fn count_failure(&self, client: IpAddr, now: Instant) -> Result<(), ApiError> {
        let limit = Limit {
            max_requests: FAILURES,
            window: FAILURE_WINDOW,
        };
        match self.failures.admit(&network(client), limit, now) {
            Admission::Admitted { .. } => Ok(()),
            Admission::Refused { retry_after } => Err(ApiError::too_many(
                "too many failed authentications",
                retry_after,
            )),
        }
    }
}

/// One client is one IPv4 address, or one IPv6 /64: whoever has one address there has them all.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// `RateLimit` and `RateLimit-Policy` after draft-ietf-httpapi-ratelimit-headers.
fn describe(limit: Limit, remaining: u32, retry_after: Option<Duration>, headers: &mut HeaderMap) {
    let seconds = limit.window.as_secs().max(1);
    let reset = retry_after.map_or(seconds, |d| d.as_secs() + 1);
    let policy = format!("\"default\";q={};w={seconds}", limit.max_requests);
    let now = format!("\"default\";r={remaining};t={reset}");
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", now)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

fn host_of(parts: &Parts) -> Option<String> {
    let named = parts.uri.authority().map(|a| a.as_str().to_owned());
    let header = parts
        .headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok());
    let host = named.or_else(|| header.map(str::to_owned))?;
    Some(host.to_ascii_lowercase())
}

/// Without the port, brackets of IPv6 kept.
fn bare_host(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !bare.is_empty() => bare,
        Some(_) | None => host,
    }
}

/// A page that this gateway served itself.
fn is_own_origin(origin: &HeaderValue, host: &str) -> bool {
    let origin = origin.as_bytes();
    ["http://", "https://"].iter().any(|scheme| {
        origin
            .strip_prefix(scheme.as_bytes())
            .is_some_and(|rest| rest == host.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> EdgeRules {
        EdgeRules {
            hosts: ["localhost", "127.0.0.1", "[::1]"]
                .map(str::to_owned)
                .into(),
            cors: Cors::Allow(vec!["https://trusted-domain.com".to_owned()]),
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            limit: None,
        }
    }

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/v1/models");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_rebound_host_name_is_misdirected() {
        for host in ["localhost:18789", "127.0.0.1", "[::1]:1", "LOCALHOST"] {
            assert!(
                rules().admit_site(&parts(&[("host", host)])).is_ok(),
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "127.evil.com",
            "localhost.evil.com:80",
            "",
            "localhost@x",
        ] {
            assert!(
                rules().admit_site(&parts(&[("host", host)])).is_err(),
                "{host}"
            );
        }
        assert!(rules().admit_site(&parts(&[])).is_err());
    }

    #[test]
    fn only_exactly_listed_origins_and_our_own_pass() {
        let with = |origin| {
            rules()
                .admit_site(&parts(&[("host", "localhost:18789"), ("origin", origin)]))
                .is_ok()
        };
        assert!(with("https://trusted-domain.com") && with("http://localhost:18789"));
        for origin in [
            "https://trusted-domain.com.evil.io",
            "https://eviltrusted-domain.com",
            "http://trusted-domain.com",
            "https://trusted-domain.com:8443",
            "https://TRUSTED-domain.com.",
            "http://localhost:1",
            "null",
            "https://evil.example",
        ] {
            assert!(!with(origin), "{origin}");
        }
    }

    #[test]
    fn a_forwarded_address_is_believed_from_a_trusted_proxy_only() {
        let client = |peer: &str, forwarded: &str| {
            let headers = parts(&[("x-forwarded-for", forwarded)]).headers;
            rules().client(peer.parse().unwrap(), &headers).to_string()
        };
        assert_eq!(client("203.0.113.5", "127.0.0.1"), "203.0.113.5");
        assert_eq!(client("10.0.0.1", "198.51.100.7"), "198.51.100.7");
        assert_eq!(
            client("10.0.0.1", "127.0.0.1, 198.51.100.7, 10.0.0.2"),
            "198.51.100.7"
        );
        assert_eq!(client("10.0.0.1", "garbage"), "10.0.0.1");
    }

    #[test]
    fn mapped_addresses_are_one_client_and_a_64_is_one_client() {
        let net = |text: &str| network(text.parse().unwrap());
        assert_eq!(net("::ffff:192.0.2.1"), net("192.0.2.1"));
        assert_eq!(net("2001:db8::1"), net("2001:db8::ffff"));
        assert_ne!(net("2001:db8:0:1::1"), net("2001:db8::1"));
    }
}
