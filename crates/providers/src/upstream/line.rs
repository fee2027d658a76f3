//! One HTTP/1.1 connection, and the few that are kept for the next request.

use super::socket::Socket;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Upper bound of a response head, and of what one read may return.
const HEAD_BYTES: usize = 64 * 1024;

/// How many idle connections are kept.
const KEPT: usize = 32;

/// How long an idle connection is kept. Shorter than the 60 s after which common servers and
/// balancers close, so that fewer requests meet a dead one.
const KEPT_FOR: Duration = Duration::from_secs(50);

/// A connection whose hyper machinery runs inside whichever task uses it. Spawning it, as is
/// customary, costs a task switch for each piece of a stream.
pub(crate) struct Line {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<TokioIo<Socket>, Full<Bytes>>,
    heard: Arc<AtomicBool>,
    open: bool,
}

impl Line {
    pub(crate) async fn new(socket: Socket) -> Result<Self, hyper::Error> {
        let heard = socket.heard();
        let (sender, connection) = Builder::new()
            .max_buf_size(HEAD_BYTES)
            .handshake(TokioIo::new(socket))
            .await?;
        Ok(Self {
            sender,
            connection,
            heard,
            open: true,
        })
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.heard.store(false, Ordering::Relaxed);
        let mut answer = pin!(self.sender.send_request(request));
        let (connection, open) = (&mut self.connection, &mut self.open);
        poll_fn(|cx| {
            if let Poll::Ready(head) = answer.as_mut().poll(cx) {
                return Poll::Ready(head);
            }
            if *open && Pin::new(&mut *connection).poll(cx).is_ready() {
                *open = false;
            }
            // The connection has just moved: the head may be there, or its error.
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Lets the connection read and write. What it has to say arrives through the body.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if self.open && Pin::new(&mut self.connection).poll(cx).is_ready() {
            self.open = false;
        }
    }

    /// True when any byte of an answer to the last request arrived.
    pub(crate) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// True when the next request can be sent. A server that closed, or spoke without being asked,
    /// is found out here.
    fn usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.open && self.sender.is_ready()
    }
}

/// Idle connections to one origin, newest first out.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<(Line, Instant)>>);

impl Pool {
    /// A connection that looked alive a moment ago.
    pub(crate) fn take(&self) -> Option<Line> {
        loop {
            let (mut line, since) = self
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()?;
            if since.elapsed() < KEPT_FOR && line.usable() {
                return Some(line);
            }
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn give(&self, mut line: Line) {
        if !line.usable() {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since)| since.elapsed() < KEPT_FOR);
        if kept.len() < KEPT {
            kept.push((line, Instant::now()));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}
