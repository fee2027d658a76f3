//! A relayed stream: each event goes on as it came, as soon as its words may.
//!
//! Words go through a hold-back, arguments of a call wait until the call is whole, and an event waits
//! for those before it. Where an address was taken out the event is written anew; every other one is
//! the provider's own bytes.

use super::Watch;
use super::json::Json;
use super::lines::{data_of, is_read_otherwise, text_of, with_data};
use super::parts::{Key, Kind, Told, told};
use super::segments::Segments;
use crate::{ProviderError, RelayBody};
use bytes::{Bytes, BytesMut};
use clawdbot_domain::Protocol;
use clawdbot_guard::{Holdback, Outward, Released, Stopped, neutralised};
use http_body::{Body, Frame};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The longest event, and the most that waits for a call to be whole. What is longer does not go out.
const MOST: usize = 8 << 20;

/// A label of fewer letters holds nothing that is encoded.
const ENCODED: usize = 16;

/// How many labels are known again.
const MOST_LABELS: usize = 8;

/// The most parts one answer may have: choices, blocks and calls.
const MOST_PARTS: usize = 512;

/// An event that waits.
struct Waiting {
    raw: Bytes,
    /// Its pieces, in the order they are told in.
    pieces: Vec<Piece>,
}

/// Where the words of an event stand in the answer. The words themselves stay in the event, and are
/// read again when they have to be written anew.
struct Piece {
    /// Which part.
    nth: usize,
    /// Where in that part.
    start: usize,
    end: usize,
}

/// One part of the answer.
struct Part {
    key: Key,
    /// The hold-back of words; none once the part has ended.
    words: Option<Holdback>,
    /// The arguments of a call so far.
    call: String,
    /// What an unknown field said last.
    last: String,
    came: usize,
    may_go: Segments,
}

/// The body of a relayed stream.
pub(super) struct Watching {
    watch: Watch,
    body: Option<RelayBody>,
    /// What came and is not a whole event yet; its first bytes hold no end of one.
    open: BytesMut,
    sought: usize,
    queue: VecDeque<Waiting>,
    waiting: usize,
    parts: Vec<Part>,
    /// Labels that were looked at.
    labels: Vec<String>,
    out: BytesMut,
}

impl Watching {
    pub(super) fn new(watch: Watch, body: RelayBody) -> Self {
        Self {
            watch,
            body: Some(body),
            open: BytesMut::new(),
            sought: 0,
            queue: VecDeque::new(),
            waiting: 0,
            parts: Vec::new(),
            labels: Vec::new(),
            out: BytesMut::new(),
        }
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.open.extend_from_slice(bytes);
        while let Some(end) = self.event_end() {
            let raw = self.open.split_to(end).freeze();
            self.sought = 0;
            self.event(raw)?;
        }
        if self.open.len() + self.waiting > MOST {
            return Err(unseen("oversized"));
        }
        self.let_go();
        Ok(())
    }

    /// Where the first whole event ends: after an empty line.
    fn event_end(&mut self) -> Option<usize> {
        let mut from = self.sought;
        while let Some(at) = memchr::memchr(b'\n', self.open.get(from..)?) {
            let line = from + at;
            match self.open.get(line + 1..)? {
                [b'\n', ..] => return Some(line + 2),
                [b'\r', b'\n', ..] => return Some(line + 3),
                [] | [b'\r'] => {
                    self.sought = line;
                    return None;
                }
                _ => from = line + 1,
            }
        }
        self.sought = self.open.len();
        None
    }

    fn event(&mut self, raw: Bytes) -> Result<(), Stopped> {
        let text = text_of(&raw);
        // Whatever an event is, a secret that stands in it goes no further.
        if let Some(leak) = self.watch.outward.find_plain(&text) {
            return Err(Stopped::leak(leak, &text));
        }
        let data = data_of(&text);
        let value = Json::of(&data);
        if is_read_otherwise(&text) || (value.is_none() && !matches!(data.trim(), "" | "[DONE]")) {
            return Err(unseen("unreadable"));
        }
        let Told {
            pieces,
            labels,
            ended,
            idle,
        } = match &value {
            Some(value) => told(self.watch.protocol, value),
            None => Told {
                idle: data.is_empty(),
                ..Told::default()
            },
        };
        if idle {
            // It says nothing, so it need not wait: a reader shall know that the stream lives.
            self.let_go();
            self.out.extend_from_slice(&raw);
            return Ok(());
        }
        for label in labels.into_iter().filter(|label| label.len() >= ENCODED) {
            // The same few stand in every event.
            if self.labels.iter().any(|known| known == label) {
                continue;
            }
            if let Some(leak) = self.watch.outward.find(label) {
                return Err(Stopped::leak(leak, &data));
            }
            if self.labels.len() < MOST_LABELS {
                self.labels.push(label.to_owned());
            }
        }
        let mut waiting = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let nth = self.part(piece.key, piece.kind)?;
            let Some(part) = self.parts.get_mut(nth) else {
                return Err(unseen("oversized"));
            };
            let start = part.came;
            part.came += piece.text.len();
            match (&mut part.words, piece.kind) {
                (Some(words), Kind::Text) => {
                    let released = words.push(piece.text)?;
                    part.take(released, &self.watch);
                }
                (None, Kind::Text) => {
                    // It goes on after its end; nobody has reason to, so nobody is served.
                    return Err(unseen("oversized"));
                }
                (_, Kind::Call) => part.call.push_str(piece.text),
                (_, Kind::Other) => part.other(piece.text, &self.watch)?,
            }
            let end = part.came;
            waiting.push(Piece { nth, start, end });
        }
        let is_last = data == "[DONE]";
        self.waiting += raw.len();
        self.queue.push_back(Waiting {
            raw,
            pieces: waiting,
        });
        if is_last {
            self.end(|_| true)
        } else if ended.is_empty() {
            Ok(())
        } else {
            self.end(|key| ended.contains(&key.0))
        }
    }

    fn part(&mut self, key: Key, kind: Kind) -> Result<usize, Stopped> {
        if let Some(nth) = self.parts.iter().position(|part| part.key == key) {
            return Ok(nth);
        }
        if self.parts.len() >= MOST_PARTS {
            return Err(unseen("oversized"));
        }
        let outward = Arc::clone(&self.watch.outward);
        self.parts.push(Part {
            key,
            words: (kind == Kind::Text).then(|| Holdback::new(outward)),
            call: String::new(),
            last: String::new(),
            came: 0,
            may_go: Segments::default(),
        });
        Ok(self.parts.len() - 1)
    }

    /// These parts are whole.
    fn end(&mut self, which: impl Fn(&Key) -> bool) -> Result<(), Stopped> {
        for part in self.parts.iter_mut().filter(|part| which(&part.key)) {
            if let Some(words) = part.words.take() {
                let released = words.finish()?;
                part.take(released, &self.watch);
            }
            let call = std::mem::take(&mut part.call);
            if call.is_empty() {
                continue;
            }
            if let Some(leak) = self.watch.outward.find(&call) {
                return Err(Stopped::leak(leak, &call));
            }
            part.may_go.release(call.len(), None);
        }
        Ok(())
    }

    /// Moves what need not wait any more.
    fn let_go(&mut self) {
        while let Some(first) = self.queue.front() {
            let may = |piece: &Piece| {
                let part = self.parts.get(piece.nth);
                part.is_some_and(|part| part.may_go.reaches(piece.end))
            };
            if !first.pieces.iter().all(may) {
                return;
            }
            let Some(Waiting { raw, pieces }) = self.queue.pop_front() else {
                return;
            };
            self.waiting = self.waiting.saturating_sub(raw.len());
            let differs = |piece: &Piece| {
                let part = self.parts.get(piece.nth);
                part.is_none_or(|part| part.may_go.differs(piece.start, piece.end))
            };
            if pieces.iter().any(differs) {
                let anew = self.rewritten(&raw, &pieces);
                self.out.extend_from_slice(&anew);
                continue;
            }
            for piece in pieces {
                if let Some(part) = self.parts.get_mut(piece.nth) {
                    part.may_go.forget(piece.end);
                }
            }
            self.out.extend_from_slice(&raw);
        }
    }

    /// An event with other words: all lines but its data as they were.
    fn rewritten(&mut self, raw: &[u8], pieces: &[Piece]) -> Bytes {
        let text = text_of(raw);
        let data = data_of(&text);
        let mut value: Value = serde_json::from_str(&data).unwrap_or(Value::Null);
        let read = Json::of(&data).unwrap_or(Json::Null);
        let told = told(self.watch.protocol, &read);
        let mut anew = HashMap::new();
        for (piece, words) in pieces.iter().zip(told.pieces) {
            let part = self.parts.get_mut(piece.nth);
            let now = part.and_then(|part| part.may_go.take(piece.start, words.text));
            anew.extend(now.map(|now| (words.text.as_ptr(), now)));
        }
        read.write_anew(&mut value, &anew);
        with_data(&text, &value)
    }

    /// The provider has said all.
    fn over(&mut self) -> Result<(), Stopped> {
        self.body = None;
        let rest = self.open.split().freeze();
        if !rest.is_empty() {
            self.event(rest)?;
        }
        self.end(|_| true)?;
        self.let_go();
        Ok(())
    }

    /// Nothing of what waits goes out; the reader is told why in its own dialect.
    fn stop(&mut self, stopped: &Stopped) -> Bytes {
        self.body = None;
        self.queue.clear();
        self.open.clear();
        (self.watch.note)(stopped.event());
        let mut last = self.out.split();
        last.extend_from_slice(error(self.watch.protocol, stopped.public()).as_bytes());
        last.freeze()
    }
}

impl Part {
    /// A piece of an unknown field. What says the same twice is no text in pieces, and need not wait for
    /// more of it; and nobody knows when it ends.
    fn other(&mut self, text: &str, watch: &Watch) -> Result<(), Stopped> {
        if self.last == text {
            if let Some(words) = self.words.take() {
                let released = words.finish()?;
                self.take(released, watch);
            }
            self.may_go.release(text.len(), None);
            return Ok(());
        }
        text.clone_into(&mut self.last);
        let words = self.words.get_or_insert_with(|| {
            Holdback::new(Arc::new(Outward {
                hosts: None,
                ..Outward::clone(&watch.outward)
            }))
        });
        let released = words.push(text)?;
        self.take(released, watch);
        Ok(())
    }

    fn take(&mut self, released: Released, watch: &Watch) {
        let Released { text, of, removed } = released;
        if removed.is_empty() {
            return self.may_go.release(of, None);
        }
        (watch.note)(neutralised(&removed, &text));
        self.may_go.release(of, Some(text));
    }
}

fn error(protocol: Protocol, why: &str) -> String {
    match protocol {
        Protocol::OpenAi => {
            let error = json!({"error": {
                "message": why, "type": "permission_error", "param": null, "code": "answer_stopped",
            }});
            format!("data: {error}\n\n")
        }
        Protocol::Anthropic => {
            let error =
                json!({"type": "error", "error": {"type": "permission_error", "message": why}});
            format!("event: error\ndata: {error}\n\n")
        }
    }
}

/// What cannot be looked at as a whole does not go out.
fn unseen(why: &'static str) -> Stopped {
    let leak = clawdbot_guard::Leak {
        name: "unseen".to_owned(),
        through: why,
    };
    Stopped::leak(leak, "")
}

impl Body for Watching {
    type Data = Bytes;
    type Error = ProviderError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProviderError>>> {
        let this = &mut *self;
        loop {
            if !this.out.is_empty() {
                let ready = this.out.split().freeze();
                return Poll::Ready(Some(Ok(Frame::data(ready))));
            }
            let Some(body) = this.body.as_mut() else {
                return Poll::Ready(None);
            };
            let looked = match body.as_mut().poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.take_in(&data),
                    Err(_) => Ok(()),
                },
                Poll::Ready(Some(Err(error))) => {
                    // What waits was not looked at to its end.
                    this.body = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => this.over(),
            };
            if let Err(stopped) = looked {
                let last = this.stop(&stopped);
                return Poll::Ready(Some(Ok(Frame::data(last))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none() && self.out.is_empty()
    }
}
