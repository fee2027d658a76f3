//! TLS at our own door: a certificate and a key from files, taken anew when the files change.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

/// What a file looked like when it was read: device, inode, size, time of change in ns.
type Stamp = [i128; 4];

/// Why there is no TLS under these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read as what it should hold.
    #[error("cannot read {what} from {}: {why}", path.display())]
    Unreadable {
        /// The certificate or the key.
        what: &'static str,
        /// In which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A certificate without the key that belongs to it.
    #[error("the key in {} does not belong to the certificate in {}: {why}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        why: String,
    },
}

/// The certificate in force, and where the next one will come from.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
    /// What was read last, whether or not it was any good.
    seen: Mutex<Option<[Stamp; 2]>>,
}

impl Tls {
    /// Reads both files, in PEM: the certificate with its chain, leaf first, and its key.
    ///
    /// # Errors
    /// When one cannot be read, or they do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let seen = stamps(certificate, key);
        Ok(Self {
            config: RwLock::new(Arc::new(read(certificate, key)?)),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            seen: Mutex::new(seen),
        })
    }

    /// Takes the files anew when they have changed; true when it did. Open connections keep the
    /// certificate they were made with.
    ///
    /// # Errors
    /// When what is there now is not usable; what was in force stays. Told once for each state of the
    /// files: between the two writes of a renewal they do not belong together.
    pub fn renew(&self) -> Result<bool, TlsError> {
        let now = stamps(&self.certificate, &self.key);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now == *seen {
            return Ok(false);
        }
        *seen = now;
        let config = Arc::new(read(&self.certificate, &self.key)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(true)
    }

    /// True when users other than the owner and its group may read the key's file.
    pub fn key_is_open(&self) -> bool {
        std::fs::metadata(&self.key).is_ok_and(|meta| meta.mode() & 0o007 != 0)
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

fn stamps(certificate: &Path, key: &Path) -> Option<[Stamp; 2]> {
    Some([stamp(certificate)?, stamp(key)?])
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
    Some([
        meta.dev().into(),
        meta.ino().into(),
        meta.size().into(),
        changed,
    ])
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let unreadable = |what, path: &Path, why: String| TlsError::Unreadable {
        what,
        path: path.to_owned(),
        why,
    };
    let no_chain = |why| unreadable("the certificate", certificate, why);
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| no_chain(e.to_string()))?;
    if chain.is_empty() {
        return Err(no_chain("there is no PEM certificate in it".to_owned()));
    }
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable("the key", key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| no_chain(e.to_string()))?
        .with_no_client_auth();
    let mut config = builder
        .with_single_cert(chain, secret)
        .map_err(|e| TlsError::Mismatch {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            why: e.to_string(),
        })?;
    // HTTP/1.1 only: HTTP/2's resets and continuation floods have nothing to aim at.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
