//! The parent's side: start a child, feed it, take what it says, never wait on it for ever.

use crate::confinement::{Confinement, Profile};
use crate::nursery::{AHEAD, Asked, Tier, take_pidfd};
use crate::quota;
use crate::report::{Outgrown, Report};
use crate::sandbox::Sandbox;
use crate::tree;
use crate::wire::{self, Header};
use rustix::fd::{AsFd as _, OwnedFd};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// Beyond its own limit a child is given this long to clear up before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// The most a child may say on the control channel.
const MOST_SAID: u64 = 64 << 10;

/// From which program a zygote is started: one that calls [`crate::child::main`] when its first argument
/// is [`crate::child::ARGUMENT`].
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Launcher {
    /// This very binary, even when the file was replaced by an upgrade since it was started.
    pub fn this_binary() -> Self {
        Self::other("/proc/self/exe")
    }

    /// Another binary that knows how to be a zygote.
    pub fn other(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: vec![crate::child::ARGUMENT.into()],
        }
    }

    /// With an empty environment. The standard library starts it by `posix_spawn`, which copies nothing
    /// of a large parent.
    pub(crate) fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.arguments).env_clear();
        command
    }
}

/// A command to run, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandJob {
    /// The program, absolute.
    pub program: PathBuf,
    /// Its device and inode when the call was decided: another file there later does not run.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
    /// The arguments, the name first.
    pub argv: Vec<String>,
    /// Where it runs, beneath the workspace; the workspace itself when not given.
    pub cwd: Option<String>,
}

impl CommandJob {
    /// The program at this path as it is now.
    pub fn new(program: &Path, argv: Vec<String>, cwd: Option<String>) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(program)?;
        Ok(Self {
            program: program.to_owned(),
            device: found.dev(),
            inode: found.ino(),
            argv,
            cwd,
        })
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A built-in tool answered; true when it failed.
    Answered {
        /// True when it failed.
        is_error: bool,
    },
    /// A command ended by itself with this code.
    Exited(i32),
    /// A command was ended by this signal.
    Signalled(i32),
    /// Its time was up.
    TimedOut,
    /// It wrote more than is kept, and was ended.
    TooMuchOutput,
    /// It used more of this than it may, and was ended.
    Outgrown(Outgrown),
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// What it wrote, at most the limit.
    pub output: Vec<u8>,
    /// How it ended.
    pub ended: Ended,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The child could not be started or spoken to.
    #[error("starting the sandboxed process: {0}")]
    Start(io::Error),
    /// A layer could not be raised; the job was not read.
    #[error("the sandbox could not be entered ({step}: {why}); the call did not run")]
    NotConfined {
        /// Which step.
        step: String,
        /// What the kernel said.
        why: String,
    },
    /// The program could not be started inside.
    #[error("{0}")]
    NotStarted(String),
    /// It died without an answer: killed by a limit, or a bug.
    #[error(
        "the sandboxed process ended without an answer: a limit of memory or processor time was reached, or \
         something outside ended it"
    )]
    Died,
}

impl Sandbox {
    /// Runs one job in a child of its own. For [`Profile::Builtin`] the job is what the function given to
    /// [`crate::child::main`] understands. A dropped future ends the child with all it started.
    pub async fn run(&self, confinement: &Confinement, job: &[u8]) -> Result<Finished, RunError> {
        self.run_with(confinement, job, Extras::default()).await
    }

    /// Runs one command.
    pub async fn run_command(
        &self,
        confinement: &Confinement,
        job: &CommandJob,
        extras: Extras<'_>,
    ) -> Result<Finished, RunError> {
        let job = serde_json::to_vec(job).map_err(|error| RunError::Start(error.into()))?;
        self.run_with(confinement, &job, extras).await
    }

    /// The same as [`run`](Self::run), with more than a job and an answer.
    pub async fn run_with(
        &self,
        confinement: &Confinement,
        job: &[u8],
        mut extras: Extras<'_>,
    ) -> Result<Finished, RunError> {
        let mut frame = Vec::with_capacity(job.len() + 4);
        wire::put(&mut frame, job).map_err(RunError::Start)?;
        let header = Header::Run {
            confinement: confinement.clone(),
        };
        let (first, rest) = frame.split_at(frame.len().min(AHEAD));
        let asked = self.zygote().ask(&header, extras.line.as_ref(), first);
        let mut pipes = Pipes::of(asked.map_err(RunError::Start)?).map_err(RunError::Start)?;
        // Ours is not the child's: it must see the end of the line when the broker is done.
        drop(extras.line.take());
        let child = pipes.child(self.tier(), confinement.profile).await?;
        let wall = Duration::from_millis(confinement.limits.wall_ms);
        // A warden keeps the time itself, because it must live to end its tree; we are the second watch.
        let patience = match confinement.profile {
            Profile::Builtin => wall,
            Profile::Command => wall + GRACE,
        };
        let mut output = Output::new(confinement.limits.output_bytes, extras.watch);
        let outgrown = async {
            let limits = confinement.limits;
            match confinement.profile {
                // One process, which the kernel holds to all its limits.
                Profile::Builtin => std::future::pending().await,
                Profile::Command => tokio::select! {
                    () = quota::outgrown(&confinement.workspace, limits) => Outgrown::Workspace,
                    what = tree::outgrown(&child.pidfd, limits) => what,
                },
            }
        };
        let talk = pipes.talk(rest, confinement.profile, &mut output);
        let (talked, is_over) = tokio::select! {
            talked = tokio::time::timeout(patience, talk) => {
                talked.unwrap_or_else(|_| (Ok(Report::TimedOut.line()), false))
            }
            what = outgrown => (Ok(Report::Outgrown(what).line()), false),
        };
        // Closing our end of its standard input ends the child and all it started (`child::lifeline`).
        drop(pipes);
        if !is_over {
            child.end().await.map_err(RunError::Start)?;
        }
        let told = Told {
            output: output.kept,
            too_much: output.too_much,
            said: talked.map_err(RunError::Start)?,
        };
        told.finish()
    }
}

/// Sees output while it is written.
pub type Watch<'a> = &'a mut (dyn FnMut(&[u8]) + Send);

/// What a call may need beside its job.
#[derive(Default)]
pub struct Extras<'a> {
    /// The child's end of a socket to the broker.
    pub line: Option<OwnedFd>,
    /// Sees the output piece by piece while it is written, up to the cap.
    pub watch: Option<Watch<'a>>,
}

/// What a child said.
struct Told {
    output: Vec<u8>,
    too_much: bool,
    said: Vec<u8>,
}

impl Told {
    fn finish(self) -> Result<Finished, RunError> {
        let ended = if self.too_much {
            Ended::TooMuchOutput
        } else {
            match Report::last_in(&self.said) {
                Some(Report::Done { is_error }) => Ended::Answered { is_error },
                Some(Report::Exited { code }) => Ended::Exited(code),
                Some(Report::Signalled { signal }) => Ended::Signalled(signal),
                Some(Report::TimedOut) => Ended::TimedOut,
                Some(Report::Outgrown(what)) => Ended::Outgrown(what),
                Some(other) => return Err(not_run(other)),
                None => return Err(RunError::Died),
            }
        };
        Ok(Finished {
            output: self.output,
            ended,
        })
    }
}

fn not_run(report: Report) -> RunError {
    match report {
        Report::NotConfined { step, why } => RunError::NotConfined { step, why },
        Report::NotStarted { why } => RunError::NotStarted(why),
        Report::Done { .. }
        | Report::Exited { .. }
        | Report::Signalled { .. }
        | Report::TimedOut
        | Report::Outgrown(_)
        | Report::Canaries(_) => RunError::Died,
    }
}

/// The three ways to a child.
struct Pipes {
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    control: UnixStream,
}

impl Pipes {
    fn of(asked: Asked) -> io::Result<Self> {
        asked.control.set_nonblocking(true)?;
        Ok(Self {
            stdin: pipe::Sender::from_owned_fd(asked.stdin.into())?,
            stdout: pipe::Receiver::from_owned_fd(asked.stdout.into())?,
            control: UnixStream::from_std(asked.control)?,
        })
    }

    /// Waits until the child was forked, or could not be.
    async fn child(&mut self, tier: Tier, profile: Profile) -> Result<Child, RunError> {
        let control = &self.control;
        let taken = control
            .async_io(Interest::READABLE, || take_pidfd(&control))
            .await;
        match taken.map_err(RunError::Start)? {
            Ok(pidfd) => Ok(Child::new(pidfd, tier, profile)),
            Err(report) => Err(not_run(report)),
        }
    }

    /// Feeds the rest of the job and takes the output, both at once: a child that fails early reads nothing. Then
    /// what the child says, and whether that was the end of it: a warden reports when its tree is gone, and all that
    /// is left for it to do is to end as well.
    async fn talk(
        &mut self,
        rest: &[u8],
        profile: Profile,
        output: &mut Output<'_>,
    ) -> (io::Result<Vec<u8>>, bool) {
        let (_fed, read) = tokio::join!(
            // Its failure shows in what the child says, or in its silence.
            self.stdin.write_all(rest),
            output.read(&mut self.stdout),
        );
        let mut said = Vec::new();
        if read.is_err() || output.too_much {
            return (read.map(|()| said), false);
        }
        let mut control = (&mut self.control).take(MOST_SAID);
        loop {
            match control.read_buf(&mut said).await {
                Ok(0) => return (Ok(said), false),
                // No command has this channel. A built-in tool does, may say anything here, and is seen to end.
                Ok(_) if profile == Profile::Command && said.ends_with(b"\n") => {
                    return (Ok(said), true);
                }
                Ok(_) => {}
                Err(error) => return (Err(error), false),
            }
        }
    }
}

/// What a child writes, kept up to a cap.
struct Output<'a> {
    kept: Vec<u8>,
    most: usize,
    /// True when there was more.
    too_much: bool,
    watch: Option<Watch<'a>>,
}

impl<'a> Output<'a> {
    fn new(most: usize, watch: Option<Watch<'a>>) -> Self {
        Self {
            kept: Vec::new(),
            most,
            too_much: false,
            watch,
        }
    }

    /// Reads to the end or to the cap.
    async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        loop {
            let before = self.kept.len();
            let left = (self.most - before) as u64 + 1;
            if from.take(left).read_buf(&mut self.kept).await? == 0 {
                return Ok(());
            }
            self.too_much = self.kept.len() > self.most;
            self.kept.truncate(self.most);
            if let (Some(watch), Some(new)) = (&mut self.watch, self.kept.get(before..)) {
                watch(new);
            }
            if self.too_much {
                return Ok(());
            }
        }
    }
}

/// A child that runs. Dropped, it ends.
struct Child {
    pidfd: OwnedFd,
    /// True when the kernel takes the whole tree along with the first process. A warden without a process
    /// namespace that is killed would leave its tree behind; it is ended by its lifeline instead.
    whole: bool,
}

impl Child {
    fn new(pidfd: OwnedFd, tier: Tier, profile: Profile) -> Self {
        Self {
            whole: tier == Tier::Namespaces || profile == Profile::Builtin,
            pidfd,
        }
    }

    fn kill(&self) {
        // It may be gone already.
        let pidfd = self.pidfd.as_fd();
        let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
    }

    /// Waits for its end; kills it when it does not end by itself.
    async fn end(self) -> io::Result<()> {
        if self.whole {
            self.kill();
        }
        let ended = crate::child::process::watch(self.pidfd.try_clone()?)?;
        if tokio::time::timeout(GRACE, ended.readable()).await.is_err() {
            self.kill();
            ended.readable().await?.retain_ready();
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.whole {
            self.kill();
        }
    }
}
