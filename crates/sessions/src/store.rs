//! The store itself.

use crate::database::Database;
use crate::error::SessionError;
use crate::key::Key;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sessions, approvals and waiting turns of one home. Its methods wait for the disk: call them on a
/// thread that may.
#[derive(Debug)]
pub struct SessionStore {
    pub(crate) key: Key,
    database: Mutex<Database>,
}

impl SessionStore {
    /// Opens the store of a home, or makes an empty one.
    ///
    /// # Errors
    /// When files cannot be made or read, or a later version wrote them.
    pub fn open(state: &Path, secrets: &Path) -> Result<Self, SessionError> {
        let database = Database::open(&state.join("sessions.db"))?;
        Ok(Self {
            key: Key::open(&secrets.join("sessions.key"))?,
            database: Mutex::new(database),
        })
    }

    pub(crate) fn database(&self) -> MutexGuard<'_, Database> {
        // A panic inside a transaction rolled it back: the connection is whole.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
