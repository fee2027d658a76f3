//! A flood of refusals as a few whole records and one with a count.
//!
//! Who can be refused as often as he likes could otherwise fill the log, and with it the disk, until
//! what he did before is pruned. What was *done* is never counted together: each act has records of its
//! own.

use crate::line::Entry;
use clawdbot_domain::{Event, Outcome, TokenId, Who};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So long repeats are counted before the count is written.
const WINDOW: Duration = Duration::from_secs(10);
/// So many of a kind are written whole in one window: what a person does by mistake stays readable.
const WHOLE: u64 = 5;
/// So many records of all kinds are written whole in one window, and so many kinds are told apart; past
/// either, kinds that differ only in who and in what share one count. With a kilobyte a record, the
/// widest flood writes less than a hundred kilobytes a second.
const MOST: usize = 500;
/// So many kinds of one event one client has to itself, lest it use up, by making up names of tools, what
/// is there for all.
const OWN: usize = 16;
/// So much of a text that a stranger chose is kept of a record that stands for others.
const SAMPLE: usize = 200;
/// So many rules and findings are.
const FEW: usize = 8;

/// What the guard calls a finding that an operator sent the text in spite of.
const OVERRULED: &str = "allowed";

/// What two refusals have in common that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    event: std::mem::Discriminant<Event>,
    outcome: Outcome,
    actor: Option<TokenId>,
    address: Option<IpAddr>,
    about: String,
    /// Nobody outside can make up another one.
    names_are_ours: bool,
}

/// Whose kinds they are.
type Client = (
    std::mem::Discriminant<Event>,
    Option<TokenId>,
    Option<IpAddr>,
);

/// The refusals of one kind in this window.
#[derive(Debug, Default)]
struct Count {
    seen: u64,
    /// How many of them were only counted, and the newest of those.
    counted: u64,
    sample: Option<(Who, Event)>,
}

/// The refusals of this window.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    since: Option<Instant>,
    whole: usize,
    kinds: HashMap<Kind, Count>,
    /// How many of the kinds are a client's own.
    own: HashMap<Client, usize>,
}

impl Repeats {
    /// True when this is one of many and was counted instead: then it is not to be written.
    pub(crate) fn counts(&self, who: &Who, outcome: Outcome, event: &Event, now: Instant) -> bool {
        let Some(about) = about(outcome, event) else {
            return false;
        };
        let mut kind = Kind {
            event: std::mem::discriminant(event),
            outcome,
            actor: who.actor.clone(),
            address: who.address,
            about,
            names_are_ours: matches!(event, Event::GuardFinding { .. }),
        };
        let mut table = self.table();
        table.since.get_or_insert(now);
        table.place(&mut kind);
        let may_be_whole = table.whole < MOST;
        let count = table.kinds.entry(kind).or_default();
        count.seen = count.seen.saturating_add(1);
        if may_be_whole && count.seen <= WHOLE {
            table.whole += 1;
            return false;
        }
        count.counted = count.counted.saturating_add(1);
        count.sample = Some((who.clone(), shortened(event)));
        true
    }

    /// How long until what was counted is to be written; `None` while nothing was.
    pub(crate) fn due_in(&self, now: Instant) -> Option<Duration> {
        let since = self.table().since?;
        Some(WINDOW.saturating_sub(now.saturating_duration_since(since)))
    }

    /// What was counted, once its window is over or when `all` of it is wanted.
    pub(crate) fn take(&self, now: Instant, all: bool) -> Vec<Entry> {
        if !all && self.due_in(now) != Some(Duration::ZERO) {
            return Vec::new();
        }
        let kinds = std::mem::take(&mut *self.table()).kinds;
        let counted = kinds.into_iter().filter_map(|(kind, count)| {
            let (who, event) = count.sample?;
            let who = Who {
                actor: kind.actor,
                address: kind.address,
                session: who.session,
                request: None,
            };
            let entry = Entry::now(who, kind.outcome, event, None);
            Some(entry.standing_for(count.counted))
        });
        counted.collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Joins a kind that is new with others when there are too many.
    fn place(&mut self, kind: &mut Kind) {
        if self.kinds.contains_key(kind) {
            return;
        }
        if self.kinds.len() < MOST {
            let client = (kind.event, kind.actor.clone(), kind.address);
            if kind.names_are_ours {
                return;
            }
            let own = self.own.entry(client).or_default();
            if *own < OWN {
                *own += 1;
                return;
            }
            // Its own others: one kind more for each client.
            kind.about = String::new();
            return;
        }
        (kind.actor, kind.address, kind.about) = (None, None, String::new());
    }
}

/// What tells refusals of one event apart; `None` for what is never counted together.
fn about(outcome: Outcome, event: &Event) -> Option<String> {
    match (event, outcome) {
        // The code and not the reason, which may quote the request.
        (Event::RequestRefused { status, code, .. }, _) => Some(format!("{status} {code}")),
        (Event::ToolDenied { tool, .. }, _) => Some(cut(tool)),
        // An operator who overrules a finding has done something.
        (Event::GuardFinding { action, .. }, _) if action == OVERRULED => None,
        // A finding may let the text pass; that alone is no act. What was found first tells them apart:
        // its names are the guard's own, and no list of them can be made up.
        (
            Event::GuardFinding {
                channel,
                action,
                findings,
                ..
            },
            _,
        ) => {
            let found = findings.first().map_or("", String::as_str);
            Some(cut(&format!("{channel:?} {action} {found}")))
        }
        (_, Outcome::Denied) => Some(String::new()),
        (_, Outcome::Begin | Outcome::Ok | Outcome::Failed | Outcome::Abandoned) => None,
    }
}

/// The event with the texts that a stranger chose cut to what a sample needs.
fn shortened(event: &Event) -> Event {
    let mut event = event.clone();
    // Nothing in the others is a stranger's.
    if let Event::RequestRefused { path, reason, .. } = &mut event {
        (*path, *reason) = (cut(path), cut(reason));
    } else if let Event::ToolDenied { tool, rules, .. } = &mut event {
        *tool = cut(tool);
        rules.truncate(FEW);
    } else if let Event::GuardFinding { findings, .. } = &mut event {
        findings.truncate(FEW);
    } else if let Event::Egress { origin, .. } = &mut event {
        *origin = cut(origin);
    }
    event
}

fn cut(text: &str) -> String {
    text.chars().take(SAMPLE).collect()
}

#[cfg(test)]
mod tests {
    use super::{MOST, OWN, Repeats, WHOLE, WINDOW};
    use clawdbot_domain::{Event, Outcome, Who};
    use std::net::{IpAddr, Ipv6Addr};
    use std::time::Instant;

    fn refused(path: &str) -> Event {
        Event::RequestRefused {
            method: "GET".into(),
            path: path.into(),
            status: 401,
            code: "unauthenticated",
            reason: path.into(),
        }
    }

    fn from(number: u128) -> Who {
        Who {
            address: Some(IpAddr::V6(Ipv6Addr::from_bits(number))),
            ..Who::default()
        }
    }

    #[test]
    fn the_first_are_whole_and_the_rest_are_one_record_with_their_number() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let whole = (0..1_000)
            .filter(|n| !repeats.counts(&from(1), Outcome::Denied, &refused(&format!("/{n}")), now))
            .count();
        assert_eq!(whole as u64, WHOLE);
        assert!(
            repeats.take(now, false).is_empty(),
            "the window is not over"
        );
        let written = repeats.take(now + WINDOW, false);
        let [one] = written.as_slice() else {
            panic!("{written:?}")
        };
        assert_eq!(one.repeats, Some(1_000 - WHOLE));
        assert_eq!(one.who.address, from(1).address);
        assert!(repeats.take(now + WINDOW, true).is_empty(), "told once");
        assert!(!repeats.counts(&from(1), Outcome::Denied, &refused("/"), now));
    }

    #[test]
    fn a_flood_of_kinds_hides_no_number_and_fills_no_memory() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let whole = (0..20_000)
            .filter(|n| !repeats.counts(&from(n % 7_000), Outcome::Denied, &refused("/"), now))
            .count();
        assert!(whole <= MOST, "{whole}");
        let written = repeats.take(now, true);
        assert!(written.len() <= MOST + 1, "{}", written.len());
        let counted: u64 = written.iter().filter_map(|entry| entry.repeats).sum();
        assert_eq!(whole as u64 + counted, 20_000);
    }

    #[test]
    fn a_flood_of_one_tool_does_not_swallow_the_refusal_of_another() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let denied = |tool: &str| Event::ToolDenied {
            tool: tool.into(),
            effect: None,
            rules: Vec::new(),
            arguments_sha256: String::new(),
        };
        for _ in 0..100 {
            repeats.counts(&from(1), Outcome::Denied, &denied("read_file"), now);
        }
        assert!(repeats.counts(&from(1), Outcome::Denied, &denied("read_file"), now));
        assert!(!repeats.counts(&from(1), Outcome::Denied, &denied("run_command"), now));
        assert!(!repeats.counts(&from(2), Outcome::Denied, &denied("read_file"), now));
    }

    #[test]
    fn a_client_that_makes_up_tools_does_not_swallow_the_refusals_of_another() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let denied = |tool: String| Event::ToolDenied {
            tool,
            effect: None,
            rules: Vec::new(),
            arguments_sha256: String::new(),
        };
        for n in 0..10_000 {
            repeats.counts(
                &from(1),
                Outcome::Denied,
                &denied(format!("made-up-{n}")),
                now,
            );
        }
        assert!(!repeats.counts(
            &from(2),
            Outcome::Denied,
            &denied("run_command".into()),
            now
        ));
        let written = repeats.take(now, true);
        assert!(written.len() <= OWN + 1, "{}", written.len());
        assert!(
            written
                .iter()
                .all(|entry| entry.who.address == from(1).address)
        );
    }

    #[test]
    fn what_is_done_is_never_counted_together() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        for outcome in [
            Outcome::Begin,
            Outcome::Ok,
            Outcome::Failed,
            Outcome::Abandoned,
        ] {
            let event = Event::GatewayStop {
                reason: String::new(),
            };
            let counted = (0..100).any(|_| repeats.counts(&from(1), outcome, &event, now));
            assert!(!counted, "{outcome:?}");
        }
    }
}
