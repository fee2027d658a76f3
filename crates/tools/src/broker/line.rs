//! What a tool in its child and the broker say to each other: one request, one answer, on one socket.

use serde::{Deserialize, Serialize};

/// The longest request, bytes.
pub(crate) const MOST_REQUEST: usize = 64 << 10;
/// The longest head of an answer, bytes.
pub(crate) const MOST_HEAD: usize = 64 << 10;
/// The largest body that is passed on, bytes.
pub(crate) const MOST_BODY: usize = 4 << 20;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wanted {
    /// A page.
    Url(String),
    /// A search, by whichever provider the operator chose. No key of it ever enters a child.
    Search {
        /// The words.
        query: String,
        /// How many results.
        count: usize,
    },
}

/// What came of it; the body follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Head {
    /// An answer.
    Got {
        /// Where it came from in the end.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The media type as it was sent.
        media: String,
        /// True when the body is longer than what is passed on.
        cut: bool,
    },
    /// Results of a search, as this provider writes them.
    Found {
        /// Which dialect.
        provider: super::search::Dialect,
    },
    /// Why there is none, in words fit for a model.
    Refused(String),
}

/// Prefixes a frame with its length.
pub(crate) fn frame(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let length = u32::try_from(bytes.len()).map_err(std::io::Error::other)?;
    let mut framed = Vec::with_capacity(bytes.len() + 4);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(bytes);
    Ok(framed)
}

/// The length of a frame, if it is not beyond the most.
pub(crate) fn length(prefix: [u8; 4], most: usize) -> std::io::Result<usize> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > most {
        return Err(std::io::Error::other(format!(
            "a frame of {length} bytes is too long"
        )));
    }
    Ok(length)
}
