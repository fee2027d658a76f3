//! One turn, question to answer.
//!
//! [`Agent::turn`] is the life of a request on one page: screen what was said, write it down, ask
//! the model, validate each call it proposes, decide it, write the permit down, run it in the
//! sandbox, screen what came back, and go round again, at most [`Budget`] times. It knows no HTTP,
//! no TLS and no files.

mod act;
mod agent;
mod ask;
mod budget;
mod counts;
mod error;
mod findings;
mod kept;
mod live;
mod relay;
mod screening;
mod session;
mod step;
mod suspend;
mod turn;
mod way_out;

pub use act::{Acted, Refusal};
pub use agent::Agent;
pub use ask::Invocation;
pub use budget::{Budget, Spent};
pub use counts::Counts;
pub use error::TurnError;
pub use kept::Kept;
pub use step::{Emit, Emitter, Step};
pub use turn::{Answer, Question, Said};
pub use way_out::Links;
