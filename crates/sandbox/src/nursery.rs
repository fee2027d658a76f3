//! The gateway's side of the zygote: starts it, asks it for children.

use crate::launch::Launcher;
use crate::report::Report;
use crate::wire::Header;
use crate::zygote::{Hello, PLAIN};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How strongly calls are confined here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Tier {
    /// Namespaces and everything else.
    #[serde(rename = "T1")]
    Namespaces,
    /// Everything that needs no namespace: the tier of a hardened container.
    #[serde(rename = "T3")]
    Bare,
}

impl Tier {
    /// Its name in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "T1",
            Self::Bare => "T3",
        }
    }
}

impl std::str::FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "T1" => Ok(Self::Namespaces),
            "T3" => Ok(Self::Bare),
            _ => Err(format!("{text:?} is no tier; there are T1 and T3")),
        }
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A zygote that was started. Start it first, before settings and secrets are read: it prepares itself
/// meanwhile. A zygote that has died is started anew by the next call.
#[derive(Debug)]
pub struct Zygote {
    launcher: Launcher,
    plain: bool,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    socket: OwnedFd,
    started: Option<Child>,
    /// Once it was said.
    hello: Option<Hello>,
}

/// The most of a job that is written ahead, bytes: what the smallest pipe holds.
pub(crate) const AHEAD: usize = 4096;

/// A child that was asked for, with our ends of its pipes.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) stdin: PipeWriter,
    pub(crate) stdout: PipeReader,
    /// First its pidfd or why there is no child, then what it reports.
    pub(crate) control: UnixStream,
}

impl Zygote {
    /// Starts one from this very binary.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Launcher::this_binary())
    }

    /// Starts one from another binary that knows how to be one.
    pub fn start_with(launcher: Launcher) -> io::Result<Self> {
        Self::begin(launcher, false)
    }

    /// The same without trying namespaces, as where the kernel allows none.
    pub fn start_bare(launcher: Launcher) -> io::Result<Self> {
        Self::begin(launcher, true)
    }

    fn begin(launcher: Launcher, plain: bool) -> io::Result<Self> {
        let running = Mutex::new(Running::start(&launcher, plain)?);
        Ok(Self {
            launcher,
            plain,
            running,
        })
    }

    pub(crate) fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// The tier that the zygote reached; for T3, why not more. Waits until it is known.
    pub(crate) fn tier(&self) -> io::Result<(Tier, Option<String>)> {
        Ok(match self.running().hello()? {
            Hello::Namespaces => (Tier::Namespaces, None),
            Hello::Bare { why } => (Tier::Bare, Some(why.clone())),
            Hello::Not { why } => return Err(io::Error::other(why.clone())),
        })
    }

    /// Asks for a child. Takes as long as a datagram; what comes of it arrives on `control`. The start of its job is in
    /// its pipe before it exists, so that it need not wait for this process to be scheduled again.
    pub(crate) fn ask(
        &self,
        header: &Header,
        line: Option<&OwnedFd>,
        first: &[u8],
    ) -> io::Result<Asked> {
        let header = in_memory(header)?;
        let (their_in, mut stdin) = io::pipe()?;
        // A new pipe holds a page without waiting for a reader.
        stdin.write_all(first)?;
        let (stdout, their_out) = io::pipe()?;
        let (control, theirs) = UnixStream::pair()?;
        let mut given = vec![
            header.as_fd(),
            their_in.as_fd(),
            their_out.as_fd(),
            theirs.as_fd(),
        ];
        given.extend(line.map(|line| line.as_fd()));
        self.send(&given)?;
        Ok(Asked {
            stdin,
            stdout,
            control,
        })
    }

    /// Sends a request, to a new zygote if the old one is gone. A new one must reach the tier that was
    /// proven.
    fn send(&self, given: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut running = self.running();
        match running.send(given) {
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => {}
            answer => return Ok(answer?),
        }
        let was = matches!(running.hello, Some(Hello::Namespaces));
        let mut new = Running::start(&self.launcher, self.plain)?;
        let is = *new.hello()? == Hello::Namespaces;
        if was != is {
            return Err(io::Error::other(
                "the process that starts tools was replaced, and the new one is not as confined",
            ));
        }
        *running = new;
        Ok(running.send(given)?)
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn start(launcher: &Launcher, plain: bool) -> io::Result<Self> {
        let (socket, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let mut command = launcher.command();
        if plain {
            command.arg(PLAIN);
        }
        let started = command
            // The other side of the environment canary, and nothing else.
            .env("CLAWDBOT_CANARY", "1")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            socket,
            started: Some(started),
            hello: None,
        })
    }

    fn hello(&mut self) -> io::Result<&Hello> {
        if self.hello.is_none() {
            let mut text = [0; 4096];
            let (length, _) = rustix::net::recv(&self.socket, &mut text, RecvFlags::empty())?;
            let said = text.get(..length).unwrap_or_default();
            let hello = serde_json::from_slice(said)
                .map_err(|_| io::Error::other("it ended without a word"))?;
            if let Hello::Not { why } = hello {
                return Err(io::Error::other(why));
            }
            if hello == Hello::Namespaces
                && let Some(mut first) = self.started.take()
            {
                // Its place was taken by a process of its own; this one is over.
                first.wait()?;
            }
            self.hello = Some(hello);
        }
        self.hello
            .as_ref()
            .ok_or_else(|| io::Error::other("it ended without a word"))
    }

    fn send(&self, given: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(given));
        let byte = [IoSlice::new(b"?")];
        rustix::net::sendmsg(&self.socket, &byte, &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends when its socket closes; here we only see to it that no zombie is left.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        if let Some(child) = &mut self.started {
            let _ = child.wait();
        }
    }
}

fn in_memory(header: &Header) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("header", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(&serde_json::to_vec(header)?)?;
    Ok(file.into())
}

/// Takes the first message of a child: its pidfd, or why there is none. `WouldBlock` when it is not there yet
/// and the socket does not wait.
pub(crate) fn take_pidfd(control: &impl rustix::fd::AsFd) -> io::Result<Result<OwnedFd, Report>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 4096];
    let into = &mut [IoSliceMut::new(&mut text)];
    let got = rustix::net::recvmsg(control, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut given) = message
            && let Some(pidfd) = given.next()
        {
            return Ok(Ok(pidfd));
        }
    }
    let said = text.get(..got.bytes).unwrap_or_default();
    match Report::last_in(said) {
        Some(report) => Ok(Err(report)),
        None => Err(io::Error::other("the zygote gave no answer")),
    }
}
