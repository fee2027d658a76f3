//! A disk that can be cut off, stopped, and made to fail: a file served by nbdkit, mounted through
//! nbdfuse and a loop device. None of it needs a module of the kernel that a container host has not.
//!
//! Everything is mounted in a mount namespace of the test's own thread and of what it starts, so that
//! nothing is left behind, however a test ends.

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// Shows what was not flushed: a file whose data was not is empty after a cut.
    Xfs,
    /// The usual one.
    Ext4,
}

/// What a disk without power has of what was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// Everything it acknowledged: a disk without a cache of its own.
    WriteThrough,
    /// Only what was flushed: the worst a disk with a cache may do.
    LosesUnflushed,
}

/// A disk, mounted.
#[derive(Debug)]
pub struct Disk {
    dir: tempfile::TempDir,
    kind: FileSystem,
    mounted: PathBuf,
    server: Child,
    fuse: Child,
}

/// Runs a command of the system that the harness is made of.
///
/// # Panics
/// When it is missing or fails, naming it and the package it comes with.
#[track_caller]
pub fn tool(package: &str, command: &mut Command) {
    let ran = command.output().unwrap_or_else(|error| {
        panic!("{command:?} did not start ({error}): install {package}; ./test does it")
    });
    assert!(
        ran.status.success(),
        "{command:?} (of {package}; it needs root, /dev/fuse and loop devices) failed: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// From now on this thread, and what it starts, mounts for itself alone.
///
/// # Panics
/// When it may not, as only root may.
pub fn mount_for_this_test_alone() {
    #[expect(
        deprecated,
        reason = "unsafe only for the table of descriptors, which stays shared"
    )]
    let alone = rustix::thread::unshare(UnshareFlags::NEWNS);
    alone.expect("this test mounts disks: it must run as root");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).expect("mounts can be kept to this test");
}

impl Disk {
    /// A fresh disk, mounted over this folder, which is made. Call [`mount_for_this_test_alone`] first.
    ///
    /// # Panics
    /// When a tool is missing, or this is not root.
    pub fn new(kind: FileSystem, cache: Cache, over: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let image = dir.path().join("image");
        make(kind, &image);
        let (socket, pause) = (dir.path().join("nbd"), dir.path().join("pause"));
        let mut server = Command::new("nbdkit");
        server.arg("-f").arg("-U").arg(&socket);
        server.args(["--filter=pause", "--filter=error"]);
        if cache == Cache::LosesUnflushed {
            server.arg("--filter=cache");
        }
        server.arg("file").arg(&image);
        server.arg(format!("pause-control={}", pause.display()));
        let trigger = dir.path().join("failing");
        server.args(["error-pwrite=EIO", "error-pwrite-rate=100%"]);
        server.arg(format!("error-pwrite-file={}", trigger.display()));
        if cache == Cache::LosesUnflushed {
            server.args(["cache=writeback", "cache-on-read=false"]);
        }
        let quiet = server.stdout(Stdio::null()).stderr(Stdio::null());
        let server = quiet.spawn().expect("nbdkit is installed; ./test does it");
        appears(&socket);
        let device = dir.path().join("fuse");
        std::fs::create_dir(&device).expect("a folder can be made");
        let device = device.join("disk");
        let mut fuse = Command::new("nbdfuse");
        fuse.arg(&device).arg("--unix").arg(&socket);
        let quiet = fuse.stdout(Stdio::null()).stderr(Stdio::null());
        let fuse = quiet
            .spawn()
            .expect("nbdfuse (of libnbd-bin) is installed; ./test does it");
        appears(&device);
        mount(kind, &device, over);
        Self {
            dir,
            kind,
            mounted: over.to_owned(),
            server,
            fuse,
        }
    }

    /// What the disk has at this moment, as another disk: as if the power were cut now. It goes on
    /// afterwards.
    ///
    /// # Panics
    /// When the copy cannot be made.
    pub fn cut(&self, name: &str) -> PathBuf {
        self.stop();
        let cut = self.dir.path().join(name);
        let mut copying = Command::new("cp");
        copying.arg("--sparse=always");
        tool(
            "coreutils",
            copying.arg(self.dir.path().join("image")).arg(&cut),
        );
        self.resume();
        cut
    }

    /// Mounts a disk that was cut off over a folder, until that is unmounted.
    ///
    /// # Panics
    /// When its file system is beyond repair.
    pub fn mount_cut(&self, cut: &Path, over: &Path) {
        mount(self.kind, cut, over);
    }

    /// From now on nothing that is asked of the disk is answered, until [`resume`](Self::resume).
    ///
    /// # Panics
    /// When the disk does not take orders.
    pub fn stop(&self) {
        self.order(b'p', b'P');
    }

    /// The disk answers again.
    ///
    /// # Panics
    /// When the disk does not take orders.
    pub fn resume(&self) {
        self.order(b'r', b'R');
    }

    fn order(&self, order: u8, done: u8) {
        let control = self.dir.path().join("pause");
        let mut control = UnixStream::connect(control).expect("the disk takes orders");
        control.write_all(&[order]).expect("the disk takes orders");
        let mut answer = [0];
        let heard = control.read_exact(&mut answer);
        heard.expect("the disk says that it is done");
        assert_eq!(answer[0], done);
    }

    /// Every write fails, or none any more.
    ///
    /// # Panics
    /// When that cannot be said.
    pub fn fail(&self, failing: bool) {
        let trigger = self.dir.path().join("failing");
        let said = if failing {
            std::fs::write(trigger, "")
        } else {
            std::fs::remove_file(trigger)
        };
        said.expect("the disk can be made to fail");
    }

    /// Takes the disk out and puts it in again, which a file system that gave up needs.
    ///
    /// # Panics
    /// When it is in use, or its file system is beyond repair.
    pub fn remount(&self) {
        unmount(&self.mounted);
        // What was killed a moment ago may hold the file system in a namespace of its own; until that is gone
        // the one that gave up would be mounted again.
        let holders = || {
            let mounts = std::fs::read_dir("/proc").into_iter().flatten().flatten();
            let table =
                |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("mounts"));
            let here = self.mounted.to_string_lossy().into_owned();
            mounts
                .filter_map(|entry| table(entry).ok())
                .any(|mounts| mounts.contains(&here))
        };
        let give_up = Instant::now() + Duration::from_secs(20);
        while holders() {
            assert!(Instant::now() < give_up, "something still holds the disk");
            std::thread::sleep(Duration::from_millis(20));
        }
        mount(self.kind, &self.dir.path().join("fuse/disk"), &self.mounted);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The namespace ends with the test, so what is left of this here does not outlive it.
        let mut lazily = Command::new("umount");
        let _ = lazily.arg("-l").arg(&self.mounted).output();
        for child in [&mut self.fuse, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
        let device = self.dir.path().join("fuse");
        let _ = Command::new("umount").arg("-l").arg(device).output();
    }
}

fn make(kind: FileSystem, image: &Path) {
    let file = std::fs::File::create(image).expect("an image can be made");
    let (megabytes, package, command) = match kind {
        FileSystem::Xfs => (320, "xfsprogs", "mkfs.xfs"),
        FileSystem::Ext4 => (64, "e2fsprogs", "mkfs.ext4"),
    };
    file.set_len(megabytes << 20).expect("an image can be made");
    tool(package, Command::new(command).arg("-q").arg(image));
}

fn mount(kind: FileSystem, device: &Path, over: &Path) {
    std::fs::create_dir_all(over).expect("a folder can be made");
    let options = match kind {
        // A cut is mounted beside the disk it was cut from, and has its id.
        FileSystem::Xfs => "loop,nouuid",
        FileSystem::Ext4 => "loop",
    };
    let mut mounting = Command::new("mount");
    tool(
        "mount",
        mounting.args(["-o", options]).arg(device).arg(over),
    );
    let mut private = Command::new("chmod");
    tool("coreutils", private.arg("700").arg(over));
}

/// Unmounts what is mounted over a folder.
///
/// # Panics
/// When it is in use.
pub fn unmount(over: &Path) {
    tool("mount", Command::new("umount").arg(over));
}

fn appears(path: &Path) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        assert!(
            Instant::now() < give_up,
            "{} does not appear",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
