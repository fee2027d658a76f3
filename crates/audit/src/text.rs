//! What becomes of a text in a record: secrets masked, long ones cut, and nothing left in it that
//! could forge or reorder a line in a terminal.
//!
//! It is done while serde writes the record, string by string, so that a record is one pass over
//! its bytes and a secret is masked before it is hashed.

use crate::redact::Redactor;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};
use std::io;

/// The longest string in a record, in bytes as written.
const MAX_STRING: usize = 16 * 1024;
/// All strings of a record together.
const MAX_STRINGS: usize = 48 * 1024;
/// So much more of a string is looked at, lest a secret that is cut in two is not recognised.
const LOOK_AHEAD: usize = 8 * 1024;
/// Stands where a string was cut.
const CUT: &[u8] = "…[cut]".as_bytes();

/// Writes JSON for the log. One lives in the writer and is reused for every record.
pub(crate) struct LogText<'a> {
    redactor: &'a Redactor,
    /// The string being written, escaped.
    string: &'a mut Vec<u8>,
    in_key: bool,
    /// Where the string is to be cut, once it is too long.
    cut: Option<usize>,
    left: usize,
}

impl<'a> LogText<'a> {
    pub(crate) fn new(redactor: &'a Redactor, string: &'a mut Vec<u8>) -> Self {
        string.clear();
        Self {
            redactor,
            string,
            in_key: false,
            cut: None,
            left: MAX_STRINGS,
        }
    }

    /// Takes a piece that may not be divided.
    fn push(&mut self, piece: &[u8]) {
        let cap = MAX_STRING.min(self.left);
        if self.cut.is_none() && self.string.len() + piece.len() > cap {
            self.cut = Some(self.string.len());
        }
        if self.string.len() + piece.len() <= cap + LOOK_AHEAD {
            self.string.extend_from_slice(piece);
        }
    }

    fn push_text(&mut self, text: &str) {
        // Short plain ASCII, which nearly every string is, goes in whole.
        if text.is_ascii() && self.string.len() + text.len() <= MAX_STRING.min(self.left) {
            self.string.extend_from_slice(text.as_bytes());
            return;
        }
        let mut utf8 = [0; 4];
        for c in text.chars() {
            if deceives(c) {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    self.push(&escaped(*unit));
                }
            } else {
                self.push(c.encode_utf8(&mut utf8).as_bytes());
            }
        }
    }
}

impl Formatter for LogText<'_> {
    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        first: bool,
    ) -> io::Result<()> {
        // Keys are our own words.
        self.in_key = true;
        CompactFormatter.begin_object_key(to, first)
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.in_key = false;
        CompactFormatter.end_object_key(to)
    }

    fn begin_string<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.string.clear();
        self.cut = None;
        to.write_all(b"\"")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        text: &str,
    ) -> io::Result<()> {
        if self.in_key {
            return to.write_all(text.as_bytes());
        }
        self.push_text(text);
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        if self.in_key {
            return CompactFormatter.write_char_escape(to, escape);
        }
        match escape {
            CharEscape::Quote => self.push(br#"\""#),
            CharEscape::ReverseSolidus => self.push(br"\\"),
            CharEscape::Solidus => self.push(br"\/"),
            CharEscape::Backspace => self.push(br"\b"),
            CharEscape::FormFeed => self.push(br"\f"),
            CharEscape::LineFeed => self.push(br"\n"),
            CharEscape::CarriageReturn => self.push(br"\r"),
            CharEscape::Tab => self.push(br"\t"),
            CharEscape::AsciiControl(byte) => self.push(&escaped(u16::from(byte))),
        }
        Ok(())
    }

    fn end_string<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        if !self.in_key {
            let keep = self.cut.unwrap_or(self.string.len());
            let written = self.redactor.copy(self.string, keep, to)?;
            if self.cut.is_some() {
                to.write_all(CUT)?;
            }
            self.left = self.left.saturating_sub(written);
        }
        to.write_all(b"\"")
    }
}

/// Characters that are no ASCII control (serde escapes those) and yet change what a terminal or a
/// reader sees: C1 controls, line separators, invisible and direction-changing ones.
pub(crate) fn deceives(c: char) -> bool {
    matches!(c,
        '\u{7f}'..='\u{9f}'
        | '\u{ad}' | '\u{61c}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

fn escaped(unit: u16) -> [u8; 6] {
    let digit = |shift: u16| {
        let nibble = (unit >> shift & 0xf) as u8;
        nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
    };
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
}
