//! The way out: what an answer must not carry to whoever reads or renders it.
//!
//! Known secrets and canaries are found by exact match over encodings; links and images to hosts
//! that nobody listed lose their address; a streamed answer is held back just long enough for both.

mod holdback;
mod known;
mod links;
mod references;
mod secrets;
mod stopped;

pub use holdback::{Holdback, Outward, Released};
pub use known::Known;
pub use links::{Neutral, hosts_in, neutralise, neutralised};
pub use secrets::{Leak, SecretError, Secrets};
pub use stopped::Stopped;
