//! Watches over one command: starts it, ends it with its whole tree, reports.
//!
//! The warden stands in the call's Landlock domain and the command in one nested inside it. So
//! `kill(-1)` from here reaches every process of the call, whatever session it fled to and however
//! often it forked, atomically; nothing outside; and no signal of theirs reaches the warden. Orphans
//! come to the warden (`PR_SET_CHILD_SUBREAPER`), so "no child left" means the tree is gone.

use super::payload::{self, Start};
use super::{Fell, Step, lifeline, process};
use crate::confinement::{Confinement, Part};
use crate::launch::CommandJob;
use crate::report::Report;
use crate::seccomp::{self, Held};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus};
use std::io;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

/// How often orphans are reaped while the command runs.
const TICK: Duration = Duration::from_millis(100);

/// Orphans of the call become children of this process.
pub(super) fn take_in_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(
        rustix::process::getpid(),
    ))?)
}

/// Runs the command to its end, or to the end of its time.
pub(super) fn run(
    confinement: &Confinement,
    job: &CommandJob,
    workspace: &OwnedFd,
    nothing: &OwnedFd,
    scoped: bool,
) -> Result<(), Fell> {
    let until = Instant::now() + Duration::from_millis(confinement.limits.wall_ms);
    let start = match Start::prepare(confinement, job, workspace, nothing) {
        Ok(start) => start,
        Err(why) => {
            Report::NotStarted { why }.say();
            return Ok(());
        }
    };
    let command = match payload::start(&start) {
        Ok(command) => command,
        Err(why) => {
            end_the_tree(scoped).step("ending the call")?;
            Report::NotStarted { why }.say();
            return Ok(());
        }
    };
    // The output is the command's from here on: it ends when the last of its tree lets go of it.
    process::plug(nothing.as_raw_fd(), 1).step("letting go of the output")?;
    let ended = rustix::process::pidfd_open(command, PidfdFlags::empty()).step("watching")?;
    if confinement.raises(Part::Seccomp) {
        seccomp::load(seccomp::program(Held::Warden)).step("seccomp, warden")?;
    }
    let report = watch(command, &ended, until).step("watching")?;
    end_the_tree(scoped).step("ending the call")?;
    report.say();
    Ok(())
}

/// Waits for the command, the parent's end of the pipe, or the clock.
fn watch(command: Pid, ended: &OwnedFd, until: Instant) -> io::Result<Report> {
    let mut status = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Report::TimedOut);
        }
        let wait_ms = i32::try_from(left.min(TICK).as_millis())
            .unwrap_or(1)
            .max(1);
        let [gone, _] = lifeline::wait([(0, 0), (ended.as_raw_fd(), libc::POLLIN)], wait_ms)?;
        if gone {
            // Nobody reads the report; the tree ends all the same.
            return Ok(Report::TimedOut);
        }
        reap(command, &mut status)?;
        if let Some(report) = status.and_then(told) {
            return Ok(report);
        }
    }
}

/// Reaps whoever is dead, and keeps the command's own status.
fn reap(command: Pid, status: &mut Option<WaitStatus>) -> io::Result<()> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, found))) if pid == command => *status = Some(found),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn told(status: WaitStatus) -> Option<Report> {
    if let Some(code) = status.exit_status() {
        Some(Report::Exited { code })
    } else {
        status
            .terminating_signal()
            .map(|signal| Report::Signalled { signal })
    }
}

/// Kills and reaps until no child is left.
fn end_the_tree(scoped: bool) -> io::Result<()> {
    loop {
        if scoped {
            process::kill_everything_in_scope()?;
        } else {
            kill_children();
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Without a signal scope `kill(-1)` would end everything of this user. Orphans come here, so killing
/// one's own children again and again gets to the end of the tree as well, if not at once.
fn kill_children() {
    let me = rustix::process::getpid().as_raw_nonzero();
    let list = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children"));
    for child in list.unwrap_or_default().split_whitespace() {
        if let Some(child) = child.parse().ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
        }
    }
}
