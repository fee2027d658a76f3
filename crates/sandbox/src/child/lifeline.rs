//! A built-in tool ends with its parent.
//!
//! `PR_SET_PDEATHSIG` would fire when the *thread* that started the child ends, and a runtime's threads
//! come and go. The parent's end of our standard input closes exactly when the parent is gone or has
//! given up on us: the kernel then sends `SIGIO`, on which we look and end. No thread, no loop.
#![allow(
    unsafe_code,
    reason = "fcntl(F_SETOWN), signal and poll have no safe wrapper here"
)]

use std::io;

/// Asks for `SIGIO` on standard input, and ignores it while the job still arrives there.
pub(super) fn prepare() -> io::Result<()> {
    set_handler(libc::SIGIO, libc::SIG_IGN)?;
    // SAFETY: plain numbers on a descriptor that stays open for the life of the process.
    let answer = unsafe {
        let answer = libc::fcntl(0, libc::F_SETOWN, libc::getpid());
        if answer < 0 {
            answer
        } else {
            libc::fcntl(0, libc::F_SETFL, libc::O_ASYNC)
        }
    };
    super::process::answered(answer.into())
}

/// From here on the parent's death is ours.
pub(super) fn tie() -> io::Result<()> {
    // A handler of our own: the first process of a namespace ignores what would only end it by default.
    let end: extern "C" fn(libc::c_int) = end;
    set_handler(libc::SIGIO, end as libc::sighandler_t)?;
    // It may have happened before the line above.
    if parent_is_gone(0)? {
        Err(io::Error::other("the process that asked is gone"))
    } else {
        Ok(())
    }
}

/// The kernel tells the reader of a pipe of what was written only after it has let him read it, so the
/// signal for the job may come when the job has been taken already: only a closed end is the end.
extern "C" fn end(_signal: libc::c_int) {
    if !matches!(parent_is_gone(0), Ok(false)) {
        super::process::exit_now(1)
    }
}

/// The kernel reaps the children of this process.
pub(crate) fn ignore_children() -> io::Result<()> {
    set_handler(libc::SIGCHLD, libc::SIG_IGN)
}

/// They are waited for again.
pub(crate) fn notice_children() -> io::Result<()> {
    set_handler(libc::SIGCHLD, libc::SIG_DFL)
}

/// Waits up to `wait_ms` for the parent's end of standard input to close.
pub(super) fn parent_is_gone(wait_ms: i32) -> io::Result<bool> {
    Ok(wait([(0, 0)], wait_ms)?.contains(&true))
}

/// Waits until one of the descriptors has something to say, at most `wait_ms`; says which have.
pub(super) fn wait<const N: usize>(
    asked: [(i32, libc::c_short); N],
    wait_ms: i32,
) -> io::Result<[bool; N]> {
    let mut polled = asked.map(|(fd, events)| libc::pollfd {
        fd,
        events,
        revents: 0,
    });
    // SAFETY: the kernel writes into `N` entries of a live array.
    let answer = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, wait_ms) };
    match super::process::answered(answer.into()) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Ok(()) | Err(_) => Ok(polled.map(|fd| fd.revents != 0)),
    }
}

fn set_handler(signal: i32, handler: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: the handler is a constant that runs no code of ours, or `end`, which only leaves.
    let before = unsafe { libc::signal(signal, handler) };
    if before == libc::SIG_ERR {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// In the zygote, once for all its children: every signal as a fresh program expects it, whatever the gateway or
/// whoever started it ignores. But for `SIGPIPE`: a closed pipe is an error here, not the end.
pub(crate) fn default_signals() -> io::Result<()> {
    for signal in 1..=64 {
        // The two that cannot be changed, and the two that libc keeps, answer EINVAL: as they should.
        let _ = set_handler(signal, libc::SIG_DFL);
    }
    set_handler(libc::SIGPIPE, libc::SIG_IGN)
}

/// The one that is still ignored, for a program. (`SIGCHLD` is noticed again, and handlers end with the start.)
pub(super) fn default_pipes() -> io::Result<()> {
    set_handler(libc::SIGPIPE, libc::SIG_DFL)
}
