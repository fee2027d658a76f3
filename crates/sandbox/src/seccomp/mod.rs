//! System calls, default deny: tables of what is allowed and why, compiled to a balanced tree.

mod builtin;
mod command;
mod load;
mod rule;
mod tree;

#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod tests;

pub(crate) use load::load;

use crate::confinement::Network;
use rule::{Group, Rule};
use std::collections::BTreeMap;

/// Who is held by a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// A built-in tool.
    Builtin,
    /// The process that watches over a command.
    Warden,
    /// A command and whatever it starts.
    Command(Network),
}

/// The program for one of them, ready to load.
pub(crate) fn program(held: Held) -> Vec<libc::sock_filter> {
    tree::compile(&rules(held))
}

/// The rule of each call that is not simply refused.
fn rules(held: Held) -> BTreeMap<u32, Rule> {
    let groups: &[&[Group]] = match held {
        Held::Builtin => &[builtin::GROUPS],
        Held::Warden => &[builtin::WARDEN],
        Held::Command(Network::Denied) => &[command::GROUPS, command::LEGACY],
        Held::Command(Network::Inherited) => {
            &[command::GROUPS, command::LEGACY, command::INHERITED_NETWORK]
        }
    };
    let mut rules = BTreeMap::new();
    for group in groups.iter().copied().flatten() {
        for nr in group.calls {
            if let Ok(nr) = u32::try_from(*nr) {
                rules.insert(nr, group.rule);
            }
        }
    }
    rules
}
