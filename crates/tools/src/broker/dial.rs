//! One HTTP request to one address.

use super::search::Question;
use super::target::Target;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a connection and a handshake may take.
const CONNECT: Duration = Duration::from_secs(10);

/// What a lookup comes to.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// From names to addresses.
pub trait Resolve: Send + Sync {
    /// The addresses of a name.
    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> Lookup<'a>;
}

/// The machine's own resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Resolve for System {
    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> Lookup<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// What came back.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) media: String,
    pub(super) body: Vec<u8>,
    /// True when there was more body.
    pub(super) cut: bool,
    location: Option<String>,
}

impl Answered {
    /// Where it sends us instead.
    pub(super) fn redirect(&self) -> Option<&str> {
        let redirects = matches!(self.status, 301 | 302 | 303 | 307 | 308);
        self.location.as_deref().filter(|_| redirects)
    }
}

/// Connects.
pub(super) struct Dialer {
    tls: TlsConnector,
}

impl Dialer {
    pub(super) fn new() -> Result<Self, String> {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS: {e}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Asks the target at this address, whatever its name would resolve to by now.
    pub(super) async fn ask(
        &self,
        target: &Target,
        address: SocketAddr,
        headers: &[(&'static str, String)],
        body: Option<String>,
        most: usize,
    ) -> Result<Answered, String> {
        let at = target.origin();
        let said = |why: String| format!("{at}: {why}");
        let request = request(target, headers, body).map_err(said)?;
        let connected = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
        let stream = connected
            .map_err(|_| said("no connection in time".to_owned()))?
            .map_err(|error| said(format!("connect: {error}")))?;
        if !target.https {
            return exchange(stream, request, most).await.map_err(said);
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| said("no certificate can be for this name".to_owned()))?;
        let secured = tokio::time::timeout(CONNECT, self.tls.connect(name, stream)).await;
        let secured = secured
            .map_err(|_| said("no TLS in time".to_owned()))?
            .map_err(|error| said(format!("TLS: {error}")))?;
        exchange(secured, request, most).await.map_err(said)
    }
}

fn request(
    target: &Target,
    headers: &[(&'static str, String)],
    body: Option<String>,
) -> Result<Request<Full<Bytes>>, String> {
    let method = if body.is_some() {
        Method::POST
    } else {
        Method::GET
    };
    let mut request = Request::builder()
        .method(method)
        .uri(target.path.as_str())
        .header(header::HOST, target.authority())
        .header(
            header::USER_AGENT,
            concat!("clawdbot/", env!("CARGO_PKG_VERSION")),
        )
        .header(
            header::ACCEPT,
            "text/html, text/*, application/json, */*;q=0.5",
        )
        // What is not asked to be packed needs no unpacker in the gateway.
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close");
    for (name, value) in headers {
        let mut value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        request = request.header(*name, value);
    }
    let body = Full::new(Bytes::from(body.unwrap_or_default()));
    request.body(body).map_err(|error| error.to_string())
}

async fn exchange(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Answered, String> {
    let shake = hyper::client::conn::http1::Builder::new()
        .max_buf_size(64 << 10)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = shake.await.map_err(|error| error.to_string())?;
    let talk = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        read(answer, most).await
    };
    // Both in this future: when it is dropped, so is the connection.
    tokio::pin!(talk);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut talk => answer,
        ended = &mut connection => match ended {
            Ok(()) => talk.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

async fn read(answer: http::Response<Incoming>, most: usize) -> Result<Answered, String> {
    let (head, mut body) = answer.into_parts();
    let text = |name| {
        head.headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if text(header::CONTENT_ENCODING).is_some_and(|packed| packed != "identity") {
        return Err("the answer is packed, although that was not asked for".to_owned());
    }
    let mut bytes = Vec::new();
    let mut cut = false;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
        if let Ok(data) = frame.into_data() {
            let left = most.saturating_sub(bytes.len());
            bytes.extend(data.iter().take(left));
            if data.len() > left {
                cut = true;
                break;
            }
        }
    }
    Ok(Answered {
        status: head.status.as_u16(),
        media: text(header::CONTENT_TYPE)
            .unwrap_or("")
            .chars()
            .take(200)
            .collect(),
        // What is no text is no URL either, and is refused as one; it is not taken for no redirect at all.
        location: head
            .headers
            .get(header::LOCATION)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        body: bytes,
        cut,
    })
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its headers hold a key.
        f.debug_struct("Question")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
