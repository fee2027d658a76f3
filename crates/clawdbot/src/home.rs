//! Where everything lives.

use std::path::{Path, PathBuf};

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
