//! Connections: taken, served, drained.

use crate::caps::{Caps, Place};
use crate::edge::{Edge, network};
use crate::listen::Listener;
use crate::live::Live;
use crate::routes::{Routes, routes};
use crate::running::Running;
use crate::service;
use crate::stop::{Stop, Stopper};
use crate::tls::Tls;
use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutWriter;

/// How long a client may take to send its header block, and before it to shake hands.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// How large a header block may be.
const HEADER_BYTES: usize = 64 * 1024;

/// How many headers a request may have.
const HEADER_COUNT: usize = 100;

/// How long a client may take no byte of its answer before it is given up.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// How long the answers of turns that were ended may take to be told.
const AT_ONCE: Duration = Duration::from_millis(300);

/// What every connection shares.
pub(crate) struct Server {
    pub(crate) live: Live,
    pub(crate) edge: Edge,
    pub(crate) caps: Caps,
    pub(crate) running: Running,
    pub(crate) stopper: Stopper,
    pub(crate) router: Router,
    pub(crate) started: Instant,
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every request in flight was answered.
    All,
    /// Some were cut at the deadline.
    Cut,
}

/// How connections are served.
pub struct Serving {
    /// Where they come from.
    pub listener: Listener,
    /// TLS on them, if any.
    pub tls: Option<Arc<Tls>>,
    /// How many are held at once.
    pub connections: usize,
    /// How long requests in flight may take once the gateway is asked to stop.
    pub drain: Duration,
}

/// Serves until it is asked to stop, then takes no more connections and waits for the requests in
/// flight; asked to stop at once, it ends them.
pub async fn serve(serving: Serving, live: Live, stopper: Stopper) -> Drained {
    let Routes { router, .. } = routes();
    let Serving {
        listener,
        tls,
        connections,
        drain,
    } = serving;
    let server = Arc::new(Server {
        live,
        edge: Edge::default(),
        caps: Caps::new(connections),
        running: Running::default(),
        stopper: stopper.clone(),
        router,
        started: Instant::now(),
    });
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stopper.at_least(Stop::Drain));
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // A proxy's connections are those of many clients.
                    let client = (!server.live.current().edge.trusts(peer)).then(|| network(peer));
                    // Over the cap it is dropped at once: making it wait would hold it anyway.
                    let Some(place) = server.caps.connection(client) else { continue };
                    let answers = Answers { server: Arc::clone(&server), peer, local: local(&stream) };
                    tokio::spawn(connection(stream, tls.clone(), answers, graceful.watcher(), place));
                }
                Err(error) => {
                    // Out of descriptors, most likely: give others a moment to close, do not spin.
                    tracing::error!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    let mut shutdown = std::pin::pin!(graceful.shutdown());
    let drained = tokio::select! {
        biased;
        () = stopper.at_least(Stop::Now) => None,
        drained = tokio::time::timeout(drain, &mut shutdown) => Some(drained.is_ok()),
    };
    let drained = if let Some(drained) = drained {
        drained
    } else {
        let ended = server
            .running
            .cancel(None, "the gateway was stopped at once");
        tracing::warn!(turns = ended.len(), "security: stopped at once");
        tokio::time::timeout(AT_ONCE, shutdown).await.is_ok()
    };
    if drained { Drained::All } else { Drained::Cut }
}

fn local(stream: &TcpStream) -> Option<IpAddr> {
    stream.local_addr().ok().map(|a| a.ip().to_canonical())
}

/// Answers the requests of one connection.
struct Answers {
    server: Arc<Server>,
    peer: IpAddr,
    local: Option<IpAddr>,
}

impl hyper::service::Service<Request<Incoming>> for Answers {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = service::Answering;

    fn call(&self, request: Request<Incoming>) -> service::Answering {
        service::answer(Arc::clone(&self.server), self.peer, self.local, request)
    }
}

/// One connection, from its handshake to its end; its place is free again afterwards.
async fn connection(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    answers: Answers,
    graceful: Watcher,
    place: Place,
) {
    // Answers are small and streams are prompt: do not wait to fill a segment.
    let _ = stream.set_nodelay(true);
    let peer = answers.peer;
    let Some(tls) = tls else {
        speak(stream, answers, graceful).await;
        return drop(place);
    };
    match tokio::time::timeout(HEADER_DEADLINE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, answers, graceful).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake"),
        Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
    }
    drop(place);
}

/// HTTP/1.1 over a stream.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    answers: Answers,
    graceful: Watcher,
) {
    let peer = answers.peer;
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_DEADLINE));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_COUNT)
        .serve_connection(TokioIo::new(Box::pin(stream)), answers);
    if let Err(error) = graceful.watch(connection).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
