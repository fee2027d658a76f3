//! What travels in base64: bytes to a model, unless they are words in an envelope.

use crate::detect::decode;

/// What a payload is to a model.
pub(super) enum Payload {
    /// An image or the like, which nobody here can read.
    Opaque,
    /// These words.
    Words(String),
    /// No payload, whatever it claims: not purely base64.
    Text,
}

/// What these letters of a media type are.
pub(super) fn of(media: &str, letters: &str) -> Payload {
    let bare = letters.trim_end_matches('=').as_bytes();
    let is_letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    if !bare.iter().all(is_letter) {
        return Payload::Text;
    }
    if is_opaque(media) {
        return Payload::Opaque;
    }
    // Whoever opens it reads all of it, so all of it is looked at, and not only a first part.
    decode::base64(bare).map_or(Payload::Text, |bytes| {
        Payload::Words(String::from_utf8_lossy(&bytes).into_owned())
    })
}

/// The media type and the letters of a data URL in base64.
pub(super) fn of_url(text: &str) -> Option<(&str, &str)> {
    let head = text.as_bytes().iter().take(100).position(|b| *b == b',')?;
    let (head, letters) = (text.get(..head)?, text.get(head + 1..)?);
    let media = head.strip_prefix("data:")?.strip_suffix(";base64")?;
    Some((media, letters))
}

fn is_opaque(media: &str) -> bool {
    let media = media.to_ascii_lowercase();
    let opaque = ["image/", "audio/", "video/", "application/pdf"];
    // SVG is an image, and text.
    opaque.iter().any(|kind| media.starts_with(kind)) && !media.contains("xml")
}
