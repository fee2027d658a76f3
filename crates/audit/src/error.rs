//! How the log can fail, and what a caller hears of it.

use std::{io, path::Path, path::PathBuf, sync::Arc};

/// The log cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// An operation on a file or folder of the log failed.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What we were doing.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log was changed by something that is not Clawdbot. Nothing was touched.
    #[error(
        "the audit log is damaged at record {index} in {}: {fault}; \
         look with `clawdbot audit verify`, then move the folder away to start a new log",
        segment.display()
    )]
    Corrupt {
        /// The record that is wrong or missing.
        index: u64,
        /// Where it stands or should stand.
        segment: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// There are records but no keys: an older version wrote them, or the keys were removed.
    #[error(
        "the audit log in {} has records but no `epochs`, the public keys it was signed with: it was \
         written by an older version, or somebody removed them; move the folder away to start a new log",
        folder.display()
    )]
    Unsigned {
        /// The folder of the log.
        folder: PathBuf,
    },
    /// A key, a checkpoint or a register is not what it should be.
    #[error("{} cannot be used: {why}; put it back, or move the folder of the log away to start a new log", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A public key was not signed for by the one before it.
    #[error("epoch {epoch} in {} does not follow from the one before it; look with `clawdbot audit verify`", path.display())]
    Epoch {
        /// The file.
        path: PathBuf,
        /// Which one.
        epoch: u64,
    },
    /// The folder is older than the key: it was put back from a backup, or files of it were.
    #[error(
        "the audit log in {} ends in epoch {known} and its key is already of epoch {epoch}: an older copy of \
         the folder was put back, or its newest files were removed; put the newest folder back, or move \
         this one away, as evidence, to start a new log",
        folder.display()
    )]
    Older {
        /// The folder of the log.
        folder: PathBuf,
        /// The newest epoch it tells of.
        known: u64,
        /// The epoch of the key.
        epoch: u64,
    },
    /// The register knows of a longer or another log.
    #[error(
        "the log was rolled back: it has {records} records and the register {} knows of {known}; \
         find the missing records, or empty the register to accept the loss",
        register.display()
    )]
    RolledBack {
        /// Records there are.
        records: u64,
        /// Records there were.
        known: u64,
        /// The register.
        register: PathBuf,
    },
}

impl AuditError {
    pub(crate) fn io(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn key(path: &Path, why: &'static str) -> Self {
        let path = path.to_owned();
        Self::Key { path, why }
    }

    /// True when the disk (or its quota) is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::Corrupt { .. }
            | Self::Unsigned { .. }
            | Self::Key { .. }
            | Self::Epoch { .. }
            | Self::Older { .. }
            | Self::RolledBack { .. } => false,
        }
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The line has not the shape of a record.
    #[error("the line is not a record")]
    NotARecord,
    /// The bytes do not give the hash the record states.
    #[error("the record was changed: its bytes do not give its hash")]
    Changed,
    /// Another record stands here.
    #[error("record {found} stands in its place")]
    OutOfOrder {
        /// The index found.
        found: u64,
    },
    /// It does not follow from the record before it.
    #[error("it does not follow from the record before it")]
    Unlinked,
    /// The records up to here are gone and no record says that they were pruned.
    #[error("the records before {first} are missing, and no audit.pruned record says why")]
    Missing {
        /// The first record that is there.
        first: u64,
    },
    /// The records do not give the root that was signed.
    #[error("the records do not give the root that was signed: one of them was rewritten")]
    Unsigned,
    /// The log is shorter than it was a moment ago.
    #[error("records that were written are gone")]
    Shrunk,
}

/// The record could not be made durable, so what it announces must not happen. Nothing happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotRecorded {
    /// The disk did not confirm the record in time.
    #[error("the audit log did not confirm the record within {}s", crate::DEADLINE.as_secs())]
    TimedOut,
    /// More callers wait for the log than it is allowed to hold.
    #[error("too many records wait for the audit log")]
    Overloaded,
    /// The log was closed.
    #[error("the audit log is closed")]
    Closed,
    /// The log could not be written.
    #[error("{0}")]
    Failed(Arc<AuditError>),
}

impl NotRecorded {
    /// True when the disk (or its quota) is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Failed(error) => error.is_full(),
            Self::TimedOut | Self::Overloaded | Self::Closed => false,
        }
    }
}
