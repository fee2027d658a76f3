//! What may be said of a system call.

/// The answer to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// It happens.
    Allow,
    /// It does not; the caller sees this error number. 0 looks like success and changes nothing.
    Errno(i32),
    /// It happens when the low word of the argument is one of these, else EPERM.
    OneOf(u32, &'static [u32]),
    /// It happens when none of these bits is set in the low word of the argument, else EPERM.
    NoBits(u32, u32),
    /// An open: with `O_CREAT` or `O_TMPFILE` among the flags, no setuid or setgid bit in the mode.
    Open {
        /// Index of the flags.
        flags: u32,
        /// Index of the mode.
        mode: u32,
    },
    /// It happens when the pointer argument is null; otherwise it looks like success.
    OnlyNull(u32),
}

/// Calls that share a rule, and why they have it.
#[derive(Debug)]
pub(crate) struct Group {
    /// Why.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "read by people and by the tests")
    )]
    pub(crate) why: &'static str,
    /// What is said of them.
    pub(crate) rule: Rule,
    /// The call numbers.
    pub(crate) calls: &'static [libc::c_long],
}
