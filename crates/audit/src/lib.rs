//! Nothing happens unwritten.
//!
//! [`Recorder::begin`] writes what is about to happen, waits until it is durable on disk, and hands
//! back a [`Recorded<T>`]: whoever acts demands one, so a step that was not written down does not
//! compile, and a log that cannot be written stops the act instead of the log.
//!
//! A `Recorded` cannot be forged outside this crate:
//!
//! ```compile_fail,E0423
//! # fn forge(permit: String) {
//! let forged = clawdbot_audit::Recorded(permit);
//! # }
//! ```
//!
//! nor used twice:
//!
//! ```compile_fail,E0382
//! # fn twice(recorded: clawdbot_audit::Recorded<String>) {
//! let (act, end) = recorded.act();
//! let (again, end) = recorded.act();
//! # }
//! ```

mod age;
mod clock;
mod disk;
mod error;
mod health;
mod keys;
mod line;
mod log;
mod note;
mod proof;
mod queue;
mod recorded;
mod recorder;
mod records;
mod redact;
mod register;
mod repeats;
mod seal;
mod segment;
mod settings;
mod show;
mod span;
mod tail;
mod tell;
mod text;
mod tiles;
mod torn;
mod tree;
mod verify;
mod writer;

pub use error::{AuditError, Fault, NotRecorded};
pub use note::VerifierKey;
pub use proof::{Fsck, consistency, fsck, prove, root_key};
pub use recorded::{OpenRecord, Recorded};
pub use recorder::{DEADLINE, Recorder};
pub use records::{Between, Records};
pub use redact::Redactor;
pub use seal::Places;
pub use settings::AuditSettings;
pub use show::{Shown, human_line, visible};
pub use tail::Tail;
pub use verify::{Against, Verdict, Verified, verify, verify_against};
