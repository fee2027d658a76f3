//! Why an answer does not go out, as it is told to the log and to whoever asked.

use super::Leak;
use crate::report::Report;
use clawdbot_domain::{Channel, Event, sha256_hex};

/// Why an answer was stopped.
#[derive(Debug, Clone, PartialEq)]
pub enum Stopped {
    /// It carries a secret.
    Leak {
        /// Which, and how.
        leak: Leak,
        /// The hash of the text it stands in.
        text_sha256: String,
    },
    /// It reads like an attack.
    Finding(Box<Report>),
}

impl Stopped {
    /// A secret in this text.
    pub fn leak(leak: Leak, text: &str) -> Self {
        let text_sha256 = sha256_hex(text.as_bytes());
        Self::Leak { leak, text_sha256 }
    }

    /// As it is written in the log.
    pub fn event(&self) -> Event {
        match self {
            Self::Leak { leak, text_sha256 } => Event::GuardFinding {
                channel: Channel::Model,
                action: "stopped".to_owned(),
                score: 1.0,
                findings: vec![leak.rule()],
                text_sha256: text_sha256.clone(),
                id: None,
            },
            Self::Finding(report) => report.event(),
        }
    }

    /// For the log: what was found.
    pub fn log(&self) -> String {
        match self {
            Self::Leak { leak, .. } => format!("the answer was stopped: {}", leak.rule()),
            Self::Finding(report) => format!("the answer was stopped: {}", report.public()),
        }
    }

    /// For whoever asked. It does not say which secret: that is for the log.
    pub fn public(&self) -> &'static str {
        match self {
            Self::Leak { .. } => {
                "the answer was stopped on its way out, because it holds something that must not leave the gateway; the audit log says what"
            }
            Self::Finding(_) => {
                "the answer was stopped on its way out, because it reads like instructions to take over an assistant; the audit log says more"
            }
        }
    }
}
