//! The few system calls on oneself that have no safe wrapper, and the checks that use them.
#![allow(
    unsafe_code,
    reason = "close_range, kill(-1), execve and ptrace have no safe wrapper; each block argues for itself"
)]

use rustix::process::{DumpableBehavior, Pid, set_dumpable_behavior, test_kill_process};
use std::io;

/// Closes every descriptor from 3 on.
pub(super) fn close_all_but_the_pipes() -> io::Result<()> {
    // SAFETY: this is the first thing `main` does in this process: nothing owns a descriptor above 2 yet,
    // so none is pulled from under its owner.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    answered(answer)
}

/// Makes every descriptor from 3 on close when a program starts.
pub(super) fn close_on_start() -> io::Result<()> {
    // SAFETY: the call sets a flag and closes nothing.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    answered(answer)
}

/// Own session (no terminal, no group shared with the gateway), private files, and nothing of this
/// process to be read by others of the same user.
pub(super) fn alone() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// A child whose parent is gone has nobody to work for.
pub(super) fn is_parent(parent: i32) -> io::Result<()> {
    if rustix::process::getppid()
        .map(Pid::as_raw_nonzero)
        .map(std::num::NonZeroI32::get)
        == Some(parent)
    {
        Ok(())
    } else {
        Err(io::Error::other("the process that asked is gone"))
    }
}

/// A signal reaches the parent: what the scope takes away is really there to be taken.
pub(super) fn can_signal(parent: i32) -> io::Result<()> {
    Ok(test_kill_process(pid(parent)?)?)
}

/// A signal does not reach the parent any more.
pub(super) fn cannot_signal(parent: i32) -> io::Result<()> {
    match test_kill_process(pid(parent)?) {
        Err(rustix::io::Errno::PERM) => Ok(()),
        Ok(()) => Err(io::Error::other("a signal still reaches the gateway")),
        Err(other) => Err(other.into()),
    }
}

/// Kills every process this one may signal. Only to be called inside the signal scope.
pub(super) fn kill_everything_in_scope() -> io::Result<()> {
    // SAFETY: no memory is involved; what it reaches was limited to this Landlock domain and checked by
    // `cannot_signal` before.
    let answer = unsafe { libc::kill(-1, libc::SIGKILL) };
    match answered(answer.into()) {
        // Nobody left.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        answer => answer,
    }
}

/// A canary: starting a program that has no name. `ENOENT` means that the call was made.
pub(crate) fn start_nothing() -> io::Result<()> {
    let nothing = [std::ptr::null::<libc::c_char>()];
    // SAFETY: the name is a C string, both lists end with a null; an empty name is never started.
    let answer = unsafe { libc::execve(c"".as_ptr(), nothing.as_ptr(), nothing.as_ptr()) };
    answered(answer.into())
}

/// A canary: looking into a process that does not exist. `ESRCH` means that the call was made.
pub(crate) fn inspect_nobody() -> io::Result<()> {
    // SAFETY: no process has this number, so the kernel finds nobody and touches nothing.
    let answer = unsafe { libc::ptrace(libc::PTRACE_ATTACH, libc::pid_t::MAX, 0, 0) };
    answered(answer)
}

fn pid(raw: i32) -> io::Result<Pid> {
    Pid::from_raw(raw).ok_or_else(|| io::Error::other("0 is no process"))
}

pub(super) fn answered(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
