//! Which tools a token or an agent may use at all.

use crate::{BadToolName, ToolName};
use std::collections::BTreeSet;
use std::{fmt, str::FromStr, sync::Arc};

/// A limit beside policy: it takes tools away and never adds one, because a call must pass both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolLimit {
    /// Whatever policy allows.
    #[default]
    Unlimited,
    /// Of that, these.
    Only(Arc<BTreeSet<ToolName>>),
}

impl ToolLimit {
    /// These tools and no others.
    pub fn only(tools: impl IntoIterator<Item = ToolName>) -> Self {
        Self::Only(Arc::new(tools.into_iter().collect()))
    }

    /// Whether a tool is within it.
    pub fn allows(&self, tool: &ToolName) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Only(tools) => tools.contains(tool),
        }
    }

    /// The tools in it, in order; none when there is no limit.
    pub fn names(&self) -> Option<Vec<&str>> {
        match self {
            Self::Unlimited => None,
            Self::Only(tools) => Some(tools.iter().map(ToolName::as_str).collect()),
        }
    }
}

/// `read_file,search_files`, or `all`.
impl fmt::Display for ToolLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names() {
            None => f.write_str("all"),
            Some(names) => f.write_str(&names.join(",")),
        }
    }
}

/// Names with commas between them. `all` is no name for everything here: a limit that is misspelt must not
/// come out as none.
impl FromStr for ToolLimit {
    type Err = BadToolName;

    fn from_str(text: &str) -> Result<Self, BadToolName> {
        let names = text.split(',').map(str::trim);
        let names = names.map(ToolName::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::only(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_it_is_written_and_holds_nothing_else() {
        let limit: ToolLimit = "write_file, read_file,read_file".parse().unwrap();
        assert_eq!(limit.to_string(), "read_file,write_file");
        assert_eq!(limit.to_string().parse(), Ok(limit.clone()));
        let name = |text| ToolName::parse(text).unwrap();
        assert!(limit.allows(&name("read_file")) && !limit.allows(&name("run_command")));
        assert!(ToolLimit::default().allows(&name("run_command")));
        for bad in ["", ",", "read_file,", "*", "Read_File"] {
            assert!(bad.parse::<ToolLimit>().is_err(), "{bad:?}");
        }
    }
}
