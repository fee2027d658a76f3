//! Refused requests in the log, without letting a flood of them push evidence out: the first of a
//! kind is written at once, repeats are counted and written as one record.

use crate::live::Rooms;
use clawdbot_domain::{Event, Outcome, Who};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long repeats of a refusal are counted before they are written.
const WINDOW: Duration = Duration::from_secs(10);

/// How many kinds are counted at once; past it, refusals share one count per status and reason.
const KINDS: usize = 10_000;

/// Who was refused, with which status, for which kind of reason.
type Kind = (Option<IpAddr>, u16, &'static str);

/// Repeats by kind.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<Kind, Repeats>>);

#[derive(Debug)]
struct Repeats {
    since: Instant,
    count: u64,
}

/// One refused request.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) who: Who,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) reason: String,
}

impl Refusals {
    /// Writes a refusal down, or counts it.
    pub(crate) fn note(&self, rooms: &Rooms, refused: Refused, now: Instant) {
        let mut repeats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kind = (refused.who.address, refused.status, refused.code);
        if repeats.len() >= KINDS && !repeats.contains_key(&kind) {
            kind.0 = None;
        }
        if let Some(known) = repeats.get_mut(&kind) {
            known.count += 1;
            return;
        }
        repeats.insert(
            kind,
            Repeats {
                since: now,
                count: 0,
            },
        );
        drop(repeats);
        let Refused {
            who,
            method,
            path,
            status,
            reason,
            ..
        } = refused;
        let event = Event::RequestRefused {
            method,
            path,
            status,
            reason,
            repeats: 0,
        };
        rooms
            .agent
            .recorder()
            .note_later(who, Outcome::Denied, event);
    }

    /// Writes what was counted and forgets kinds that have been quiet.
    pub(crate) fn flush(&self, rooms: &Rooms) {
        let mut done = Vec::new();
        let now = Instant::now();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|kind, repeats| {
                let over = now.saturating_duration_since(repeats.since) >= WINDOW;
                if over && repeats.count > 0 {
                    done.push((*kind, repeats.count));
                }
                !over
            });
        for ((address, status, code), repeats) in done {
            let who = Who {
                address,
                ..Who::default()
            };
            tracing::warn!(
                ?address,
                status,
                repeats,
                "security: further requests refused"
            );
            let event = Event::RequestRefused {
                method: String::new(),
                path: String::new(),
                status,
                reason: format!("further refusals of this kind: {code}"),
                repeats,
            };
            rooms
                .agent
                .recorder()
                .note_later(who, Outcome::Denied, event);
        }
    }
}
