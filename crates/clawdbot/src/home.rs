//! Where everything lives.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// What a new workspace holds.
const NOTES: &str = "This is your workspace: the only folder the assistant's tools can see.\n\
Put files here, or ask the assistant to write some.\n";

/// `$CLAWDBOT_HOME`, by default `~/.clawdbot`.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The home named on the command line or in the environment, else the default one.
    /// `None` when there is no home directory to put it in.
    pub fn find(given: Option<PathBuf>) -> Option<Self> {
        let root = given.or_else(|| std::env::home_dir().map(|dir| dir.join(".clawdbot")))?;
        // Absolute from the start: a later change of directory must not move the home.
        Some(Self {
            root: std::path::absolute(&root).unwrap_or(root),
        })
    }

    /// Root working in the home of another user, as in `sudo clawdbot --home /var/lib/clawdbot …`, would
    /// leave files that the gateway cannot read: it becomes that user first, for good.
    pub fn work_as_owner(&self) -> std::io::Result<()> {
        use rustix::process::{Gid, Uid, geteuid};
        use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
        use std::os::unix::fs::MetadataExt as _;
        let Ok(found) = std::fs::metadata(&self.root) else {
            return Ok(());
        };
        if !geteuid().is_root() || found.uid() == 0 {
            return Ok(());
        }
        // No other thread runs yet, and those that will inherit it.
        let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }

    /// Creates what is missing, for this user only. The workspace starts with one small file, so
    /// that there is something to list and to read.
    pub fn create(&self) -> std::io::Result<()> {
        let private = |dir: &Path| {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
        };
        for dir in [
            self.root.join("config"),
            self.logs(),
            self.state(),
            self.secrets(),
        ] {
            private(&dir)?;
        }
        if !self.workspace().exists() {
            private(&self.workspace())?;
            std::fs::write(self.workspace().join("notes.txt"), NOTES)?;
        }
        Ok(())
    }

    /// The first of its folders, links followed, whose files somebody else can put others in the place of, and
    /// the command that mends it. Root can do so anyway. The files themselves are judged by whoever opens them.
    pub fn remedy_if_shared(&self) -> Option<(String, String)> {
        use std::os::unix::fs::MetadataExt as _;
        let me = rustix::process::geteuid().as_raw();
        let config = self.root.join("config");
        let folders = [self.secrets(), self.state(), self.logs(), config];
        folders.into_iter().find_map(|folder| {
            let path = std::fs::canonicalize(&folder).ok()?;
            let (shown, meta) = (path.display(), std::fs::metadata(&path).ok()?);
            let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
            if owner != me && owner != 0 {
                let what = format!("{shown} belongs to user {owner}, not to {me}");
                return Some((what, format!("chown {me} '{shown}'")));
            }
            let what = format!("{shown} has mode {mode:03o}: others may change what is in it");
            (mode & 0o022 != 0).then(|| (what, format!("chmod go-w '{shown}'")))
        })
    }

    /// What to do when this home is somebody else's and closed to us: in a container, "permission denied"
    /// alone tells nobody which of two users to change.
    pub fn remedy_if_closed(&self) -> Option<String> {
        use rustix::fs::{Access, access};
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(&self.root).ok()?;
        let (owner, group, me) = (
            found.uid(),
            found.gid(),
            rustix::process::geteuid().as_raw(),
        );
        let open = access(&self.root, Access::WRITE_OK | Access::EXEC_OK).is_ok();
        (owner != me && !open).then(|| {
            format!(
                "{} belongs to user {owner} and this runs as user {me}: change its owner, or run as its \
                 owner (with compose: CLAWDBOT_UID={owner} and CLAWDBOT_GID={group} in .env)",
                self.root.display()
            )
        })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration.
    pub fn config_file(&self) -> PathBuf {
        self.root.join("config/gateway.json")
    }

    /// Audit segments and the operational log.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The operational log; rotated ones lie beside it.
    pub fn operational_log(&self) -> PathBuf {
        self.logs().join("gateway.log")
    }

    /// There while an incident is looked into.
    pub fn incident_file(&self) -> PathBuf {
        self.state().join("incident.json")
    }

    /// A workspace for each session, where they have one of their own. Made when it is needed.
    pub fn session_workspaces(&self) -> PathBuf {
        self.root.join("workspaces")
    }

    /// Databases.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Keys and the operator's credential; 0700.
    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// What tools may touch.
    pub fn workspace(&self) -> PathBuf {
        self.root.join("workspace")
    }
}
