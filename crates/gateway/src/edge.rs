//! The edge: what a request must pass before anyone asks who sent it.

use crate::answer::ApiError;
use crate::limit::{Admission, Limit, SlidingLog};
use clawdbot_domain::TokenId;
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use ipnet::IpNet;
use std::collections::HashSet;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How many requests a minute a token may make to admin routes, where the limit in the settings is not
/// lower anyway. People and scripts that keep tokens need few; a stolen token is to be slow.
const ADMIN: Limit = Limit {
    max_requests: 30,
    window: Duration::from_secs(60),
};

/// How many failed authentications an address may have in [`FAILURE_WINDOW`] before it is told to
/// wait. A valid token is never kept out by failures from its address: many users may share one.
const FAILURES: u32 = 10;

/// The answer to a failure is held back at most this long.
const FAILURE_DELAY: Duration = Duration::from_secs(2);

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
    by_admin: SlidingLog<TokenId>,
    failures: SlidingLog<IpAddr>,
}

impl EdgeRules {
    /// Whose request it is: the peer, or what a trusted proxy says of it. The rightmost address that
    /// is no trusted proxy counts; whatever a client wrote further left is never looked at.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
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
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    /// True for a peer that speaks for others.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }

    /// Host and origin. A page that rebinds its name to this address arrives with a foreign `Host`;
    /// a page of another site arrives with a foreign `Origin`.
    ///
    /// The very address the connection came in on is a good host, too: a name can be rebound, an
    /// address is what it is.
    pub(crate) fn admit_site(&self, parts: &Parts, local: Option<IpAddr>) -> Result<(), ApiError> {
        let host = host_of(parts)?;
        let bare = bare_host(&host);
        let named = self.hosts.contains(bare);
        if !named && (local.is_none() || address_of(bare) != local) {
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
            let exposed = HeaderValue::from_static(
                "x-request-id, retry-after, ratelimit, clawdbot-session, clawdbot-turn",
            );
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
            "authorization, content-type, x-api-key, anthropic-version, anthropic-beta, clawdbot-session",
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
        pass(&self.by_token, token, limit, now, "rate limit of the token").map(drop)
    }

    /// Counts a request of a token to an admin route.
    pub(crate) fn admit_admin(
        &self,
        rules: &EdgeRules,
        token: &TokenId,
        now: Instant,
    ) -> Result<(), ApiError> {
        if rules.limit.is_none() {
            return Ok(());
        }
        pass(
            &self.by_admin,
            token,
            ADMIN,
            now,
            "rate limit of admin routes",
        )
        .map(drop)
    }

    /// Counts a failed authentication and says how long its answer is to be held back; past the cap
    /// the address is told to wait instead of why.
    pub(crate) fn count_failure(&self, client: IpAddr, now: Instant) -> Result<Duration, ApiError> {
        let limit = Limit {
            max_requests: FAILURES,
            window: FAILURE_WINDOW,
        };
        let why = "too many failed authentications";
        let remaining = pass(&self.failures, &network(client), limit, now, why)?;
        Ok(delay_of(FAILURES - remaining))
    }
}

/// Counts one request; how many more may pass now, or when the next one may.
fn pass<K: Hash + Eq + Clone>(
    counts: &SlidingLog<K>,
    client: &K,
    limit: Limit,
    now: Instant,
    which: &str,
) -> Result<u32, ApiError> {
    match counts.admit(client, limit, now) {
        Admission::Admitted { remaining } => Ok(remaining),
        Admission::Refused { retry_after } => Err(ApiError::too_many(which, retry_after)),
    }
}

/// How long the answer to the nth failure of a window is held back: the first three not at all, for
/// people who mistype; then twice as long each time.
fn delay_of(failure: u32) -> Duration {
    const FREE: u32 = 3;
    let doubled = failure.checked_sub(FREE + 1).map(|n| 100 << n.min(10));
    Duration::from_millis(doubled.unwrap_or(0)).min(FAILURE_DELAY)
}

/// One client is one IPv4 address, or one IPv6 /64: whoever has one address there has them all.
pub(crate) fn network(address: IpAddr) -> IpAddr {
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

/// The one host a request names. With two, or another in its target, a proxy in front may have gone by
/// the other.
fn host_of(parts: &Parts) -> Result<String, ApiError> {
    let mut named: Vec<_> = parts.headers.get_all(header::HOST).iter().collect();
    if named.len() > 1 {
        return Err(ApiError::bad_request("the request names two hosts"));
    }
    let header = named.pop().and_then(|host| host.to_str().ok());
    let target = parts.uri.authority().map(http::uri::Authority::as_str);
    let (Some(host), same) = (
        target.or(header),
        target.is_none_or(|target| header.is_none_or(|header| header.eq_ignore_ascii_case(target))),
    ) else {
        return Err(ApiError::misdirected("the request names no host"));
    };
    if !same {
        return Err(ApiError::misdirected(format!(
            "the target names another host than {header:?}"
        )));
    }
    Ok(host.to_ascii_lowercase())
}

/// Without the port, brackets of IPv6 kept.
fn bare_host(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !bare.is_empty() => bare,
        Some(_) | None => host,
    }
}

/// A host that is an address: `192.0.2.1`, `[2001:db8::1]`.
fn address_of(host: &str) -> Option<IpAddr> {
    let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    v6.map_or_else(
        || host.parse().ok().map(IpAddr::V4),
        |v6| v6.parse().ok().map(IpAddr::V6),
    )
    .map(|address| address.to_canonical())
}

/// The target of a request is one path in plain form, and nothing that one reader could take for
/// another path than the next: no escapes, no dot segments, no empty ones, no parameters.
pub(crate) fn check_target(parts: &Parts) -> Result<(), ApiError> {
    let path = parts.uri.path();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/_-.~:".contains(&b);
    let segments = path.strip_prefix('/').map(|rest| rest.split('/'));
    let whole = segments.is_some_and(|mut segments| {
        path == "/" || segments.all(|segment| !matches!(segment, "" | "." | ".."))
    });
    if whole && path.bytes().all(plain) {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "the path is not in plain form: no escapes, no empty or dot segments",
    ))
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
                rules().admit_site(&parts(&[("host", host)]), None).is_ok(),
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
                rules().admit_site(&parts(&[("host", host)]), None).is_err(),
                "{host}"
            );
        }
        assert!(rules().admit_site(&parts(&[]), None).is_err());
    }

    #[test]
    fn only_exactly_listed_origins_and_our_own_pass() {
        let with = |origin| {
            rules()
                .admit_site(
                    &parts(&[("host", "localhost:18789"), ("origin", origin)]),
                    None,
                )
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
