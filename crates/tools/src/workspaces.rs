//! Which folder a call works in.
//!
//! All calls share one folder, or each session has one of its own: made with its first call, bounded, and gone
//! when it was not used for a while. A call outside any session works in the shared one.

use clawdbot_domain::{SessionId, Who, sha256_hex};
use clawdbot_sandbox::Limits;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The most entries of a workspace that are counted; one that holds more counts as full.
const MOST_ENTRIES: u64 = 200_000;
/// The deepest folder that is looked into.
const MOST_DEPTH: usize = 128;

/// Folders for sessions, and what each may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFolders {
    /// Where they are made. Nothing else lies there.
    pub folder: PathBuf,
    /// Bytes on disk that one may hold.
    pub most_bytes: u64,
    /// How long one is kept after its last use.
    pub keep: Duration,
}

/// Where calls work.
#[derive(Debug, Clone)]
pub struct Workspaces {
    shared: PathBuf,
    sessions: Option<SessionFolders>,
}

/// The folder of one call, and what is left in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    /// Bytes that may be added; none where there is no quota.
    left: Option<u64>,
    most: u64,
}

impl Workspaces {
    /// One folder for all.
    pub fn shared(folder: PathBuf) -> Self {
        Self {
            shared: folder,
            sessions: None,
        }
    }

    /// A folder for each session, and this one for calls outside any.
    pub fn of_sessions(shared: PathBuf, sessions: SessionFolders) -> Self {
        Self {
            shared,
            sessions: Some(sessions),
        }
    }

    /// The folder for a call of theirs; made when it is the first.
    pub(crate) fn place(&self, who: &Who) -> Result<Place, String> {
        let (Some(settings), Some(session)) = (&self.sessions, &who.session) else {
            return Ok(Place {
                folder: self.shared.clone(),
                left: None,
                most: 0,
            });
        };
        let folder = settings.folder.join(name_of(session));
        let said =
            |error: io::Error| format!("the session's workspace {}: {error}", folder.display());
        make(&settings.folder)
            .and_then(|()| make(&folder))
            .map_err(said)?;
        // When it was last used: clean-up goes by it, whatever is written deeper inside.
        let now = SystemTime::now();
        let touched = std::fs::File::open(&folder).and_then(|opened| {
            opened.set_times(
                std::fs::FileTimes::new()
                    .set_modified(now)
                    .set_accessed(now),
            )
        });
        touched.map_err(said)?;
        let held = held(&folder).min(settings.most_bytes);
        Ok(Place {
            left: Some(settings.most_bytes - held),
            most: settings.most_bytes,
            folder,
        })
    }

    /// The names of what is there and was not used for longer than it is kept, or whose session `is_over`.
    pub fn old(
        &self,
        now: SystemTime,
        is_over: impl Fn(&SessionId) -> bool,
    ) -> io::Result<Vec<String>> {
        let Some(settings) = &self.sessions else {
            return Ok(Vec::new());
        };
        let entries = match std::fs::read_dir(&settings.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut old = Vec::new();
        for entry in entries.flatten() {
            // A name that is no text was not made here.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let used = entry.metadata().and_then(|found| found.modified());
            // A clock that went back makes nothing old.
            let age = used.map(|used| now.duration_since(used).unwrap_or_default());
            if age.is_ok_and(|age| age > settings.keep) || is_over(&SessionId::new(name.as_str())) {
                old.push(name);
            }
        }
        Ok(old)
    }

    /// Removes one of them.
    pub fn remove_old(&self, name: &str) -> io::Result<bool> {
        match &self.sessions {
            Some(settings) if name == name_of(&SessionId::new(name)) => {
                remove(&settings.folder.join(name))
            }
            Some(_) | None => Ok(false),
        }
    }
}

impl Place {
    /// What a call that changes files may still add; an error in words when that is nothing.
    pub(crate) fn limits(&self, limits: Limits) -> Result<Limits, String> {
        match self.left {
            None => Ok(limits),
            Some(0) => Err(format!(
                "the session's workspace is full ({} bytes): nothing more is written there until something is \
                 removed, by a person or with a new session",
                self.most
            )),
            Some(left) => Ok(Limits {
                file_bytes: limits.file_bytes.min(left),
                added_bytes: limits.added_bytes.min(left),
                ..limits
            }),
        }
    }
}

/// A session's id is ours and plain; whatever else it were, it must not lead out of the folder.
fn name_of(session: &SessionId) -> String {
    let id = session.as_str();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
        id.to_owned()
    } else {
        format!("x{}", sha256_hex(id.as_bytes()))
    }
}

/// Nobody else on this machine looks inside.
fn make(folder: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ if !std::fs::symlink_metadata(folder)?.is_dir() => {
            Err(io::Error::other("something that is no folder stands there"))
        }
        _ => Ok(()),
    }
}

/// Follows no link (`remove_dir_all` works by descriptor), so a tool's links lead nowhere here.
fn remove(folder: &Path) -> io::Result<bool> {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Bytes on disk below a folder; everything when there are too many entries to tell.
fn held(folder: &Path) -> u64 {
    let (mut bytes, mut entries) = (0_u64, 0);
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((at, depth)) = open.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            entries += 1;
            if entries > MOST_ENTRIES || depth > MOST_DEPTH {
                return u64::MAX;
            }
            // Of the entry itself: a link is not followed.
            let Ok(found) = entry.metadata() else {
                continue;
            };
            bytes = bytes.saturating_add(found.blocks().saturating_mul(512));
            if found.is_dir() {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(session: &str) -> Who {
        Who {
            session: Some(SessionId::new(session)),
            ..Who::default()
        }
    }

    fn workspaces(root: &Path, most_bytes: u64) -> Workspaces {
        let sessions = SessionFolders {
            folder: root.join("workspaces"),
            most_bytes,
            keep: Duration::from_secs(3600),
        };
        Workspaces::of_sessions(root.join("workspace"), sessions)
    }

    #[test]
    fn each_session_has_its_own_folder_and_no_name_leads_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let all = workspaces(root.path(), 1 << 20);
        let folder = |id: &str| all.place(&who(id)).unwrap().folder;
        assert_eq!(folder("s-1"), root.path().join("workspaces/s-1"));
        assert_ne!(folder("s-1"), folder("s-2"));
        for odd in [
            "..",
            ".",
            "",
            "a/b",
            "/etc",
            "a\0b",
            "../workspace",
            &"a".repeat(65),
        ] {
            let folder = folder(odd);
            assert_eq!(
                folder.parent().unwrap(),
                root.path().join("workspaces"),
                "{odd:?}"
            );
            assert!(
                folder
                    .file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with('x')
            );
        }
        assert_eq!(
            all.place(&Who::default()).unwrap().folder,
            root.path().join("workspace")
        );
        let mode = std::fs::metadata(folder("s-1")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
        // What stands where a folder should be is not followed.
        std::os::unix::fs::symlink("/etc", root.path().join("workspaces/evil")).unwrap();
        assert!(all.place(&who("evil")).unwrap_err().contains("no folder"));
    }

    #[test]
    fn what_is_left_is_what_a_call_may_add_and_a_full_one_says_so() {
        let root = tempfile::tempdir().unwrap();
        let all = workspaces(root.path(), 64 << 10);
        let place = all.place(&who("s")).unwrap();
        assert_eq!(place.limits(Limits::COMMAND).unwrap().added_bytes, 64 << 10);
        std::fs::create_dir(place.folder.join("deep")).unwrap();
        std::fs::write(place.folder.join("deep/half"), vec![1; 32 << 10]).unwrap();
        let left = all
            .place(&who("s"))
            .unwrap()
            .limits(Limits::BUILTIN)
            .unwrap();
        assert!(left.file_bytes <= 32 << 10, "{left:?}");
        std::fs::write(place.folder.join("rest"), vec![1; 64 << 10]).unwrap();
        let full = all.place(&who("s")).unwrap().limits(Limits::BUILTIN);
        assert!(full.unwrap_err().contains("full"));
        assert_eq!(all.place(&who("t")).unwrap().left, Some(64 << 10));
    }

    #[test]
    fn what_was_not_used_for_long_is_removed_and_nothing_a_link_leads_to() {
        let root = tempfile::tempdir().unwrap();
        let all = workspaces(root.path(), 1 << 20);
        let old = all.place(&who("old")).unwrap().folder;
        let young = all.place(&who("young")).unwrap().folder;
        let outside = root.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, old.join("link")).unwrap();
        let later = SystemTime::now() + Duration::from_secs(3601);
        let opened = std::fs::File::open(&young).unwrap();
        opened.set_modified(later).unwrap();
        assert_eq!(all.old(later, |_| false).unwrap(), ["old"]);
        assert!(!all.remove_old("../outside").unwrap() && outside.exists());
        assert!(all.remove_old("old").unwrap());
        assert!(!old.exists() && young.exists() && outside.join("kept").exists());
        let over = |id: &SessionId| id.as_str() == "young";
        assert_eq!(all.old(SystemTime::now(), over).unwrap(), ["young"]);
        assert!(all.remove_old("young").unwrap() && !young.exists());
        assert!(!all.remove_old("young").unwrap());
    }
}
