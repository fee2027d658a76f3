//! A change made by hand: written down, then made, then written down how it ended.

use super::{Exit, Failure};
use crate::home::Home;
use crate::{note, wire};
use clawdbot_audit::Recorder;
use clawdbot_config::{Loaded, Overrides, SettingsFile};
use clawdbot_domain::{Event, Outcome, Who};

/// The settings of this home, as a gateway started here would see them.
pub(super) fn settings(home: &Home) -> Result<Loaded, Failure> {
    let overrides = Overrides::from_vars(std::env::vars_os());
    let file = SettingsFile::new(home.config_file());
    file.load(&overrides).map_err(crate::running::bad_settings)
}

/// The log of this home. Who acts is whoever may use this home, so records name no token.
pub(super) struct Record(Recorder);

impl Record {
    /// Opens the log; without it nothing is changed.
    pub(super) fn open(home: &Home, loaded: &Loaded) -> Result<Self, Failure> {
        let settings = &loaded.settings;
        if !settings.gateway.audit.enabled {
            note!("warning: the audit log is off; this change is not written down");
        }
        wire::open_audit(home, settings)
            .map(Self)
            .map_err(unwritten)
    }

    /// Writes the intent down, acts, and writes down how it ended.
    pub(super) fn act<T, E: std::fmt::Display>(
        &self,
        event: &Event,
        act: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Failure> {
        self.act_at_once(std::slice::from_ref(event), act)
    }

    /// The same for several things that happen in one step.
    pub(super) fn act_at_once<T, E: std::fmt::Display>(
        &self,
        events: &[Event],
        act: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Failure> {
        self.all(events, act, |error| Failure::new(Exit::Io, error))
    }

    /// The same for an act whose errors have exit codes of their own.
    pub(super) fn act_with<T, E>(
        &self,
        event: &Event,
        act: impl FnOnce() -> Result<T, E>,
        failed: impl FnOnce(E) -> Failure,
    ) -> Result<T, Failure> {
        self.all(std::slice::from_ref(event), act, failed)
    }

    fn all<T, E>(
        &self,
        events: &[Event],
        act: impl FnOnce() -> Result<T, E>,
        failed: impl FnOnce(E) -> Failure,
    ) -> Result<T, Failure> {
        let note = |event: &Event, outcome| {
            let noted = self.0.note_blocking(Who::default(), outcome, event.clone());
            noted.map(|_| ())
        };
        for event in events {
            note(event, Outcome::Begin).map_err(unwritten)?;
        }
        let acted = act();
        let outcome = if acted.is_ok() {
            Outcome::Ok
        } else {
            Outcome::Failed
        };
        for event in events {
            if let Err(error) = note(event, outcome) {
                note!("warning: the end of this change is not in the audit log: {error}");
            }
        }
        acted.map_err(failed)
    }
}

fn unwritten(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Io,
        format!("the audit log cannot be written, so nothing was changed: {error}"),
    )
}
