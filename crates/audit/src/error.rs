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

    /// True when the disk (or its quota) is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::Corrupt { .. } => false,
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
