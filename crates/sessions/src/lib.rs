//! What outlives a request: sessions and what they have taken in, calls that wait for a person, turns
//! that wait with them.
//!
//! One SQLite file in the home's `state/`, shared by every process of the home, and a key beside the
//! other secrets. Both may be lost without harm: a session that is not known is nobody's, an answer that
//! is not known counts as untrusted, an approval that is not known permits nothing. So a store that is
//! missing is made anew, where that of tokens would stay locked.

mod approval;
mod database;
mod error;
mod heard;
mod key;
mod session;
mod store;
mod turn;

pub use approval::{APPROVAL_LASTS, ApprovalInfo, ApprovalState, Request};
pub use error::SessionError;
pub use session::{
    IDLE, MAX_SESSIONS, MAX_SESSIONS_OF_TOKEN, Session, SessionInfo, Speaker, Spoken,
};
pub use store::SessionStore;
pub use turn::{Decided, Resumed, TurnInfo, TurnState};
