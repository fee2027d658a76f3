//! The command itself: split off from the warden, walled in a second time, started.
#![allow(
    unsafe_code,
    reason = "execve and execveat have no safe wrapper; the block argues for itself"
)]

use super::{Fell, Step, landlocked, lifeline, process};
use crate::confinement::{Confinement, Network, Part};
use crate::launch::CommandJob;
use crate::seccomp::{self, Held};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::{Pid, Signal};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

/// Everything that a start needs, made before the fork.
pub(super) struct Start<'a> {
    program: OwnedFd,
    /// Set for a script: its interpreter must find it again by name.
    by_name: Option<CString>,
    argv: Vec<CString>,
    environment: Vec<CString>,
    folder: OwnedFd,
    nothing: &'a OwnedFd,
    nests: bool,
    filters: bool,
    network: Network,
}

impl<'a> Start<'a> {
    /// Opens the program and the folder it runs in. Says in words what is wrong.
    pub(super) fn prepare(
        confinement: &Confinement,
        job: &CommandJob,
        workspace: &OwnedFd,
        nothing: &'a OwnedFd,
    ) -> Result<Self, String> {
        let program = open_program(job)?;
        let by_name = if is_script(&program) {
            Some(text(job.program.as_os_str().as_bytes())?)
        } else {
            None
        };
        let argv = job.argv.iter().map(|a| text(a.as_bytes()));
        Ok(Self {
            by_name,
            program,
            argv: argv.collect::<Result<_, _>>()?,
            environment: environment(confinement)?,
            folder: open_folder(workspace, job.cwd.as_deref())?,
            nothing,
            nests: confinement.raises(Part::Landlock),
            filters: confinement.raises(Part::Seccomp),
            network: confinement.network,
        })
    }
}

/// By descriptor, and the very file that was resolved when the call was decided.
fn open_program(job: &CommandJob) -> Result<OwnedFd, String> {
    let shown = job.program.display();
    let opened = rustix::fs::open(
        &job.program,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )
    .map_err(|error| format!("{shown}: {error}"))?;
    let found = rustix::fs::fstat(&opened).map_err(|error| format!("{shown}: {error}"))?;
    if (found.st_dev, found.st_ino) == (job.device, job.inode) {
        Ok(opened)
    } else {
        Err(format!("{shown} was replaced since the call was allowed"))
    }
}

fn is_script(program: &OwnedFd) -> bool {
    let mut start = [0; 2];
    rustix::io::pread(program, &mut start, 0) == Ok(2) && &start == b"#!"
}

fn open_folder(workspace: &OwnedFd, cwd: Option<&str>) -> Result<OwnedFd, String> {
    rustix::fs::openat2(
        workspace,
        cwd.unwrap_or("."),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|error| format!("cwd {:?}: {error}", cwd.unwrap_or(".")))
}

/// Built from nothing. `HOME` is the workspace, so that programs look there for their settings, and
/// git must not stumble over a system configuration it may not read.
fn environment(confinement: &Confinement) -> Result<Vec<CString>, String> {
    let workspace = confinement.workspace.as_os_str().as_bytes();
    let of_workspace = |name: &[u8]| text(&[name, workspace].concat());
    Ok(vec![
        c"PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
        of_workspace(b"HOME=")?,
        of_workspace(b"TMPDIR=")?,
        c"LANG=C.UTF-8".to_owned(),
        c"TERM=dumb".to_owned(),
        c"GIT_CONFIG_NOSYSTEM=1".to_owned(),
    ])
}

fn text(bytes: &[u8]) -> Result<CString, String> {
    CString::new(bytes).map_err(|_| "a NUL byte has no place in a command".to_owned())
}

/// Starts it in a process that borrows this one's memory until the program takes its place.
pub(super) fn start(start: &Start<'_>) -> Result<Pid, String> {
    let (child, failed) =
        process::on_loan(|| enter(start)).map_err(|error| format!("starting: {error}"))?;
    match (Pid::from_raw(child), failed) {
        (Some(child), None) => Ok(child),
        (_, Some(Fell { step, why })) => Err(format!("{step}: {why}")),
        (None, None) => Err("starting: no process".to_owned()),
    }
}

/// In the new process. Comes back only with what went wrong.
fn enter(start: &Start<'_>) -> Fell {
    let Err(fell) = try_to_enter(start);
    fell
}

fn try_to_enter(start: &Start<'_>) -> Result<std::convert::Infallible, Fell> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).step("pdeathsig")?;
    if rustix::process::getppid() != parent {
        return Err("the warden is gone").step("pdeathsig");
    }
    process::plug(start.nothing.as_raw_fd(), 0).step("standard input")?;
    // One pipe for both, so that output and errors come in the order they were written; the warden's own
    // channel to the parent, standard error until now, is not the command's.
    process::plug(1, 2).step("standard error")?;
    process::close_on_start().step("closing descriptors")?;
    rustix::process::fchdir(&start.folder).step("entering the folder")?;
    lifeline::default_pipes().step("signals")?;
    if start.nests {
        landlocked::nest()?;
    }
    if start.filters {
        seccomp::load(seccomp::program(Held::Command(start.network))).step("seccomp")?;
    }
    Err(execute(start)).step("starting the program")
}

/// Comes back only with an error.
fn execute(start: &Start<'_>) -> io::Error {
    let argv = pointers(&start.argv);
    let environment = pointers(&start.environment);
    let program: BorrowedFd<'_> = rustix::fd::AsFd::as_fd(&start.program);
    // SAFETY: names are C strings, both lists are null-terminated and outlive the call.
    unsafe {
        match &start.by_name {
            Some(name) => libc::execve(name.as_ptr(), argv.as_ptr(), environment.as_ptr()).into(),
            None => libc::syscall(
                libc::SYS_execveat,
                program.as_raw_fd(),
                c"".as_ptr(),
                argv.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            ),
        }
    };
    io::Error::last_os_error()
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    let texts = texts.iter().map(|text| text.as_ptr());
    texts.chain([std::ptr::null()]).collect()
}
