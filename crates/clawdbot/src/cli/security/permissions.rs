//! Who on this machine may read and change what lies in the home.

use super::{Finding, Severity};
use crate::home::Home;
use rustix::fs::{Mode, OFlags};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// So many files of one folder are looked at.
const MOST: usize = 10_000;

/// What others may do with a file or a folder.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// The folders of the home but the workspace, whose files are the user's own business.
fn folders(home: &Home) -> [PathBuf; 4] {
    [
        home.secrets(),
        home.state(),
        home.logs(),
        home.root().join("config"),
    ]
}

/// The folder and what lies in it.
fn within(folder: &Path) -> Vec<(PathBuf, Metadata)> {
    let inside = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = std::iter::once(folder.to_owned()).chain(inside.take(MOST).map(|one| one.path()));
    let looked = paths.filter_map(|path| {
        let meta = std::fs::symlink_metadata(&path).ok()?;
        Some((path, meta))
    });
    looked.collect()
}

/// The secrets that others may read.
pub(super) fn open_secrets(home: &Home) -> Vec<String> {
    let open = |(_, meta): &(PathBuf, Metadata)| !meta.is_symlink() && meta.mode() & OTHERS != 0;
    let all = within(&home.secrets()).into_iter().filter(open);
    all.map(|(path, _)| path.display().to_string()).collect()
}

/// Everything that others may read or change, or that is another user's. With `fix`, what only takes
/// rights away is mended on the way.
pub(super) fn look(home: &Home, fix: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let root = std::fs::symlink_metadata(home.root());
    if let Ok(meta) = root {
        judge(home.root(), &meta, OTHERS_WRITE, fix, &mut found);
    }
    for folder in folders(home) {
        for (path, meta) in within(&folder) {
            judge(&path, &meta, OTHERS, fix, &mut found);
        }
    }
    found
}

fn judge(path: &Path, meta: &Metadata, forbidden: u32, fix: bool, found: &mut Vec<Finding>) {
    let (shown, id) = (path.display(), format!("permissions.{}", name_of(path)));
    let (mode, mine) = (meta.mode() & 0o7777, rustix::process::geteuid().as_raw());
    if meta.is_symlink() {
        found.push(Finding::new(
            id,
            Severity::Fail,
            format!("{shown} is a link"),
            "whoever may change what it points to changes the gateway",
            format!("put the file itself in the place of {shown}"),
        ));
        return;
    }
    if meta.uid() != mine {
        found.push(Finding::new(
            id,
            Severity::Fail,
            format!("{shown} belongs to user {}, not to {mine}", meta.uid()),
            "its owner may read and change it, whatever its permissions",
            format!("chown {mine} '{shown}'"),
        ));
        return;
    }
    if mode & forbidden == 0 {
        return;
    }
    let writes = mode & OTHERS_WRITE != 0;
    let secret = path.components().any(|part| part.as_os_str() == "secrets");
    let mended = mode & !OTHERS;
    let mut finding = Finding::new(
        id,
        if writes || secret {
            Severity::Fail
        } else {
            Severity::Warn
        },
        format!(
            "{shown} has mode {mode:03o}: others may {}",
            if writes { "change it" } else { "read it" }
        ),
        "other users and programs of this machine are not who the gateway works for",
        format!("chmod {mended:03o} '{shown}'   (clawdbot security audit --fix does it)"),
    );
    finding.fixed = fix && close(path, meta, mended);
    found.push(finding);
}

/// Takes rights away from the very file that was looked at, and from nothing put in its place since.
fn close(path: &Path, meta: &Metadata, mode: u32) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else {
        return false;
    };
    let same = rustix::fs::fstat(&file)
        .is_ok_and(|now| now.st_ino == meta.ino() && now.st_dev == meta.dev());
    same && rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).is_ok()
}

fn name_of(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let name = path.file_name().unwrap_or_default();
    format!("{}/{}", folder.to_string_lossy(), name.to_string_lossy())
}
