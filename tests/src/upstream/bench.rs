//! The provider of the benches: one thread, answers made in advance, and a time stamp in every
//! streamed piece, so that a reader on the same machine can tell how long each was under way.
//!
//! A body that holds `4k` is answered with about 4 KB.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Sleep;

/// How a stream is answered.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How many pieces.
    pub pieces: u32,
    /// How long between two of them.
    pub gap: Duration,
}

/// Nanoseconds of the monotonic clock, which all processes of a machine share.
pub fn now_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Serves for ever.
///
/// # Panics
/// When the port is taken.
pub fn serve(port: u16, pace: Pace) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let tasks = tokio::task::LocalSet::new();
    let made = Rc::new(Made::new());
    tasks.block_on(&runtime.expect("a runtime can be built"), async move {
        let socket = TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("the port is free");
        loop {
            let Ok((stream, _)) = socket.accept().await else {
                continue;
            };
            // Pieces are measured one by one: none may wait for the next.
            let _ = stream.set_nodelay(true);
            let made = Rc::clone(&made);
            tokio::task::spawn_local(async move {
                let answering = service_fn(move |request| answer(Rc::clone(&made), pace, request));
                let mut http = hyper::server::conn::http1::Builder::new();
                let _ = http
                    .pipeline_flush(true)
                    .serve_connection(TokioIo::new(stream), answering)
                    .await;
            });
        }
    });
}

/// Answers made in advance.
struct Made {
    small: [Bytes; 2],
    big: [Bytes; 2],
}

impl Made {
    fn new() -> Self {
        let both = |size: usize| {
            let text =
                "the gateway checks each request and writes it down before it acts ".repeat(60);
            let text = &text[..size];
            [
                super::openai::whole(text, &[]).to_string().into(),
                super::anthropic::whole(text, &[]).to_string().into(),
            ]
        };
        Self {
            small: both(80),
            big: both(3800),
        }
    }
}

async fn answer(
    made: Rc<Made>,
    pace: Pace,
    request: Request<Incoming>,
) -> Result<Response<Told>, Infallible> {
    let anthropic = request.uri().path().ends_with("/messages");
    let get = request.method() == hyper::Method::GET;
    let body = request
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let holds = |what: &[u8]| body.windows(what.len()).any(|window| window == what);
    let (kind, told) = if get {
        let models = super::openai::models().to_string();
        ("application/json", Told::Whole(Some(models.into())))
    } else if holds(b"\"stream\":true") {
        (
            "text/event-stream",
            Told::Pieces {
                anthropic,
                at: 0,
                pace,
                wait: None,
            },
        )
    } else {
        let answers = if holds(b"4k") { &made.big } else { &made.small };
        (
            "application/json",
            Told::Whole(Some(answers[usize::from(anthropic)].clone())),
        )
    };
    let response = Response::builder()
        .header("content-type", kind)
        .header("x-request-id", "req_mock");
    Ok(response.body(told).expect("a fixed answer is well formed"))
}

enum Told {
    Whole(Option<Bytes>),
    Pieces {
        anthropic: bool,
        at: u32,
        pace: Pace,
        wait: Option<Pin<Box<Sleep>>>,
    },
}

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces {
                anthropic,
                at,
                pace,
                wait,
            } => {
                if *at > pace.pieces {
                    return Poll::Ready(None);
                }
                if !pace.gap.is_zero() && *at > 0 {
                    let sleep = wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(pace.gap)));
                    if sleep.as_mut().poll(poller).is_pending() {
                        return Poll::Pending;
                    }
                    *wait = None;
                }
                let text = piece(*anthropic, *at, *at == pace.pieces);
                *at += 1;
                Poll::Ready(Some(Ok(Frame::data(text.into()))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Pieces { .. } => SizeHint::default(),
        }
    }
}

/// One piece of a stream; all but the last carry `t=<nanoseconds>;`.
fn piece(anthropic: bool, at: u32, last: bool) -> String {
    let now = now_nanos();
    if anthropic {
        let delta = format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"t={now};\"}}}}\n\n"
        );
        return match (at, last) {
            (_, true) => "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":20}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(),
            (0, _) => format!("event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_mock\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-mock\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{{\"input_tokens\":12,\"output_tokens\":1}}}}}}\n\nevent: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"text\",\"text\":\"\"}}}}\n\n{delta}"),
            _ => delta,
        };
    }
    let (delta, finish) = match (at, last) {
        (_, true) => ("{}".to_owned(), "\"stop\""),
        (0, _) => (
            format!("{{\"role\":\"assistant\",\"content\":\"t={now};\"}}"),
            "null",
        ),
        _ => (format!("{{\"content\":\"t={now};\"}}"), "null"),
    };
    let end = if last { "data: [DONE]\n\n" } else { "" };
    format!(
        "data: {{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-mock\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n{end}"
    )
}
