//! The rooms in force.

use crate::edge::EdgeRules;
use clawdbot_agent::Agent;
use clawdbot_auth::{Authenticator, TokenStore};
use clawdbot_domain::{ApprovedCall, Event};
use clawdbot_providers::Directory;
use clawdbot_sessions::SessionStore;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What `/ready` says of one part: its name, and what is wrong with it if anything is.
pub type Ready = (&'static str, Result<(), String>);

/// Makes such a change ready, or says why it cannot be.
pub type PrepareForGood = Box<dyn Fn(&ApprovedCall) -> Result<ForGood, String> + Send + Sync>;

/// A change of the settings that is ready to be made, and not made when it is dropped.
pub struct ForGood {
    /// What is written down before it is made.
    pub events: Vec<Event>,
    /// Makes it: durable when this returns.
    pub make: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

/// Everything a request needs, under one set of settings.
pub struct Rooms {
    /// Runs turns, tools and relays.
    pub agent: Arc<Agent>,
    /// The providers, by model.
    pub models: Directory,
    /// Who asks.
    pub authenticator: Authenticator,
    /// Their tokens, for the admin API.
    pub tokens: Arc<TokenStore>,
    /// Sessions, and what waits in them.
    pub sessions: Arc<SessionStore>,
    /// The rules of the edge.
    pub edge: EdgeRules,
    /// What `/ready` and `/status` report.
    pub ready: Box<dyn Fn() -> Vec<Ready> + Send + Sync>,
    /// Makes ready to write a person's yes for good into the settings.
    pub for_good: PrepareForGood,
    /// One line a setting that people ask for first, for `/status`.
    pub posture: Vec<(&'static str, String)>,
    /// Every setting in force, which `/status` tells an admin.
    pub config: Vec<(&'static str, serde_json::Value)>,
}

/// The current [`Rooms`]. A live change of settings puts new ones in place; requests in flight keep
/// those they started with, but that the next step of a turn goes by the new agent.
#[derive(Clone)]
pub struct Live {
    rooms: Arc<RwLock<Arc<Rooms>>>,
    closed: Arc<AtomicBool>,
}

impl Live {
    /// Starts with these rooms.
    pub fn new(rooms: Rooms) -> Self {
        rooms.agent.put_in_force();
        Self {
            rooms: Arc::new(RwLock::new(Arc::new(rooms))),
            closed: Arc::default(),
        }
    }

    /// The rooms in force now.
    pub fn current(&self) -> Arc<Rooms> {
        // A poisoned lock still holds whole rooms: they are replaced in one assignment.
        Arc::clone(&self.rooms.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts new rooms in place.
    pub fn replace(&self, rooms: Rooms) {
        rooms.agent.put_in_force();
        *self.rooms.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rooms);
    }

    /// Closes the gateway while an incident is looked into, or opens it again: what comes is turned away,
    /// and what is under way is cut as if its token had been revoked. Returns whether that is new.
    pub fn close(&self, closed: bool) -> bool {
        self.closed.swap(closed, Ordering::Relaxed) != closed
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}
