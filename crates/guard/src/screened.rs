//! What was looked at.

use crate::report::Report;
use bytes::Bytes;
use clawdbot_domain::{Provenance, Taint};
use std::ops::Range;

/// Text the guard has looked at and let through, with its provenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screened {
    text: String,
    provenance: Provenance,
}

impl Screened {
    pub(crate) fn new(text: String, provenance: Provenance) -> Self {
        Self { text, provenance }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text without the delimiters that mark it as data.
    pub fn inner(&self) -> &str {
        match self.provenance {
            Provenance::Untrusted => crate::spotlight::inside(&self.text),
            Provenance::Operator | Provenance::User => &self.text,
        }
    }

    /// Whose words these are.
    pub fn provenance(&self) -> Provenance {
        self.provenance
    }
}

/// A whole request body of a public model API, byte for byte as it came, in which the guard has
/// looked at every text that a model would see. Unknown fields are kept as they are.
#[derive(Debug, Clone)]
pub struct ScreenedBody {
    pub(crate) bytes: Bytes,
    /// Where the JSON string of the `model` field stands, quotes included.
    pub(crate) model_at: Range<usize>,
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) reports: Vec<Report>,
    /// Results of tools stand in it.
    pub(crate) untrusted: bool,
    /// Hosts of addresses that people wrote; looked for only when results of tools stand in it.
    pub(crate) named_hosts: Vec<String>,
}

impl ScreenedBody {
    /// The bytes to send on.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The `model` field.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The `stream` field; absent is false.
    pub fn stream(&self) -> bool {
        self.stream
    }

    /// What whoever reads it has taken in.
    pub fn taint(&self) -> Taint {
        match (self.untrusted, self.reports.is_empty()) {
            (false, _) => Taint::Clean,
            (true, true) => Taint::Untrusted,
            (true, false) => Taint::Hostile,
        }
    }

    /// The hosts of links that people wrote, when there is untrusted text as well.
    pub fn named_hosts(&self) -> &[String] {
        &self.named_hosts
    }

    /// What was found and let through: in the results of tools, because strict mode is off, or
    /// because a person allowed it.
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// The same body asking for another model: only that one string is replaced.
    #[must_use]
    pub fn with_model(&self, model: &str) -> Self {
        if model == self.model {
            return self.clone();
        }
        let quoted = serde_json::Value::from(model).to_string();
        let (before, after) = (
            self.bytes.get(..self.model_at.start),
            self.bytes.get(self.model_at.end..),
        );
        let bytes = [
            before.unwrap_or_default(),
            quoted.as_bytes(),
            after.unwrap_or_default(),
        ]
        .concat();
        let model_at = self.model_at.start..self.model_at.start + quoted.len();
        Self {
            bytes: bytes.into(),
            model_at,
            model: model.to_owned(),
            stream: self.stream,
            reports: self.reports.clone(),
            untrusted: self.untrusted,
            named_hosts: self.named_hosts.clone(),
        }
    }
}
