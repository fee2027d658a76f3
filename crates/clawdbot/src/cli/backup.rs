//! `clawdbot backup`: settings, sealed credentials and the workspace, in one file.
//!
//! Tokens are not in it, and neither is any key: a backup cannot bring a revoked token back, and whoever
//! finds one cannot open a credential. The audit log is not in it either, because a log that was put back
//! is one that was rolled back; `audit export` and a plain copy of its folder keep it.

mod archive;

pub(super) use archive::digest;

use super::config::change::{self, Consent};
use super::models::auth;
use super::record::{Record, settings};
use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::{note, say};
use archive::{CONFIG, Manifest, Source, VAULT, WORKSPACE};
use clap::{Args, Subcommand};
use clawdbot_config::Loaded;
use clawdbot_domain::{Event, UnixTime};
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Write settings, sealed credentials and the workspace to a new file
    Create {
        /// The file; never over another one
        file: PathBuf,
    },
    /// Check such a file, and put what it holds in the place of what is here
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The file
    file: PathBuf,
    /// Restore only when the file has this SHA-256, as `create` printed it
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Agree that credentials and workspace of this home give way
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    consent: Consent,
}

pub fn run(command: BackupCommand, home: &Home) -> CliResult {
    match command {
        BackupCommand::Create { file } => create(home, &file),
        BackupCommand::Restore(args) => restore(home, &args),
    }
}

fn create(home: &Home, file: &Path) -> CliResult {
    home.create().map_err(|e| cannot("open", home.root(), e))?;
    let loaded = settings(home)?;
    let record = Record::open(home, &loaded)?;
    let staging = Staging::new(home)?;
    let mut sources = Vec::new();
    if home.config_file().exists() {
        sources.push(Source {
            path: CONFIG.to_owned(),
            file: home.config_file(),
        });
    }
    let vault = auth::open(home)?;
    let copy = staging.0.join("vault.db");
    vault
        .copy_to(&copy)
        .map_err(|e| Failure::new(Exit::Io, e))?;
    sources.push(Source {
        path: VAULT.to_owned(),
        file: copy,
    });
    let skipped = list_files(&home.workspace(), WORKSPACE, &mut sources)
        .map_err(|e| cannot("read", &home.workspace(), e))?;
    let event = Event::BackupCreated {
        file: file.display().to_string(),
    };
    let made = UnixTime::now().to_string();
    let manifest = record.act_with(
        &event,
        || archive::pack(file, made, &sources),
        |e| cannot("write", file, e),
    )?;
    for path in skipped {
        note!("not in it: {} (no regular file)", path.display());
    }
    say!(
        "{}: {} files, sha256 {}",
        file.display(),
        manifest.files.len(),
        digest_of(file)?
    );
    note!(
        "tokens are not in it, and neither is the key of the credentials: keep that elsewhere \
         (clawdbot models auth list says where it is)"
    );
    Ok(Exit::Done)
}

/// Every regular file below a folder, in one order; returns what is none.
fn list_files(folder: &Path, name: &str, into: &mut Vec<Source>) -> io::Result<Vec<PathBuf>> {
    let mut skipped = Vec::new();
    let mut entries = std::fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (kind, file) = (entry.file_type()?, entry.path());
        match entry.file_name().to_str() {
            Some(own) if kind.is_dir() => {
                skipped.extend(list_files(&file, &format!("{name}/{own}"), into)?);
            }
            Some(own) if kind.is_file() => into.push(Source {
                path: format!("{name}/{own}"),
                file,
            }),
            Some(_) | None => skipped.push(file),
        }
    }
    Ok(skipped)
}

fn restore(home: &Home, args: &RestoreArgs) -> CliResult {
    let file = &args.file;
    let digest = digest_of(file)?;
    if let Some(wanted) = &args.sha256
        && !wanted.eq_ignore_ascii_case(&digest)
    {
        let why = format!("{} has the sha256 {digest}, not {wanted}", file.display());
        return Err(Failure::new(Exit::BadData, why));
    }
    home.create().map_err(|e| cannot("open", home.root(), e))?;
    not_running(&settings(home)?)?;
    let staging = Staging::new(home)?;
    // All of it is unpacked and checked before anything here gives way.
    let manifest = archive::unpack(file, &staging.0).map_err(|e| {
        Failure::new(Exit::BadData, format!("{}: {e}", file.display()))
            .hint("nothing was changed; take another backup")
    })?;
    let vault = auth::open(home)?;
    agree(
        home,
        args,
        vault.is_empty().map_err(|e| Failure::new(Exit::Io, e))?,
    )?;
    let event = Event::BackupRestored {
        sha256: digest,
        made: manifest.made.clone(),
        files: manifest.files.len() as u64,
    };
    // Settings first: what they weaken is asked about before anything else has changed.
    if staging.0.join(CONFIG).exists() {
        change::import(home, &staging.0.join(CONFIG), &args.consent)?;
    } else {
        change::reset(home, &args.consent)?;
    }
    let record = Record::open(home, &settings(home)?)?;
    let (credentials, aside) = record.act_with(
        &event,
        || put_back(home, &staging, &vault),
        |e| Failure::new(Exit::Io, e),
    )?;
    drop(record);
    tell(&manifest, credentials, aside.as_deref());
    // Locked is no failure of the restore: the key comes from elsewhere.
    if let Err(locked) = vault.check() {
        note!("the credentials stay sealed: {locked}");
    }
    Ok(Exit::Done)
}

/// A running gateway would go on in the workspace that was moved aside.
fn not_running(loaded: &Loaded) -> Result<(), Failure> {
    let gateway = SocketAddr::from(([127, 0, 0, 1], loaded.settings.gateway.port));
    match TcpStream::connect_timeout(&gateway, Duration::from_secs(1)) {
        Ok(_) => Err(Failure::new(
            Exit::TryAgain,
            format!("a gateway, or something else, answers at {gateway}"),
        )
        .hint("stop the gateway, restore, and start it again")),
        Err(_) => Ok(()),
    }
}

fn agree(home: &Home, args: &RestoreArgs, vault_is_empty: bool) -> Result<(), Failure> {
    let only_notes = std::fs::read_dir(home.workspace()).is_ok_and(|entries| entries.count() <= 1);
    if args.replace || (vault_is_empty && only_notes) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        "this home has credentials or a workspace of its own",
    )
    .hint("the same command with --replace; the workspace of now is kept beside the new one"))
}

type Restored = (usize, Option<PathBuf>);

/// Credentials in one transaction, the workspace in two renames: the one of now is kept.
fn put_back(
    home: &Home,
    staging: &Staging,
    vault: &clawdbot_auth::Vault,
) -> Result<Restored, String> {
    let mut credentials = 0;
    let sealed = staging.0.join(VAULT);
    if sealed.exists() {
        let restored = vault.replace_with(&sealed).map_err(|e| e.to_string())?;
        credentials = restored.len();
    }
    let restored = staging.0.join(WORKSPACE);
    if !restored.exists() {
        return Ok((credentials, None));
    }
    let now = UnixTime::now().to_string().replace(':', "-");
    let aside = home.root().join(format!("workspace.before-{now}"));
    let moved = std::fs::rename(home.workspace(), &aside)
        .and_then(|()| std::fs::rename(&restored, home.workspace()));
    moved.map_err(|e| format!("cannot put the workspace back: {e}"))?;
    Ok((credentials, Some(aside)))
}

fn tell(manifest: &Manifest, credentials: usize, aside: Option<&Path>) {
    say!(
        "restored what clawdbot {} packed at {}: {} files, {credentials} credentials",
        manifest.version,
        manifest.made,
        manifest.files.len()
    );
    if let Some(aside) = aside {
        say!("the workspace of before is in {}", aside.display());
    }
    say!("tokens are as they were here: a backup holds none");
    note!(
        "a credential that was given up since the backup was made is here again: clawdbot models auth list"
    );
}

/// A folder of the home for half-done things, gone when it is dropped.
struct Staging(PathBuf);

impl Staging {
    fn new(home: &Home) -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let folder = home.state().join(format!(".backup-{}", std::process::id()));
        // What a process of this number left behind when it was killed.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|e| cannot("create", &folder, e))?;
        Ok(Self(folder))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn digest_of(file: &Path) -> Result<String, Failure> {
    let digest = File::open(file).and_then(|mut file| digest(&mut file));
    Ok(digest.map_err(|e| cannot("read", file, e))?.1)
}

fn cannot(what: &str, path: &Path, error: impl Display) -> Failure {
    Failure::new(
        Exit::Io,
        format!("cannot {what} {}: {error}", path.display()),
    )
}
