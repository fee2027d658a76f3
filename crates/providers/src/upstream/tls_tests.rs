//! TLS to a provider, against a server of somebody else's making (OpenSSL) that writes down what it is
//! told: a refused one is told nothing.

use super::*;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const KEY: &str = "sk-only-for-the-provider";

/// A certificate authority and what it signs, in one folder.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Self(folder);
        let constraint = "basicConstraints=critical,CA:TRUE";
        authority.openssl(
            "req -x509 -subj /CN=authority -days 2",
            "ca",
            constraint,
            "ca.pem",
        );
        authority
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &str) {
        let ran = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.folder())
            .output()
            .expect("openssl is installed");
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    /// `openssl req` with a new key.
    fn openssl(&self, what: &str, name: &str, extension: &str, out: &str) {
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        self.run(&format!(
            "{what} {key} -keyout {name}.key -addext {extension} -out {out}"
        ));
    }

    /// Signs a certificate for a host.
    fn sign(&self, name: &str, host: &str, days: i32) {
        let san = format!("subjectAltName=DNS:{host}");
        self.openssl("req -new -subj /CN=provider", name, &san, "request.pem");
        self.run(&format!(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy \
             -days {days} -out {name}.pem"
        ));
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let read = CertificateDer::from_pem_file(self.folder().join("ca.pem"));
        roots.add(read.unwrap()).unwrap();
        roots
    }
}

/// A server; ended when dropped.
struct Server {
    child: Child,
    heard: std::path::PathBuf,
    port: u16,
}

impl Server {
    async fn start(authority: &Authority, name: &str, more: &[&str]) -> Self {
        let heard = authority
            .folder()
            .join(format!("heard-{name}-{}", more.len()));
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .unwrap()
            .port();
        let child = Command::new("openssl")
            .args([
                "s_server",
                "-quiet",
                "-accept",
                &format!("127.0.0.1:{port}"),
            ])
            .args([
                "-cert",
                &format!("{name}.pem"),
                "-key",
                &format!("{name}.key"),
            ])
            .args(more)
            .current_dir(authority.folder())
            .stdin(Stdio::piped())
            .stdout(fs::File::create(&heard).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Self { child, heard, port }
    }

    /// Asks it something; the error, and what the server heard.
    async fn ask(self, roots: Option<RootCertStore>) -> (String, String) {
        let (origin, _) = Origin::of_base_url(&format!("https://localhost:{}", self.port)).unwrap();
        let timeouts = Timeouts {
            first_byte: Duration::from_secs(2),
            ..Timeouts::default()
        };
        let mut upstream =
            Upstream::new(ProviderName::Compatible, origin.clone(), timeouts).unwrap();
        if let Some(roots) = roots {
            upstream.dialer = Dialer::trusting(&origin, roots).unwrap();
        }
        let key = HeaderValue::from_static(KEY);
        let outgoing = Outgoing {
            method: Method::POST,
            path: PathAndQuery::from_static("/chat/completions"),
            headers: HeaderMap::from_iter([(header::AUTHORIZATION, key)]),
            body: Bytes::from_static(b"{}"),
        };
        let error = upstream.send(&outgoing).await.err().unwrap().to_string();
        let heard = fs::read(&self.heard).unwrap();
        (error, String::from_utf8_lossy(&heard).into_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn only_a_provider_that_proves_its_name_is_told_anything() {
    let authority = Authority::new();
    authority.sign("good", "localhost", 2);
    authority.sign("other", "other.example", 2);
    authority.sign("expired", "localhost", -1);
    let san = "subjectAltName=DNS:localhost";
    authority.openssl(
        "req -x509 -subj /CN=provider -days 2 -addext basicConstraints=critical,CA:FALSE",
        "self",
        san,
        "self.pem",
    );

    // It listens and says nothing: what it heard shows that the others could have heard it.
    let server = Server::start(&authority, "good", &[]).await;
    let (error, heard) = server.ask(Some(authority.roots())).await;
    assert!(
        heard.contains(KEY) && !error.contains("TLS"),
        "{error} {heard}"
    );

    let old = ["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"];
    for (name, more, says) in [
        ("other", &[][..], "not valid for name"),
        ("expired", &[], "Expired"),
        ("self", &[], "no public authority"),
        ("good", &old, "ProtocolVersion"),
    ] {
        let server = Server::start(&authority, name, more).await;
        let (error, heard) = server.ask(Some(authority.roots())).await;
        assert!(
            error.contains("TLS") && error.contains(says),
            "{name}: {error}"
        );
        assert!(!heard.contains(KEY), "{name}: {heard}");
    }

    // An authority of one's own is none of those that are compiled in.
    let server = Server::start(&authority, "good", &[]).await;
    let (error, heard) = server.ask(None).await;
    assert!(error.contains("no public authority"), "{error}");
    assert!(!heard.contains(KEY), "{heard}");
}
