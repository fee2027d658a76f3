//! How much there may be of everything at once: connections, turns, bytes of bodies in memory.
//!
//! A cap on the whole protects the machine; a cap on each client protects the other clients.

use crate::answer::ApiError;
use clawdbot_domain::TokenId;
use http::StatusCode;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns, relays and tool calls at once.
const TURNS: usize = 512;

/// Of one token: a quarter, so that no one token shuts out the others.
const TURNS_OF_A_TOKEN: usize = TURNS / 4;

/// Request bodies in memory at once, in KiB: 512 MiB, sixteen of the largest.
const BODIES_KIB: usize = 512 * 1024;

/// One client holds at most this part of the connections.
const PART_OF_ONE: usize = 8;

/// Even where there are few connections, one client may hold so many.
const CONNECTIONS_OF_ONE: usize = 64;

/// How many there are, by client and in all; shared by everyone who holds a [`Held`].
#[derive(Debug)]
struct Counts<K> {
    all: usize,
    by_client: HashMap<K, usize>,
}

/// A cap on the whole and on each client.
#[derive(Debug)]
struct Crowd<K> {
    most: usize,
    most_of_one: usize,
    counts: Mutex<Counts<K>>,
}

/// Why somebody does not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    All,
    One,
}

/// One place in a crowd; given back when it is dropped.
#[derive(Debug)]
struct Held<K: Hash + Eq> {
    crowd: Arc<Crowd<K>>,
    /// `None`: counts in the whole only.
    client: Option<K>,
}

impl<K: Hash + Eq + Clone> Crowd<K> {
    fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_one,
            counts: Mutex::new(Counts {
                all: 0,
                by_client: HashMap::new(),
            }),
        })
    }

    fn enter(self: &Arc<Self>, client: Option<K>) -> Result<Held<K>, Full> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= self.most {
            return Err(Full::All);
        }
        if let Some(client) = &client {
            let count = counts.by_client.entry(client.clone()).or_default();
            if *count >= self.most_of_one {
                return Err(Full::One);
            }
            *count += 1;
        }
        counts.all += 1;
        Ok(Held {
            crowd: Arc::clone(self),
            client,
        })
    }
}

impl<K: Hash + Eq> Drop for Held<K> {
    fn drop(&mut self) {
        let counts = self.crowd.counts.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(client) = &self.client
            && let Some(count) = counts.by_client.get_mut(client)
        {
            *count -= 1;
            if *count == 0 {
                counts.by_client.remove(client);
            }
        }
    }
}

/// A turn's place among those that run.
#[derive(Debug)]
pub(crate) struct Slot(#[allow(dead_code, reason = "held until it is dropped")] Held<TokenId>);

/// A connection's place among those that are open.
#[derive(Debug)]
pub(crate) struct Place(#[allow(dead_code, reason = "held until it is dropped")] Held<IpAddr>);

/// Every cap of a running gateway.
#[derive(Debug)]
pub(crate) struct Caps {
    connections: Arc<Crowd<IpAddr>>,
    turns: Arc<Crowd<TokenId>>,
    bodies: Arc<Semaphore>,
}

impl Caps {
    /// With room for so many connections.
    pub(crate) fn new(connections: usize) -> Self {
        let of_one = (connections / PART_OF_ONE).max(CONNECTIONS_OF_ONE);
        Self {
            connections: Crowd::new(connections, of_one),
            turns: Crowd::new(TURNS, TURNS_OF_A_TOKEN),
            bodies: Arc::new(Semaphore::new(BODIES_KIB)),
        }
    }

    /// A place for a connection of this client; `None` for one that speaks for many, such as a
    /// trusted proxy.
    pub(crate) fn connection(&self, client: Option<IpAddr>) -> Option<Place> {
        self.connections.enter(client).ok().map(Place)
    }

    /// A place for a turn.
    pub(crate) fn turn(&self, token: &TokenId) -> Result<Slot, ApiError> {
        self.turns
            .enter(Some(token.clone()))
            .map(Slot)
            .map_err(|full| match full {
                Full::All => full_up("turns"),
                Full::One => ApiError::too_many("turns of the token at once", Duration::ZERO),
            })
    }

    /// Room for a body of at most so many bytes.
    pub(crate) fn body(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        Arc::clone(&self.bodies)
            .try_acquire_many_owned(kib)
            .map_err(|_| full_up("request bodies"))
    }
}

fn full_up(of_what: &str) -> ApiError {
    let mut error = ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "gateway_full",
        "the gateway is full; nothing was done",
    )
    .with_log(format!("as many {of_what} as it takes at once"));
    error.retry_after = Some(Duration::ZERO);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_take_every_place_and_places_are_given_back() {
        let crowd = Crowd::new(5, 2);
        let (a, b) = (crowd.enter(Some(1)).unwrap(), crowd.enter(Some(1)).unwrap());
        assert_eq!(crowd.enter(Some(1)).unwrap_err(), Full::One);
        let others = [2, 2, 3].map(|client| crowd.enter(Some(client)).unwrap());
        assert_eq!(crowd.enter(Some(4)).unwrap_err(), Full::All);
        assert_eq!(crowd.enter(None).unwrap_err(), Full::All);
        drop((a, others));
        assert!(crowd.enter(Some(1)).is_ok());
        drop(b);
        let counts = crowd.counts.lock().unwrap();
        assert_eq!((counts.all, counts.by_client.len()), (0, 0));
    }

    #[test]
    fn bodies_beyond_the_memory_for_them_are_told_to_come_back() {
        let caps = Caps::new(1);
        let held = (0..15)
            .map(|_| caps.body(32 << 20).unwrap())
            .collect::<Vec<_>>();
        assert_eq!(caps.body(32 << 20).unwrap_err().code, "gateway_full");
        drop(held);
        assert!(caps.body(32 << 20).is_ok());
    }
}
