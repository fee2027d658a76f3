//! The regular maintenance: when each item was done last, and which are due. What was done is in the
//! audit log, so nobody has to be believed.

use crate::cli::record::{Record, settings};
use crate::cli::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::say;
use clap::ValueEnum;
use clawdbot_audit::Records;
use clawdbot_auth::{TokenStore, operator};
use clawdbot_domain::{Event, UnixTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const DAY: u64 = 86_400;

/// An item that a person does and then says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ByHand {
    /// The list of tools that may run was looked through
    AllowList,
    /// Security announcements and newer versions were looked for
    Updates,
}

/// One item of the regular maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Upkeep {
    pub(super) id: &'static str,
    pub(super) item: &'static str,
    /// When it was done last, as far as the log goes back.
    pub(super) last: Option<String>,
    pub(super) due: bool,
    pub(super) found: String,
    pub(super) mend: String,
}

/// The id of a review of the audit log, which `audit report --week` is.
pub(in crate::cli) const REVIEW: &str = "audit-review";
/// The id of a comparison with the baseline.
pub(super) const BASELINE: &str = "baseline";

struct About {
    id: &'static str,
    item: &'static str,
    every_days: u64,
    mend: &'static str,
}

const ITEMS: [About; 6] = [
    About {
        id: REVIEW,
        item: "Review audit logs weekly",
        every_days: 7,
        mend: "clawdbot audit report --week",
    },
    About {
        id: "tokens",
        item: "Rotate authentication tokens quarterly",
        every_days: 90,
        mend: "clawdbot tokens list, and for each that is old: clawdbot tokens rotate ID --grace 10m",
    },
    About {
        id: "image",
        item: "Update Docker images monthly",
        every_days: 31,
        mend: "docker compose pull && docker compose up -d (or install the newest release)",
    },
    About {
        id: "allow-list",
        item: "Review and update tool allowlist",
        every_days: 90,
        mend: "clawdbot tools list, clawdbot approvals always list, then: clawdbot security done allow-list",
    },
    About {
        id: "updates",
        item: "Check for security updates",
        every_days: 31,
        mend: "read the security announcements, then: clawdbot security done updates",
    },
    About {
        id: BASELINE,
        item: "Verify security configuration hasn't changed",
        every_days: 31,
        mend: "clawdbot security baseline verify (the first time: clawdbot security baseline accept)",
    },
];

/// Writes down that an item was done.
pub(in crate::cli) fn note_done(home: &Home, item: &str) -> Result<(), Failure> {
    let record = Record::open(home, &settings(home)?)?;
    let event = Event::MaintenanceDone {
        item: item.to_owned(),
    };
    record.act(&event, || Ok::<_, std::io::Error>(()))
}

pub(super) fn done_by_hand(item: ByHand, home: &Home) -> CliResult {
    let id = match item {
        ByHand::AllowList => "allow-list",
        ByHand::Updates => "updates",
    };
    note_done(home, id)?;
    say!("written down: {id} was done");
    Ok(Exit::Done)
}

/// What of a record tells that something was done.
#[derive(Deserialize)]
struct Did<'a> {
    time: &'a str,
    event: &'a str,
    outcome: &'a str,
    item: Option<&'a str>,
    key: Option<&'a str>,
}

/// When each item was done last, and when the log begins.
fn from_log(home: &Home) -> (BTreeMap<String, String>, Option<String>) {
    let (mut last, mut begins) = (BTreeMap::new(), None);
    // A home without a log has done nothing yet; that the log cannot be read is `audit verify`'s to say.
    let Ok(mut records) = Records::open(&home.logs()) else {
        return (last, begins);
    };
    while let Ok(Some(line)) = records.read() {
        let told =
            line.contains("security.maintenance.done") || line.contains("security.config.changed");
        if begins.is_some() && !told {
            continue;
        }
        let Ok(did) = serde_json::from_str::<Did<'_>>(line) else {
            continue;
        };
        begins.get_or_insert_with(|| did.time.to_owned());
        let item = match (did.event, did.key) {
            ("security.maintenance.done", _) => did.item,
            ("security.config.changed", Some("gateway.tools.allowList")) => Some("allow-list"),
            _ => None,
        };
        if let Some(item) = item.filter(|_| did.outcome == "ok") {
            last.insert(item.to_owned(), did.time.to_owned());
        }
    }
    (last, begins)
}

/// Every item, as it stands now.
pub(super) fn all(home: &Home, now: UnixTime) -> Result<Vec<Upkeep>, Failure> {
    let (mut last, begins) = from_log(home);
    if let Some(built) = built() {
        last.insert("image".to_owned(), built.to_string());
    }
    let (oldest, count) = oldest_token(home, now)?;
    if let Some(oldest) = oldest {
        last.insert("tokens".to_owned(), oldest.to_string());
    }
    let begins = begins.and_then(|time| moment(&time)).unwrap_or(now);
    let item = |about: &About| {
        let done = last.get(about.id);
        // What was never done is due once there was time enough to do it.
        let since = done.and_then(|time| moment(time)).unwrap_or(begins);
        let days = now.since(since).as_secs() / DAY;
        let none = about.id == "tokens" && count == 0;
        let due = !none && now.since(since) > Duration::from_secs(about.every_days * DAY);
        let date = |time: &String| time.chars().take(10).collect::<String>();
        let found = match (about.id, done) {
            ("tokens", _) if none => {
                "there is none to rotate but the operator's, which renews itself".to_owned()
            }
            ("tokens", Some(time)) => format!(
                "the oldest of {count} is of {}, {days} days ago",
                date(time)
            ),
            ("image", Some(time)) => format!("this program is of {}, {days} days ago", date(time)),
            (_, Some(time)) => format!("last {}, {days} days ago", date(time)),
            (_, None) if due => "never, as far as the audit log goes back".to_owned(),
            (_, None) => {
                let by = since.plus(Duration::from_secs(about.every_days * DAY));
                format!("not done yet, due by {}", date(&by.to_string()))
            }
        };
        Upkeep {
            id: about.id,
            item: about.item,
            last: done.cloned(),
            due,
            found,
            mend: about.mend.to_owned(),
        }
    };
    Ok(ITEMS.iter().map(item).collect())
}

/// When this program was built, as its file says; in an image that is when the image was.
fn built() -> Option<UnixTime> {
    let program = std::env::current_exe().ok()?;
    let meta = std::fs::metadata(program).ok()?;
    meta.modified().ok().map(UnixTime::from)
}

/// When the oldest token that counts was made, and how many there are. The operator's renews itself.
fn oldest_token(home: &Home, now: UnixTime) -> Result<(Option<UnixTime>, usize), Failure> {
    // A store that is not there would be made; who looks makes nothing.
    if !home.state().exists() {
        return Ok((None, 0));
    }
    let store = TokenStore::open(&home.state(), &home.secrets());
    let all = store.and_then(|store| store.list(now));
    let all = all.map_err(|e| Failure::new(Exit::Io, e))?;
    let counted: Vec<_> = all
        .iter()
        .filter(|t| t.is_live(now) && t.name != operator::NAME)
        .collect();
    Ok((counted.iter().map(|t| t.created).min(), counted.len()))
}

/// A time of the log. One too far off to be told in nanoseconds is as far off as can be told.
pub(in crate::cli) fn moment(text: &str) -> Option<UnixTime> {
    let at: jiff::Timestamp = text.parse().ok()?;
    let far = if at.as_nanosecond() < 0 {
        i64::MIN
    } else {
        i64::MAX
    };
    let nanos = i64::try_from(at.as_nanosecond()).unwrap_or(far);
    Some(UnixTime::from_nanos(nanos))
}
