//! The few system calls on oneself that have no safe wrapper, and the checks that use them.
#![allow(
    unsafe_code,
    reason = "fork, clone, dup2, close_range, kill(-1), execve and ptrace have no safe wrapper; each block argues for itself"
)]

use rustix::process::{DumpableBehavior, Pid, set_dumpable_behavior, test_kill_process};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Closes every descriptor from this number on.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    close_range(first, libc::c_uint::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: called where this process starts or was forked, by code that uses none of these again; what owned
    // those descriptors in the zygote is never dropped here, because a child leaves by `_exit`.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    answered(answer)
}

/// Makes one descriptor another one as well.
pub(crate) fn plug(from: i32, to: i32) -> io::Result<()> {
    // SAFETY: `to` is a standard descriptor of a process that was just forked; no Rust object that owns it is
    // used after this.
    let answer = unsafe { libc::dup2(from, to) };
    answered(answer.into())
}

/// Closes every descriptor but the three pipes and these.
pub(super) fn close_all_but(kept: [Option<BorrowedFd<'_>>; 2]) -> io::Result<()> {
    let numbers = kept.map(|fd| fd.and_then(|fd| u32::try_from(fd.as_raw_fd()).ok()));
    let (low, high) = (numbers[0].min(numbers[1]), numbers[0].max(numbers[1]));
    let mut first = 3;
    for number in [low, high].into_iter().flatten() {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = first.max(number + 1);
    }
    close_from(first)
}

/// A descriptor of the zygote's becomes this child's own, to be closed when it is done with it.
pub(super) fn own(fd: BorrowedFd<'_>) -> OwnedFd {
    // SAFETY: it is open, because it is borrowed; and whoever owned it in the zygote is never dropped here, because a
    // child leaves by `_exit`.
    unsafe { OwnedFd::from_raw_fd(fd.as_raw_fd()) }
}

/// A copy of this process, which has one thread. None in the copy, else the child's process id.
pub(crate) fn fork() -> io::Result<Option<libc::pid_t>> {
    // SAFETY: a zygote has one thread, so the copy may do whatever the original could.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// The same in new namespaces (`CLONE_NEW*`).
pub(crate) fn fork_with(namespaces: i32) -> io::Result<Option<libc::c_long>> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack given this is a fork; a zygote has one thread, so the copy may
    // do whatever the original could.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// Room for what happens between the fork and the start of a program; only what is used becomes memory.
const LENT_STACK: usize = 256 << 10;

/// A new process that works in this one's memory, on a stack of its own, while this one stands still: until it has
/// started a program, or has come back with what went wrong and ended. A copy of this process would be made only to
/// be thrown away by the start. Descriptors, signal handlers, limits and walls are the new process's own.
pub(super) fn on_loan<W, E>(work: W) -> io::Result<(libc::pid_t, Option<E>)>
where
    W: FnOnce() -> E,
{
    struct Loan<W, E> {
        work: Option<W>,
        failed: Option<E>,
    }
    extern "C" fn run<W: FnOnce() -> E, E>(loan: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the one pointer given below; its owner stands still meanwhile.
        let loan = unsafe { &mut *loan.cast::<Loan<W, E>>() };
        loan.failed = loan.work.take().map(|work| work());
        exit_now(126)
    }
    let mut loan = Loan {
        work: Some(work),
        failed: None,
    };
    // Of units that are aligned as a stack must be.
    let mut stack = Vec::<u128>::with_capacity(LENT_STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    // SAFETY: CLONE_VFORK keeps this thread, which is the only one, from running until the other process has let go of
    // the memory, so nobody else uses `loan` or the stack meanwhile; both live until then. `run` never returns.
    let child = unsafe {
        libc::clone(
            run::<W, E>,
            top.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw mut loan).cast(),
        )
    };
    answered(child.into())?;
    Ok((child, loan.failed))
}

/// Enters a Landlock domain made of these rules, all of them or none.
pub(super) fn restrict(rules: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain numbers; the call takes rights from this process.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    answered(answer)
}

/// A pidfd that can be waited for; it becomes readable when the process ends.
pub(crate) fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.map_err(Into::into)
}

/// Ends this process at once: nothing that the zygote owns is dropped or flushed a second time.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: does not return, touches no memory.
    unsafe { libc::_exit(code) }
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
    not_dumpable()
}

/// Nothing of this process can be read by others of the same user.
pub(crate) fn not_dumpable() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The opposite, while there is nothing to hide.
pub(crate) fn dumpable() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

/// The first process of a process namespace.
pub(super) fn is_first() -> io::Result<()> {
    if rustix::process::getpid().is_init() {
        Ok(())
    } else {
        Err(io::Error::other(
            "this is not the first process of a namespace",
        ))
    }
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

pub(crate) fn answered(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
