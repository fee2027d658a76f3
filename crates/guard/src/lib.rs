//! Look at text before the model does. Pure: no IO, no clock.
//!
//! [`Screened`] text was looked at, and carries where it came from; a model is given nothing else.
//! It cannot be forged outside this crate:
//!
//! ```compile_fail,E0451
//! # use clawdbot_domain::Provenance;
//! let forged = clawdbot_guard::Screened { text: String::new(), provenance: Provenance::Operator };
//! ```
//!
//! The detector is deterministic: a normaliser that undoes disguises, a lexicon of concepts in many
//! languages, rules over concepts that stand close together, and a linear model over hashed words
//! and concepts whose weights lie in the binary. It stops plain attacks; it cannot stop an attack
//! that has no tell-tale words. What holds then is provenance: whatever this crate says, untrusted
//! text stays [`Taint`](clawdbot_domain::Taint)ed.

mod body;
mod detect;
mod guard;
pub mod measure;
mod model;
mod outward;
mod report;
mod screened;
mod seen;
mod spotlight;

pub use body::BodyRefusal;
pub use guard::{Guard, GuardSettings, Looked, Refusal};
pub use model::Weighed;
#[doc(hidden)]
pub use model::lab;
pub use outward::{
    Holdback, Known, Leak, Neutral, Outward, Released, SecretError, Secrets, Stopped, hosts_in,
    neutralise, neutralised,
};
pub use report::{Action, Allowed, Finding, Report};
pub use screened::{Screened, ScreenedBody};
pub use seen::{Seen, SeenOf};
