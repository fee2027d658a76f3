//! Secrets never enter the log: known ones by exact match, unknown ones by the shape of a token.

use aho_corasick::{AhoCorasick, Input, MatchKind};
use clawdbot_domain::Secret;
use std::borrow::Cow;
use std::io;

/// What stands in a secret's place.
const MASK: &[u8] = b"[redacted]";
/// Shorter "secrets" would mask ordinary words.
const MIN_SECRET: usize = 8;
/// So many secrets are known at once; the oldest make room.
const MAX_SECRETS: usize = 4096;
/// So long a run of token characters after a prefix is a token.
const MIN_RUN: usize = 16;

/// How a token is recognised and how much of it is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Ours, `cb-dev-<public id>.<secret>`: the id stays, it is what tells tokens apart.
    Dotted,
    /// Everything after the prefix.
    Run,
    /// Everything after the prefix up to a blank or quote, however short.
    Header,
}

const SHAPES: &[(&str, Shape)] = &[
    ("cb-", Shape::Dotted),
    ("st-", Shape::Dotted),
    ("sk-", Shape::Run),
    ("sk_", Shape::Run),
    ("gsk_", Shape::Run),
    ("xai-", Shape::Run),
    ("hf_", Shape::Run),
    ("ghp_", Shape::Run),
    ("gho_", Shape::Run),
    ("github_pat_", Shape::Run),
    ("glpat-", Shape::Run),
    ("xoxb-", Shape::Run),
    ("xoxp-", Shape::Run),
    ("AKIA", Shape::Run),
    ("AIza", Shape::Run),
    ("Bearer ", Shape::Header),
    ("bearer ", Shape::Header),
    ("BEARER ", Shape::Header),
];

/// The secrets known now. Immutable; one more secret makes a new one.
#[derive(Debug)]
pub struct Redactor {
    secrets: Vec<Secret>,
    /// Patterns: first [`SHAPES`], then what each secret looks like when escaped. `None` when they
    /// could not be made: then every text is masked.
    patterns: Option<AhoCorasick>,
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new()
    }
}

impl Redactor {
    /// Knows token shapes only.
    pub fn new() -> Self {
        Self::with(Vec::new())
    }

    /// The text with every secret masked; for texts that go elsewhere than into the log.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.patterns.is_some() && self.secrets_in(text).next().is_none() {
            return Cow::Borrowed(text);
        }
        let mut masked = Vec::with_capacity(text.len());
        // Writing to memory does not fail.
        let _ = self.copy(text.as_bytes(), text.len(), &mut masked);
        Cow::Owned(String::from_utf8_lossy(&masked).into_owned())
    }

    /// The parts of a text that are masked.
    pub fn secrets_in<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let mut look = 0;
        std::iter::from_fn(move || {
            loop {
                let input = Input::new(text.as_bytes()).range(look..);
                let found = self.patterns.as_ref()?.find(input)?;
                match masked_part(text.as_bytes(), found.pattern().as_usize(), found.span()) {
                    Some((from, end)) => {
                        look = end;
                        return text.get(from..end);
                    }
                    None => look = found.start() + 1,
                }
            }
        })
    }

    /// Knows one secret more.
    pub(crate) fn and(&self, secret: &Secret) -> Self {
        let mut secrets = self.secrets.clone();
        let known = secrets.contains(secret) || secret.expose().len() < MIN_SECRET;
        if !known {
            if secrets.len() >= MAX_SECRETS {
                secrets.remove(0);
            }
            secrets.push(secret.clone());
        }
        Self::with(secrets)
    }

    fn with(secrets: Vec<Secret>) -> Self {
        let shapes = SHAPES.iter().map(|(prefix, _)| (*prefix).to_owned());
        let exact = secrets.iter().flat_map(|s| spellings(s.expose()));
        let patterns = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(shapes.chain(exact))
            .ok();
        Self { secrets, patterns }
    }

    /// Copies the first `keep` bytes of an escaped JSON string, secrets masked; a secret that
    /// begins there is masked whole. Returns how many bytes were written.
    pub(crate) fn copy<W: ?Sized + io::Write>(
        &self,
        text: &[u8],
        keep: usize,
        to: &mut W,
    ) -> io::Result<usize> {
        let (mut copied, mut look, mut written) = (0, 0, 0);
        let mut put = |bytes: &[u8]| {
            written += bytes.len();
            to.write_all(bytes)
        };
        let Some(patterns) = &self.patterns else {
            put(MASK)?;
            return Ok(written);
        };
        while let Some(found) = patterns.find(Input::new(text).range(look..)) {
            if found.start() >= keep {
                break;
            }
            let Some((from, end)) = masked_part(text, found.pattern().as_usize(), found.span())
            else {
                look = found.start() + 1;
                continue;
            };
            put(text.get(copied..from).unwrap_or_default())?;
            put(MASK)?;
            (copied, look) = (end, end);
        }
        if copied < keep {
            put(text.get(copied..keep).unwrap_or_default())?;
        }
        Ok(written)
    }
}

/// A secret as it may stand in an escaped string: plain, as a JSON string, and as a JSON string
/// inside one (the arguments of a tool call are JSON text themselves).
fn spellings(secret: &str) -> Vec<String> {
    let escape = |text: &str| {
        let quoted = serde_json::to_string(text).unwrap_or_default();
        quoted
            .trim_start_matches('"')
            .strip_suffix('"')
            .unwrap_or_default()
            .to_owned()
    };
    let once = escape(secret);
    let twice = escape(&once);
    let mut all = vec![secret.to_owned(), once, twice];
    all.dedup();
    all
}

/// Which bytes to mask for a match of that pattern; `None` when it is no token after all.
fn masked_part(text: &[u8], pattern: usize, found: aho_corasick::Span) -> Option<(usize, usize)> {
    let Some((_, shape)) = SHAPES.get(pattern) else {
        return Some((found.start, found.end));
    };
    if !starts_word(text, found.start) {
        return None;
    }
    let run = |from: usize, more: &[u8]| {
        let rest = text.get(from..).unwrap_or_default();
        let in_token = |b: &u8| b.is_ascii_alphanumeric() || more.contains(b);
        from + rest.iter().position(|b| !in_token(b)).unwrap_or(rest.len())
    };
    match shape {
        Shape::Run => {
            let end = run(found.end, b"-_.");
            (end - found.end >= MIN_RUN).then_some((found.end, end))
        }
        Shape::Header => {
            let end = run(found.end, b"-_.~+/=:");
            (end > found.end).then_some((found.end, end))
        }
        Shape::Dotted => {
            let id = run(found.end, b"-_");
            if text.get(id) == Some(&b'.') {
                let end = run(id + 1, b"-_.");
                (end - id > MIN_RUN).then_some((id + 1, end))
            } else {
                (id - found.end >= 2 * MIN_RUN).then_some((found.end, id))
            }
        }
    }
}

/// True when a word starts at `at`: what stands before is no letter or digit, or is an escape
/// (`\n`, and however often that was escaped again).
fn starts_word(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let Some(last) = before.last() else {
        return true;
    };
    let escape =
        |len: usize| before.len() > len && before.get(before.len() - len - 1) == Some(&b'\\');
    !last.is_ascii_alphanumeric()
        || (matches!(last, b'n' | b'r' | b't' | b'b' | b'f') && escape(1))
        || (before.get(before.len().saturating_sub(5)) == Some(&b'u') && escape(5))
}
