//! The two verifiers of the audit log, side by side: the gateway's own, and the one in
//! `tests/python/verify_audit.py` that shares no code with it. Whatever a test does to a log, both must
//! find the same.

use crate::binary;
use clawdbot_audit::{Against, Verdict, verify_against};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What a verifier found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As the command line ends: 0 intact, 1 torn, 2 unreadable, 3 tampered, 4 rolled back.
    pub code: i32,
    /// The first record that is not as it was written, or the one that would come next; `None` when
    /// the log is unreadable.
    pub index: Option<u64>,
}

/// Both verifiers. The second one runs in a process of its own, once for all questions.
#[derive(Debug)]
pub struct Judges {
    second: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Judges {
    /// Calls them in.
    ///
    /// # Panics
    /// When python3 does not start.
    pub fn new() -> Self {
        let script = binary::checkout().join("tests/python/verify_audit.py");
        let mut python = Command::new("python3");
        python.arg(script).arg("--batch");
        let piped = python.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut second = piped.spawn().expect("python3 is installed");
        Self {
            ask: second.stdin.take().expect("standard input is piped"),
            answers: BufReader::new(second.stdout.take().expect("standard output is piped")),
            second,
        }
    }

    /// What both find in a log in use.
    ///
    /// # Panics
    /// When they do not find the same.
    #[track_caller]
    pub fn agree(&mut self, what: &str, folder: &Path) -> Found {
        self.agree_against(what, folder, &Against::default())
    }

    /// What both find, compared with a key and a register, or in a copy.
    ///
    /// # Panics
    /// When they do not find the same.
    #[track_caller]
    pub fn agree_against(&mut self, what: &str, folder: &Path, against: &Against) -> Found {
        let (first, why) = first(folder, against);
        let (second, text) = self.second(folder, against);
        assert_eq!(
            first, second,
            "{what}: the first verifier says {why}; the second says {text}"
        );
        first
    }

    fn second(&mut self, folder: &Path, against: &Against) -> (Found, String) {
        let mut line = folder.display().to_string();
        if let Some(key) = &against.key {
            line += &[" --key ", &key.to_string()].concat();
        }
        if let Some(register) = &against.register {
            line += &[" --register ", &register.to_string_lossy()].concat();
        }
        if against.copy {
            line.push_str(" --copy");
        }
        writeln!(self.ask, "{line}").expect("the second verifier takes questions");
        let mut answer = String::new();
        self.answers
            .read_line(&mut answer)
            .expect("the second verifier answers");
        let mut words = answer.split(' ');
        let code = words.next().and_then(|code| code.parse().ok());
        let found = Found {
            code: code.unwrap_or_else(|| panic!("the second verifier failed on {line}: {answer}")),
            index: words.next().and_then(|index| index.parse().ok()),
        };
        (found, answer)
    }
}

impl Default for Judges {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Judges {
    fn drop(&mut self) {
        // It waits for questions, and there are no more.
        let _ = self.second.kill();
        let _ = self.second.wait();
    }
}

fn first(folder: &Path, against: &Against) -> (Found, String) {
    let found = match verify_against(folder, against, &mut |_, _| ()) {
        Ok(found) => found,
        Err(error) => {
            let (code, index) = (2, None);
            return (Found { code, index }, error.to_string());
        }
    };
    let next = found.last.map_or(0, |last| last + 1);
    let (code, index) = match &found.verdict {
        Verdict::Intact => (0, next),
        Verdict::Torn { .. } => (1, next),
        Verdict::Tampered { index, .. } => (3, *index),
        Verdict::RolledBack { index, .. } => (4, *index),
    };
    let index = Some(index);
    (Found { code, index }, format!("{:?}", found.verdict))
}
