//! A whole request to a model API: read once, judged text by text, sent on byte for byte.

mod refusal;
mod walk;

pub use refusal::BodyRefusal;

use crate::detect;
use crate::guard::Guard;
use crate::report::{Action, Report};
use crate::screened::ScreenedBody;
use bytes::Bytes;
use clawdbot_domain::{Channel, Protocol};
use walk::{Text, Walked};

/// Both protocols carry the conversation in `messages` and the model in `model`, and every string
/// outside the known labels is looked at wherever it stands. So the walk needs no table of fields
/// for each protocol, and a field that a protocol grows tomorrow is looked at today.
pub(crate) fn screen(
    guard: Guard,
    bytes: Bytes,
    _protocol: Protocol,
) -> Result<ScreenedBody, BodyRefusal> {
    let text = std::str::from_utf8(&bytes).map_err(|e| BodyRefusal::not_utf8(&bytes, e))?;
    let Walked {
        texts,
        model,
        model_at,
        stream,
    } = walk::walk(text)?;
    let reports = judge(guard, &texts)?;
    Ok(ScreenedBody {
        bytes,
        model_at,
        model,
        stream,
        reports,
    })
}

/// Every text by itself, then the texts of one message together, because that is how a model reads
/// them: an attack may be cut in two between parts.
fn judge(guard: Guard, texts: &[Text<'_>]) -> Result<Vec<Report>, BodyRefusal> {
    let mut reports = Vec::new();
    for group in texts.chunk_by(|a, b| a.message == b.message && a.channel == b.channel) {
        for text in group {
            one(guard, text.channel, &text.words, &mut reports)?;
        }
        // A word cannot be cut between parts, so parts without a single suspicious word have none
        // together either.
        let channel = group.first().map_or(Channel::User, |t| t.channel);
        if group.len() > 1 && group.iter().any(|t| detect::is_suspicious(&t.words)) {
            let parts: Vec<_> = group.iter().map(|t| t.words.as_ref()).collect();
            one(guard, channel, &parts.join("\n"), &mut reports)?;
        }
    }
    Ok(reports)
}

fn one(
    guard: Guard,
    channel: Channel,
    text: &str,
    reports: &mut Vec<Report>,
) -> Result<(), BodyRefusal> {
    let Some(detection) = guard.find(text, channel) else {
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
            Err(BodyRefusal::Finding(report))
        }
    }
}

#[cfg(test)]
mod tests;
