//! A session: whose it is, and what it has taken in.

use crate::database::Durability;
use crate::error::SessionError;
use crate::heard::{Heard, alone, conversation};
use crate::key::{Digest, Key};
use crate::store::SessionStore;
use crate::{approval, turn};
use clawdbot_domain::{SessionId, Taint, TokenId, UnixTime};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use std::time::Duration;

/// Sessions kept in all. The one that was used longest ago makes room.
pub const MAX_SESSIONS: u32 = 10_000;

/// Sessions of one token: a tenth, so that no one token pushes out the others'.
pub const MAX_SESSIONS_OF_TOKEN: u32 = MAX_SESSIONS / 10;

/// A session that nobody used for so long is over.
pub const IDLE: Duration = Duration::from_secs(30 * 86_400);

/// Digests of answers kept in all, two for each answer; the oldest make room.
const MAX_ANSWERS: i64 = 200_000;

/// Who spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The client's instructions.
    System,
    /// The user.
    User,
    /// As the client says, the assistant.
    Assistant,
}

impl Speaker {
    pub(crate) const fn mark(self) -> &'static [u8] {
        match self {
            Self::System => b"s",
            Self::User => b"u",
            Self::Assistant => b"a",
        }
    }
}

/// One message of a conversation as a client sent it.
#[derive(Debug, Clone, Copy)]
pub struct Spoken<'a> {
    /// Who spoke.
    pub speaker: Speaker,
    /// What was said.
    pub text: &'a str,
}

/// A session in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// What it has taken in so far.
    pub taint: Taint,
}

/// A session, as people look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub token: TokenId,
    /// Since when.
    pub created: UnixTime,
    /// When it was last used.
    pub used: UnixTime,
    /// How many turns it has seen.
    pub turns: u64,
    /// What it has taken in. A row that somebody else changed counts as hostile.
    pub taint: Taint,
}

impl SessionStore {
    /// The session a conversation goes on in: the one the client names, else the one whose answers the
    /// conversation holds word for word, else a new one.
    ///
    /// Whatever the client calls the assistant's words and we have not said to this token makes the
    /// session untrusted: who resends a conversation could have taken it from anywhere.
    ///
    /// # Errors
    /// [`SessionError::NoSuchSession`] when the named one is not there, is over or is another token's.
    pub fn begin(
        &self,
        token: &TokenId,
        named: Option<&SessionId>,
        spoken: &[Spoken<'_>],
        now: UnixTime,
    ) -> Result<Session, SessionError> {
        let heard = Heard::of(&self.key, token, spoken);
        let fresh = new_id()?;
        let key = &self.key;
        let begun = self.database().write(Durability::Process, |tx| {
            turn::make_room(tx, now)?;
            let (session, mut taint) = match named {
                Some(id) => match row(tx, key, id, now)? {
                    Some(info) if info.token == *token => (Some(info.id), info.taint),
                    Some(_) | None => return Ok(None),
                },
                None => heard.whole(tx, key, now)?,
            };
            // Word for word the conversation we know: its answers need no look of their own.
            if named.is_some() || session.is_none() {
                taint = taint.and(heard.taint(tx, key, session.as_ref(), now)?);
            }
            let session = match session {
                Some(id) => {
                    use_again(tx, key, &id, token, taint, now)?;
                    id
                }
                None => make(tx, key, fresh, token, taint, now)?,
            };
            Ok(Some(Session { id: session, taint }))
        })?;
        begun.ok_or_else(|| no_such(named))
    }

    /// The session has taken in something worse. Durable when this returns, so that nothing may follow
    /// from the text before the session is known to hold it.
    pub fn worsen(&self, id: &SessionId, taint: Taint) -> Result<(), SessionError> {
        let key = &self.key;
        let found = self.database().write(Durability::Full, |tx| {
            let Some(info) = any_row(tx, key, id)? else {
                return Ok(false);
            };
            set_taint(tx, key, id, &info.token, info.taint.and(taint))?;
            Ok(true)
        })?;
        if found {
            Ok(())
        } else {
            Err(no_such(Some(id)))
        }
    }

    /// What the agent answered, so that it is known again when a client sends it back: alone, and as the
    /// end of this conversation.
    pub fn answered(
        &self,
        token: &TokenId,
        session: &SessionId,
        spoken: &[Spoken<'_>],
        answer: &str,
    ) -> Result<(), SessionError> {
        let whole = spoken.iter().copied().chain([Spoken {
            speaker: Speaker::Assistant,
            text: answer,
        }]);
        let digests = [
            conversation(&self.key, token, whole),
            alone(&self.key, token, answer),
        ];
        self.database().write(Durability::Process, |tx| {
            for digest in digests {
                let sql = "INSERT INTO answers (digest, session) VALUES (?1, ?2)";
                tx.prepare_cached(sql)?
                    .execute(params![digest, session.as_str()])?;
            }
            let oldest = tx.last_insert_rowid() - MAX_ANSWERS;
            tx.prepare_cached("DELETE FROM answers WHERE n <= ?1")?
                .execute([oldest])?;
            Ok(())
        })
    }

    /// Every session that is not over, the one used last first.
    pub fn sessions(&self, now: UnixTime) -> Result<Vec<SessionInfo>, SessionError> {
        self.database().read(|conn| {
            let sql = format!("{SELECT} WHERE used > ?1 ORDER BY used DESC, id");
            let mut statement = conn.prepare_cached(&sql)?;
            let rows = statement.query_map([idle_since(now)], |row| info(&self.key, row))?;
            rows.collect()
        })
    }

    /// One session, of this token or, without one, of any.
    ///
    /// # Errors
    /// [`SessionError::NoSuchSession`] when it is not there, is over or is another token's.
    pub fn session(
        &self,
        token: Option<&TokenId>,
        id: &SessionId,
        now: UnixTime,
    ) -> Result<SessionInfo, SessionError> {
        let found = self.database().read(|conn| row(conn, &self.key, id, now))?;
        found
            .filter(|info| token.is_none_or(|token| *token == info.token))
            .ok_or_else(|| no_such(Some(id)))
    }

    /// Ends a session; what it said is forgotten, and so counts as untrusted wherever it comes back.
    ///
    /// # Errors
    /// [`SessionError::NoSuchSession`] when there is none.
    pub fn end(&self, id: &SessionId) -> Result<(), SessionError> {
        let ended = self
            .database()
            .write(Durability::Full, |tx| forget(tx, id.as_str()))?;
        if ended {
            Ok(())
        } else {
            Err(no_such(Some(id)))
        }
    }
}

fn no_such(id: Option<&SessionId>) -> SessionError {
    let shown = id.map_or("", SessionId::as_str).chars().take(64).collect();
    SessionError::NoSuchSession(shown)
}

/// `ses_` and 96 random bits.
fn new_id() -> Result<SessionId, SessionError> {
    let random = crate::key::random::<12>()?;
    Ok(SessionId::new(format!(
        "ses_{}",
        clawdbot_domain::hex(random.as_ref())
    )))
}

pub(crate) fn idle_since(now: UnixTime) -> i64 {
    let idle = i64::try_from(IDLE.as_nanos()).unwrap_or(i64::MAX);
    now.as_nanos().saturating_sub(idle)
}

const fn number(taint: Taint) -> i64 {
    match taint {
        Taint::Clean => 0,
        Taint::Untrusted => 1,
        Taint::Hostile => 2,
    }
}

/// What is no number of ours is the worst.
const fn taint_of(number: i64) -> Taint {
    match number {
        0 => Taint::Clean,
        1 => Taint::Untrusted,
        _ => Taint::Hostile,
    }
}

fn tag(key: &Key, id: &str, token: &str, taint: i64) -> Digest {
    let taint = taint.to_le_bytes();
    key.digest("session", [id.as_bytes(), token.as_bytes(), &taint])
}

pub(crate) const SELECT: &str = "SELECT id, token, created, used, turns, taint, tag FROM sessions";

pub(crate) fn info(key: &Key, row: &Row<'_>) -> rusqlite::Result<SessionInfo> {
    let (id, token): (String, String) = (row.get(0)?, row.get(1)?);
    let (taint, kept): (i64, Vec<u8>) = (row.get(5)?, row.get(6)?);
    let genuine = tag(key, &id, &token, taint).as_slice() == kept;
    Ok(SessionInfo {
        taint: if genuine {
            taint_of(taint)
        } else {
            Taint::Hostile
        },
        id: SessionId::new(id),
        token: TokenId::new(token),
        created: UnixTime::from_nanos(row.get(2)?),
        used: UnixTime::from_nanos(row.get(3)?),
        turns: row.get::<_, i64>(4)?.unsigned_abs(),
    })
}

fn any_row(
    conn: &rusqlite::Connection,
    key: &Key,
    id: &SessionId,
) -> rusqlite::Result<Option<SessionInfo>> {
    let sql = format!("{SELECT} WHERE id = ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    statement
        .query_row([id.as_str()], |row| info(key, row))
        .optional()
}

/// One that is not over.
fn row(
    conn: &rusqlite::Connection,
    key: &Key,
    id: &SessionId,
    now: UnixTime,
) -> rusqlite::Result<Option<SessionInfo>> {
    let found = any_row(conn, key, id)?;
    Ok(found.filter(|info| info.used.as_nanos() > idle_since(now)))
}

fn set_taint(
    tx: &Transaction<'_>,
    key: &Key,
    id: &SessionId,
    token: &TokenId,
    taint: Taint,
) -> rusqlite::Result<()> {
    let taint = number(taint);
    let tag = tag(key, id.as_str(), token.as_str(), taint);
    tx.prepare_cached("UPDATE sessions SET taint = ?2, tag = ?3 WHERE id = ?1")?
        .execute(params![id.as_str(), taint, tag])?;
    Ok(())
}

fn use_again(
    tx: &Transaction<'_>,
    key: &Key,
    id: &SessionId,
    token: &TokenId,
    taint: Taint,
    now: UnixTime,
) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE sessions SET used = max(used, ?2), turns = turns + 1 WHERE id = ?1")?
        .execute(params![id.as_str(), now.as_nanos()])?;
    set_taint(tx, key, id, token, taint)
}

fn make(
    tx: &Transaction<'_>,
    key: &Key,
    id: SessionId,
    token: &TokenId,
    taint: Taint,
    now: UnixTime,
) -> rusqlite::Result<SessionId> {
    make_room(tx, token, now)?;
    let taint = number(taint);
    let tag = tag(key, id.as_str(), token.as_str(), taint);
    let sql = "INSERT INTO sessions (id, token, created, used, turns, taint, tag)
               VALUES (?1, ?2, ?3, ?3, 1, ?4, ?5)";
    tx.prepare_cached(sql)?.execute(params![
        id.as_str(),
        token.as_str(),
        now.as_nanos(),
        taint,
        tag
    ])?;
    Ok(id)
}

/// One session comes, so at most a few must go: idle ones, and the token's own or the oldest of all
/// when there are too many.
fn make_room(tx: &Transaction<'_>, token: &TokenId, now: UnixTime) -> rusqlite::Result<()> {
    let idle = "SELECT id FROM sessions WHERE used <= ?1 LIMIT 8";
    let mut gone = ids(tx, idle, params![idle_since(now)])?;
    let own = "SELECT id FROM sessions WHERE token = ?1 ORDER BY used DESC LIMIT 8 OFFSET ?2";
    gone.extend(ids(
        tx,
        own,
        params![token.as_str(), MAX_SESSIONS_OF_TOKEN - 1],
    )?);
    let count = "SELECT count(*) FROM sessions";
    let count: u32 = tx.prepare_cached(count)?.query_row([], |row| row.get(0))?;
    if count >= MAX_SESSIONS {
        let oldest = "SELECT id FROM sessions ORDER BY used LIMIT 1";
        gone.extend(ids(tx, oldest, params![])?);
    }
    for id in gone {
        forget(tx, &id)?;
    }
    Ok(())
}

fn ids(
    tx: &Transaction<'_>,
    sql: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Vec<String>> {
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map(params, |row| row.get(0))?;
    rows.collect()
}

/// False when there was none.
pub(crate) fn forget(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<bool> {
    tx.prepare_cached("DELETE FROM answers WHERE session = ?1")?
        .execute([id])?;
    approval::void_session(tx, id)?;
    turn::cancel_session(tx, id)?;
    let gone = tx
        .prepare_cached("DELETE FROM sessions WHERE id = ?1")?
        .execute([id])?;
    Ok(gone > 0)
}

#[cfg(test)]
mod tests;
