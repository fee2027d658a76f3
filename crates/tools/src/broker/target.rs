//! What may be asked for: one spelling of a URL, and the hosts an operator lets tools reach.

use super::address::is_public;
use clawdbot_domain::SandboxMode;
use http::Uri;
use std::net::IpAddr;

/// The longest URL.
const MOST_URL: usize = 8 << 10;

/// A URL that means the same to everybody who reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) https: bool,
    /// Lower case, without a trailing dot and without brackets.
    pub(super) host: String,
    /// Set when the host is an address.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    /// Path and query.
    pub(super) path: String,
}

impl Target {
    /// Reads one, or says in words what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MOST_URL {
            return Err(format!(
                "the URL is {} bytes; at most {MOST_URL} are taken",
                text.len()
            ));
        }
        if text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
        {
            return Err("a URL has no spaces, control characters or backslashes".to_owned());
        }
        if !text.is_ascii() {
            return Err(
                "write what is not ASCII percent-encoded, and names in Punycode".to_owned(),
            );
        }
        let text = text.split('#').next().unwrap_or(text);
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("not a URL: {error}"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            other => {
                return Err(format!(
                    "{:?} is not http or https",
                    other.unwrap_or("no scheme")
                ));
            }
        };
        let authority = uri.authority().ok_or("the URL has no host")?;
        if authority.as_str().contains('@') {
            return Err("a URL with a user name in it is not taken".to_owned());
        }
        let (host, address) = host(authority.host())?;
        let port = match authority.port_u16() {
            Some(0) => return Err("0 is no port".to_owned()),
            Some(port) => port,
            // A colon with something else behind it.
            None if authority.as_str().len() > authority.host().len() => {
                return Err("the port is not a number".to_owned());
            }
            None if https => 443,
            None => 80,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            https,
            host,
            address,
            port,
            path,
        })
    }

    /// Where a redirect leads.
    pub(super) fn join(&self, location: &str) -> Result<Self, String> {
        let scheme = if self.https { "https" } else { "http" };
        let absolute = if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.contains("://") {
            location.to_owned()
        } else if let Some(query) = location.strip_prefix('?') {
            let path = self.path.split('?').next().unwrap_or("/");
            format!("{}{path}?{query}", self.origin())
        } else if location.starts_with('/') {
            format!("{}{location}", self.origin())
        } else if location
            .split(['/', '?'])
            .next()
            .is_some_and(|first| first.contains(':'))
        {
            location.to_owned()
        } else {
            let path = self.path.split('?').next().unwrap_or("/");
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{}{folder}/{location}", self.origin())
        };
        let next = Self::parse(&absolute)?;
        if self.https && !next.https {
            return Err("leads from https to http".to_owned());
        }
        Ok(next)
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// As the `Host` header says it.
    pub(super) fn authority(&self) -> String {
        let host = match self.address {
            Some(IpAddr::V6(_)) => format!("[{}]", self.host),
            Some(IpAddr::V4(_)) | None => self.host.clone(),
        };
        match (self.https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// A name or an address in its one plain form. What some readers take for an address (`127.1`, `0x7f.1`,
/// `2130706433`) and others for a name is neither.
fn host(given: &str) -> Result<(String, Option<IpAddr>), String> {
    if let Some(inner) = given
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let address: std::net::Ipv6Addr = inner
            .parse()
            .map_err(|_| format!("{given} is no IPv6 address"))?;
        return Ok((address.to_string(), Some(address.into())));
    }
    let host = given.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host).to_owned();
    if let Ok(address) = host.parse::<std::net::Ipv4Addr>() {
        return Ok((host, Some(address.into())));
    }
    let last = host.rsplit('.').next().unwrap_or("");
    let looks_like_a_number = last.bytes().all(|b| b.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if looks_like_a_number {
        return Err(format!(
            "{given} is neither a name nor an address in its plain form"
        ));
    }
    let is_label = |label: &str| {
        let edges = !label.starts_with('-') && !label.ends_with('-');
        let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len()) && edges && label.bytes().all(inside)
    };
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err(format!("{given:?} is no host name"));
    }
    Ok((host, None))
}

/// Which hosts tools may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRules {
    mode: SandboxMode,
    allowed: Vec<String>,
}

impl HostRules {
    /// `allowed`: `*` is every public host, `*.example.org` every name below it, and a name or an address
    /// itself. An empty list allows none.
    pub fn new(mode: SandboxMode, allowed: Vec<String>) -> Self {
        let allowed = allowed
            .into_iter()
            .map(|host| host.to_ascii_lowercase())
            .collect();
        Self { mode, allowed }
    }

    /// Whether a host may be asked for at all.
    pub(super) fn takes(&self, target: &Target) -> Result<(), String> {
        if self.allowed.iter().any(|rule| matches(rule, &target.host)) {
            return Ok(());
        }
        Err(format!(
            "{} is not on gateway.sandbox.allowedHosts",
            target.host
        ))
    }

    /// Whether this address of it may be connected to. What is not public may be only in mode permissive, and
    /// only where the host itself stands on the list.
    pub(super) fn takes_address(&self, target: &Target, address: IpAddr) -> Result<(), String> {
        let listed = self.mode == SandboxMode::Permissive && self.allowed.contains(&target.host);
        if is_public(address) || listed {
            return Ok(());
        }
        Err(format!(
            "{} leads to {address}, which is not on the public internet",
            target.host
        ))
    }
}

fn matches(rule: &str, host: &str) -> bool {
    rule == "*"
        || rule == host
        || rule
            .strip_prefix('*')
            .is_some_and(|suffix| suffix.starts_with('.') && host.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_in_one_way() {
        let target = Target::parse("https://Example.ORG.:8443/a?b#c").unwrap();
        assert_eq!(target.origin(), "https://example.org:8443");
        assert_eq!(target.path, "/a?b");
        assert_eq!(Target::parse("http://example.org").unwrap().path, "/");
        assert_eq!(Target::parse("http://[::1]/").unwrap().host, "::1");
    }

    #[test]
    fn what_readers_could_read_differently_is_refused() {
        for text in [
            "http://user@127.0.0.1/",
            "http://example.com@127.0.0.1/",
            "file:///etc/passwd",
            "/etc/passwd",
            "",
            "gopher://127.0.0.1:6379/_INFO",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://0x7f.1/",
            "http://127.1/",
            "http://1.2.3.4.5/",
            "http://exa mple.org/",
            "http://example.org\\@127.0.0.1/",
            "http://example.org\r\nHost: x/",
            "http://ex\u{0}ample.org/",
            "http://ⓔxample.org/",
            "http:///",
            "http://./",
            "http://a..b/",
            "http://example.org:0/",
            "http://example.org:99999/",
            "http://example.org:x/",
            "http://[::1/",
            "http://[fe80::1%25eth0]/",
            "http://-/..:/",
            "http://0x7f000001/",
            "ftp://example.org/",
        ] {
            let read = Target::parse(text);
            assert!(read.is_err(), "{text:?}: {read:?}");
        }
    }

    #[test]
    fn a_redirect_is_joined_and_read_as_strictly() {
        let at = Target::parse("https://example.org/a/b?c").unwrap();
        for (location, next) in [
            ("/x", "https://example.org/x"),
            ("x", "https://example.org/a/x"),
            ("?y", "https://example.org/a/b?y"),
            ("//other.org/z", "https://other.org/z"),
            ("https://other.org", "https://other.org/"),
        ] {
            let joined = at.join(location).unwrap();
            assert_eq!(
                format!("{}{}", joined.origin(), joined.path),
                next,
                "{location}"
            );
        }
        for location in [
            "http://example.org/",
            "javascript:x",
            "file:///etc/passwd",
            "//u@127.0.0.1/",
            "data:x",
        ] {
            assert!(at.join(location).is_err(), "{location}");
        }
    }

    #[test]
    fn hosts_are_compared_whole() {
        let rules = HostRules::new(
            SandboxMode::Strict,
            vec!["example.org".into(), "*.Example.net".into()],
        );
        let takes = |host: &str| {
            rules
                .takes(&Target::parse(&format!("https://{host}/")).unwrap())
                .is_ok()
        };
        for host in [
            "example.org",
            "EXAMPLE.org.",
            "a.example.net",
            "a.b.example.net",
        ] {
            assert!(takes(host), "{host}");
        }
        for host in [
            "a.example.org",
            "badexample.org",
            "example.org.evil.com",
            "example.net",
            "badexample.net",
        ] {
            assert!(!takes(host), "{host}");
        }
        let none = HostRules::new(SandboxMode::Permissive, vec![]);
        assert!(
            none.takes(&Target::parse("https://example.org/").unwrap())
                .is_err()
        );
    }

    #[test]
    fn an_inside_address_takes_mode_permissive_and_its_own_name_on_the_list() {
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        let target = Target::parse("http://127.0.0.1/").unwrap();
        for (mode, list, may) in [
            (SandboxMode::Permissive, "127.0.0.1", true),
            (SandboxMode::Permissive, "*", false),
            (SandboxMode::Moderate, "127.0.0.1", false),
            (SandboxMode::Strict, "127.0.0.1", false),
        ] {
            let rules = HostRules::new(mode, vec![list.to_owned()]);
            assert_eq!(
                rules.takes_address(&target, local).is_ok(),
                may,
                "{mode} {list}"
            );
        }
    }
}
