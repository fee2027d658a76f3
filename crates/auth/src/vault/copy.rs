//! The vault in a backup: every credential stays sealed, and the key is not in it.

use super::{CredentialInfo, FORMAT, Vault, count, forget};
use crate::database::{Database, Durability};
use crate::error::VaultError;
use crate::files;
use rusqlite::params;
use std::path::Path;

impl Vault {
    /// Writes the vault as it is at one moment to a new file, while others may be writing to it.
    pub fn copy_to(&self, to: &Path) -> Result<(), VaultError> {
        let db = self.lock()?;
        Database::create_once(to, &FORMAT, |_| Ok(()))?;
        db.attached(to, |conn| {
            conn.execute_batch(
                "INSERT INTO other.credentials SELECT * FROM main.credentials;
                 INSERT INTO other.key_check SELECT * FROM main.key_check;",
            )
        })?;
        Ok(())
    }

    /// Puts the content of such a file in the place of what is here, in one transaction; running gateways
    /// take it up. The credentials open with the key that sealed them, and stay locked without it.
    pub fn replace_with(&self, from: &Path) -> Result<Vec<CredentialInfo>, VaultError> {
        // Whether it is a whole vault of this version is asked before anything is touched.
        drop(Database::open(from, &FORMAT, Durability::Full)?);
        let db = self.lock()?;
        db.attached(from, |conn| {
            conn.execute_batch(
                "DELETE FROM main.credentials; DELETE FROM main.key_check;
                 INSERT INTO main.credentials SELECT * FROM other.credentials;
                 INSERT INTO main.key_check SELECT * FROM other.key_check;",
            )
        })?;
        forget(&db.conn);
        drop(db);
        self.list()
    }

    /// Whether nothing is sealed here.
    pub fn is_empty(&self) -> Result<bool, VaultError> {
        Ok(count(&*self.lock()?)? == 0)
    }
}

impl Database {
    /// One transaction over this database and another one, called `other`.
    fn attached(
        &self,
        other: &Path,
        act: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<()>,
    ) -> Result<(), crate::error::AuthError> {
        let Some(path) = other.to_str() else {
            let error = std::io::Error::other("the path is not UTF-8");
            return Err(files::failed("attach", other)(error));
        };
        let attached = self.conn.execute("ATTACH ?1 AS other", params![path]);
        attached.map_err(self.failed())?;
        let acted = self
            .conn
            .execute_batch("BEGIN IMMEDIATE")
            .and_then(|()| act(&self.conn))
            .and_then(|()| self.conn.execute_batch("COMMIT"));
        if acted.is_err() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        let detached = self.conn.execute_batch("DETACH other");
        acted.and(detached).map_err(self.failed())
    }
}
