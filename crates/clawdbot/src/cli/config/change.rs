//! The changing half: looked at, agreed to, written down, and only then made.

use super::{before, environment};
use crate::cli::{CliResult, Exit, Failure};
use crate::for_good::event;
use crate::home::Home;
use crate::{note, say, wire};
use clap::Args;
use clawdbot_audit::Recorder;
use clawdbot_config::{Change, Draft, EditError, Key, SettingsFile};
use clawdbot_domain::{Outcome, Who};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The largest file that is read for an import; the settings room takes no larger one.
const MAX_IMPORT: u64 = 1 << 20;

#[derive(Debug, Default, Args)]
pub struct Consent {
    /// Agree to what takes the last wall away, such as turning the sandbox off
    #[arg(long)]
    i_accept_the_risk: bool,
}

pub fn set(home: &Home, key: &str, value: &str, consent: &Consent) -> CliResult {
    // An unknown key is a wrong command, an impossible value is wrong data.
    let exit = if Key::find(key).is_some() {
        Exit::BadData
    } else {
        Exit::Usage
    };
    change(home, consent, |draft| {
        draft
            .set_word(key, value)
            .map_err(|e| Failure::new(exit, e))
    })
}

pub fn unset(home: &Home, key: &str, consent: &Consent) -> CliResult {
    change(home, consent, |draft| {
        draft.unset(key).map_err(|e| Failure::new(Exit::Usage, e))
    })
}

pub fn reset(home: &Home, consent: &Consent) -> CliResult {
    change(home, consent, |draft| {
        draft.reset();
        Ok(())
    })
}

pub fn import(home: &Home, path: &Path, consent: &Consent) -> CliResult {
    let bytes = read(path)
        .map_err(|e| Failure::new(Exit::Io, format!("cannot read {}: {e}", path.display())))?;
    change(home, consent, |draft| {
        draft
            .import(&bytes, path)
            .map_err(|e| Failure::new(Exit::BadData, e))
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is taken, so that a file that is too large is seen to be.
    if path == Path::new("-") {
        io::stdin()
            .lock()
            .take(MAX_IMPORT + 1)
            .read_to_end(&mut bytes)?;
    } else {
        File::open(path)?
            .take(MAX_IMPORT + 1)
            .read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Every change goes this way: nothing is changed that was not written down.
pub(in crate::cli) fn change(
    home: &Home,
    consent: &Consent,
    edit: impl FnOnce(&mut Draft) -> Result<(), Failure>,
) -> CliResult {
    Prepared::new(home, consent, edit)?.make(home, true)
}

/// A change that was looked at and agreed to. Nobody else changes the file until it is made or dropped.
pub(in crate::cli) struct Prepared {
    file: SettingsFile,
    draft: Draft,
    changes: Vec<Change>,
}

impl Prepared {
    pub(in crate::cli) fn new(
        home: &Home,
        consent: &Consent,
        edit: impl FnOnce(&mut Draft) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let file = SettingsFile::new(home.config_file());
        let mut draft = file.draft().map_err(failed)?;
        edit(&mut draft)?;
        let changes = draft.changes().map_err(|e| failed(e.into()))?;
        agreed(&changes, consent)?;
        Ok(Self {
            file,
            draft,
            changes,
        })
    }

    /// Writes it down, makes it, and writes down how it ended. Without `values` only what there is to be warned
    /// of is told.
    pub(in crate::cli) fn make(self, home: &Home, values: bool) -> CliResult {
        let log = Log::begin(home, &self.file, &self.changes)?;
        let made = self.draft.commit();
        log.end(
            &self.changes,
            if made.is_ok() {
                Outcome::Ok
            } else {
                Outcome::Failed
            },
        );
        tell(&made.map_err(failed)?, values);
        Ok(Exit::Done)
    }
}

fn failed(error: EditError) -> Failure {
    match error {
        EditError::Config(errors) => Failure::new(Exit::BadConfig, errors),
        error @ EditError::Busy { .. } => Failure::new(Exit::TryAgain, error),
        error @ EditError::Io { .. } => Failure::new(Exit::Io, error),
    }
}

fn agreed(changes: &[Change], consent: &Consent) -> Result<(), Failure> {
    match changes.iter().find(|change| change.needs_consent) {
        Some(change) if !consent.i_accept_the_risk => {
            let (key, to) = (change.key, &change.to);
            Err(Failure::new(
                Exit::Refused,
                format!("{key} = {to} takes the last wall away"),
            )
            .hint("the same command with --i-accept-the-risk, if that is what you want"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The audit log, opened only when there is something to write.
struct Log(Option<Recorder>);

impl Log {
    /// Writes every change down, before it is made, under the settings that still hold.
    fn begin(home: &Home, file: &SettingsFile, changes: &[Change]) -> Result<Self, Failure> {
        if changes.is_empty() {
            return Ok(Self(None));
        }
        let unwritten = |e: &dyn std::fmt::Display| {
            Failure::new(Exit::Io, format!("nothing was changed: {e}"))
                .hint("clawdbot audit verify   (a change that cannot be written down is not made)")
        };
        let settings = before(file);
        if !settings.gateway.audit.enabled {
            note!("warning: the audit log is off; this change is not written down");
        }
        let recorder = wire::open_audit(home, &settings).map_err(|e| unwritten(&e))?;
        for change in changes {
            let noted = recorder.note_blocking(Who::default(), Outcome::Begin, event(change));
            noted.map_err(|e| unwritten(&e))?;
        }
        Ok(Self(Some(recorder)))
    }

    /// Writes down how it ended.
    fn end(self, changes: &[Change], outcome: Outcome) {
        let Some(recorder) = self.0 else { return };
        for change in changes {
            if let Err(e) = recorder.note_blocking(Who::default(), outcome, event(change)) {
                note!("warning: the end of this change is not in the audit log: {e}");
            }
        }
    }
}

fn tell(changes: &[Change], values: bool) {
    if changes.is_empty() && values {
        say!("nothing changed: it was so already");
        return;
    }
    for change in changes {
        if values {
            say!("{} = {}   (was {})", change.key, change.to, change.from);
        }
        if change.weakens {
            note!("warning: security: this weakens {}", change.key);
        }
        let variable = Key::find(change.key).map(Key::env_var).unwrap_or_default();
        if environment().env.iter().any(|(name, _)| *name == variable) {
            note!("warning: {variable} is set here and wins over the file");
        }
        if change.needs_restart {
            note!(
                "note: {} takes effect when the gateway is restarted",
                change.key
            );
        }
    }
    if changes.iter().any(|change| !change.needs_restart) {
        note!("note: a running gateway takes this within two seconds");
    }
}
