//! HTTP in, HTTP out.
//!
//! A connection is taken only from a peer that may connect ([`listen`]); a request passes the edge
//! (host, origin, limits), then the router, whose handlers cannot run without [`Caller`]: an
//! authenticated principal with the scope its route declares. What a handler decides nothing about
//! is everything: screening, policy and recording belong to the agent.

mod answer;
mod anthropic;
mod approvals;
mod body;
mod caller;
mod caps;
mod chat;
mod edge;
mod limit;
mod listen;
mod live;
mod models;
mod openai;
mod openapi;
mod record;
mod relay;
mod routes;
mod running;
mod serve;
mod service;
mod session;
mod sessions;
mod setup;
mod sse;
mod state;
mod stop;
mod tls;
mod tokens;
mod tools;
mod turn_stream;
mod turns;
mod watch;

pub use caller::Caller;
pub use edge::{Cors, EdgeRules};
pub use limit::{Limit, SlidingLog};
pub use listen::{Bind, CannotListen, Listener, Peers};
pub use live::{ForGood, Live, PrepareForGood, Ready, Rooms};
pub use serve::{Drained, Serving, serve};
pub use stop::{Stop, Stopper};
pub use tls::{Tls, TlsError};
