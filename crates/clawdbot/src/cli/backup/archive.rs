//! The file of a backup: a tar archive that begins with a list of what is in it.
//!
//! Only three places of a home are ever written to one or taken from one; whatever else an archive
//! names is refused, and so are links, devices and paths that lead out.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

/// The layout below.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// Far above any list of a workspace under its quota.
const MAX_MANIFEST: u64 = 64 << 20;

/// The settings, in an archive and in a home.
pub(super) const CONFIG: &str = "config/gateway.json";
/// The sealed credentials.
pub(super) const VAULT: &str = "state/vault.db";
/// The folder that tools may touch.
pub(super) const WORKSPACE: &str = "workspace";

/// What an archive says it holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    /// The program that made it.
    pub(super) version: String,
    /// When, RFC 3339.
    pub(super) made: String,
    pub(super) files: Vec<Entry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) path: String,
    bytes: u64,
    sha256: String,
}

/// A file to be packed: its name in the archive, and where it is.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) file: PathBuf,
}

/// Writes a new archive. Never over another file.
pub(super) fn pack(to: &Path, made: String, sources: &[Source]) -> io::Result<Manifest> {
    let mut files = Vec::with_capacity(sources.len());
    for source in sources {
        let (bytes, sha256) = digest(&mut open(&source.file)?)?;
        files.push(Entry {
            path: source.path.clone(),
            bytes,
            sha256,
        });
    }
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made,
        files,
    };
    let out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let packed = write(out, &manifest, sources);
    if packed.is_err() {
        let _ = std::fs::remove_file(to);
    }
    packed.map(|()| manifest)
}

fn write(out: File, manifest: &Manifest, sources: &[Source]) -> io::Result<()> {
    let mut archive = tar::Builder::new(BufWriter::new(out));
    let list = serde_json::to_vec_pretty(manifest)?;
    append(&mut archive, MANIFEST, list.len() as u64, list.as_slice())?;
    for (source, entry) in sources.iter().zip(&manifest.files) {
        // Exactly as many bytes as were promised: a file that grew meanwhile is cut, one that shrank
        // fails, and one that changed is found out when it is unpacked.
        let file = open(&source.file)?.take(entry.bytes);
        append(&mut archive, &entry.path, entry.bytes, file)?;
    }
    let out = archive
        .into_inner()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    out.sync_all()
}

fn append(
    archive: &mut tar::Builder<BufWriter<File>>,
    path: &str,
    bytes: u64,
    data: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, path, data)
}

/// Unpacks a whole archive into an empty folder, holding it to its own list.
pub(super) fn unpack(from: &Path, into: &Path) -> io::Result<Manifest> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(from)?));
    let mut entries = archive.entries()?;
    let mut first = entries.next().ok_or_else(|| bad("it is empty"))??;
    if first.path()?.as_ref() != Path::new(MANIFEST) {
        return Err(bad("it does not begin with a list of what is in it"));
    }
    let mut list = Vec::new();
    first.by_ref().take(MAX_MANIFEST).read_to_end(&mut list)?;
    let manifest: Manifest = serde_json::from_slice(&list)?;
    if manifest.format != FORMAT {
        let why = format!(
            "its format is {}, this program knows {FORMAT}",
            manifest.format
        );
        return Err(bad(why));
    }
    for promised in &manifest.files {
        let mut entry = entries
            .next()
            .ok_or_else(|| bad(format!("it ends before {}", promised.path)))??;
        let path = entry.path()?.into_owned();
        let regular = entry.header().entry_type() == tar::EntryType::Regular;
        if path != Path::new(&promised.path) || !regular || entry.size() != promised.bytes {
            return Err(bad(format!(
                "it does not hold {} as its list says",
                promised.path
            )));
        }
        let target = into.join(inside(&path)?);
        let folder = target.parent().unwrap_or(into);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&target)?;
        io::copy(&mut entry, &mut file)?;
        file.rewind()?;
        if digest(&mut file)? != (promised.bytes, promised.sha256.clone()) {
            return Err(bad(format!(
                "{} was changed since it was packed",
                promised.path
            )));
        }
    }
    match entries.next() {
        None => Ok(manifest),
        Some(_) => Err(bad("it holds more than its list says")),
    }
}

/// The path, when it is one that a backup may hold.
fn inside(path: &Path) -> io::Result<&Path> {
    let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    let ours = path == Path::new(CONFIG)
        || path == Path::new(VAULT)
        || (path.starts_with(WORKSPACE) && path != Path::new(WORKSPACE));
    if plain && ours {
        Ok(path)
    } else {
        Err(bad(format!("{} has no place in a backup", path.display())))
    }
}

/// Without following a link that took the file's place.
fn open(path: &Path) -> io::Result<File> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new()
        .read(true)
        .custom_flags(nofollow)
        .open(path)
}

/// Length and SHA-256 of what is left to read.
pub(in crate::cli) fn digest(data: &mut impl Read) -> io::Result<(u64, String)> {
    struct Hash(Sha256, u64);
    impl Write for Hash {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            self.1 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hash = Hash(Sha256::new(), 0);
    io::copy(data, &mut hash)?;
    Ok((hash.1, clawdbot_domain::hex(&hash.0.finalize())))
}

fn bad(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}
