//! A whole request to a model API: read once, judged text by text, sent on byte for byte.

mod payload;
mod refusal;
mod walk;

pub use refusal::BodyRefusal;

use crate::detect;
use crate::guard::Guard;
use crate::outward::hosts_in;
use crate::report::{Action, Allowed, Report};
use crate::screened::ScreenedBody;
use crate::seen::SeenOf;
use bytes::Bytes;
use clawdbot_domain::{Channel, Protocol};
use walk::{Text, Walked};

/// How much is looked at together on either side of where two messages meet, in bytes: more than a
/// sentence has.
const SEAM: usize = 240;

/// Both protocols carry the conversation in `messages` and the model in `model`, and every string
/// outside the known labels is looked at wherever it stands. So the walk needs no table of fields
/// for each protocol, and a field that a protocol grows tomorrow is looked at today.
pub(crate) fn screen(
    guard: Guard,
    bytes: Bytes,
    _protocol: Protocol,
    allowed: &Allowed,
    seen: Option<SeenOf<'_>>,
) -> Result<ScreenedBody, BodyRefusal> {
    let text = std::str::from_utf8(&bytes).map_err(|e| BodyRefusal::not_utf8(&bytes, e))?;
    let Walked {
        texts,
        model,
        model_at,
        stream,
    } = walk::walk(text)?;
    let reports = judge(
        &Judge {
            guard,
            allowed,
            seen,
        },
        &texts,
    )?;
    let untrusted = texts.iter().any(|text| text.channel == Channel::Tool);
    let mut named_hosts = Vec::new();
    if untrusted {
        let people = texts.iter().filter(|text| text.channel == Channel::User);
        named_hosts.extend(people.flat_map(|text| hosts_in(&text.words)));
    }
    Ok(ScreenedBody {
        bytes,
        model_at,
        model,
        stream,
        reports,
        untrusted,
        named_hosts,
    })
}

/// By what texts are judged.
struct Judge<'j> {
    guard: Guard,
    allowed: &'j Allowed,
    seen: Option<SeenOf<'j>>,
}

/// Every text by itself, then the texts of one message together, because that is how a model reads
/// them: an attack may be cut in two between parts.
fn judge(by: &Judge<'_>, texts: &[Text<'_>]) -> Result<Vec<Report>, BodyRefusal> {
    let mut reports = Vec::new();
    for group in texts.chunk_by(|a, b| a.message == b.message && a.channel == b.channel) {
        for text in group {
            one(by, text.channel, &text.words, &mut reports)?;
        }
        // A word cannot be cut between parts, so parts without a single suspicious word have none
        // together either.
        let channel = group.first().map_or(Channel::User, |t| t.channel);
        if group.len() > 1 && group.iter().any(|t| detect::is_suspicious(&t.words)) {
            let parts: Vec<_> = group.iter().map(|t| t.words.as_ref()).collect();
            one(by, channel, &parts.join("\n"), &mut reports)?;
        }
    }
    across(by, texts, &mut reports)?;
    Ok(reports)
}

/// Where two messages of one kind meet: providers join them, so an attack may be cut in two there too.
fn across(
    by: &Judge<'_>,
    texts: &[Text<'_>],
    reports: &mut Vec<Report>,
) -> Result<(), BodyRefusal> {
    let mut before = String::new();
    let mut last: Option<&Text<'_>> = None;
    for text in texts {
        if last.is_none_or(|last| last.channel != text.channel) {
            before.clear();
        }
        let is_seam = last.is_some_and(|last| last.message != text.message);
        last = Some(text);
        if is_seam && !before.is_empty() {
            let seam = format!("{before}\n{}", head(&text.words));
            if detect::is_suspicious(&seam) {
                one(by, text.channel, &seam, reports)?;
            }
        }
        if !before.is_empty() {
            before.push('\n');
        }
        before.push_str(tail(&text.words));
        before = tail(&before).to_owned();
    }
    Ok(())
}

/// The first letters of a text.
fn head(text: &str) -> &str {
    let mut end = SEAM.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The last letters of a text.
fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(SEAM);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or_default()
}

fn one(
    by: &Judge<'_>,
    channel: Channel,
    text: &str,
    reports: &mut Vec<Report>,
) -> Result<(), BodyRefusal> {
    let Judge {
        guard,
        allowed,
        seen,
    } = *by;
    let look = || guard.find(text, channel);
    let found = match seen {
        Some(seen) => seen.or(guard, channel, text, look),
        None => look(),
    };
    let Some(detection) = found else {
        return Ok(());
    };
    match channel {
        Channel::Tool | Channel::ToolDescription if !guard.strict() => {
            reports.push(Report::new(channel, Action::Noted, text, &detection));
            Ok(())
        }
        Channel::Operator
        | Channel::User
        | Channel::Model
        | Channel::Tool
        | Channel::ToolDescription => {
            let report = Report::new(channel, Action::Refused, text, &detection);
            let report = report.allowed_by(allowed).map_err(BodyRefusal::Finding)?;
            reports.push(report);
            Ok(())
        }
    }
}

#[cfg(test)]
mod positions;
#[cfg(test)]
mod tests;
