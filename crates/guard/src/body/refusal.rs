//! Why a body does not go on.

use crate::report::Report;
use std::str::Utf8Error;

/// Why a request body was not let through.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BodyRefusal {
    /// It is not a request of that API, or could be read in two ways.
    #[error("the request body is wrong at {path} (line {line}, column {column}): {why}")]
    Malformed {
        /// What is wrong, in plain words.
        why: String,
        /// The line, from 1.
        line: usize,
        /// The column in bytes, from 1.
        column: usize,
        /// The JSON path, `$` for the whole.
        path: String,
    },
    /// The guard found an attack in it.
    #[error("{}", .0.public())]
    Finding(Report),
}

impl BodyRefusal {
    pub(super) fn not_utf8(bytes: &[u8], error: Utf8Error) -> Self {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        Self::at(good, "$".to_owned(), "the text is not valid UTF-8")
    }

    /// Something is wrong just after these bytes.
    pub(super) fn at(before: &[u8], path: String, why: impl Into<String>) -> Self {
        let line_start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        Self::Malformed {
            why: why.into(),
            line: memchr::memchr_iter(b'\n', before).count() + 1,
            column: before.len() - line_start + 1,
            path,
        }
    }

    pub(super) fn not_json(error: &serde_json::Error, path: String) -> Self {
        let full = error.to_string();
        // The place has fields of its own.
        let why = full
            .rsplit_once(" at line ")
            .map_or(full.as_str(), |(why, _)| why);
        Self::Malformed {
            why: plainly(why).to_owned(),
            line: error.line(),
            column: error.column(),
            path,
        }
    }
}

/// The parser's words, where they can be said more plainly.
fn plainly(why: &str) -> &str {
    match why {
        "trailing characters" => "there is something after the end of the JSON value",
        "lone leading surrogate in hex escape" => {
            "half of a surrogate pair: \\ud8xx needs its \\udcxx"
        }
        "number out of range" => "the number is too large to be represented",
        "EOF while parsing a value"
        | "EOF while parsing an object"
        | "EOF while parsing a list"
        | "EOF while parsing a string" => "the JSON ends too early",
        other => other,
    }
}
