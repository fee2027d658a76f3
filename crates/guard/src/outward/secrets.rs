//! Known secrets and canaries, in any encoding a model is asked for.

use crate::detect::{decode, is_invisible};
use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, Input};
use sieve::Sieve;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

mod sieve;

/// The shortest secret that is looked for, in letters and digits: a shorter one is found in ordinary
/// words.
const SHORTEST: usize = 8;

/// From how many letters on halves of a secret are looked for too, and the shortest half.
const LONG: usize = 32;
const SHORTEST_PART: usize = 20;

/// How deep encodings are followed.
const MAX_DEPTH: u8 = 4;

/// How much decoded text is looked at for each byte of an answer, over all depths.
const MOST_GROWTH: usize = 8;

/// What a gateway's own tokens begin with. Their secrets are kept nowhere, so they are known by form.
const TOKEN_STARTS: [&str; 3] = ["cb-dev-", "cb-prod-", "st-"];

/// Letters of a token's id, and half of what comes after the dot (secret and checksum, 49 letters).
const TOKEN_ID: usize = 12;
const TOKEN_TAIL: usize = 24;

/// A secret that cannot be looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It would be found in ordinary words.
    #[error(
        "the secret {name:?} has fewer than {SHORTEST} letters and digits, which would be found in ordinary words; use a longer one"
    )]
    TooShort {
        /// Its name.
        name: String,
    },
    /// There are too many, or they are too long.
    #[error("the table of secrets cannot be built: {0}; name fewer or shorter secrets")]
    TooMany(String),
}

/// A secret that stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// The name it was given. The secret itself is never repeated.
    pub name: String,
    /// How it was encoded.
    pub through: &'static str,
}

impl Leak {
    /// As it stands in the log.
    pub fn rule(&self) -> String {
        format!("outward.{}/{}", self.name, self.through)
    }
}

/// What must not go out. Tokens of a gateway are known by their form; everything else by exact match
/// over encodings.
#[derive(Clone, Default)]
pub struct Secrets {
    search: Option<NFA>,
    /// Says no to most texts without the search. None when a spelling has hardly a letter: then there is
    /// no quick answer.
    sieve: Option<Sieve>,
    /// For each pattern, whose it is and how it is encoded.
    patterns: Vec<(String, &'static str)>,
    /// How many bytes of a pattern have been seen, by state of the search.
    depths: HashMap<StateID, usize>,
    longest: usize,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The search holds every spelling of every secret.
        write!(f, "Secrets({} spellings)", self.patterns.len())
    }
}

impl Secrets {
    /// Secrets by name. Fails when one is too short to be told from words.
    pub fn new<'s>(
        secrets: impl IntoIterator<Item = (&'s str, &'s str)>,
    ) -> Result<Self, SecretError> {
        let mut table: BTreeMap<String, (String, &'static str)> = BTreeMap::new();
        for (name, secret) in secrets {
            if secret.chars().filter(|c| is_kept(*c)).count() < SHORTEST {
                return Err(SecretError::TooShort {
                    name: name.to_owned(),
                });
            }
            for part in std::iter::once(secret.to_owned()).chain(parts(secret)) {
                for (pattern, how) in encodings(&part) {
                    table.entry(pattern).or_insert((name.to_owned(), how));
                }
            }
        }
        let (words, patterns): (Vec<_>, Vec<_>) = table.into_iter().unzip();
        if words.is_empty() {
            return Ok(Self::default());
        }
        let too_many = |e: &dyn fmt::Display| SecretError::TooMany(e.to_string());
        // The smallest of the three machines: a table of states for each letter of each spelling
        // would be megabytes.
        let search = NFA::builder()
            .ascii_case_insensitive(true)
            .build(&words)
            .map_err(|e| too_many(&e))?;
        let start = search.start_state(Anchored::No).map_err(|e| too_many(&e))?;
        let mut depths = HashMap::new();
        let letters = words.iter().filter(|word| word.chars().all(is_kept));
        for word in letters.clone() {
            let mut state = start;
            for (at, byte) in word.bytes().enumerate() {
                state = search.next_state(Anchored::No, state, byte);
                depths.insert(state, at + 1);
            }
        }
        // Whatever stands in a text, its letters stand among the text's letters.
        let has_letters = |word: &String| words.binary_search(&squeezed(word)).is_ok();
        let sieve = words
            .iter()
            .all(has_letters)
            .then(|| Sieve::new(letters.map(String::as_str)));
        Ok(Self {
            sieve,
            longest: words.iter().map(String::len).max().unwrap_or(0),
            search: Some(search),
            patterns,
            depths,
        })
    }

    /// The first secret that stands in a text, if any. The time is linear in the text.
    pub fn find(&self, text: &str) -> Option<Leak> {
        let mut spare = text.len().saturating_mul(MOST_GROWTH);
        self.look(text, 0, None, &mut spare)
    }

    /// The first secret that stands in a text as it is or in an encoding of one layer, separators
    /// aside: for text that is cheap to let pass and costly to look into.
    pub fn find_plain(&self, text: &str) -> Option<Leak> {
        self.direct(text, None)
    }

    /// The longest spelling of a secret that is looked for, in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The same for bytes that are most likely text.
    pub fn find_plain_in(&self, bytes: &[u8]) -> Option<Leak> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.find_plain(text),
            Err(_) => self.find_plain(&String::from_utf8_lossy(bytes)),
        }
    }

    fn leak(&self, pattern: usize, through: Option<&'static str>) -> Option<Leak> {
        let (name, encoded) = self.patterns.get(pattern)?;
        Some(Leak {
            name: name.clone(),
            through: through.unwrap_or(encoded),
        })
    }

    fn direct(&self, text: &str, how: Option<&'static str>) -> Option<Leak> {
        if has_token(text) {
            return Some(Leak {
                name: "gateway token".to_owned(),
                through: how.unwrap_or("plain"),
            });
        }
        let search = self.search.as_ref()?;
        let sieve = self.sieve.as_ref();
        if sieve.is_some_and(|sieve| !sieve.may_find(text, search, &self.depths)) {
            return None;
        }
        let find = |text: &str| search.try_find(&Input::new(text)).ok().flatten();
        if let Some(found) = find(text) {
            return self.leak(found.pattern().as_usize(), how);
        }
        let squeezed = squeezed(text);
        if squeezed.len() == text.len() {
            return None;
        }
        let found = find(&squeezed)?;
        self.leak(found.pattern().as_usize(), how.or(Some("separated")))
    }

    fn look(
        &self,
        text: &str,
        depth: u8,
        how: Option<&'static str>,
        spare: &mut usize,
    ) -> Option<Leak> {
        if let Some(leak) = self.direct(text, how) {
            return Some(leak);
        }
        if depth >= MAX_DEPTH {
            return None;
        }
        let inner = decode::runs(text)
            .into_iter()
            .map(|run| (run.text, run.how));
        let sign = memchr::memchr3(b'%', b'&', b'\\', text.as_bytes());
        let escaped = sign.and_then(|_| decode::unescaped(text));
        let escaped = escaped.map(|text| (text, "escapes"));
        let spaced = decode::spaced_hex(text).map(|text| (text, "hex"));
        for (inner, how) in inner.chain(escaped).chain(spaced) {
            *spare = spare.checked_sub(inner.len())?;
            if let Some(leak) = self.look(&inner, depth + 1, Some(how), spare) {
                return Some(leak);
            }
        }
        None
    }
}

/// How far a stream has come into a secret, separators left out: one step a letter, whatever has gone
/// before.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    state: Option<StateID>,
}

impl Walk {
    pub(super) fn new(secrets: &Secrets) -> Self {
        let start = secrets.search.as_ref().map(|s| s.start_state(Anchored::No));
        Self {
            state: start.and_then(Result::ok),
        }
    }

    /// Takes one letter; a leak when a secret ends with it.
    pub(super) fn step(&mut self, secrets: &Secrets, letter: char) -> Option<Leak> {
        let (search, state) = (secrets.search.as_ref()?, self.state.as_mut()?);
        let mut bytes = [0; 4];
        for byte in letter.encode_utf8(&mut bytes).bytes() {
            *state = search.next_state(Anchored::No, *state, byte);
            if search.is_match(*state) {
                return secrets.leak(search.match_pattern(*state, 0).as_usize(), None);
            }
        }
        None
    }

    /// How many bytes of letters just seen may be the beginning of a secret.
    pub(super) fn depth(&self, secrets: &Secrets) -> usize {
        let depth = self.state.and_then(|state| secrets.depths.get(&state));
        depth.copied().unwrap_or(0)
    }
}

/// True when a token of a gateway stands in a text: looked for from its dot, of which texts have few.
fn has_token(text: &str) -> bool {
    let letters = |text: &[u8]| text.iter().all(u8::is_ascii_alphanumeric);
    let is_token = |dot: usize| {
        let (before, after) = text.as_bytes().split_at_checked(dot)?;
        let (start, id) = before.split_at_checked(dot.checked_sub(TOKEN_ID)?)?;
        let tail = after.get(1..=TOKEN_TAIL)?;
        let begins = TOKEN_STARTS.iter().any(|s| start.ends_with(s.as_bytes()));
        Some(begins && letters(id) && letters(tail))
    };
    memchr::memchr_iter(b'.', text.as_bytes()).any(|dot| is_token(dot).unwrap_or(false))
}

/// What stays of a text when separators and invisible characters are taken out.
pub(super) fn is_kept(c: char) -> bool {
    // No invisible one is ASCII.
    c.is_ascii_alphanumeric() || (!c.is_ascii() && c.is_alphanumeric() && !is_invisible(c))
}

/// Halves of a long secret, each beginning in the middle of the one before: "all but its last letter" is
/// as good as the whole. No half is short enough to be what all keys of a provider begin with.
fn parts(secret: &str) -> Vec<String> {
    let letters: Vec<char> = secret.chars().collect();
    if letters.len() < LONG {
        return Vec::new();
    }
    let half = (letters.len() / 2).max(SHORTEST_PART);
    let last = letters.len() - half;
    let starts = (0..last).step_by(half / 2).chain([last]);
    starts
        .filter_map(|start| letters.get(start..start + half))
        .map(|part| part.iter().collect())
        .collect()
}

fn squeezed(text: &str) -> String {
    text.chars().filter(|c| is_kept(*c)).collect()
}

/// Every spelling of a secret that one pass finds.
fn encodings(secret: &str) -> Vec<(String, &'static str)> {
    let mut all = vec![
        (secret.to_owned(), "plain"),
        (secret.chars().rev().collect(), "backwards"),
        (decode::rot13(secret), "rot13"),
        (clawdbot_domain::hex(secret.as_bytes()), "hex"),
        (binary(secret.as_bytes()), "binary"),
        (base32(secret.as_bytes()), "base32"),
    ];
    for shift in 0..3 {
        let encoded = base64_inside(secret.as_bytes(), shift);
        all.push((encoded.replace('+', "-").replace('/', "_"), "base64"));
        all.push((encoded, "base64"));
    }
    let squeezed: Vec<_> = all
        .iter()
        .map(|(text, how)| (squeezed(text), *how))
        .collect();
    all.extend(squeezed);
    all.retain(|(text, _)| text.len() >= SHORTEST);
    all
}

/// The letters of base64 that depend on the secret alone when `shift` bytes stand before it.
fn base64_inside(secret: &[u8], shift: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    digits(secret, shift, 6, |digit| LETTERS.get(digit).copied())
}

fn base32(secret: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    digits(secret, 0, 5, |digit| LETTERS.get(digit).copied())
}

fn binary(secret: &[u8]) -> String {
    digits(secret, 0, 1, |digit| Some(b'0' + digit as u8))
}

/// The digits of some bits each that lie wholly inside the secret, `shift` bytes in.
fn digits(
    secret: &[u8],
    shift: usize,
    bits: usize,
    letter: impl Fn(usize) -> Option<u8>,
) -> String {
    let bit = |at: usize| {
        let byte = secret.get(at / 8).copied().unwrap_or(0);
        usize::from(byte >> (7 - at % 8) & 1)
    };
    let first = (shift * 8).div_ceil(bits);
    let last = (shift + secret.len()) * 8 / bits;
    (first..last)
        .filter_map(|digit| {
            let from = digit * bits - shift * 8;
            let value = (from..from + bits).fold(0, |value, at| value << 1 | bit(at));
            letter(value).map(char::from)
        })
        .collect()
}

#[cfg(test)]
mod tests;
