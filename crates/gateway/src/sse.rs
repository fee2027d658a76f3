//! Server-sent events: an answer told piece by piece.

use crate::answer::ApiError;
use crate::turn_stream::{Piece, TurnStream};
use axum::body::Body;
use bytes::Bytes;
use clawdbot_agent::{Answer, Emit, Step};
use futures_util::StreamExt as _;
use http::{HeaderValue, Response, header};
use serde_json::Value;
use std::convert::Infallible;
use std::fmt::Write as _;

/// How a dialect tells an answer as events.
pub(crate) trait Dialect: Send + 'static {
    /// What comes first.
    fn open(&mut self, out: &mut Events);
    /// A piece of text.
    fn text(&mut self, text: &str, out: &mut Events);
    /// The end of an answer that went well.
    fn done(&mut self, answer: &Answer, out: &mut Events);
    /// The end of one that did not.
    fn failed(&mut self, error: &ApiError, out: &mut Events);
}

/// A dialect that can also tell an answer whole.
pub(crate) trait Telling: Dialect {
    /// The whole answer at once.
    fn whole(&self, answer: &Answer) -> Value;
}

/// Events in wire form.
#[derive(Debug, Default)]
pub(crate) struct Events(String);

impl Events {
    /// An unnamed event.
    pub(crate) fn data(&mut self, data: &Value) {
        // JSON text holds no line break, so it is one `data:` line.
        let _ = write!(self.0, "data: {data}\n\n");
    }

    /// A named event.
    pub(crate) fn named(&mut self, name: &str, data: &Value) {
        let _ = write!(self.0, "event: {name}\ndata: {data}\n\n");
    }

    /// An unnamed event that is no JSON.
    pub(crate) fn raw(&mut self, data: &str) {
        let _ = write!(self.0, "data: {data}\n\n");
    }

    fn step(&mut self, step: &Step) {
        if let Ok(step) = serde_json::to_value(step) {
            self.named("clawdbot.step", &step);
        }
    }

    fn quiet(&mut self) {
        self.0.push_str(": still here\n\n");
    }
}

/// The answer as a stream of events; with `steps`, what happens on the way is told as well.
pub(crate) fn stream(turn: TurnStream, mut dialect: impl Dialect, steps: bool) -> Response<Body> {
    let mut opened = false;
    let frames = turn.map(move |piece| {
        let mut out = Events::default();
        if !std::mem::replace(&mut opened, true) {
            dialect.open(&mut out);
        }
        match piece {
            Piece::Emit(Emit::Text(text)) => dialect.text(&text, &mut out),
            Piece::Emit(Emit::Step(step)) if steps => out.step(&step),
            Piece::Emit(Emit::Step(_)) => {}
            Piece::Quiet => out.quiet(),
            Piece::End(Ok(answer)) => dialect.done(&answer, &mut out),
            Piece::End(Err(error)) => {
                let error = ApiError::from(error);
                tracing::warn!(error = ?error.log, "a turn failed after its answer had begun");
                dialect.failed(&error, &mut out);
            }
        }
        Ok::<_, Infallible>(Bytes::from(out.0))
    });
    // An empty frame would be an empty chunk: the end of the body to some clients.
    let frames = frames
        .filter(|frame| std::future::ready(frame.as_ref().is_ok_and(|bytes| !bytes.is_empty())));
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
