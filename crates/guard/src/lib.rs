//! Look at text before the model does. Pure: no IO, no clock.
//!
//! [`Screened`] text was looked at, and carries where it came from; a model is given nothing else.
//! It cannot be forged outside this crate:
//!
//! ```compile_fail,E0451
//! # use clawdbot_domain::Provenance;
//! let forged = clawdbot_guard::Screened { text: String::new(), provenance: Provenance::Operator };
//! ```

mod screened;

pub use screened::{Screened, ScreenedBody};
