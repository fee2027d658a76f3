//! `clawdbot home`: the folder that everything lives in.

use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::{note, say};
use clap::Subcommand;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use std::path::Path;
use std::str::FromStr;

#[derive(Debug, Subcommand)]
pub enum HomeCommand {
    /// Print where it is
    Path,
    /// Give a new home to the user who will run the gateway. A container engine makes a missing folder as
    /// root; whatever is not empty, or is not root's, stays as it is
    Give {
        /// User and group, as numbers
        #[arg(value_name = "UID:GID")]
        owner: Owner,
    },
}

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    uid: u32,
    gid: u32,
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The kernel takes the last number for "leave as it is".
        let number = |text: &str| text.parse().ok().filter(|id| *id != u32::MAX);
        let both = text.split_once(':');
        both.and_then(|(uid, gid)| Some((number(uid)?, number(gid)?)))
            .map(|(uid, gid)| Self { uid, gid })
            .ok_or_else(|| "must be two numbers, such as 1000:1000".to_owned())
    }
}

pub fn run(command: &HomeCommand, home: &Home) -> CliResult {
    match command {
        HomeCommand::Path => {
            say!("{}", home.root().display());
            Ok(Exit::Done)
        }
        HomeCommand::Give { owner } => give(home.root(), *owner),
    }
}

/// By descriptor from the first look to the change, so that nobody puts another folder in its place.
fn give(root: &Path, owner: Owner) -> CliResult {
    let failed = |error: rustix::io::Errno| {
        Failure::new(Exit::Io, format!("cannot give {}: {error}", root.display()))
    };
    // Only named at first: root without a capability may not read what it has given away.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let named = rustix::fs::open(root, flags, Mode::empty()).map_err(failed)?;
    let now = rustix::fs::fstat(&named).map_err(failed)?.st_uid;
    if now == owner.uid {
        return Ok(Exit::Done);
    }
    if now != 0 {
        note!(
            "{} belongs to user {now} and stays so; the gateway runs as user {}",
            root.display(),
            owner.uid
        );
        return Ok(Exit::Done);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(&named, ".", flags, Mode::empty()).map_err(failed)?;
    let entries = rustix::fs::Dir::read_from(&folder).map_err(failed)?;
    let mut inside = entries
        .filter_map(Result::ok)
        .map(|e| e.file_name().to_bytes().to_owned());
    if inside.any(|name| name != b"." && name != b"..") {
        note!(
            "{} is root's and not empty: it stays as it is",
            root.display()
        );
        return Ok(Exit::Done);
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    // Before it is given away, so that it never stands open in another's name.
    rustix::fs::fchmod(&folder, Mode::RWXU).map_err(failed)?;
    rustix::fs::chownat(&folder, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(failed)?;
    note!("{} is now user {}'s", root.display(), owner.uid);
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn an_owner_is_two_numbers_and_nothing_that_the_kernel_reads_differently() {
        let right = "1000:100".parse::<Owner>();
        assert_eq!(
            right,
            Ok(Owner {
                uid: 1000,
                gid: 100
            })
        );
        for wrong in [
            "",
            "1000",
            "1000:",
            ":1",
            "root:root",
            "-1:-1",
            "1:2:3",
            "4294967295:1",
        ] {
            assert!(wrong.parse::<Owner>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_new_home_of_roots_is_given_and_any_other_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("home");
        std::fs::create_dir(&root).unwrap();
        let owner = |path: &Path| std::fs::symlink_metadata(path).unwrap().uid();
        let mine = owner(&root);
        let to = |uid| Owner { uid, gid: uid };
        if mine != 0 {
            // An ordinary user cannot give; what is not root's is not touched either.
            give(&root, to(mine + 1)).unwrap();
            assert_eq!(owner(&root), mine);
            return;
        }
        std::fs::write(root.join("kept"), "").unwrap();
        give(&root, to(1234)).unwrap();
        assert_eq!(owner(&root), 0, "somebody's things are in it");
        std::fs::remove_file(root.join("kept")).unwrap();
        give(&root, to(1234)).unwrap();
        let found = std::fs::metadata(&root).unwrap();
        assert_eq!((found.uid(), found.gid()), (1234, 1234));
        assert_eq!(found.permissions().mode() & 0o777, 0o700);
        give(&root, to(1235)).unwrap();
        assert_eq!(owner(&root), 1234, "it is not taken away from anybody");
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(
            give(
                &link,
                Owner {
                    uid: 1234,
                    gid: 1234
                }
            )
            .is_err()
        );
    }
}
