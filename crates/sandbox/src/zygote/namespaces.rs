//! The namespaces: what the zygote enters once, and what each call gets of its own.
#![allow(
    unsafe_code,
    reason = "unshare is unsafe where it takes file descriptors along, which is not asked for here"
)]

use super::kept::{Kept, Made};
use super::{mount, root};
use crate::canary::Raised;
use crate::child::{Fell, Step as _, landlocked, process};
use crate::confinement::{Network, Profile, Walls};
use crate::wire::Header;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::io::{self, Read as _, Write as _};

/// Who a tool is inside: an ordinary user, whoever the gateway is outside.
const INSIDE: u32 = 1000;
/// The name of the machine inside.
const HOST: &[u8] = b"clawdbot-tool";
/// What each call gets a new one of.
const EACH: i32 =
    libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;

/// What the zygote holds.
pub(super) struct Namespaces {
    /// Its own mount namespace: a copy of the machine's, from which roots are made.
    home: OwnedFd,
    /// A network without an address, a route or a neighbour, shared by all calls.
    net: OwnedFd,
    /// `/proc` of the machine. Inside a root there is none.
    proc: OwnedFd,
    kept: Kept,
    is_root: bool,
}

impl Namespaces {
    /// Enters a user namespace with a mount namespace, and tries all that a call will need.
    pub(super) fn enter() -> Result<Self, Fell> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", folder, Mode::empty()).step("opening /proc")?;
        unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).step("user namespace")?;
        map(&proc, uid.as_raw(), gid.as_raw()).step("user namespace, identity")?;
        mount::listen_only().step("mount namespace")?;
        let mut namespaces = Self {
            home: link_of(&proc, "self/ns/mnt").step("mount namespace")?,
            net: empty_network(&proc)?,
            proc,
            kept: Kept::default(),
            is_root: uid.is_root(),
        };
        namespaces.try_a_call()?;
        Ok(namespaces)
    }

    /// What a call with this header will enter.
    pub(super) fn prepare(&mut self, header: &Header) -> Result<Place<'_>, Fell> {
        let (confinement, flags) = match header {
            Header::Run { confinement, .. } if confinement.walls == Walls::All => {
                (Some(confinement), EACH)
            }
            Header::Run { .. } => {
                return Err("the sandbox is switched off").step("namespaces");
            }
            Header::Canaries {
                layers: Raised::Pid,
            } => (None, libc::CLONE_NEWPID),
            Header::Canaries { .. } => (None, 0),
        };
        let (home, proc) = (&self.home, &self.proc);
        let made = self.kept.of(confinement, |plan| {
            unshare(UnshareFlags::NEWNS).step("mount namespace")?;
            let made = root::build(plan).and_then(|()| {
                Ok(Made {
                    root: Some(link_of(proc, "self/ns/mnt").step("mount namespace")?),
                    // Of the files that are in this root.
                    rules: confinement.map(landlocked::rules).transpose()?,
                })
            });
            // Back, whatever came of it: the next root is made from the whole machine again.
            move_into(home, LinkNameSpaceType::Mount).step("leaving the new root")?;
            made
        })?;
        let root = made.root.as_ref().ok_or("no root");
        let counted = confinement.is_some_and(|c| c.profile == Profile::Command);
        let alone = confinement.is_none_or(|c| c.network == Network::Denied);
        Ok(Place {
            flags,
            root: root.step("mount namespace")?,
            rules: made.rules.as_ref(),
            net: alone.then_some(&self.net),
            // The kernel does not count processes of the machine's root, whatever namespace it is in.
            counted: (counted && !self.is_root).then_some(&self.proc),
        })
    }

    /// A throw-away child that does all of it.
    fn try_a_call(&mut self) -> Result<(), Fell> {
        let header = Header::Canaries {
            layers: Raised::Nothing,
        };
        let counted = !self.is_root;
        let proc = self.proc.as_fd().try_clone_to_owned().step("trying")?;
        let mut place = self.prepare(&header)?;
        place.flags = EACH;
        place.counted = counted.then_some(&proc);
        report_of_child(EACH, || place.enter()).step("trying a call")
    }
}

/// What one child enters.
pub(crate) struct Place<'a> {
    flags: i32,
    root: &'a OwnedFd,
    rules: Option<&'a OwnedFd>,
    net: Option<&'a OwnedFd>,
    /// Set when processes are to be counted for this call alone.
    counted: Option<&'a OwnedFd>,
}

impl Place<'_> {
    /// The namespaces that the fork itself makes.
    pub(super) const fn flags(&self) -> i32 {
        self.flags
    }

    /// The Landlock rules for what is in the root.
    pub(super) const fn rules(&self) -> Option<&OwnedFd> {
        self.rules
    }

    /// All of it, in the forked child.
    pub(crate) fn enter(&self) -> Result<(), Fell> {
        self.enter_network().step("network namespace")?;
        rename_host().step("host-name namespace")?;
        let own = match self.counted {
            // While /proc can still be named.
            Some(proc) => Some(link_folder(proc, "self").step("own process folder")?),
            None => None,
        };
        self.enter_root().step("mount namespace")?;
        if let Some(own) = own {
            // Ours is not readable while it is not dumpable; it has nothing to hide yet.
            process::dumpable().step("user namespace of the call")?;
            unshare(UnshareFlags::NEWUSER).step("user namespace of the call")?;
            map_in(&own, "", INSIDE, INSIDE).step("user namespace of the call, identity")?;
        }
        Ok(())
    }

    /// The one layer, for a canary. Those that a fork makes are there already.
    pub(crate) fn raise(&self, layer: Raised) -> Result<(), Fell> {
        match layer {
            Raised::Mount => self.enter_root().step("mount namespace"),
            Raised::Net => self.enter_network().step("network namespace"),
            Raised::Ipc => unshare(UnshareFlags::NEWIPC).step("IPC namespace"),
            Raised::Uts => unshare(UnshareFlags::NEWUTS)
                .and_then(|()| rename_host())
                .step("host-name namespace"),
            Raised::Pid
            | Raised::Nothing
            | Raised::Privileges
            | Raised::Landlock
            | Raised::SeccompBuiltin
            | Raised::SeccompCommand => Ok(()),
        }
    }

    fn enter_root(&self) -> io::Result<()> {
        move_into(self.root, LinkNameSpaceType::Mount)
    }

    fn enter_network(&self) -> io::Result<()> {
        match self.net {
            Some(net) => move_into(net, LinkNameSpaceType::Network),
            None => Ok(()),
        }
    }
}

fn rename_host() -> io::Result<()> {
    Ok(rustix::system::sethostname(HOST)?)
}

fn unshare(what: UnshareFlags) -> io::Result<()> {
    // SAFETY: no descriptor table is unshared, and this process has one thread.
    Ok(unsafe { unshare_unsafe(what) }?)
}

fn move_into(namespace: &OwnedFd, kind: LinkNameSpaceType) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(kind))?)
}

fn link_of(proc: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(proc, name, flags, Mode::empty())?)
}

fn link_folder(proc: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(proc, name, flags, Mode::empty())?)
}

/// One user, one group, and no way to others.
fn map(proc: &OwnedFd, uid: u32, gid: u32) -> io::Result<()> {
    map_in(proc, "self/", uid, gid)
}

fn map_in(folder: &OwnedFd, below: &str, uid: u32, gid: u32) -> io::Result<()> {
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{INSIDE} {uid} 1\n")),
        ("gid_map", format!("{INSIDE} {gid} 1\n")),
    ] {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(folder, format!("{below}{file}"), flags, Mode::empty())?;
        std::fs::File::from(opened).write_all(text.as_bytes())?;
    }
    Ok(())
}

/// A network namespace in which nothing is up, not even loopback. Made in a fork, because the way back to
/// the machine's network would be closed.
fn empty_network(proc: &OwnedFd) -> Result<OwnedFd, Fell> {
    const STEP: &str = "network namespace";
    let (mut made, mut says) = io::pipe().step(STEP)?;
    let (held, holds) = io::pipe().step(STEP)?;
    match process::fork().step(STEP)? {
        None => {
            drop(holds);
            let said = match unshare(UnshareFlags::NEWNET) {
                Ok(()) => "+".to_owned(),
                Err(error) => error.to_string(),
            };
            let _ = says.write_all(said.as_bytes());
            drop(says);
            // Until the other side has opened it.
            let _ = (&held).read(&mut [0]);
            process::exit_now(0)
        }
        Some(child) => {
            drop((says, held));
            let mut said = String::new();
            made.read_to_string(&mut said).step(STEP)?;
            if said != "+" {
                return Err(said).step(STEP);
            }
            let net = link_of(proc, &format!("{child}/ns/net")).step(STEP)?;
            drop(holds);
            Ok(net)
        }
    }
}

/// Forks with these namespaces and says what became of the work in the child.
fn report_of_child(flags: i32, work: impl FnOnce() -> Result<(), Fell>) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    let (mut told, mut tells) = io::pipe().map_err(said)?;
    if process::fork_with(flags).map_err(said)?.is_none() {
        let outcome = work().map_or_else(|fell| fell.to_string(), |()| "+".to_owned());
        let _ = tells.write_all(outcome.as_bytes());
        process::exit_now(0)
    }
    drop(tells);
    let mut text = String::new();
    told.read_to_string(&mut text).map_err(said)?;
    if text == "+" { Ok(()) } else { Err(text) }
}
