//! TLS to our own gateway: the very certificate in the settings, whoever signed it.
//!
//! The command line reads the same file as the gateway does, so it need not trust an authority or a
//! name: what answers must prove that it holds the key of that certificate.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme, crypto,
};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The certificate that must be shown.
#[derive(Debug, Clone)]
pub struct Pin(Arc<ClientConfig>);

impl Pin {
    /// The first certificate of a PEM file.
    ///
    /// # Errors
    /// In words, when there is none.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong = |e| format!("gateway.tls.certificate {}: {e}", path.display());
        let certificate = CertificateDer::from_pem_file(path).map_err(|e| wrong(e.to_string()))?;
        let provider = Arc::new(crypto::ring::default_provider());
        let only = Only {
            certificate,
            provider: Arc::clone(&provider),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(only))
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands with whoever holds the key of the certificate, and nobody else.
    pub async fn connect(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        TlsConnector::from(Arc::clone(&self.0))
            .connect(name, stream)
            .await
    }
}

/// Takes one certificate and no other; signatures are checked as always.
#[derive(Debug)]
struct Only {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *shown == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
