//! Where text comes from, which decides what may follow from it.

use serde::{Deserialize, Serialize};

/// Text that came from outside and that nobody has looked at: a tool result, a page, a file.
///
/// It can be carried about but not read by accident; only the guard turns it into screened text.
#[derive(Clone, PartialEq, Eq)]
pub struct Untrusted(String);

impl Untrusted {
    /// Marks text as untrusted.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The raw text. The loud name is on purpose: whoever calls this must treat it as hostile.
    pub fn reveal_untrusted(&self) -> &str {
        &self.0
    }

    /// The raw text, owned.
    pub fn into_untrusted_string(self) -> String {
        self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Untrusted({} bytes)", self.0.len())
    }
}

/// By which door a text came in. The guard judges by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The operator's own words: system prompt, agent description.
    Operator,
    /// What a person or client typed.
    User,
    /// What the model said earlier.
    Model,
    /// What a tool, page or file returned.
    Tool,
    /// The description or schema of a tool that is not built in.
    ToolDescription,
}

impl Channel {
    /// What may be believed of text that came in here.
    pub const fn provenance(self) -> Provenance {
        match self {
            Self::Operator => Provenance::Operator,
            Self::User | Self::Model => Provenance::User,
            Self::Tool | Self::ToolDescription => Provenance::Untrusted,
        }
    }
}

/// Whose words these are; the order is from most to least trusted, so that `max` of two sources is
/// what a text derived from both is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// The operator's own.
    Operator,
    /// An authenticated user's.
    User,
    /// From outside: whoever wrote it may be an attacker.
    Untrusted,
}

/// What a session has taken in so far; it only ever gets worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taint {
    /// Nothing from outside.
    #[default]
    Clean,
    /// Untrusted text is in the conversation.
    Untrusted,
    /// Untrusted text in which the guard found an attack.
    Hostile,
}

impl Taint {
    /// The worse of the two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.max(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_does_not_leak_through_debug() {
        assert_eq!(
            format!("{:?}", Untrusted::new("attack")),
            "Untrusted(6 bytes)"
        );
    }

    #[test]
    fn what_is_derived_from_untrusted_text_is_untrusted() {
        assert_eq!(
            Provenance::Operator.max(Provenance::Untrusted),
            Provenance::Untrusted
        );
        assert_eq!(Taint::Hostile.and(Taint::Clean), Taint::Hostile);
    }
}
