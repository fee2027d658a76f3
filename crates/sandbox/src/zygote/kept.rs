//! What calls with the same grants share, made by the first of them and kept for the next: the root with the granted
//! paths in it (some milliseconds' work) and the Landlock rules for them.
//!
//! Both hold on to the files they were made for, so each call first looks whether every granted path still leads to the
//! same one. What was replaced or came back is another file: then all of it is made anew. A path that changes after that
//! look is out of reach for this call, because neither the mount nor the rule is its.

use crate::child::{Fell, Step as _};
use crate::confinement::{Confinement, Grant, Network};
use rustix::fd::OwnedFd;
use std::path::PathBuf;

/// The most sets of grants that are kept: some sessions with folders of their own, for tools that read, tools that
/// write and commands.
const MOST: usize = 16;

/// Device and inode. An inode that a rule or a mount holds on to is given to no other file meanwhile.
type Stamp = Option<(u64, u64)>;

/// What decides how a root and its rules look.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) grants: Vec<Grant>,
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    pub(super) workspace: PathBuf,
    network: Option<Network>,
    /// Where each grant led when it was made.
    stamps: Vec<Stamp>,
}

impl Plan {
    fn of(confinement: &Confinement, stamps: Vec<Stamp>) -> Self {
        Self {
            grants: confinement.grants.clone(),
            links: confinement.links.clone(),
            workspace: confinement.workspace.clone(),
            network: Some(confinement.network),
            stamps,
        }
    }

    fn is_for(&self, confinement: &Confinement) -> bool {
        self.network == Some(confinement.network)
            && self.workspace == confinement.workspace
            && self.grants == confinement.grants
            && self.links == confinement.links
    }
}

/// What was made.
#[derive(Debug)]
pub(super) struct Made {
    /// A mount namespace; none where there are no namespaces.
    pub(super) root: Option<OwnedFd>,
    /// A Landlock ruleset; none for the empty root, in which nothing is granted.
    pub(super) rules: Option<OwnedFd>,
}

/// All that is kept, the last used last.
#[derive(Debug, Default)]
pub(super) struct Kept {
    all: Vec<(Plan, Made)>,
}

impl Kept {
    /// What a confinement needs; none given means the empty root.
    pub(super) fn of(
        &mut self,
        confinement: Option<&Confinement>,
        make: impl FnOnce(&Plan) -> Result<Made, Fell>,
    ) -> Result<&Made, Fell> {
        let stamps = confinement.map_or_else(Vec::new, stamps);
        let fits = |plan: &Plan| confinement.map_or(plan.network.is_none(), |c| plan.is_for(c));
        let found = self.all.iter().position(|(plan, _)| fits(plan));
        // Taken out whatever comes of it: what is out of date is of no use to anybody.
        let found = found.map(|at| self.all.remove(at));
        let current = match found {
            Some(found) if found.0.stamps == stamps => found,
            Some(_) | None => {
                let plan = confinement.map_or_else(Plan::default, |c| Plan::of(c, stamps));
                let new = make(&plan)?;
                (plan, new)
            }
        };
        if self.all.len() >= MOST {
            self.all.remove(0);
        }
        self.all.push(current);
        let last = self.all.last().map(|(_, made)| made);
        last.ok_or("nothing").step("keeping the root")
    }
}

fn stamps(confinement: &Confinement) -> Vec<Stamp> {
    let stamp = |grant: &Grant| {
        let found = rustix::fs::stat(&grant.path).ok()?;
        Some((found.st_dev, found.st_ino))
    };
    confinement.grants.iter().map(stamp).collect()
}
