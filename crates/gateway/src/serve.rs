//! Connections: taken, served, drained.

use crate::edge::Edge;
use crate::listen::Listener;
use crate::live::Live;
use crate::refusals::Refusals;
use crate::routes::{Routes, routes};
use crate::service;
use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// How long a client may take to send its header block.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// How large a header block may be.
const HEADER_BYTES: usize = 64 * 1024;

/// How many headers a request may have.
const HEADER_COUNT: usize = 100;

/// How many connections are held at once.
const CONNECTIONS: usize = 12_000;

/// What every connection shares.
pub(crate) struct Server {
    pub(crate) live: Live,
    pub(crate) edge: Edge,
    pub(crate) refusals: Refusals,
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

/// Serves until `stop` resolves, then takes no more connections and waits at most `drain` for the
/// requests in flight.
pub async fn serve(
    listener: Listener,
    live: Live,
    stop: impl Future<Output = ()>,
    drain: Duration,
) -> Drained {
    let Routes { router, .. } = routes();
    let server = Arc::new(Server {
        live,
        edge: Edge::default(),
        refusals: Refusals::default(),
        router,
        started: Instant::now(),
    });
    let connections = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    let mut tick = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = tick.tick() => server.refusals.flush(&server.live.current()),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Over the cap the connection is dropped at once: waiting would hold it anyway.
                    let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else { continue };
                    let connection = connection(Arc::clone(&server), stream, peer);
                    let connection = graceful.watch(connection);
                    tokio::spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%peer, %error, "connection ended");
                        }
                        drop(permit);
                    });
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
    let drained = tokio::time::timeout(drain, graceful.shutdown()).await;
    server.refusals.flush(&server.live.current());
    if drained.is_ok() {
        Drained::All
    } else {
        Drained::Cut
    }
}

/// Answers the requests of one connection.
struct Answers {
    server: Arc<Server>,
    peer: IpAddr,
}

impl hyper::service::Service<Request<Incoming>> for Answers {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = service::Answering;

    fn call(&self, request: Request<Incoming>) -> service::Answering {
        service::answer(Arc::clone(&self.server), self.peer, request)
    }
}

fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    peer: IpAddr,
) -> http1::Connection<TokioIo<TcpStream>, Answers> {
    // Answers are small and streams are prompt: do not wait to fill a segment.
    let _ = stream.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_COUNT)
        .serve_connection(TokioIo::new(stream), Answers { server, peer })
}
