//! The parent's side: start a child, feed it, take what it says, never wait on it for ever.

use crate::confinement::{Confinement, Profile};
use crate::report::Report;
use crate::sandbox::Sandbox;
use crate::wire::{self, Header};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

/// Beyond its own limit a child is given this long to clear up before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// The most a child may say on the control channel.
const MOST_SAID: u64 = 64 << 10;

/// How children are started: a program that calls [`crate::child::main`] when its first argument is
/// [`crate::child::ARGUMENT`].
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

    /// Another binary that knows how to be a child.
    pub fn other(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: vec![crate::child::ARGUMENT.into()],
        }
    }

    /// With an empty environment. The standard library starts it by `posix_spawn`, which copies nothing
    /// of a large parent; that is why no step of the confinement is done between fork and exec.
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
    #[error("the sandboxed process ended without an answer ({0})")]
    Died(String),
}

impl Sandbox {
    /// Runs one job in a child of its own. For [`Profile::Builtin`] the job is what the closure given to
    /// [`crate::child::main`] understands. A dropped future ends the child with all it started.
    pub async fn run(&self, confinement: &Confinement, job: &[u8]) -> Result<Finished, RunError> {
        let frames = frames(confinement, job).map_err(RunError::Start)?;
        let mut child = self.start(confinement).map_err(RunError::Start)?;
        let wall = Duration::from_millis(confinement.limits.wall_ms);
        // A warden keeps the time itself, because it must live to end its tree; we are the second watch.
        let patience = match confinement.profile {
            Profile::Builtin => wall,
            Profile::Command => wall + GRACE,
        };
        let mut pipes = Pipes::of(&mut child).map_err(RunError::Start)?;
        let talk = pipes.talk(&frames, confinement.limits.output_bytes);
        let talked = tokio::time::timeout(patience, talk).await;
        // Closing our end of its standard input ends the child and all it started (`child::lifeline`).
        drop(pipes);
        let status = end(&mut child).await.map_err(RunError::Start)?;
        match talked {
            Err(_) => Ok(Finished {
                output: Vec::new(),
                ended: Ended::TimedOut,
            }),
            Ok(Err(error)) => Err(RunError::Start(error)),
            Ok(Ok(told)) => told.finish(&status),
        }
    }

    /// Runs one command.
    pub async fn run_command(
        &self,
        confinement: &Confinement,
        job: &CommandJob,
    ) -> Result<Finished, RunError> {
        let job = serde_json::to_vec(job).map_err(|error| RunError::Start(error.into()))?;
        self.run(confinement, &job).await
    }

    fn start(&self, confinement: &Confinement) -> io::Result<Child> {
        tokio::process::Command::from(self.launcher().command())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A warden that is killed leaves its tree behind; it is ended by its lifeline instead.
            .kill_on_drop(confinement.profile == Profile::Builtin)
            .spawn()
    }
}

fn frames(confinement: &Confinement, job: &[u8]) -> io::Result<Vec<u8>> {
    let header = serde_json::to_vec(&Header::Run {
        confinement: confinement.clone(),
        parent: std::process::id().cast_signed(),
    })?;
    let mut frames = Vec::with_capacity(header.len() + job.len() + 8);
    wire::put(&mut frames, &header)?;
    wire::put(&mut frames, job)?;
    Ok(frames)
}

/// What a child said.
struct Told {
    output: Vec<u8>,
    too_much: bool,
    said: Vec<u8>,
}

impl Told {
    fn finish(self, status: &str) -> Result<Finished, RunError> {
        let ended = if self.too_much {
            Ended::TooMuchOutput
        } else {
            match Report::last_in(&self.said) {
                Some(Report::Done { is_error }) => Ended::Answered { is_error },
                Some(Report::Exited { code }) => Ended::Exited(code),
                Some(Report::Signalled { signal }) => Ended::Signalled(signal),
                Some(Report::TimedOut) => Ended::TimedOut,
                Some(Report::NotConfined { step, why }) => {
                    return Err(RunError::NotConfined { step, why });
                }
                Some(Report::NotStarted { why }) => return Err(RunError::NotStarted(why)),
                Some(Report::Canaries(_)) | None => {
                    return Err(RunError::Died(status.to_owned()));
                }
            }
        };
        Ok(Finished {
            output: self.output,
            ended,
        })
    }
}

/// The three ways to a child.
struct Pipes {
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

impl Pipes {
    fn of(child: &mut Child) -> io::Result<Self> {
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok(Self {
                stdin,
                stdout,
                stderr,
            }),
            (_, _, _) => Err(io::Error::other("a pipe to the child is missing")),
        }
    }

    /// Feeds the job and takes the output, both at once: a child that fails early reads nothing.
    async fn talk(&mut self, frames: &[u8], most: usize) -> io::Result<Told> {
        let (_fed, output) = tokio::join!(
            // Its failure shows in what the child says, or in its silence.
            self.stdin.write_all(frames),
            read_most(&mut self.stdout, most),
        );
        let (output, too_much) = output?;
        let mut said = Vec::new();
        if !too_much {
            let stderr = &mut self.stderr;
            stderr.take(MOST_SAID).read_to_end(&mut said).await?;
        }
        Ok(Told {
            output,
            too_much,
            said,
        })
    }
}

/// Reads to the end or to the limit; true when there was more.
async fn read_most(
    from: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> io::Result<(Vec<u8>, bool)> {
    let mut output = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    from.take(limit).read_to_end(&mut output).await?;
    let too_much = output.len() > most;
    output.truncate(most);
    Ok((output, too_much))
}

/// Waits for the child; kills it when it does not end by itself.
async fn end(child: &mut Child) -> io::Result<String> {
    let status = if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
        status?
    } else {
        child.kill().await?;
        child.wait().await?
    };
    Ok(status.to_string())
}
