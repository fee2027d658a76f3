//! Who asks, and what they may ask for.

use crate::{ToolLimit, ToolName, UnixTime};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps an identifier that is already known to be well formed.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier! {
    /// The public id of a token: safe to log, useless to an attacker.
    TokenId
}
identifier! {
    /// One conversation.
    SessionId
}
identifier! {
    /// One request, as told to the caller in `x-request-id` and written in the log.
    RequestId
}
identifier! {
    /// One turn of an agent, as told to the caller in `clawdbot-turn`.
    TurnId
}
identifier! {
    /// One call that a person is asked about.
    ApprovalId
}

/// What a person said yes to: this very call, of this token, in this session, until then. Everything in
/// it is compared with the call before it may count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// Whose call it is.
    pub token: TokenId,
    /// In which session; `None` for a call that belongs to none.
    pub session: Option<SessionId>,
    /// Of which tool.
    pub tool: ToolName,
    /// SHA-256 of the canonical arguments, in hex.
    pub arguments_sha256: String,
    /// From when on it no longer counts.
    pub expires: UnixTime,
}

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Talk to models and run agent turns.
    Chat,
    /// Call tools directly.
    Tools,
    /// See status, models and tools.
    Read,
    /// Read the audit log.
    Audit,
    /// Change tokens, credentials and configuration.
    Admin,
}

/// A scope nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope {0:?}; it is one of: chat, tools, read, audit, admin")]
pub struct UnknownScope(String);

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [
        Self::Chat,
        Self::Tools,
        Self::Read,
        Self::Audit,
        Self::Admin,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Tools => "tools",
            Self::Read => "read",
            Self::Audit => "audit",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| UnknownScope(text.chars().take(80).collect()))
    }
}

/// A set of scopes. No scope implies another: what a token may do is written on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScopeSet(u8);

impl ScopeSet {
    /// No scope at all.
    pub const NONE: Self = Self(0);
    /// Every scope there is.
    pub const ALL: Self = Self(0b1_1111);

    /// With one more scope.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | 1 << scope as u8)
    }

    /// True when the scope is in the set.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// The scopes in it.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |s| self.has(*s))
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::NONE, Self::with)
    }
}

/// `chat,tools`; an empty set is the empty text.
impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for ScopeSet {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        text.split(',')
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(str::parse)
            .collect()
    }
}

/// A gateway and its tokens are for development or for production, never both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenEnv {
    /// Development.
    Dev,
    /// Production.
    Prod,
}

impl TokenEnv {
    /// Its name, as it stands in a token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Prod => "prod",
        }
    }
}

impl fmt::Display for TokenEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asks. Made by the authentication room from a token; clients never declare any of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's public id.
    pub token: TokenId,
    /// The name a person gave the token.
    pub name: Arc<str>,
    /// What it may do.
    pub scopes: ScopeSet,
    /// Which gateways it is for.
    pub env: TokenEnv,
    /// Which tools it may use at all; policy decides about these.
    pub tools: ToolLimit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_set_round_trips_through_text() {
        let set: ScopeSet = "tools, chat".parse().unwrap();
        assert_eq!(set.to_string(), "chat,tools");
        assert!(set.has(Scope::Chat) && !set.has(Scope::Admin));
        assert!("chat,root".parse::<ScopeSet>().is_err());
        assert_eq!(Scope::ALL.into_iter().collect::<ScopeSet>(), ScopeSet::ALL);
    }

    #[test]
    fn admin_does_not_imply_chat() {
        assert!(!ScopeSet::NONE.with(Scope::Admin).has(Scope::Chat));
    }
}
