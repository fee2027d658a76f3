//! The root of a call: an empty file system with the granted paths mounted at their own names, and
//! nothing else of this machine.

use super::kept::Plan;
use super::mount;
use crate::child::{Fell, Step as _};
use crate::confinement::{Grant, Rights};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::io;
use std::path::{Path, PathBuf};

/// In a mount namespace of its own: builds the root and makes it the only thing there is.
pub(super) fn build(plan: &Plan) -> Result<(), Fell> {
    mount::cut_off().step("cutting off mounts")?;
    let trees = trees(plan)?;
    let root = mount::empty().step("making an empty root")?;
    // Over /proc, which exists everywhere and which nothing below asks for any more.
    mount::attach(&root, rustix::fs::CWD, Path::new("/proc")).step("attaching the root")?;
    for (path, is_folder, tree) in &trees {
        let below = below(path);
        place(&root, below, *is_folder).step("making a place to mount at")?;
        match mount::attach(tree, &root, below) {
            Ok(()) => {}
            // A copy of what is gone by now is not mounted; without a mount it stays out of reach.
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_gone(path) => {}
            Err(error) => {
                return Err(Fell {
                    step: "mounting",
                    why: format!("{}: {error}", path.display()),
                });
            }
        }
    }
    for (path, target) in &plan.links {
        link(&root, below(path), target).step("making a link")?;
    }
    // The root alone: what is mounted below it has rights of its own.
    mount::read_only(&root).step("making the root read-only")?;
    mount::make_root(&root).step("changing the root")
}

fn is_gone(path: &Path) -> bool {
    rustix::fs::stat(path).err() == Some(Errno::NOENT)
}

type Tree = (PathBuf, bool, OwnedFd);

/// Everything that is to be mounted, taken while its path still leads somewhere; parents first.
fn trees(plan: &Plan) -> Result<Vec<Tree>, Fell> {
    let mut grants: Vec<&Grant> = plan.grants.iter().collect();
    grants.sort();
    let mut trees: Vec<Tree> = Vec::with_capacity(grants.len());
    for grant in grants {
        let is_workspace = grant.path == plan.workspace;
        let covered = trees.iter().any(|(path, ..)| grant.path.starts_with(path));
        if covered && !is_workspace {
            continue;
        }
        let said = |error: io::Error| Fell {
            step: "taking a granted path",
            why: format!("{}: {error}", grant.path.display()),
        };
        // Gone since it was listed: without a mount it stays out of reach.
        let Ok(found) = rustix::fs::stat(&grant.path) else {
            continue;
        };
        let kind = FileType::from_raw_mode(found.st_mode);
        let tree = match mount::copy_of(&grant.path) {
            Ok(tree) => tree,
            // Gone even since the line above: where the home's siblings are granted one by one, they come and go.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(said(error)),
        };
        mount::forbid(&tree, forbidden(grant.rights, kind, is_workspace)).map_err(said)?;
        trees.push((grant.path.clone(), kind.is_dir(), tree));
    }
    Ok(trees)
}

/// What a mount never allows, whatever else fails. Not `noexec` for the system: libraries are mapped to be
/// executed. But for the workspace, where the dynamic loader would otherwise start what a tool wrote.
fn forbidden(rights: Rights, kind: FileType, is_workspace: bool) -> MountAttrFlags {
    let mut all = MountAttrFlags::MOUNT_ATTR_NOSUID;
    if rights == Rights::All {
        return all;
    }
    if kind == FileType::CharacterDevice || is_workspace {
        all |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    if kind != FileType::CharacterDevice {
        all |= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    if matches!(rights, Rights::Read | Rights::ReadExecute) && kind != FileType::CharacterDevice {
        all |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    all
}

/// Something to mount at: folders on the way, and a folder or an empty file.
fn place(root: &OwnedFd, path: &Path, is_folder: bool) -> io::Result<()> {
    let (folders, file) = if is_folder {
        (Some(path), None)
    } else {
        (path.parent(), Some(path))
    };
    if let Some(folders) = folders {
        make_folders(root, folders)?;
    }
    if let Some(file) = file {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(root, file, flags, Mode::from_raw_mode(0o444)) {
            // It is there when it lies beneath something that is mounted already.
            Ok(_) | Err(Errno::EXIST | Errno::ROFS | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn make_folders(root: &OwnedFd, path: &Path) -> io::Result<()> {
    let mut at = PathBuf::new();
    for part in path.components() {
        at.push(part);
        match rustix::fs::mkdirat(root, &at, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn link(root: &OwnedFd, path: &Path, target: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        make_folders(root, folder)?;
    }
    match rustix::fs::symlinkat(target, root, path) {
        Ok(()) | Err(Errno::EXIST | Errno::ROFS | Errno::ACCESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn below(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
