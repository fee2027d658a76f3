//! `clawdbot audit verify`.

use super::super::record;
use super::paint::{GREEN, RED, YELLOW};
use super::unreadable;
use crate::cli::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::{note, say, wire};
use clap::Args;
use clawdbot_audit::{Against, Verdict, Verified, VerifierKey, verify_against};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

/// So much is verified before a terminal is shown how far it is.
const LONG: u64 = 32 << 20;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Another folder with a log in it, such as a copy [default: the log of this home]
    dir: Option<PathBuf>,
    /// The public key the log must rest on, as `clawdbot audit key` printed it
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A register to compare with [default for the log of this home: gateway.audit.register]
    #[arg(long, value_name = "FILE")]
    register: Option<PathBuf>,
    /// The findings as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: VerifyArgs, home: &Home) -> CliResult {
    let copy = args.dir.is_some();
    let key = args.key.as_deref().map(parse).transpose()?;
    let register = match (args.register, copy) {
        (Some(register), _) => Some(register),
        (None, true) => None,
        (None, false) => own_register(home),
    };
    let against = Against {
        key,
        register,
        copy,
    };
    let logs = args.dir.unwrap_or_else(|| home.logs());
    let bar = std::io::stderr().is_terminal();
    let found = verify_against(&logs, &against, &mut |done, all| {
        if bar && all > LONG {
            show_progress(done, all);
        }
    });
    if bar {
        clear_progress();
    }
    let found = found.map_err(unreadable)?;
    if args.json {
        let text = serde_json::to_string(&found).map_err(|e| Failure::new(Exit::Bug, e))?;
        say!("{text}");
    } else {
        explain(&found);
    }
    Ok(match found.verdict {
        Verdict::Intact => Exit::Done,
        Verdict::Torn { .. } => Exit::Found,
        Verdict::Tampered { .. } => Exit::Tampered,
        Verdict::RolledBack { .. } => Exit::RolledBack,
    })
}

fn parse(text: &str) -> Result<VerifierKey, Failure> {
    VerifierKey::parse(text).ok_or_else(|| {
        Failure::new(Exit::Usage, "--key is not a key of an audit log")
            .hint("`clawdbot audit key` prints it, as name+id+key")
    })
}

/// The register of this home. Settings that cannot be read must not keep anybody from verifying.
fn own_register(home: &Home) -> Option<PathBuf> {
    if let Ok(loaded) = record::settings(home) {
        return wire::audit_places(home, &loaded.settings).register;
    }
    note!("warning: the settings cannot be read, so no register is compared");
    None
}

fn show_progress(done: u64, all: u64) {
    let percent = done.saturating_mul(100) / all.max(1);
    let full = usize::try_from(percent / 4).unwrap_or(25).min(25);
    let (bar, rest) = ("=".repeat(full), " ".repeat(25 - full));
    let mut to = std::io::stderr();
    // It only passes the time; the verification goes on without it.
    let _ = write!(
        to,
        "\r[{bar}{rest}] {percent:>3} % of {} MB",
        all / 1_000_000
    );
    let _ = to.flush();
}

/// The result stands where the bar was.
fn clear_progress() {
    let _ = write!(std::io::stderr(), "\r\u{1b}[K");
}

fn explain(found: &Verified) {
    let (records, segments) = (found.records, found.segments);
    match &found.verdict {
        Verdict::Intact => say!("{GREEN}intact{GREEN:#}: {records} records, {segments} segment(s)"),
        Verdict::Torn { segment, bytes } => {
            say!(
                "{YELLOW}torn{YELLOW:#}: {records} records are intact; {bytes} bytes at the end of {segment} are not"
            );
            note!("a crash cut the last write short; the next start sets it aside");
        }
        Verdict::RolledBack { index, known, by } => {
            say!(
                "{RED}ROLLED BACK{RED:#}: the log ends before record {index}; the {by} knows of {known}"
            );
            note!("somebody cut the log off or put an older copy in its place");
        }
        Verdict::Tampered {
            index,
            segment,
            why,
        } => {
            say!("{RED}TAMPERED{RED:#} at record {index} in {segment}: {why}");
            note!(
                "{records} records before it are intact; keep the folder as it is, it is evidence"
            );
        }
    }
    if let (Some(first), Some(last), Some(head)) = (found.first, found.last, &found.head) {
        say!("records {first} to {last}, head {head}");
    }
}
