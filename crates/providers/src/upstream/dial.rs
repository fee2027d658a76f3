//! Reach an origin: name lookup, TCP, and TLS for https.

use super::socket::Socket;
use clawdbot_domain::Origin;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Connects to one origin and to nothing else. Proxy variables of the environment are ignored on
/// purpose: whoever can set one could otherwise read every prompt.
pub(crate) struct Dialer {
    host: String,
    port: u16,
    loopback: bool,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialer {
    /// A dialer for `origin`; fails on a host name no certificate can be for. Whom to trust is compiled in
    /// and not read from the machine: whoever can add a root there could otherwise read every prompt.
    pub(crate) fn new(origin: &Origin) -> Result<Self, String> {
        let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
        Self::trusting(origin, RootCertStore { roots })
    }

    /// A dialer that trusts these.
    pub(super) fn trusting(origin: &Origin, roots: RootCertStore) -> Result<Self, String> {
        let host = origin
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tls = if origin.is_https() {
            let name = ServerName::try_from(host.clone())
                .map_err(|_| format!("{host:?} is no name a certificate can be issued for"))?;
            Some((TlsConnector::from(client_config(roots)?), name))
        } else {
            None
        };
        Ok(Self {
            host,
            port: origin.port(),
            loopback: origin.is_loopback(),
            tls,
        })
    }

    /// Connects. The error says which step failed.
    pub(crate) async fn dial(&self) -> Result<Socket, String> {
        let stream = self.tcp().await?;
        // A request is one write; waiting for more to send would only add delay.
        stream
            .set_nodelay(true)
            .map_err(|e| format!("socket: {e}"))?;
        match &self.tls {
            None => Ok(Socket::plain(stream)),
            Some((connector, name)) => connector
                .connect(name.clone(), stream)
                .await
                .map(Socket::tls)
                .map_err(|e| format!("TLS: {e}{}", remedy(&e))),
        }
    }

    async fn tcp(&self) -> Result<TcpStream, String> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|e| format!("name lookup: {e}"))?;
        let mut last = "the name has no address".to_owned();
        for address in found {
            // `localhost` may be spoken to in the clear because it is this machine. A hosts file
            // or resolver that says otherwise does not change that.
            if self.loopback && !address.ip().is_loopback() {
                last = format!("{} does not resolve to this machine", self.host);
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = format!("connect: {error}"),
            }
        }
        Err(last)
    }
}

/// What to do about a failed handshake that its own words do not say.
fn remedy(error: &std::io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "; no public authority issued its certificate, and others are not trusted: use one from a public authority"
        }
        _ => "",
    }
}

fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS: {e}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
