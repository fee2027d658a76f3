//! What a token looks like: `cb-<env>-<id>.<secret><checksum>`, or `st-<id>.<secret><checksum>`.
//!
//! The prefix lets people and scanners see what it is, the id may stand in logs, the secret has 256
//! bits, and the checksum (CRC-32 of everything before it, after the way GitHub's tokens are made)
//! turns away what was mistyped or made up before it costs any work.

use crate::error::AuthError;
use crate::files::random;
use clawdbot_domain::{Secret, TokenEnv};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 12 of 62 characters: 71 bits, so that ids never meet.
const ID: usize = 12;

/// 43 of 62 characters: 256 bits.
const SECRET: usize = 43;

/// 62⁶ > 2³².
const CHECKSUM: usize = 6;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Traded once for the first admin token.
    Setup,
    /// Used day by day.
    Access(TokenEnv),
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Setup => "st-",
            Self::Access(TokenEnv::Dev) => "cb-dev-",
            Self::Access(TokenEnv::Prod) => "cb-prod-",
        }
    }
}

/// A new token: its id, and the whole text to show once.
pub(crate) fn mint(kind: Kind) -> Result<(String, Secret), AuthError> {
    let id = characters::<ID>()?;
    let secret = characters::<SECRET>()?;
    let mut text = format!("{}{id}.{secret}", kind.prefix());
    let checksum = checksum(&text);
    text.push_str(&checksum);
    Ok((id, Secret::new(text)))
}

/// The parts of a well-formed token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) kind: Kind,
    pub(crate) id: &'a str,
}

/// Takes a token apart; `None` for whatever is no token of ours.
pub(crate) fn parse(text: &str) -> Option<Parts<'_>> {
    let kinds = [
        Kind::Setup,
        Kind::Access(TokenEnv::Dev),
        Kind::Access(TokenEnv::Prod),
    ];
    let (kind, rest) = kinds
        .into_iter()
        .find_map(|k| Some((k, text.strip_prefix(k.prefix())?)))?;
    let (id, tail) = rest.split_once('.')?;
    let shaped = id.len() == ID && tail.len() == SECRET + CHECKSUM;
    let plain = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    if !shaped || !plain {
        return None;
    }
    let (body, sum) = text.split_at_checked(text.len() - CHECKSUM)?;
    (checksum(body) == sum).then_some(Parts { kind, id })
}

/// Uniform characters: bytes that do not fit a multiple of 62 are thrown away.
fn characters<const N: usize>() -> Result<String, AuthError> {
    let mut text = String::with_capacity(N);
    while text.len() < N {
        let bytes = random::<64>()?;
        let fit = bytes.iter().filter(|b| **b < 248);
        let drawn = fit
            .filter_map(|b| ALPHABET.get(usize::from(*b) % 62))
            .map(|b| char::from(*b));
        text.extend(drawn.take(N - text.len()));
    }
    Ok(text)
}

pub(crate) fn checksum(text: &str) -> String {
    let mut rest = u64::from(crc32fast::hash(text.as_bytes()));
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits.iter().map(|d| char::from(*d)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_token_is_taken_apart_again() {
        for kind in [
            Kind::Setup,
            Kind::Access(TokenEnv::Dev),
            Kind::Access(TokenEnv::Prod),
        ] {
            let (id, token) = mint(kind).unwrap();
            assert_eq!(parse(token.expose()), Some(Parts { kind, id: &id }));
        }
    }

    #[test]
    fn a_change_of_any_character_is_noticed() {
        let (_, token) = mint(Kind::Access(TokenEnv::Prod)).unwrap();
        let text = token.expose();
        for at in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(parse(std::str::from_utf8(&bytes).unwrap()), None, "at {at}");
            assert_eq!(parse(&text[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn what_is_no_token_is_no_token() {
        for text in [
            "",
            "sk-test",
            "cb-prod-",
            "cb-root-aaaaaaaaaaaa.x",
            "st-\u{e9}.",
            "cb-prod-a.b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
