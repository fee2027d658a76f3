//! What was unsealed a moment ago.

use super::NOTED_EVERY;
use crate::database::Database;
use clawdbot_domain::{Origin, ProviderName, Secret, UnixTime};
use std::collections::HashMap;
use std::ops::Deref;

/// The database, and what was unsealed from just this connection to it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) warm: HashMap<ProviderName, Warm>,
}

/// A credential that was unsealed before. Unsealing costs more than the rest of a request's
/// authentication. It counts while nobody has written to the store since, and
/// for [`NOTED_EVERY`] at most: then the key and the seal are looked at anew.
#[derive(Debug)]
pub(super) struct Warm {
    pub(super) version: (i64, u64),
    pub(super) origin: Origin,
    pub(super) secret: Secret,
    pub(super) unsealed: UnixTime,
}

impl Deref for Opened {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.database
    }
}

impl Opened {
    pub(super) fn new(database: Database) -> Self {
        Self {
            database,
            warm: HashMap::new(),
        }
    }

    /// Changes whenever this connection writes.
    pub(super) fn ours(&self) -> u64 {
        self.conn.total_changes()
    }

    pub(super) fn warm(
        &self,
        provider: ProviderName,
        origin: &Origin,
        now: UnixTime,
    ) -> Option<Secret> {
        let warm = self.warm.get(&provider)?;
        let fresh = now >= warm.unsealed && now.since(warm.unsealed) < NOTED_EVERY;
        let written = (self.changes_of_others().ok()?, self.ours()) != warm.version;
        let same = warm.origin == *origin && !written;
        (fresh && same).then(|| warm.secret.clone())
    }
}
