//! What ordinary programs need (coreutils, shells, git, tar, Python), and nothing that reaches past
//! their own processes and files.

use super::rule::{Group, Rule};
use libc as l;

/// `CLONE_NEW*`: new namespaces, each a new attack surface of the kernel.
const NAMESPACES: u32 = 0x7e02_0080;
/// Setuid and setgid.
const SET_ID: u32 = 0o6000;
/// `PR_SET_VMA`: names for mappings, asked for by glibc and allocators.
const PR_SET_VMA: u32 = 0x5356_4d41;

/// For every architecture.
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
            l::SYS_preadv,
            l::SYS_pwritev,
            l::SYS_preadv2,
            l::SYS_pwritev2,
            l::SYS_lseek,
            l::SYS_close,
            l::SYS_close_range,
            l::SYS_dup,
            l::SYS_dup3,
            l::SYS_fcntl,
            l::SYS_flock,
            l::SYS_fsync,
            l::SYS_fdatasync,
            l::SYS_ftruncate,
            l::SYS_fallocate,
            l::SYS_fadvise64,
            l::SYS_readahead,
            l::SYS_sendfile,
            l::SYS_splice,
            l::SYS_tee,
            l::SYS_copy_file_range,
            l::SYS_pipe2,
            l::SYS_ppoll,
            l::SYS_pselect6,
            l::SYS_epoll_create1,
            l::SYS_epoll_ctl,
            l::SYS_epoll_pwait,
            l::SYS_eventfd2,
            l::SYS_timerfd_create,
            l::SYS_timerfd_settime,
            l::SYS_timerfd_gettime,
        ],
    },
    Group {
        why: "files by path; Landlock says which",
        rule: Rule::Allow,
        calls: &[
            l::SYS_truncate,
            l::SYS_getdents64,
            l::SYS_getcwd,
            l::SYS_chdir,
            l::SYS_fchdir,
            l::SYS_renameat2,
            l::SYS_mkdirat,
            l::SYS_unlinkat,
            l::SYS_linkat,
            l::SYS_symlinkat,
            l::SYS_readlinkat,
            l::SYS_newfstatat,
            l::SYS_fstat,
            l::SYS_statx,
            l::SYS_statfs,
            l::SYS_fstatfs,
            l::SYS_faccessat,
            l::SYS_faccessat2,
            l::SYS_getxattr,
            l::SYS_lgetxattr,
            l::SYS_fgetxattr,
            l::SYS_listxattr,
            l::SYS_llistxattr,
            l::SYS_flistxattr,
            l::SYS_umask,
        ],
    },
    Group {
        why: "open, but create no setuid or setgid file",
        rule: Rule::Open { flags: 2, mode: 3 },
        calls: &[l::SYS_openat],
    },
    Group {
        why: "its mode is in memory, out of a filter's sight; callers fall back to openat",
        rule: Rule::Errno(l::ENOSYS),
        calls: &[l::SYS_openat2],
    },
    Group {
        why: "modes of open files, without setuid or setgid bit",
        rule: Rule::NoBits(1, SET_ID),
        calls: &[l::SYS_fchmod],
    },
    Group {
        why: "Landlock does not judge chmod by path: looks like success, changes nothing (git insists on it)",
        rule: Rule::Errno(0),
        calls: &[l::SYS_fchmodat],
    },
    Group {
        why: "newer than its callers' fallback",
        rule: Rule::Errno(l::ENOSYS),
        calls: &[SYS_FCHMODAT2],
    },
    Group {
        why: "times of open files only, for the same reason",
        rule: Rule::OnlyNull(1),
        calls: &[l::SYS_utimensat],
    },
    Group {
        why: "memory",
        rule: Rule::Allow,
        calls: &[
            l::SYS_mmap,
            l::SYS_mprotect,
            l::SYS_munmap,
            l::SYS_mremap,
            l::SYS_brk,
            l::SYS_msync,
            l::SYS_mincore,
            l::SYS_madvise,
            l::SYS_mlock,
            l::SYS_munlock,
            l::SYS_membarrier,
        ],
    },
    Group {
        why: "signals; the scope keeps them inside the call",
        rule: Rule::Allow,
        calls: &[
            l::SYS_rt_sigaction,
            l::SYS_rt_sigprocmask,
            l::SYS_rt_sigreturn,
            l::SYS_rt_sigpending,
            l::SYS_rt_sigtimedwait,
            l::SYS_rt_sigsuspend,
            l::SYS_sigaltstack,
            l::SYS_kill,
            l::SYS_tkill,
            l::SYS_tgkill,
        ],
    },
    Group {
        why: "processes: start, wait, end",
        rule: Rule::Allow,
        calls: &[
            l::SYS_execve,
            l::SYS_execveat,
            l::SYS_exit,
            l::SYS_exit_group,
            l::SYS_wait4,
            l::SYS_waitid,
            l::SYS_restart_syscall,
            l::SYS_set_tid_address,
            l::SYS_set_robust_list,
            l::SYS_get_robust_list,
            l::SYS_rseq,
            l::SYS_futex,
            l::SYS_sched_yield,
            l::SYS_sched_getaffinity,
            l::SYS_sched_getparam,
            l::SYS_sched_getscheduler,
            l::SYS_getpriority,
            l::SYS_setpgid,
            l::SYS_setsid,
        ],
    },
    Group {
        why: "fork and threads, never a namespace",
        rule: Rule::NoBits(0, NAMESPACES),
        calls: &[l::SYS_clone],
    },
    Group {
        why: "its flags are in memory, out of a filter's sight; callers fall back to clone",
        rule: Rule::Errno(l::ENOSYS),
        calls: &[l::SYS_clone3],
    },
    Group {
        why: "limits and processors of oneself only: Landlock does not keep prlimit from the gateway",
        rule: Rule::OneOf(0, &[0]),
        calls: &[l::SYS_prlimit64, l::SYS_sched_setaffinity],
    },
    Group {
        why: "who am I",
        rule: Rule::Allow,
        calls: &[
            l::SYS_getpid,
            l::SYS_getppid,
            l::SYS_gettid,
            l::SYS_getpgid,
            l::SYS_getsid,
            l::SYS_getuid,
            l::SYS_getgid,
            l::SYS_geteuid,
            l::SYS_getegid,
            l::SYS_getgroups,
            l::SYS_getresuid,
            l::SYS_getresgid,
            l::SYS_capget,
            l::SYS_uname,
            l::SYS_getrlimit,
            l::SYS_getrusage,
            l::SYS_sysinfo,
            l::SYS_times,
            l::SYS_getcpu,
            l::SYS_getrandom,
        ],
    },
    Group {
        why: "clocks and timers",
        rule: Rule::Allow,
        calls: &[
            l::SYS_nanosleep,
            l::SYS_clock_nanosleep,
            l::SYS_clock_gettime,
            l::SYS_clock_getres,
            l::SYS_gettimeofday,
            l::SYS_getitimer,
            l::SYS_setitimer,
            l::SYS_timer_create,
            l::SYS_timer_settime,
            l::SYS_timer_gettime,
            l::SYS_timer_delete,
        ],
    },
    Group {
        why: "terminal questions and non-blocking pipes; nothing that types into a terminal",
        rule: Rule::OneOf(
            1,
            &[
                0x5401, // TCGETS
                0x540f, // TIOCGPGRP
                0x5410, // TIOCSPGRP
                0x5413, // TIOCGWINSZ
                0x541b, // FIONREAD
                0x5421, // FIONBIO
                0x5450, // FIONCLEX
                0x5451, // FIOCLEX
            ],
        ),
        calls: &[l::SYS_ioctl],
    },
    Group {
        why: "names, and questions about oneself",
        rule: Rule::OneOf(
            0,
            &[
                l::PR_SET_PDEATHSIG as u32,
                l::PR_GET_DUMPABLE as u32,
                l::PR_SET_DUMPABLE as u32,
                l::PR_SET_NAME as u32,
                l::PR_GET_NAME as u32,
                l::PR_GET_SECCOMP as u32,
                l::PR_CAPBSET_READ as u32,
                l::PR_SET_NO_NEW_PRIVS as u32,
                l::PR_GET_NO_NEW_PRIVS as u32,
                PR_SET_VMA,
            ],
        ),
        calls: &[l::SYS_prctl],
    },
    Group {
        why: "pipes in both directions between a program and its children",
        rule: Rule::OneOf(0, &[l::AF_UNIX as u32]),
        calls: &[l::SYS_socketpair],
    },
    Group {
        why: "talk over such a pair",
        rule: Rule::Allow,
        calls: &[
            l::SYS_recvfrom,
            l::SYS_recvmsg,
            l::SYS_shutdown,
            l::SYS_getsockopt,
            l::SYS_getsockname,
            l::SYS_getpeername,
        ],
    },
    Group {
        why: "the same; MSG_FASTOPEN would connect past Landlock",
        rule: Rule::NoBits(3, l::MSG_FASTOPEN as u32),
        calls: &[l::SYS_sendto],
    },
    Group {
        why: "the same",
        rule: Rule::NoBits(2, l::MSG_FASTOPEN as u32),
        calls: &[l::SYS_sendmsg],
    },
];

/// `fchmodat2`; libc does not name it on every architecture.
const SYS_FCHMODAT2: l::c_long = 452;

/// The older spellings of the same calls.
#[cfg(target_arch = "x86_64")]
pub(crate) const LEGACY: &[Group] = &[
    Group {
        why: "older spellings of what is allowed above",
        rule: Rule::Allow,
        calls: &[
            l::SYS_stat,
            l::SYS_lstat,
            l::SYS_access,
            l::SYS_poll,
            l::SYS_select,
            l::SYS_pipe,
            l::SYS_dup2,
            l::SYS_getdents,
            l::SYS_rename,
            l::SYS_renameat,
            l::SYS_mkdir,
            l::SYS_rmdir,
            l::SYS_link,
            l::SYS_unlink,
            l::SYS_symlink,
            l::SYS_readlink,
            l::SYS_fork,
            l::SYS_vfork,
            l::SYS_getpgrp,
            l::SYS_pause,
            l::SYS_alarm,
            l::SYS_time,
            l::SYS_epoll_create,
            l::SYS_epoll_wait,
            l::SYS_eventfd,
            l::SYS_arch_prctl,
        ],
    },
    Group {
        why: "open, but create no setuid or setgid file",
        rule: Rule::Open { flags: 1, mode: 2 },
        calls: &[l::SYS_open],
    },
    Group {
        why: "create no setuid or setgid file",
        rule: Rule::NoBits(1, SET_ID),
        calls: &[l::SYS_creat],
    },
    Group {
        why: "Landlock does not judge these: they look like success and change nothing",
        rule: Rule::Errno(0),
        calls: &[l::SYS_chmod, l::SYS_utime, l::SYS_utimes, l::SYS_futimesat],
    },
];

/// Architectures that were born without them.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const LEGACY: &[Group] = &[];

/// Mode permissive: the network as the gateway has it. Raw packets, vsock, crypto sockets and the
/// rest stay away.
pub(crate) const INHERITED_NETWORK: &[Group] = &[
    Group {
        why: "unix, internet, and netlink for name look-ups",
        rule: Rule::OneOf(
            0,
            &[
                l::AF_UNIX as u32,
                l::AF_INET as u32,
                l::AF_INET6 as u32,
                l::AF_NETLINK as u32,
            ],
        ),
        calls: &[l::SYS_socket],
    },
    Group {
        why: "speak",
        rule: Rule::Allow,
        calls: &[
            l::SYS_connect,
            l::SYS_bind,
            l::SYS_listen,
            l::SYS_accept,
            l::SYS_accept4,
            l::SYS_setsockopt,
            l::SYS_sendmmsg,
            l::SYS_recvmmsg,
        ],
    },
];
