//! What a built-in tool and the warden need: little.

use super::rule::{Group, Rule};
use libc as l;

/// `PROT_EXEC`, the bit that turns data into code.
const EXECUTABLE: u32 = l::PROT_EXEC as u32;

/// A built-in tool: opens, reads and writes files. It starts nothing, connects nothing, and cannot
/// make memory executable.
pub(crate) const GROUPS: &[Group] = &[
    Group {
        why: "read and write what is open",
        rule: Rule::Allow,
        calls: &[
            l::SYS_read,
            l::SYS_write,
            l::SYS_readv,
            l::SYS_writev,
            l::SYS_pread64,
            l::SYS_pwrite64,
            l::SYS_lseek,
            l::SYS_close,
            l::SYS_fsync,
            l::SYS_fdatasync,
            l::SYS_ftruncate,
            l::SYS_copy_file_range,
        ],
    },
    Group {
        why: "open and look at files; Landlock says which",
        rule: Rule::Allow,
        calls: &[
            l::SYS_openat2,
            l::SYS_fstat,
            l::SYS_newfstatat,
            l::SYS_statx,
            l::SYS_getdents64,
        ],
    },
    Group {
        why: "make the temporary file of an atomic write, without setuid or setgid bit",
        rule: Rule::Open { flags: 2, mode: 3 },
        calls: &[l::SYS_openat],
    },
    Group {
        why: "change the workspace: folders, atomic replacement, clearing up",
        rule: Rule::Allow,
        calls: &[
            l::SYS_mkdirat,
            l::SYS_renameat,
            l::SYS_renameat2,
            l::SYS_unlinkat,
        ],
    },
    Group {
        why: "keep the mode of a replaced file, without setuid or setgid bit",
        rule: Rule::NoBits(1, 0o6000),
        calls: &[l::SYS_fchmod],
    },
    Group {
        why: "descriptor flags; no owner for signals, no lease",
        rule: Rule::OneOf(
            1,
            &[
                l::F_GETFD as u32,
                l::F_SETFD as u32,
                l::F_GETFL as u32,
                l::F_DUPFD_CLOEXEC as u32,
            ],
        ),
        calls: &[l::SYS_fcntl],
    },
    Group {
        why: "memory, never executable",
        rule: Rule::NoBits(2, EXECUTABLE),
        calls: &[l::SYS_mmap, l::SYS_mprotect],
    },
    Group {
        why: "the allocator and the runtime",
        rule: Rule::Allow,
        calls: RUNTIME,
    },
    Group {
        why: "the clock, randomness for names, and waiting on the parent's end of the pipe",
        rule: Rule::Allow,
        calls: &[
            l::SYS_clock_gettime,
            l::SYS_getrandom,
            l::SYS_ppoll,
            #[cfg(target_arch = "x86_64")]
            l::SYS_poll,
        ],
    },
];

const RUNTIME: &[l::c_long] = &[
    l::SYS_munmap,
    l::SYS_mremap,
    l::SYS_brk,
    l::SYS_madvise,
    l::SYS_futex,
    l::SYS_rt_sigaction,
    l::SYS_rt_sigprocmask,
    l::SYS_rt_sigreturn,
    l::SYS_sigaltstack,
    l::SYS_restart_syscall,
    l::SYS_sched_yield,
    l::SYS_gettid,
    l::SYS_getpid,
    l::SYS_tgkill,
    l::SYS_exit,
    l::SYS_exit_group,
];

/// The warden, once its command runs: it waits, kills and reports.
pub(crate) const WARDEN: &[Group] = &[
    Group {
        why: "wait for the command, the parent and the clock",
        rule: Rule::Allow,
        calls: &[
            l::SYS_wait4,
            l::SYS_waitid,
            l::SYS_ppoll,
            #[cfg(target_arch = "x86_64")]
            l::SYS_poll,
            l::SYS_clock_gettime,
            l::SYS_nanosleep,
            l::SYS_clock_nanosleep,
        ],
    },
    Group {
        why: "end the tree; the signal scope keeps it to its own",
        rule: Rule::Allow,
        calls: &[l::SYS_kill],
    },
    Group {
        why: "report and close",
        rule: Rule::Allow,
        calls: &[l::SYS_read, l::SYS_write, l::SYS_close],
    },
    Group {
        why: "memory, never executable",
        rule: Rule::NoBits(2, EXECUTABLE),
        calls: &[l::SYS_mmap, l::SYS_mprotect],
    },
    Group {
        why: "the allocator and the runtime",
        rule: Rule::Allow,
        calls: RUNTIME,
    },
];
