//! What a child tells its parent on the control channel (its standard error), apart from its output.

use serde::{Deserialize, Serialize};

/// Of what a command used more than it may, in all its processes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outgrown {
    /// Bytes or files added to the workspace.
    Workspace,
    /// Memory.
    Memory,
    /// Processes at once.
    Processes,
}

impl std::fmt::Display for Outgrown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Workspace => "it added more to the workspace than a command may",
            Self::Memory => "its processes used more memory together than a command may",
            Self::Processes => "it had more processes at once than a command may",
        })
    }
}

/// One line of JSON. The last one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// A wall could not be raised; the job was not read.
    NotConfined { step: String, why: String },
    /// The job could not be started.
    NotStarted { why: String },
    /// A built-in tool is done.
    Done { is_error: bool },
    /// A command ended by itself.
    Exited { code: i32 },
    /// A command was ended by a signal.
    Signalled { signal: i32 },
    /// A command's time was up.
    TimedOut,
    /// A command used too much of something; said by the parent itself.
    Outgrown(Outgrown),
    /// What became of each canary.
    Canaries(Vec<(String, String)>),
}

impl Report {
    /// The last report among what was said.
    pub(crate) fn last_in(said: &[u8]) -> Option<Self> {
        said.split(|byte| *byte == b'\n')
            .rev()
            .find_map(|line| serde_json::from_slice(line).ok())
    }

    /// As it is said.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Says it. The parent may be gone already; then nobody is left to tell.
    pub(crate) fn say(&self) {
        use std::io::Write as _;
        let _ = std::io::stderr().lock().write_all(&self.line());
    }
}
