//! The accepted baseline on disk: a document, its signature, and the record that it was accepted.

use super::super::inspect::failed;
use super::Facts;
use crate::cli::{Exit, Failure};
use crate::home::Home;
use clawdbot_audit::Records;
use clawdbot_domain::{UnixTime, hex, sha256_hex};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// No document is larger: some hundred keys and their values.
const MOST: u64 = 4 << 20;

/// What is signed and fingerprinted.
#[derive(Serialize, Deserialize)]
struct Document {
    accepted: String,
    facts: Facts,
}

/// The file: the text that was signed, and the signature over it.
#[derive(Serialize, Deserialize)]
struct File {
    /// The document as text, so that the bytes that were signed are the bytes that are read.
    document: String,
    signature: String,
    key: String,
}

/// A baseline, read or to be kept.
pub(super) struct Signed {
    pub(super) accepted: String,
    pub(super) facts: Facts,
    text: String,
    file: Option<File>,
}

fn path(home: &Home) -> PathBuf {
    home.state().join("baseline.json")
}

fn key_path(home: &Home) -> PathBuf {
    home.secrets().join("baseline.key")
}

impl Signed {
    /// One that is not kept yet.
    pub(super) fn draft(facts: Facts, now: UnixTime) -> Result<Self, Failure> {
        let accepted = now.to_string();
        let document = Document { accepted, facts };
        let text = super::json_text(&document)?;
        Ok(Self {
            accepted: document.accepted,
            facts: document.facts,
            text,
            file: None,
        })
    }

    /// The hash of the document.
    pub(super) fn fingerprint(&self) -> String {
        sha256_hex(self.text.as_bytes())
    }

    /// Signs it and puts it in the place of the one before.
    pub(super) fn keep(self, home: &Home) -> Result<(), String> {
        let key = key(home)?;
        let file = File {
            signature: hex(key.sign(self.text.as_bytes()).as_ref()),
            key: hex(key.public_key().as_ref()),
            document: self.text,
        };
        let text = serde_json::to_string(&file).map_err(|e| e.to_string())?;
        put(&path(home), text.as_bytes(), true)
    }

    /// The accepted one, if there is one.
    pub(super) fn read(home: &Home) -> Result<Option<Self>, Failure> {
        let path = path(home);
        let damaged = |why: &dyn std::fmt::Display| {
            Failure::new(
                Exit::Tampered,
                format!("{} is damaged: {why}", path.display()),
            )
            .hint("look at what is in force, then: clawdbot security baseline accept")
        };
        let text = match bounded(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let file: File = serde_json::from_str(&text).map_err(|e| damaged(&e))?;
        let document: Document = serde_json::from_str(&file.document).map_err(|e| damaged(&e))?;
        Ok(Some(Self {
            accepted: document.accepted,
            facts: document.facts,
            text: file.document.clone(),
            file: Some(file),
        }))
    }

    /// Why this is not the one that was accepted, if it is not.
    pub(super) fn doubt(&self, home: &Home, wanted: Option<&str>) -> Option<String> {
        let fingerprint = self.fingerprint();
        if wanted.is_some_and(|wanted| wanted.trim() != fingerprint) {
            return Some(format!("its fingerprint is {fingerprint}"));
        }
        if !self.is_signed(home) {
            return Some("its signature is not that of this home's key".to_owned());
        }
        match newest_accepted(home) {
            Some(newest) if newest == fingerprint => None,
            Some(newest) => Some(format!(
                "the audit log has {newest} for the newest one that was accepted, and this is {fingerprint}"
            )),
            // With the guide's settings the log keeps it; one that is off or pruned has nothing to say.
            None => None,
        }
    }

    fn is_signed(&self, home: &Home) -> bool {
        let Some(file) = &self.file else {
            return false;
        };
        let Ok(own) = read_key(home) else {
            return false;
        };
        let own = own.public_key().as_ref().to_vec();
        let Some(signature) = unhex(&file.signature) else {
            return false;
        };
        // The key in the file is for people who want to compare; only our own is believed.
        file.key == hex(&own)
            && UnparsedPublicKey::new(&ED25519, own)
                .verify(self.text.as_bytes(), &signature)
                .is_ok()
    }
}

/// The fingerprint that was accepted last, as the audit log tells.
fn newest_accepted(home: &Home) -> Option<String> {
    #[derive(Deserialize)]
    struct Accepted {
        event: String,
        outcome: String,
        fingerprint: String,
    }
    let mut records = Records::open(&home.logs()).ok()?;
    let mut newest = None;
    while let Ok(Some(line)) = records.read() {
        if !line.contains("security.baseline.accepted") {
            continue;
        }
        // The text may stand in another record; only our own event counts, and only once it is done.
        if let Ok(accepted) = serde_json::from_str::<Accepted>(line)
            && accepted.event == "security.baseline.accepted"
            && accepted.outcome == "ok"
        {
            newest = Some(accepted.fingerprint);
        }
    }
    newest
}

fn read_key(home: &Home) -> Result<Ed25519KeyPair, String> {
    let bytes = std::fs::read(key_path(home)).map_err(|e| e.to_string())?;
    Ed25519KeyPair::from_pkcs8(&bytes).map_err(|e| e.to_string())
}

/// The key of this home, made when it is missing.
fn key(home: &Home) -> Result<Ed25519KeyPair, String> {
    if !key_path(home).exists() {
        let made =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|e| e.to_string())?;
        put(&key_path(home), made.as_ref(), false)?;
    }
    read_key(home)
}

/// A whole file, 0600 and durable. What is there stays unless it is to be replaced.
fn put(path: &Path, bytes: &[u8], replace: bool) -> Result<(), String> {
    let shown = |e: std::io::Error| format!("{}: {e}", path.display());
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).map_err(shown)?;
    let target = if replace {
        path.with_extension("new")
    } else {
        path.to_owned()
    };
    let mut options = std::fs::OpenOptions::new();
    options
        .write(true)
        .mode(0o600)
        .create(true)
        .truncate(replace)
        .create_new(!replace);
    let mut file = options.open(&target).map_err(shown)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .map_err(shown)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(shown)?;
    if replace {
        std::fs::rename(&target, path).map_err(shown)?;
    }
    let folder = std::fs::File::open(folder).map_err(shown)?;
    folder.sync_all().map_err(shown)
}

fn bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MOST)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2).map(|at| {
        let pair = text.get(at..at + 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    pairs.collect()
}
