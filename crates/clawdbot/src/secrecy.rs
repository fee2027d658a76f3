//! What keeps secrets out of every place that is not the vault: messages, crash output, core dumps,
//! the list of processes.

use crate::cli::{Exit, Failure};
use clawdbot_audit::{Recorder, Redactor};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use std::borrow::Cow;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::sync::{LazyLock, OnceLock};

/// A shorter word after a token's prefix is a word.
const SHORTEST: usize = 16;

static SHAPES: LazyLock<Redactor> = LazyLock::new(Redactor::new);
/// Knows the very secrets of a running gateway.
static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// From the first line of the program on: no core dump, nobody else reads its memory, and what it says
/// when it panics is masked.
pub fn keep() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // A system that forbids these has its own say; they are the second line, not the first.
    let _ = rustix::process::setrlimit(Resource::Core, none);
    // Also for a core that is piped to a program, where the limit does not count.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        let _ = writeln!(std::io::stderr().lock(), "{}", mask(&text));
    }));
}

/// From now on the secrets that this recorder knows are masked everywhere.
pub fn know_what(recorder: &Recorder) {
    // A process runs one gateway.
    let _ = RECORDER.set(recorder.clone());
}

/// A text for people, without secrets.
pub fn mask(text: &str) -> Cow<'_, str> {
    match RECORDER.get() {
        Some(recorder) => recorder.redactor().mask(text),
        None => SHAPES.mask(text),
    }
}

/// Why the command line is refused, when a secret stands in it. By then the shell has kept it and every
/// user of the machine could read it: it has to be said, and the secret is not said again.
pub fn in_arguments(arguments: impl Iterator<Item = OsString>) -> Option<Failure> {
    let at = arguments
        .skip(1)
        .position(|argument| is_secret(&argument.to_string_lossy()))?;
    let what = format!(
        "argument {} looks like a token or key; arguments are seen by every user of this machine and kept in the shell's history",
        at + 1
    );
    let hint = "revoke it and make a new one; secrets are read from a prompt or from standard input, never from an argument";
    Some(Failure::new(Exit::Usage, what).hint(hint))
}

fn is_secret(argument: &str) -> bool {
    // A folder may be called whatever it is called.
    let value = argument
        .split_once('=')
        .map_or(argument, |(_, value)| value);
    let is_path = |text: &str| Path::new(text).exists();
    if is_path(argument) || is_path(value) {
        return false;
    }
    SHAPES
        .secrets_in(argument)
        .any(|part| part.len() >= SHORTEST && part.bytes().any(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::{is_secret, keep};
    use rustix::process::{DumpableBehavior, Resource};

    #[test]
    fn a_secret_in_an_argument_is_seen_and_words_are_not() {
        for secret in [
            "sk-ant-api03-0123456789abcdefghij",
            "--message=my key is sk-0123456789abcdefghij",
            "cb-prod-AbCdEfGhIjKl.0123456789012345678901234567890123456789012abcdef",
            "st-AbCdEfGhIjKl.0123456789012345678901234567890123456789012abcdef",
            "Authorization: Bearer 0123456789abcdefghij",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for word in [
            "the bearer of bad news",
            "st-petersburg",
            "sk-learn",
            "--provider=openai",
            "gateway.audit.logLevel",
        ] {
            assert!(!is_secret(word), "{word}");
        }
    }

    #[test]
    fn no_core_is_dumped_and_nobody_reads_the_memory() {
        keep();
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        let dumpable = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(dumpable, DumpableBehavior::NotDumpable);
    }

    /// The crash output of a process of its own, which this test starts once more for it.
    #[test]
    fn a_panic_with_a_secret_in_it_is_masked() {
        const CRASH: &str = "CLAWDBOT_TEST_CRASHES";
        let secret = "sk-ant-oat01-0123456789abcdefghij";
        if std::env::var_os(CRASH).is_some() {
            keep();
            panic!("no answer for {secret}");
        }
        let crashed = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["a_panic_with_a_secret_in_it_is_masked", "--nocapture"])
            .env(CRASH, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&crashed.stderr);
        assert!(said.contains("no answer for sk-[redacted]"), "{said}");
        assert!(!said.contains(secret), "{said}");
    }
}
