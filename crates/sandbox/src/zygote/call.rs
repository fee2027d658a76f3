//! One request: a datagram that carries a header and the child's three pipes as descriptors.
#![allow(
    unsafe_code,
    reason = "the socket is standard input, borrowed by number; dup2 has no safe wrapper"
)]

use super::Hello;
use crate::child::{lifeline, process};
use crate::report::Report;
use crate::wire::{self, Header};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::PidfdFlags;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

/// A request that came in.
pub(super) struct Call {
    header: OwnedFd,
    stdin: OwnedFd,
    stdout: OwnedFd,
    control: OwnedFd,
    line: Option<OwnedFd>,
}

/// The socket to the gateway.
fn socket() -> BorrowedFd<'static> {
    // SAFETY: standard input is the socket for the whole life of a zygote; nothing closes it.
    unsafe { BorrowedFd::borrow_raw(0) }
}

/// Tells the gateway what this zygote can do.
pub(super) fn say(hello: &Hello) -> io::Result<()> {
    let text = serde_json::to_vec(hello)?;
    rustix::net::send(socket(), &text, SendFlags::NOSIGNAL)?;
    Ok(())
}

impl Call {
    /// Waits for the next one; none when the gateway is gone.
    pub(super) fn next() -> io::Result<Option<Self>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        loop {
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0; 1];
            let into = &mut [IoSliceMut::new(&mut byte)];
            match rustix::net::recvmsg(socket(), into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) if got.bytes == 0 => return Ok(None),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            let mut given: Vec<OwnedFd> = Vec::with_capacity(5);
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    given.extend(descriptors);
                }
            }
            let mut given = given.into_iter();
            // A request without its pipes has nobody to answer to.
            if let (Some(header), Some(stdin), Some(stdout), Some(control)) =
                (given.next(), given.next(), given.next(), given.next())
            {
                let line = given.next();
                return Ok(Some(Self {
                    header,
                    stdin,
                    stdout,
                    control,
                    line,
                }));
            }
        }
    }

    /// What the child is for. It comes from the gateway, which is trusted; the job, which is not, comes later
    /// and over another way.
    pub(super) fn header(&self) -> io::Result<Header> {
        let file = std::fs::File::from(self.header.as_fd().try_clone_to_owned()?);
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if length > wire::MOST_HEADER {
            return Err(io::Error::other("the header is too long"));
        }
        let mut text = vec![0; length];
        file.read_exact_at(&mut text, 0)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// In the child: says that it runs, and hands over its own pidfd, before it says anything else there.
    pub(super) fn tell_started(&self) -> io::Result<()> {
        let pidfd = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let given = [pidfd.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&given));
        let newline = [IoSlice::new(b"\n")];
        rustix::net::sendmsg(&self.control, &newline, &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Says why there is no child. The gateway may have given up on it.
    pub(super) fn tell(&self, report: &Report) {
        let _ = rustix::net::send(&self.control, &report.line(), SendFlags::NOSIGNAL);
    }

    /// Makes the pipes the standard descriptors of this process, and the line the one after them.
    pub(super) fn plug(&self) -> io::Result<()> {
        process::plug(self.stdin.as_raw_fd(), 0)?;
        process::plug(self.stdout.as_raw_fd(), 1)?;
        process::plug(self.control.as_raw_fd(), 2)?;
        lifeline::notice_children()
    }

    /// The child's line to the broker.
    pub(super) fn line(&self) -> Option<BorrowedFd<'_>> {
        self.line.as_ref().map(|line| line.as_fd())
    }
}
