//! The key to the hashes: made once, never made anew.

use super::Paths;
use crate::database::Database;
use crate::error::AuthError;
use crate::files;
use crate::keyed::Keyed;
use rusqlite::{Connection, OptionalExtension as _, params};

const PURPOSE: &str = "clawdbot pepper 1";

/// Reads it.
pub(super) fn read(paths: &Paths) -> Result<Keyed, AuthError> {
    let pepper = files::read_key(&paths.pepper)?;
    let pepper = pepper.ok_or_else(|| paths.locked("is missing"))?;
    Ok(Keyed::new(&pepper))
}

/// Reads it, or makes it: only for a store that is not there yet. Processes that start at once agree
/// on one.
pub(super) fn read_or_make(paths: &Paths) -> Result<Keyed, AuthError> {
    if !files::is_there(&paths.pepper)? {
        files::create_once(&paths.pepper, files::new_key_text()?.as_bytes())?;
    }
    read(paths)
}

/// Leaves a mark in a new store by which its pepper is known again.
pub(super) fn mark(keyed: &Keyed, conn: &Connection) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES ('pepper', ?1)";
    conn.execute(sql, params![keyed.tag(PURPOSE, &[])])
        .map(|_| ())
}

/// An error when this is not the pepper of this store: every token would be refused without a reason
/// that helps, and new ones would be lost when the right pepper comes back.
pub(super) fn check(keyed: &Keyed, db: &Database, paths: &Paths) -> Result<(), AuthError> {
    let sql = "SELECT value FROM meta WHERE name = 'pepper'";
    let mark = db.conn.query_row(sql, [], |row| row.get(0)).optional();
    let mark: Option<[u8; 32]> = mark.map_err(db.failed())?;
    let mark = mark.ok_or_else(|| db.damaged("the mark of its key is gone"))?;
    if keyed.matches(PURPOSE, &[], &mark) {
        Ok(())
    } else {
        Err(paths.locked("belongs to another store"))
    }
}
