//! What the guard found, as the caller and the log hear it.

use crate::detect::{Detection, Match};
use clawdbot_domain::{Channel, Event, sha256_hex};
use serde::Serialize;
use std::{fmt, ops::Range};

/// The longest part of a text that is shown in an excerpt, in characters.
const EXCERPT_CHARS: usize = 120;

/// The most findings one report names; a text full of attacks is not worth more lines.
const MOST_FINDINGS: usize = 16;

/// What was done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The text did not reach the model, and whoever sent it was told.
    Refused,
    /// The whole text was replaced by a notice.
    Withheld,
    /// The parts that were found were replaced by a notice.
    Redacted,
    /// It went on, and was written down.
    Noted,
    /// It went on, because a person who may do so said that it should.
    Allowed,
}

/// Texts that a person looked at and wants sent although there is a finding: each by its hash, so that
/// not one letter of it may change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed(Vec<(String, String)>);

impl Allowed {
    /// The texts with these hashes, each with the id under which it was refused.
    pub fn new(texts: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(texts.into_iter().collect())
    }

    fn id_of(&self, sha256: &str) -> Option<&str> {
        let found = self.0.iter().find(|(text, _)| text == sha256);
        found.map(|(_, id)| id.as_str())
    }
}

impl Action {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Withheld => "withheld",
            Self::Redacted => "redacted",
            Self::Noted => "noted",
            Self::Allowed => "allowed",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One rule that matched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// What it adds to the score, 0 to 1.
    pub weight: f32,
    /// Which disguise was taken off before it matched, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<&'static str>,
    /// Where it stands, in bytes of the text.
    pub at: Range<usize>,
    /// The words that were meant: a bounded part, invisible characters made visible.
    pub excerpt: String,
}

impl Finding {
    pub(crate) fn new(found: &Match, text: &str) -> Self {
        Self {
            rule: found.rule,
            weight: found.weight,
            through: found.through,
            at: found.at.clone(),
            excerpt: excerpt(text, &found.at),
        }
    }
}

/// What was found in one text, and what was done about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// By which door the text came in.
    pub channel: Channel,
    /// How sure the detector is, 0 to 1.
    pub score: f32,
    /// The rules that made the score, heaviest first.
    pub findings: Vec<Finding>,
    /// What was done.
    pub action: Action,
    /// By which a person may ask to send the text all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    text_sha256: String,
}

impl Report {
    pub(crate) fn new(channel: Channel, action: Action, text: &str, detection: &Detection) -> Self {
        let found = detection.matches.iter().take(MOST_FINDINGS);
        Self {
            channel,
            score: detection.score,
            findings: found.map(|m| Finding::new(m, text)).collect(),
            action,
            id: None,
            text_sha256: sha256_hex(text.as_bytes()),
        }
    }

    /// The hash of the text.
    pub fn text_sha256(&self) -> &str {
        &self.text_sha256
    }

    /// The same as allowed, when the text is.
    pub(crate) fn allowed_by(mut self, allowed: &Allowed) -> Result<Self, Self> {
        let Some(id) = allowed.id_of(&self.text_sha256) else {
            return Err(self);
        };
        self.id = Some(id.to_owned());
        self.action = Action::Allowed;
        Ok(self)
    }

    /// As it is written in the log: rules and hash, never the text.
    pub fn event(&self) -> Event {
        let name = |f: &Finding| match f.through {
            Some(disguise) => format!("{}/{disguise}", f.rule),
            None => f.rule.to_owned(),
        };
        Event::GuardFinding {
            channel: self.channel,
            action: self.action.as_str().to_owned(),
            score: self.score,
            findings: self.findings.iter().map(name).collect(),
            text_sha256: self.text_sha256.clone(),
            id: self.id.clone(),
        }
    }

    /// For whoever sent or asked for the text: which part was meant, and what to do. It names no
    /// rule, so that it teaches no way round one.
    pub fn public(&self) -> String {
        let what = match self.channel {
            Channel::Operator => "the operator's text",
            Channel::User => "your message",
            Channel::Model => "an earlier answer in the conversation",
            Channel::Tool => "a tool's result",
            Channel::ToolDescription => "a tool's description",
        };
        let part = self.findings.first().map_or("", |f| f.excerpt.as_str());
        let then = match self.action {
            Action::Refused => "so nothing was sent to the model. Say it in other words",
            Action::Withheld => "so the model was not shown it",
            Action::Redacted => "so the model was not shown that part",
            Action::Noted => "which was let through and written down",
            Action::Allowed => "and an operator let it through",
        };
        let overruled = self.action == Action::Allowed;
        let id = self.id.as_ref().filter(|_| !overruled);
        let anyway = id.map_or_else(String::new, |id| {
            format!(
                ". Finding {id}: whoever holds the scope admin can send this very text once, with \
                 `clawdbot chat --allow-finding {id}` or the header x-clawdbot-allow-finding: {id}"
            )
        });
        format!(
            "{what} contains what reads like instructions to take over the assistant (\"{part}\"), {then}{anyway}"
        )
    }
}

/// A bounded part of a text around a finding, in which nothing is invisible.
fn excerpt(text: &str, at: &Range<usize>) -> String {
    let found = text.get(at.clone()).unwrap_or_default();
    let mut out = String::new();
    for c in found.chars().take(EXCERPT_CHARS) {
        if c.is_control() || crate::detect::is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    if found.chars().nth(EXCERPT_CHARS).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_bounded_and_shows_what_is_invisible() {
        let text = format!("a\u{200b}b\n\u{e0041}{}", "x".repeat(1000));
        let shown = excerpt(&text, &(0..text.len()));
        assert!(
            shown.starts_with("a\\u{200b}b\\u{a}\\u{e0041}xxx"),
            "{shown}"
        );
        assert!(shown.ends_with("xx…"), "{shown}");
        assert!(shown.chars().count() < 160, "{shown}");
    }

    #[test]
    fn an_excerpt_of_a_range_that_cuts_a_character_is_empty_not_a_panic() {
        assert_eq!(excerpt("ä", &(1..2)), "");
    }

    #[test]
    fn the_log_hears_rules_and_a_hash_but_never_the_text() {
        let report = Report {
            channel: Channel::Tool,
            score: 0.9,
            findings: vec![Finding {
                rule: "override",
                weight: 0.9,
                through: Some("base64"),
                at: 0..3,
                excerpt: "the text".to_owned(),
            }],
            action: Action::Withheld,
            id: Some("f-1".to_owned()),
            text_sha256: "00ff".to_owned(),
        };
        assert_eq!(
            report.event(),
            Event::GuardFinding {
                channel: Channel::Tool,
                action: "withheld".to_owned(),
                score: 0.9,
                findings: vec!["override/base64".to_owned()],
                text_sha256: "00ff".to_owned(),
                id: Some("f-1".to_owned()),
            }
        );
        assert!(report.public().contains("the text"));
        assert!(!report.public().contains("override"));
    }
}
