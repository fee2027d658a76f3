//! Who is asking, and keeping secrets.
//!
//! [`TokenStore`] keeps tokens as keyed hashes, [`Authenticator`] turns a presented token into an
//! [`Authenticated`] principal, and [`Vault`] keeps provider credentials sealed. Nothing here knows
//! HTTP.
//!
//! Nobody outside this crate can claim that somebody was authenticated:
//!
//! ```compile_fail,E0451
//! # fn forge(principal: clawdbot_domain::Principal) {
//! let forged = clawdbot_auth::Authenticated { principal };
//! # }
//! ```
//!
//! nor copy what says so:
//!
//! ```compile_fail,E0308
//! # fn copy(real: &clawdbot_auth::Authenticated) -> clawdbot_auth::Authenticated {
//! real.clone()
//! # }
//! ```

mod authenticate;
mod database;
mod error;
mod files;
mod keyed;
pub mod operator;
mod store;
mod token;
mod vault;

pub use authenticate::{Authenticated, Authenticator};
pub use error::{AuthError, Rejected, VaultError};
pub use store::{
    DEFAULT_TTL, Draft, MAX_TOKENS, MAX_TTL, NewToken, SETUP_TTL, TokenInfo, TokenState, TokenStore,
};
pub use vault::{CredentialInfo, CredentialKind, DUE, KeySource, NewKey, Rekeyed, Vault};
