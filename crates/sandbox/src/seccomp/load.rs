//! Hands a program to the kernel.
#![allow(
    unsafe_code,
    reason = "no safe wrapper exists for loading a seccomp program"
)]

use std::io;

/// Loads the program for every thread of this process, for good. `no_new_privs` must be set.
pub(crate) fn load(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len())
        .map_err(|_| io::Error::other("a seccomp program has at most 65,535 steps"))?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` steps from `filter`, which live until the call returns, and writes
    // nothing. The other arguments are plain numbers.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    match answer {
        0 => Ok(()),
        // A positive answer is the thread that could not be brought along.
        thread @ 1.. => Err(io::Error::other(format!(
            "thread {thread} could not be confined"
        ))),
        _ => Err(io::Error::last_os_error()),
    }
}
