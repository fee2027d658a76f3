//! What one entry of a list, or one word, may be. Each check answers with the canonical spelling,
//! or with a sentence that says what is wrong and what is right.

use crate::keys::BUILT_IN_TOOLS;
use crate::nearest::nearest;
use clawdbot_domain::{Origin, ToolName};
use ipnet::IpNet;
use std::net::IpAddr;

/// A network in CIDR form; a bare address is a network of one.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "a network is written like 10.0.0.0/8 or fd00::/8".to_owned())?;
    if net.prefix_len() == 0 {
        return Err("this is every address there is: anyone could then claim any address".into());
    }
    if net.trunc() != net {
        return Err(format!(
            "has bits set beyond its prefix; is {} meant?",
            net.trunc()
        ));
    }
    Ok(net)
}

/// A host name or address without scheme and port, in lower case.
pub(crate) fn host(text: &str) -> Result<String, String> {
    const RIGHT: &str = "a host is a bare name or address such as gateway.example.com: no scheme, port, path or '*'";
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    let name = text.to_ascii_lowercase();
    let label = |l: &str| {
        let edges = !l.starts_with('-') && !l.ends_with('-');
        let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&l.len()) && edges && l.bytes().all(inside)
    };
    // A last label of digits would be read as an address by some and as a name by others.
    let ends_in_number = name
        .rsplit('.')
        .next()
        .is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    if name.len() <= 253 && name.split('.').all(label) && !ends_in_number {
        Ok(name)
    } else {
        Err(RIGHT.to_owned())
    }
}

/// What tools may reach: a host, the names below one, or all public hosts.
pub(crate) fn reach(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    match text.strip_prefix("*.") {
        Some(name) if name.parse::<IpAddr>().is_err() => Ok(format!("*.{}", host(name)?)),
        Some(_) => Err("an address has no names below it".to_owned()),
        None => host(text).map_err(|_| {
            "a host is a bare name or address, `*.name`, or `*`: no scheme, port or path".to_owned()
        }),
    }
}

/// An origin exactly as a browser sends it: `https://host` or `https://host:port`.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    const RIGHT: &str = "an origin is exactly scheme://host or scheme://host:port";
    if text.contains('*') {
        return Err("wildcards would let in sites nobody named; list each origin".into());
    }
    if text == "null" {
        return Err("every sandboxed frame and local file has the origin null".into());
    }
    let (origin, _) = Origin::of_base_url(text).map_err(|_| {
        format!(
            "{RIGHT}; https:// only, http:// is for this machine (anyone on the way can pose as it)"
        )
    })?;
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    if authority.contains('/') {
        return Err(format!(
            "{RIGHT}, without a path or a closing '/'; is {origin} meant?"
        ));
    }
    if !origin.host().starts_with('[') {
        host(origin.host())?;
    }
    Ok(origin.to_string())
}

/// One program: a name to be found on the system's path, or an absolute path. Never a shell line.
pub(crate) fn command(text: &str) -> Result<String, String> {
    const META: &str = "*?;|&$`<>(){}!\"'\\#~";
    if text.is_empty() || text.len() > 4_096 {
        return Err("a command is a name such as ls or an absolute path".into());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a command is one program without arguments or spaces".into());
    }
    if text.contains(|c| META.contains(c)) {
        return Err("a command is one program by name; no pattern and no shell syntax".into());
    }
    if text.starts_with('-') {
        return Err("a command does not start with '-'".into());
    }
    let plain_path = || {
        let parts = text.strip_prefix('/')?;
        parts
            .split('/')
            .all(|part| !matches!(part, "" | "." | ".."))
            .then_some(())
    };
    if matches!(text, "." | "..") || (text.contains('/') && plain_path().is_none()) {
        return Err(
            "a command is a name without '/' or an absolute path without '.', '..' or '//'".into(),
        );
    }
    Ok(text.to_owned())
}

/// A file by its absolute path. Whether it is there is found out by whoever reads it: it may be
/// mounted where the gateway runs and not where this command does.
pub(crate) fn file(text: &str) -> Result<String, String> {
    if !text.starts_with('/') || text.ends_with('/') || text.contains(char::is_control) {
        return Err("must be an absolute path of a file, such as /run/secrets/tls.pem".into());
    }
    Ok(text.to_owned())
}

/// A tool this gateway has.
pub(crate) fn tool(text: &str) -> Result<ToolName, String> {
    let known = || BUILT_IN_TOOLS.iter().copied();
    if known().any(|name| name == text) {
        return ToolName::parse(text).map_err(|e| e.to_string());
    }
    let meant = nearest(text, known()).map_or_else(String::new, |n| format!("; is {n} meant?"));
    Err(format!(
        "there is no such tool{meant} (tools: {})",
        known().collect::<Vec<_>>().join(", ")
    ))
}

/// The same, or `*` for all of them.
pub(crate) fn tool_or_all(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    tool(text).map(|name| name.to_string())
}

/// A provider's base URL, without a closing '/'.
pub(crate) fn base_url(text: &str) -> Result<String, String> {
    let (origin, path) = Origin::of_base_url(text).map_err(|e| e.to_string())?;
    Ok(format!("{origin}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_exact_and_canonical() {
        for (given, stored) in [
            ("https://trusted-domain.com", "https://trusted-domain.com"),
            (
                "https://Trusted-Domain.com:443",
                "https://trusted-domain.com",
            ),
            ("https://x.test:8443", "https://x.test:8443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(origin(given).as_deref(), Ok(stored));
        }
    }

    #[test]
    fn an_origin_that_could_match_more_than_one_site_is_refused() {
        for bad in [
            "*",
            "null",
            "",
            "https://*.example.com",
            "*.example.com",
            ".example.com",
            "example.com",
            "https://example.com/",
            "https://example.com/app",
            "https://example.com?x",
            "https://user@example.com",
            "http://example.com",
            "http://localhost.evil.com",
            "file://",
            "https://",
            "https://.example.com",
            "https://exam ple.com",
            "https://example.com:0",
            "https://a.test,https://b.test",
            "HTTPS://example.com",
        ] {
            assert!(origin(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_network_names_what_it_means() {
        assert_eq!(
            network("10.0.0.0/8").map(|n| n.to_string()).as_deref(),
            Ok("10.0.0.0/8")
        );
        assert_eq!(
            network("172.17.0.1").map(|n| n.to_string()).as_deref(),
            Ok("172.17.0.1/32")
        );
        assert!(network("10.1.2.3/8").unwrap_err().contains("10.0.0.0/8"));
        for bad in [
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/33",
            "10.0.0",
            "any",
            "",
            " 10.0.0.0/8",
        ] {
            assert!(network(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_host_is_a_bare_name() {
        assert_eq!(
            host("Gateway.Example.com").as_deref(),
            Ok("gateway.example.com")
        );
        assert_eq!(host("::1").as_deref(), Ok("::1"));
        for bad in [
            "",
            "*",
            "*.a.com",
            "a.com:80",
            "https://a.com",
            "a.com/",
            "a..com",
            "a.com.",
            "-a.com",
            "a b",
            "1.2.3",
            "0x7f.1",
            "a\0b",
            &"a".repeat(64),
        ] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_command_is_one_program_and_no_shell_line() {
        for good in ["ls", "cat", "grep", "g++", "python3.12", "[", "/usr/bin/ls"] {
            assert_eq!(command(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "ls -l",
            "ls;id",
            "ls|id",
            "$(id)",
            "`id`",
            "*",
            "l?",
            "bin/ls",
            "./ls",
            "../ls",
            "/bin/../ls",
            "/bin//ls",
            "/bin/",
            "/",
            ".",
            "..",
            "-rf",
            "ls\n",
            "ls\0",
            "~/x",
            "a&b",
        ] {
            assert!(command(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_misspelt_tool_is_refused_with_the_nearest() {
        assert!(
            tool("read_files")
                .unwrap_err()
                .contains("is read_file meant?")
        );
        assert!(tool("*").is_err());
        assert_eq!(
            tool("search_web").map(|t| t.to_string()).as_deref(),
            Ok("search_web")
        );
    }
}
