//! The modes a person sets, in the guide's words.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A mode nobody knows. An unknown mode is an error, never a default.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {given:?}; it is one of: {allowed}")]
pub struct UnknownMode {
    what: &'static str,
    given: String,
    allowed: &'static str,
}

/// `gateway.tools.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolPolicyMode {
    /// On the allow list and, unless it only reads, approved by a person for this very call.
    #[default]
    Restrictive,
    /// On the allow list.
    Whitelist,
    /// Everything but the deny list.
    Permissive,
}

/// `gateway.sandbox.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// The session's workspace only, no command, no network.
    #[default]
    Strict,
    /// The workspace, a read-only minimal system, and the commands on `allowedCommands`.
    Moderate,
    /// The gateway's own view less its home; for local development with trusted input.
    Permissive,
}

macro_rules! named {
    ($mode:ident, $what:literal, $allowed:literal, $($variant:ident = $name:literal),+) => {
        impl $mode {
            /// Every mode, strictest first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The guide's word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl fmt::Display for $mode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $mode {
            type Err = UnknownMode;

            fn from_str(text: &str) -> Result<Self, UnknownMode> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    other => Err(UnknownMode { what: $what, given: other.to_owned(), allowed: $allowed }),
                }
            }
        }
    };
}

named!(
    ToolPolicyMode,
    "tool policy",
    "restrictive, whitelist, permissive",
    Restrictive = "restrictive",
    Whitelist = "whitelist",
    Permissive = "permissive"
);
named!(
    SandboxMode,
    "sandbox mode",
    "strict, moderate, permissive",
    Strict = "strict",
    Moderate = "moderate",
    Permissive = "permissive"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_mode_is_an_error_and_never_a_default() {
        assert!("Strict".parse::<SandboxMode>().is_err());
        let error = "open".parse::<ToolPolicyMode>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown tool policy \"open\"; it is one of: restrictive, whitelist, permissive"
        );
    }

    #[test]
    fn the_defaults_are_the_strictest() {
        assert_eq!(
            Some(&ToolPolicyMode::default()),
            ToolPolicyMode::ALL.iter().min()
        );
        assert_eq!(Some(&SandboxMode::default()), SandboxMode::ALL.iter().min());
    }
}
