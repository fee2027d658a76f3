//! Text becomes [`Settings`], or everything that is wrong with it, at once.
//!
//! One table, [`KEYS`], says what can be set: name, type, default, meaning, and in which direction a
//! change weakens. The command line, validation, the reference and the JSON schema follow from it.
//! [`SettingsFile`] reads, and [`Draft`] changes a file under a lock, as one durable step.
//!
//! This room starts nothing and decides nothing; it does not even look at the environment (the
//! caller hands it in as [`Overrides`]).

mod approved;
mod bind;
mod check;
mod document;
mod draft;
mod error;
mod file;
mod keys;
mod kind;
mod load;
mod nearest;
mod nested;
mod reference;
mod settings;
mod table;
mod values;
mod weaken;

pub use bind::Bind;
pub use draft::{Draft, EditError};
pub use error::{ConfigError, ConfigErrors, Place};
pub use file::{SettingsFile, Stamp};
pub use keys::{BUILT_IN_TOOLS, Key, show};
pub use load::{Loaded, Origin, Overrides};
pub use reference::{json_schema, markdown};
pub use settings::{
    AuditPolicy, Cors, Gateway, ModelRef, Models, PromptInjection, RateLimit, SandboxSettings,
    Search, SearchKind, Settings, TlsFiles, ToolSettings, WorkspacePlan,
};
pub use table::KEYS;
pub use values::Values;
pub use weaken::{Change, differences, weakening};
