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
use std::sync::LazyLock;

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

/// The program for one of them, ready to load. It depends on nothing but who is held, so it is compiled once in a
/// process and in what is forked from it.
pub(crate) fn program(held: Held) -> &'static [libc::sock_filter] {
    type Program = LazyLock<Vec<libc::sock_filter>>;
    static BUILTIN: Program = LazyLock::new(|| compiled(Held::Builtin));
    static WARDEN: Program = LazyLock::new(|| compiled(Held::Warden));
    static DENIED: Program = LazyLock::new(|| compiled(Held::Command(Network::Denied)));
    static INHERITED: Program = LazyLock::new(|| compiled(Held::Command(Network::Inherited)));
    match held {
        Held::Builtin => &BUILTIN,
        Held::Warden => &WARDEN,
        Held::Command(Network::Denied) => &DENIED,
        Held::Command(Network::Inherited) => &INHERITED,
    }
}

/// Compiles every program. The zygote does so before it forks, so that no call has to: that of a command alone takes
/// some 64 µs in a release build.
pub(crate) fn prepare() {
    for held in [
        Held::Builtin,
        Held::Warden,
        Held::Command(Network::Denied),
        Held::Command(Network::Inherited),
    ] {
        let _ = program(held);
    }
}

fn compiled(held: Held) -> Vec<libc::sock_filter> {
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
