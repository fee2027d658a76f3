//! Give up every privilege, for oneself and whatever is started.
#![allow(
    unsafe_code,
    reason = "dropping a capability by number has no safe wrapper"
)]

use super::{Fell, Step};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, no_new_privs,
    set_capabilities, set_no_new_privs,
};
use std::io;

/// Capabilities (the bounding set too, else root would win them back by starting a
/// program), and the way to new ones; then looks whether it is so.
///
/// The user id stays. Uid 0 without capabilities still owns root's files, so what confines a
/// root-started gateway's tools is Landlock; another uid could not work in a workspace that root owns.
pub(crate) fn give_up() -> Result<(), Fell> {
    empty_bounding_set().step("emptying the capability bounding set")?;
    clear_ambient_capability_set().step("clearing ambient capabilities")?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).step("dropping capabilities")?;
    set_no_new_privs(true).step("no_new_privs")?;
    given_up().step("looking whether privileges are gone")
}

/// The capability that an emptied set is told by.
const CAP_SYS_ADMIN: u32 = 21;

/// Leaves all supplementary groups, where that is allowed: an ordinary user keeps those it was given, and so does
/// root of a user namespace that an ordinary user made.
pub(crate) fn leave_groups() -> Result<(), Fell> {
    let held = capabilities(None).step("reading capabilities")?.effective;
    if held.contains(CapabilitySet::SETGID) {
        match rustix::thread::set_thread_groups(&[]) {
            Ok(()) | Err(rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error).step("leaving supplementary groups"),
        }
    }
    Ok(())
}

/// True when nothing is held and nothing can be won.
pub(crate) fn given_up() -> io::Result<()> {
    let left = capabilities(None)?;
    let all = left.effective | left.permitted | left.inheritable;
    if !all.is_empty() {
        return Err(io::Error::other(format!("capabilities are left: {all:?}")));
    }
    if no_new_privs()? {
        Ok(())
    } else {
        Err(io::Error::other("no_new_privs is not set"))
    }
}

/// Empties the bounding set, where that is allowed. Once it is empty, asking for one of it is all there is
/// to do: a zygote does the work for all its children, but for those that get a user namespace of their own.
pub(crate) fn empty_bounding_set() -> io::Result<()> {
    let may = capabilities(None)?
        .effective
        .contains(CapabilitySet::SETPCAP);
    // SAFETY: no memory is involved; the answer is 1 when the capability is in the set.
    let full = unsafe {
        libc::prctl(
            libc::PR_CAPBSET_READ,
            libc::c_ulong::from(CAP_SYS_ADMIN),
            0,
            0,
            0,
        )
    };
    if !may || full != 1 {
        return Ok(());
    }
    // By number, because kernels know capabilities that this program does not.
    for number in 0..64 {
        // SAFETY: no memory is involved; the call takes one capability from this thread.
        let answer = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
        if answer < 0 {
            let error = io::Error::last_os_error();
            // The first number the kernel does not know ends the list.
            return match error.raw_os_error() {
                Some(libc::EINVAL) if number > 0 => Ok(()),
                _ => Err(error),
            };
        }
    }
    Ok(())
}
