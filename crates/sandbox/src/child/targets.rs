//! What canaries need that has no safe wrapper.
#![allow(
    unsafe_code,
    reason = "System V memory and the environment have no safe wrapper"
)]

use super::process::answered;
use std::io;

/// Forgets every variable this process was started with.
pub(crate) fn forget_environment() {
    // SAFETY: this process has one thread, and nothing in it holds a variable.
    unsafe { libc::clearenv() };
}

/// A page of System V memory, gone with this process.
pub(crate) struct SharedMemory {
    id: i32,
}

impl SharedMemory {
    /// Makes it, holds on to it, and marks it to go when nobody does.
    pub(crate) fn make() -> io::Result<Self> {
        // SAFETY: the kernel chooses where it is mapped; nothing reads or writes there, and the mapping ends with
        // the process.
        unsafe {
            let id = libc::shmget(libc::IPC_PRIVATE, 4096, 0o600);
            answered(id.into())?;
            let at = libc::shmat(id, std::ptr::null(), libc::SHM_RDONLY);
            let held = if at as isize == -1 {
                Err(io::Error::last_os_error())
            } else {
                Ok(())
            };
            libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
            held?;
            Ok(Self { id })
        }
    }

    /// Finds it by its number.
    pub(crate) fn look(&self) -> io::Result<()> {
        let mut found = std::mem::MaybeUninit::<libc::shmid_ds>::uninit();
        // SAFETY: the kernel writes at most the structure it is given.
        let answer = unsafe { libc::shmctl(self.id, libc::IPC_STAT, found.as_mut_ptr()) };
        answered(answer.into())
    }
}

/// The name of this machine, or what the kernel said to the question.
pub(crate) fn host_name() -> io::Result<String> {
    let mut said = std::mem::MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the kernel fills the structure with strings that end in a null; it was all nulls before.
    let found = unsafe {
        answered(libc::uname(said.as_mut_ptr()).into())?;
        said.assume_init()
    };
    // SAFETY: see above.
    let name = unsafe { std::ffi::CStr::from_ptr(found.nodename.as_ptr()) };
    Ok(name.to_string_lossy().into_owned())
}
