//! The mount calls that have no safe wrapper, and the ones that need the same few words every time.
#![allow(unsafe_code, reason = "mount_setattr has no safe wrapper")]

use rustix::fd::{AsFd, OwnedFd};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// A copy of what is mounted at a path, attached nowhere.
pub(super) fn copy_of(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        // A trigger for an automounter is not ours to pull.
        | OpenTreeFlags::AT_NO_AUTOMOUNT;
    Ok(rustix::mount::open_tree(rustix::fs::CWD, path, flags)?)
}

/// A file system in memory for the folders that lead to granted paths.
pub(super) fn empty() -> io::Result<OwnedFd> {
    let made = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("size", "1m"), ("nr_inodes", "4096"), ("mode", "0755")] {
        rustix::mount::fsconfig_set_string(made.as_fd(), key, value)?;
    }
    rustix::mount::fsconfig_create(made.as_fd())?;
    Ok(rustix::mount::fsmount(
        made.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )?)
}

/// Attaches it at a path beneath an open folder; an empty path means the folder itself.
pub(super) fn attach(tree: &OwnedFd, folder: impl AsFd, path: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(
        tree.as_fd(),
        c"",
        folder.as_fd(),
        path,
        flags,
    )?)
}

/// Forbids something for the tree and all that is mounted below it. What the outer namespace forbade stays
/// forbidden.
pub(super) fn forbid(tree: &OwnedFd, what: MountAttrFlags) -> io::Result<()> {
    set(tree, what, libc::AT_RECURSIVE)
}

/// Forbids writing to this one mount, not to what is mounted below it.
pub(super) fn read_only(tree: &OwnedFd) -> io::Result<()> {
    set(tree, MountAttrFlags::MOUNT_ATTR_RDONLY, 0)
}

/// `struct mount_attr` of the kernel; libc does not have it.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

fn set(tree: &OwnedFd, what: MountAttrFlags, how: i32) -> io::Result<()> {
    let wanted = MountAttr {
        set: what.bits().into(),
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    // SAFETY: the kernel reads one structure of the size it is told, which lives until the call returns.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | how,
            &raw const wanted,
            size_of::<MountAttr>(),
        )
    };
    crate::child::process::answered(answer)
}

/// What is mounted outside later still arrives; nothing that we do leaves.
pub(super) fn listen_only() -> io::Result<()> {
    use rustix::mount::MountPropagationFlags as How;
    Ok(rustix::mount::mount_change(
        "/",
        How::DOWNSTREAM | How::REC,
    )?)
}

/// Nothing arrives and nothing leaves.
pub(super) fn cut_off() -> io::Result<()> {
    use rustix::mount::MountPropagationFlags as How;
    Ok(rustix::mount::mount_change("/", How::PRIVATE | How::REC)?)
}

/// Makes the folder the root of this mount namespace, and lets go of everything else.
pub(super) fn make_root(folder: &OwnedFd) -> io::Result<()> {
    rustix::process::fchdir(folder)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}
