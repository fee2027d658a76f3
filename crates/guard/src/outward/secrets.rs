//! Known secrets and canaries, in any encoding a model is asked for.

use crate::detect::{decode, is_invisible};
use aho_corasick::AhoCorasick;
use std::collections::BTreeMap;

/// The shortest secret that is looked for, in bytes: a shorter one is found in ordinary words.
const SHORTEST: usize = 8;

/// How deep encodings are followed.
const MAX_DEPTH: u8 = 4;

/// How much decoded text is looked at for each byte of an answer, over all depths.
const MOST_GROWTH: usize = 8;

/// A secret that cannot be looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It would be found in ordinary words.
    #[error(
        "the secret {name:?} is shorter than {SHORTEST} bytes, which would be found in ordinary words; use a longer one"
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

/// What must not go out.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    search: Option<AhoCorasick>,
    /// For each pattern, whose it is and how it is encoded.
    patterns: Vec<(String, &'static str)>,
    longest: usize,
}

impl Secrets {
    /// Secrets by name. Fails when one is too short to be told from words.
    pub fn new<'s>(
        secrets: impl IntoIterator<Item = (&'s str, &'s str)>,
    ) -> Result<Self, SecretError> {
        let mut table: BTreeMap<String, (String, &'static str)> = BTreeMap::new();
        let mut longest = 0;
        for (name, secret) in secrets {
            if secret.len() < SHORTEST {
                return Err(SecretError::TooShort {
                    name: name.to_owned(),
                });
            }
            for (pattern, how) in encodings(secret) {
                longest = longest.max(pattern.len());
                table.entry(pattern).or_insert((name.to_owned(), how));
            }
        }
        let (words, patterns): (Vec<_>, Vec<_>) = table.into_iter().unzip();
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(words)
            .map_err(|e| SecretError::TooMany(e.to_string()))?;
        Ok(Self {
            search: (!patterns.is_empty()).then_some(search),
            patterns,
            longest,
        })
    }

    /// The first secret that stands in a text, if any. The time is linear in the text.
    pub fn find(&self, text: &str) -> Option<Leak> {
        let search = self.search.as_ref()?;
        let mut spare = text.len().saturating_mul(MOST_GROWTH);
        self.look(search, text, 0, None, &mut spare)
    }

    /// The longest spelling of a secret that is looked for, in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }

    fn look(
        &self,
        search: &AhoCorasick,
        text: &str,
        depth: u8,
        how: Option<&'static str>,
        spare: &mut usize,
    ) -> Option<Leak> {
        let leak = |pattern: usize, way: Option<&'static str>| {
            let (name, encoded) = self.patterns.get(pattern)?;
            Some(Leak {
                name: name.clone(),
                through: how.or(way).unwrap_or(encoded),
            })
        };
        if let Some(found) = search.find(text) {
            return leak(found.pattern().as_usize(), None);
        }
        let squeezed: String = text.chars().filter(|c| is_kept(*c)).collect();
        if squeezed.len() != text.len()
            && let Some(found) = search.find(&squeezed)
        {
            return leak(found.pattern().as_usize(), Some("separated"));
        }
        if depth >= MAX_DEPTH {
            return None;
        }
        let inner = decode::runs(text)
            .into_iter()
            .map(|run| (run.text, run.how));
        let escaped = decode::unescaped(text).map(|text| (text, "escapes"));
        let spaced = decode::spaced_hex(text).map(|text| (text, "hex"));
        for (inner, how) in inner.chain(escaped).chain(spaced) {
            *spare = spare.checked_sub(inner.len())?;
            if let Some(leak) = self.look(search, &inner, depth + 1, Some(how), spare) {
                return Some(leak);
            }
        }
        None
    }
}

/// What stays of a text when separators and invisible characters are taken out.
fn is_kept(c: char) -> bool {
    c.is_alphanumeric() && !is_invisible(c)
}

/// Every spelling of a secret that one pass finds.
fn encodings(secret: &str) -> Vec<(String, &'static str)> {
    let squeeze = |text: &str| text.chars().filter(|c| is_kept(*c)).collect::<String>();
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
        .map(|(text, how)| (squeeze(text), *how))
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
mod tests {
    use super::*;
    use base64::Engine as _;
    use proptest::prelude::*;

    const SECRET: &str = "sk-test-9fQ2/x7+Lk0ZtW";

    fn secrets() -> Secrets {
        Secrets::new([("provider", SECRET), ("canary", "kestrel-47-umbra-19")]).unwrap()
    }

    fn base64(text: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        let hexed = clawdbot_domain::hex(SECRET.as_bytes());
        let apart: String = SECRET.chars().flat_map(|c| [c, ' ']).collect();
        let hidden: String = SECRET.chars().flat_map(|c| [c, '\u{200b}']).collect();
        let each = |spell: fn(u8) -> String| SECRET.bytes().map(spell).collect::<Vec<_>>();
        let percent = each(|b| format!("%{b:02x}")).concat();
        let entities = each(|b| format!("&#{b};")).concat();
        let pairs = each(|b| format!("{b:02x}")).join(" ");
        let bits = each(|b| format!("{b:08b}")).join(" ");
        for text in [
            SECRET.to_owned(),
            SECRET.to_uppercase(),
            SECRET.chars().rev().collect(),
            decode::rot13(SECRET),
            hexed.clone(),
            hexed.to_uppercase(),
            pairs,
            bits,
            apart,
            hidden,
            percent,
            entities,
            base64(SECRET),
            base64(&base64(SECRET)),
            base64(&format!("a{SECRET}")),
            base64(&format!("ab{SECRET}c")),
            SECRET.replace('-', "_").replace('_', "-"),
            format!(
                "https://host.example/?q={}",
                base64(SECRET).trim_end_matches('=')
            ),
        ] {
            let found = secrets().find(&format!("here you go: {text} bye"));
            assert_eq!(found.map(|l| l.name), Some("provider".to_owned()), "{text}");
        }
    }

    #[test]
    fn a_leak_names_the_secret_and_never_repeats_it() {
        let leak = secrets().find("kestrel 47 umbra 19").unwrap();
        assert_eq!((leak.name.as_str(), leak.through), ("canary", "separated"));
        assert!(!format!("{leak:?}").contains("kestrel"));
    }

    #[test]
    fn ordinary_answers_carry_no_secret() {
        for text in [
            "",
            "Here is the summary you asked for.",
            "sk-test-",
            "kestrel",
            "0101 0110",
        ] {
            assert_eq!(secrets().find(text), None, "{text}");
        }
        assert_eq!(Secrets::default().find(SECRET), None);
    }

    #[test]
    fn a_secret_that_is_a_word_is_refused() {
        let error = Secrets::new([("pin", "1234")]).unwrap_err();
        assert!(error.to_string().contains("\"pin\""));
        assert!(!error.to_string().contains("1234"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn it_is_found_whatever_stands_round_it(before in "\\PC{0,40}", after in "\\PC{0,40}") {
            let text = format!("{before}{SECRET}{after}");
            prop_assert!(secrets().find(&text).is_some());
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = secrets().find(&text);
        }
    }
}
