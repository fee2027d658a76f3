//! The sandbox as the gateway holds it: proven once, then asked for one confinement a call.

use crate::confinement::{Confinement, Limits, Network, Profile, Walls};
use crate::grants::grants;
use crate::launch::Launcher;
use crate::nursery::{Tier, Zygote};
use crate::prove::{Layer, NotProven, Proof, prove};
use clawdbot_domain::SandboxMode;
use std::io;
use std::path::{Path, PathBuf};

/// What the operator chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSettings {
    /// `gateway.sandbox.enabled`.
    pub enabled: bool,
    /// `gateway.sandbox.mode`.
    pub mode: SandboxMode,
    /// The gateway's home. No mode shows it to a tool, but for a workspace inside it.
    pub home: PathBuf,
}

/// What one call needs.
#[derive(Debug, Clone, Copy)]
pub struct Need<'a> {
    /// A built-in tool or a command.
    pub profile: Profile,
    /// The session's workspace, an existing folder.
    pub workspace: &'a Path,
    /// True when the call changes files.
    pub write: bool,
    /// The programs that may be started in mode moderate, absolute and resolved.
    pub programs: &'a [PathBuf],
}

/// Why a call cannot be confined; then it does not run.
#[derive(Debug, thiserror::Error)]
pub enum CannotConfine {
    /// Strict runs no command.
    #[error("sandbox mode is strict: no command runs")]
    NoCommandInStrict,
    /// The workspace is not there.
    #[error("workspace {path:?}: {source}; create the folder or set another one")]
    Workspace {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The workspace would show the gateway's home.
    #[error(
        "workspace {workspace:?} holds the gateway's home {home:?}: a tool would see its secrets; \
         choose a folder of its own for the workspace"
    )]
    HomeInside {
        /// The workspace.
        workspace: PathBuf,
        /// The home.
        home: PathBuf,
    },
    /// The workspace is one of the home's own folders.
    #[error(
        "workspace {workspace:?} is a folder of the gateway itself; use {allowed:?} or one outside"
    )]
    OwnFolder {
        /// The workspace.
        workspace: PathBuf,
        /// What would be allowed.
        allowed: PathBuf,
    },
    /// The system could not be read.
    #[error("listing what lies beside the gateway's home: {0}")]
    Siblings(io::Error),
}

/// A sandbox whose every layer was seen to hold on this machine.
#[derive(Debug)]
pub struct Sandbox {
    mode: SandboxMode,
    home: PathBuf,
    walls: Walls,
    layers: Vec<Layer>,
    tier: Tier,
    missing: Vec<String>,
    zygote: Zygote,
}

impl Sandbox {
    /// Proves every layer that the mode needs, in throw-away children of this very binary, or says
    /// which one does not hold. Takes some milliseconds and starts no thread.
    ///
    /// With `enabled: false` nothing is proven and nothing confines; [`layers`](Self::layers) says so.
    pub fn prove(settings: SandboxSettings) -> Result<Self, NotProven> {
        Self::prove_with(settings, Launcher::this_binary())
    }

    /// The same with another program to start children from: tests use one of their own.
    pub fn prove_with(settings: SandboxSettings, launcher: Launcher) -> Result<Self, NotProven> {
        Self::prove_in(
            settings,
            Zygote::start_with(launcher).map_err(NotProven::launch)?,
        )
    }

    /// The same with a zygote that was started earlier, before settings were read.
    pub fn prove_in(settings: SandboxSettings, zygote: Zygote) -> Result<Self, NotProven> {
        let SandboxSettings {
            enabled,
            mode,
            home,
        } = settings;
        let (walls, zygote, proof) = if enabled {
            let proof = prove(mode, &zygote)?;
            (Walls::All, zygote, proof)
        } else {
            let plain = Zygote::start_bare(zygote.launcher().clone());
            (
                Walls::DangerousNone,
                plain.map_err(NotProven::launch)?,
                Proof::NONE,
            )
        };
        Ok(Self {
            mode,
            home: real(&home),
            walls,
            layers: proof.layers,
            tier: proof.tier,
            missing: proof.missing,
            zygote,
        })
    }

    /// The mode.
    pub fn mode(&self) -> SandboxMode {
        self.mode
    }

    /// False when the operator switched the sandbox off.
    pub fn is_enabled(&self) -> bool {
        self.walls == Walls::All
    }

    /// The proven layers by name, for records and people.
    pub fn layers(&self) -> Vec<String> {
        match self.walls {
            Walls::All => self.layers.iter().map(|l| l.name.to_owned()).collect(),
            Walls::DangerousNone => vec!["none: gateway.sandbox.enabled is false".to_owned()],
        }
    }

    /// The proven layers that hold for a child confined like this: each profile has a filter of its
    /// own, and only mode `permissive` leaves the network open.
    pub fn layers_of(&self, confinement: &Confinement) -> Vec<String> {
        let others = match confinement.profile() {
            Profile::Builtin => "seccomp-command",
            Profile::Command => "seccomp-builtin",
        };
        let open = confinement.network() == Network::Inherited;
        let holds = |layer: &String| {
            layer != others && !(open && matches!(layer.as_str(), "landlock-tcp" | "net-namespace"))
        };
        self.layers().into_iter().filter(holds).collect()
    }

    /// The proven layers with their evidence.
    pub fn proof(&self) -> &[Layer] {
        &self.layers
    }

    /// How strongly calls are confined.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Why the tier, or a layer of it, is not more; for people.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Where children come from.
    pub(crate) fn zygote(&self) -> &Zygote {
        &self.zygote
    }

    /// What a child with this need will be held to.
    pub fn confine(&self, need: &Need<'_>) -> Result<Confinement, CannotConfine> {
        if need.profile == Profile::Command && self.mode == SandboxMode::Strict {
            return Err(CannotConfine::NoCommandInStrict);
        }
        let workspace = self.workspace(need.workspace)?;
        let need = Need {
            workspace: &workspace,
            ..*need
        };
        let (grants, links) =
            grants(self.mode, &self.home, &need).map_err(CannotConfine::Siblings)?;
        let network = match (need.profile, self.mode) {
            (Profile::Command, SandboxMode::Permissive) => Network::Inherited,
            (Profile::Builtin, _)
            | (Profile::Command, SandboxMode::Strict | SandboxMode::Moderate) => Network::Denied,
        };
        let limits = match need.profile {
            Profile::Builtin => Limits::BUILTIN,
            Profile::Command => Limits::COMMAND,
        };
        Ok(Confinement {
            profile: need.profile,
            network,
            walls: self.walls,
            grants,
            links,
            workspace,
            limits,
            #[cfg(feature = "holes")]
            holes: Vec::new(),
        })
    }

    /// The workspace by its real path, so that no link in it leads elsewhere later; never the home, a
    /// folder above it, or one of the home's own folders.
    fn workspace(&self, given: &Path) -> Result<PathBuf, CannotConfine> {
        let fail = |source| CannotConfine::Workspace {
            path: given.to_owned(),
            source,
        };
        let workspace = given.canonicalize().map_err(fail)?;
        if !workspace.is_dir() {
            return Err(fail(io::ErrorKind::NotADirectory.into()));
        }
        if self.home.starts_with(&workspace) {
            return Err(CannotConfine::HomeInside {
                workspace,
                home: self.home.clone(),
            });
        }
        let allowed = self.home.join("workspace");
        // One of the sessions' folders, not the folder that holds them all.
        let of_sessions = self.home.join("workspaces");
        let may = workspace.starts_with(&allowed)
            || (workspace.starts_with(&of_sessions) && workspace != of_sessions);
        if workspace.starts_with(&self.home) && !may {
            return Err(CannotConfine::OwnFolder { workspace, allowed });
        }
        Ok(workspace)
    }
}

/// The real path of what may not exist yet: of the part that does, and the rest as given.
fn real(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut at = path;
    loop {
        if let Ok(found) = at.canonicalize() {
            return rest.iter().rev().fold(found, |to, part| to.join(part));
        }
        match (at.parent(), at.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name);
                at = parent;
            }
            (_, _) => return path.to_owned(),
        }
    }
}
