//! Server-sent events, taken apart as they arrive.

use memchr::memchr2;

/// The longest line, and the most data of one event.
const LINE_BYTES: usize = 1 << 20;

/// The most that is read of one stream.
const STREAM_BYTES: usize = 64 << 20;

/// One event; lent out while it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SseEvent<'a> {
    /// The `event` field; empty when there was none.
    pub(crate) name: &'a str,
    /// The `data` fields, joined by line feeds.
    pub(crate) data: &'a str,
}

/// Takes a stream apart. Bytes may be split anywhere.
#[derive(Default)]
pub(crate) struct Sse {
    /// A line whose end has not come.
    partial: Vec<u8>,
    /// The last byte was a carriage return: a line feed right after it belongs to it.
    after_cr: bool,
    /// The first line may begin with a byte order mark.
    begun: bool,
    name: String,
    data: String,
    has_data: bool,
    seen: usize,
}

impl Sse {
    /// Takes in bytes and hands each event that they complete to `on`; its error ends it all.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        on: &mut impl FnMut(SseEvent<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        self.seen = self.seen.saturating_add(bytes.len());
        if self.seen > STREAM_BYTES {
            return Err(Broken::new("the stream is longer than 64 MiB"));
        }
        let mut rest = bytes;
        loop {
            if self.after_cr && !rest.is_empty() {
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
                self.after_cr = false;
            }
            let Some(at) = memchr2(b'\n', b'\r', rest) else {
                break;
            };
            let (line, tail) = rest.split_at(at);
            self.after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            self.whole_line(line, on)?;
        }
        self.keep(rest)
    }

    /// The stream ended well, so a last event that lacks only its blank line is whole.
    pub(crate) fn end(
        &mut self,
        on: &mut impl FnMut(SseEvent<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if !self.partial.is_empty() {
            self.whole_line(&[], on)?;
        }
        self.line(b"", on)
    }

    fn keep(&mut self, rest: &[u8]) -> Result<(), Broken> {
        if self.partial.len() + rest.len() > LINE_BYTES {
            return Err(too_long());
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    fn whole_line(
        &mut self,
        line: &[u8],
        on: &mut impl FnMut(SseEvent<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if self.partial.is_empty() {
            return self.line(line, on);
        }
        self.keep(line)?;
        let mut whole = std::mem::take(&mut self.partial);
        let result = self.line(&whole, on);
        whole.clear();
        self.partial = whole;
        result
    }

    fn line(
        &mut self,
        mut line: &[u8],
        on: &mut impl FnMut(SseEvent<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(on);
        }
        if line.len() > LINE_BYTES {
            return Err(too_long());
        }
        if memchr::memchr(0, line).is_some() {
            return Err(Broken::new("a line holds a NUL"));
        }
        let text = std::str::from_utf8(line).map_err(|_| Broken::new("a line is not UTF-8"))?;
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => self.add_data(value),
            "event" => {
                value.clone_into(&mut self.name);
                Ok(())
            }
            // Comments (an empty field), `id`, `retry` and what is to come say nothing to us.
            _ => Ok(()),
        }
    }

    fn add_data(&mut self, value: &str) -> Result<(), Broken> {
        if self.data.len() + value.len() > LINE_BYTES {
            return Err(too_long());
        }
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push('\n');
        }
        self.data.push_str(value);
        Ok(())
    }

    fn dispatch(
        &mut self,
        on: &mut impl FnMut(SseEvent<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let result = if std::mem::take(&mut self.has_data) {
            on(SseEvent {
                name: &self.name,
                data: &self.data,
            })
        } else {
            Ok(())
        };
        self.name.clear();
        self.data.clear();
        result
    }
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It is not the protocol.
    Malformed(String),
    /// The provider reported an error in the middle of it.
    Refused { status: u16, message: String },
}

impl Broken {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self::Malformed(why.into())
    }
}

fn too_long() -> Broken {
    Broken::new("a line or event is longer than 1 MiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events_of<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<(String, String)>, Broken> {
        let (mut sse, mut events) = (Sse::default(), Vec::new());
        let mut on = |e: SseEvent<'_>| {
            events.push((e.name.to_owned(), e.data.to_owned()));
            Ok(())
        };
        for piece in pieces {
            sse.push(piece, &mut on)?;
        }
        Ok(events)
    }

    fn event(name: &str, data: &str) -> (String, String) {
        (name.to_owned(), data.to_owned())
    }

    #[test]
    fn every_line_ending_ends_a_line() {
        for text in [
            "event: a\ndata: 1\ndata: 2\n\ndata:3\n\n",
            "event: a\r\ndata: 1\r\ndata: 2\r\n\r\ndata:3\r\n\r\n",
            "event: a\rdata: 1\rdata: 2\r\rdata:3\r\r",
            "\u{feff}: comment\nevent: a\ndata: 1\nid: 7\nretry: 1\ndata: 2\r\n\ndata:3\n\r",
        ] {
            let expected = vec![event("a", "1\n2"), event("", "3")];
            assert_eq!(events_of([text.as_bytes()]), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn an_event_without_its_blank_line_is_no_event_unless_the_stream_ended_well() {
        let mut sse = Sse::default();
        let mut seen = Vec::new();
        sse.push(b"data: [DONE]\n", &mut |e| {
            seen.push(e.data.to_owned());
            Ok(())
        })
        .unwrap();
        assert!(seen.is_empty());
        sse.end(&mut |e| {
            seen.push(e.data.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, ["[DONE]"]);
    }

    #[test]
    fn what_is_no_text_is_malformed() {
        for bytes in [&b"data: a\0b\n\n"[..], b"data: \xff\n\n", b"data: \xc3\n\n"] {
            assert!(events_of([bytes]).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_line_an_event_and_a_stream_have_a_longest() {
        let long = vec![b'x'; LINE_BYTES + 1];
        assert_eq!(events_of([&long[..]]), Err(too_long()));
        let line = [b"data: ", &vec![b'x'; LINE_BYTES / 2][..], b"\n"].concat();
        assert_eq!(events_of([&line[..], &line, &line]), Err(too_long()));
        let comment = [b":", &vec![b'x'; LINE_BYTES / 2][..], b"\n"].concat();
        let endless = std::iter::repeat_n(&comment[..], 200);
        assert_eq!(
            events_of(endless),
            Err(Broken::new("the stream is longer than 64 MiB"))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn where_the_bytes_are_split_does_not_matter(
            lines in prop::collection::vec("(data|event|id|)(:|: |)[ -~é]{0,12}(\n|\r|\r\n|\n\n)", 0..12),
            cuts in prop::collection::vec(0usize..200, 0..12),
        ) {
            let text = lines.concat();
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]);
            prop_assert_eq!(events_of(pieces), events_of([bytes]));
        }
    }
}
