//! Landlock: files by handle, TCP, signals, abstract sockets. Never best effort.

use super::{Fell, Step, process};
use crate::confinement::{Confinement, Grant, Network, Rights};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope,
};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags};

/// The version that brought the signal and abstract-socket scopes (Linux 6.12).
const NEEDED: ABI = ABI::V6;

/// The rules of calls that are confined like this. Making them costs more than entering them.
pub(crate) fn rules(confinement: &Confinement) -> Result<OwnedFd, Fell> {
    let tcp = match confinement.network {
        Network::Denied => AccessNet::from_all(NEEDED),
        Network::Inherited => BitFlags::EMPTY,
    };
    let mut rules = create(tcp).step("landlock")?;
    for grant in &confinement.grants {
        rules = add(rules, grant)?;
    }
    let rules: Option<OwnedFd> = rules.into();
    rules.ok_or("no ruleset").step("landlock")
}

/// Enters a domain of its own: calls may share the rules, and are still nothing to each other. `no_new_privs` must be
/// set.
pub(super) fn enter(rules: Option<&OwnedFd>) -> Result<(), Fell> {
    let rules = rules.ok_or("no rules were made").step("landlock")?;
    // Closed when it is entered: nobody can add to it.
    let rules = process::own(rules.as_fd());
    process::restrict(rules.as_fd()).step("landlock")
}

/// Everything that Landlock can forbid is forbidden: for canaries.
pub(crate) fn no_file_at_all() -> Result<(), Fell> {
    let rules = create(AccessNet::from_all(NEEDED)).step("landlock")?;
    restrict(rules).step("landlock")
}

/// A domain inside the domain, for a command: its warden stays outside, so that the command cannot
/// signal it, while the warden can still signal the command.
pub(super) fn nest() -> Result<(), Fell> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .scope(Scope::Signal)
        .and_then(Ruleset::create)
        .step("landlock, inner domain")?;
    restrict(rules).step("landlock, inner domain")
}

fn create(tcp: BitFlags<AccessNet>) -> Result<RulesetCreated, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))?
        .scope(Scope::from_all(NEEDED))?;
    if tcp.is_empty() {
        ruleset.create()
    } else {
        ruleset.handle_access(tcp)?.create()
    }
}

fn add(rules: RulesetCreated, grant: &Grant) -> Result<RulesetCreated, Fell> {
    let said = |why: String| Fell {
        step: "landlock",
        why: format!("{}: {why}", grant.path.display()),
    };
    let opened = match rustix::fs::open(&grant.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    {
        Ok(opened) => opened,
        // Gone since it was listed; what is not there needs no grant, and without one it stays shut.
        Err(rustix::io::Errno::NOENT) => return Ok(rules),
        Err(error) => return Err(said(error.to_string())),
    };
    let kind = rustix::fs::fstat(&opened).map_err(|error| said(error.to_string()))?;
    let is_folder = rustix::fs::FileType::from_raw_mode(kind.st_mode).is_dir();
    let mut access = access(grant.rights);
    if !is_folder {
        access &= AccessFs::from_file(NEEDED);
    }
    rules
        .add_rule(PathBeneath::new(opened, access))
        .map_err(|error| said(error.to_string()))
}

fn access(rights: Rights) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match rights {
        Rights::Read => read,
        Rights::ReadExecute => read | AccessFs::Execute,
        Rights::ReadWrite => {
            read | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::MakeDir
                | AccessFs::MakeSym
                | AccessFs::RemoveFile
                | AccessFs::RemoveDir
                | AccessFs::Refer
        }
        Rights::All => AccessFs::from_all(NEEDED),
    }
}

/// Enters, and believes only a status that says: all of it.
fn restrict(rules: RulesetCreated) -> Result<(), String> {
    match rules.restrict_self() {
        Ok(RestrictionStatus {
            ruleset: RulesetStatus::FullyEnforced,
            no_new_privs: true,
            ..
        }) => Ok(()),
        Ok(status) => Err(format!("the kernel enforces only a part: {status:?}")),
        Err(error) => Err(error.to_string()),
    }
}
