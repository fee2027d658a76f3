//! A call that waits for a person, and what the person said.
//!
//! An approval binds one call to the byte: token, session, tool and the hash of the canonical arguments.
//! It counts for five minutes from when it was asked for, once. That it was given carries a keyed tag, so
//! that whoever can write the database but not read the key cannot give one.

mod info;
mod row;

pub use info::{ApprovalInfo, ApprovalState, Request};
pub(crate) use row::one;

use crate::database::Durability;
use crate::error::SessionError;
use crate::key::Key;
use crate::store::SessionStore;
use clawdbot_domain::{Approval, ApprovalId, SessionId, TokenId, UnixTime};
use row::{ASKED, GIVEN, SELECT, info, insert, is_genuine, tag};
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::time::Duration;

/// How long a person has to decide, and the call to be made.
pub const APPROVAL_LASTS: Duration = Duration::from_secs(300);

/// Calls of one token that wait at once.
const MAX_WAITING_OF_TOKEN: u32 = 32;

/// Approvals kept in all, decided ones among them; the oldest make room.
const MAX_APPROVALS: u32 = 10_000;

/// How long what was decided can still be looked at.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// A clock that is set back further than this since an approval was asked for ends it: otherwise it
/// would last as much longer.
const CLOCK_STEP: Duration = Duration::from_secs(5);

impl SessionStore {
    /// A request that exists only here, so that it can be written down before it is asked.
    ///
    /// # Errors
    /// When there is no randomness for its id.
    pub fn draft(&self, request: Request, now: UnixTime) -> Result<ApprovalInfo, SessionError> {
        let random = crate::key::random::<12>()?;
        let id = format!("apr_{}", clawdbot_domain::hex(random.as_ref()));
        Ok(ApprovalInfo::of(request, ApprovalId::new(id), now))
    }

    /// What was last said, or is being asked, of the very same call of this token in this session, while it
    /// counts. Whoever asks again is not shown to a person again.
    pub fn alike(
        &self,
        request: &Request,
        now: UnixTime,
    ) -> Result<Option<ApprovalInfo>, SessionError> {
        let session = request.session.as_ref().map(SessionId::as_str);
        self.database().write(Durability::Process, |tx| {
            sweep(tx, now)?;
            let sql = format!(
                "{SELECT} WHERE token = ?1 AND session IS ?2 AND tool = ?3 AND sha256 = ?4
                 AND state IN ('waiting', 'given', 'denied') AND expires > ?5
                 ORDER BY created DESC LIMIT 1"
            );
            let mut statement = tx.prepare_cached(&sql)?;
            let params = params![
                request.token.as_str(),
                session,
                request.call.name.as_str(),
                request.call.arguments_sha256(),
                now.as_nanos()
            ];
            statement.query_row(params, info).optional()
        })
    }

    /// Asks: durable when this returns. With a turn, the turn waits with it.
    ///
    /// # Errors
    /// [`SessionError::TooManyWaiting`], [`SessionError::NoRoomToWait`].
    pub fn ask(
        &self,
        asked: &ApprovalInfo,
        body: Option<&str>,
        now: UnixTime,
    ) -> Result<(), SessionError> {
        let full = self.database().write(Durability::Full, |tx| {
            sweep(tx, now)?;
            make_room(tx, now)?;
            let count = "SELECT count(*) FROM approvals WHERE token = ?1 AND state = 'waiting'";
            let waiting: u32 = tx
                .prepare_cached(count)?
                .query_row([asked.token.as_str()], |row| row.get(0))?;
            if waiting >= MAX_WAITING_OF_TOKEN {
                return Ok(Some(SessionError::TooManyWaiting(waiting)));
            }
            if let (Some(turn), Some(body)) = (&asked.turn, body)
                && !crate::turn::keep(tx, asked, turn, body, now)?
            {
                return Ok(Some(SessionError::NoRoomToWait));
            }
            insert(tx, &self.key, asked)?;
            Ok(None)
        })?;
        full.map_or(Ok(()), Err)
    }

    /// Every approval that is kept, newest first.
    pub fn approvals(&self, now: UnixTime) -> Result<Vec<ApprovalInfo>, SessionError> {
        self.database().write(Durability::Process, |tx| {
            sweep(tx, now)?;
            let sql = format!("{SELECT} ORDER BY created DESC, id");
            let mut statement = tx.prepare_cached(&sql)?;
            let rows = statement.query_map([], info)?;
            rows.collect()
        })
    }

    /// One approval, of this token's calls or, without one, of any.
    ///
    /// # Errors
    /// [`SessionError::NoSuchApproval`].
    pub fn approval(
        &self,
        token: Option<&TokenId>,
        id: &ApprovalId,
        now: UnixTime,
    ) -> Result<ApprovalInfo, SessionError> {
        let found = self.database().write(Durability::Process, |tx| {
            sweep(tx, now)?;
            one(tx, id)
        })?;
        found
            .filter(|info| token.is_none_or(|token| *token == info.token))
            .ok_or_else(|| no_such(id))
    }

    /// A person's answer; durable when this returns.
    ///
    /// # Errors
    /// [`SessionError::NoSuchApproval`]; [`SessionError::NotSo`] when it does not wait any more.
    pub fn decide(
        &self,
        id: &ApprovalId,
        give: bool,
        by: &str,
        now: UnixTime,
    ) -> Result<ApprovalInfo, SessionError> {
        let key = &self.key;
        self.database().write(Durability::Full, |tx| {
            sweep(tx, now)?;
            let Some(mut info) = one(tx, id)? else {
                return Ok(Err(no_such(id)));
            };
            if info.state != ApprovalState::Waiting {
                return Ok(Err(not_so(&info)));
            }
            if give && !is_genuine(tx, key, ASKED, &info)? {
                // What would be approved is not what was asked for.
                return Ok(Err(no_such(id)));
            }
            info.state = if give {
                ApprovalState::Given
            } else {
                ApprovalState::Denied
            };
            info.decided_by = Some(by.to_owned());
            let tag = give.then(|| tag(key, GIVEN, &info));
            let sql = "UPDATE approvals SET state = ?2, decided_by = ?3, tag = ?4 WHERE id = ?1";
            tx.prepare_cached(sql)?
                .execute(params![id.as_str(), info.state.as_str(), by, tag])?;
            Ok(Ok(info))
        })?
    }

    /// Takes a given approval for this call, once; that it is spent is durable when this returns. One that
    /// does not fit stays as it is.
    ///
    /// # Errors
    /// [`SessionError::NoSuchApproval`] for another token's or session's, [`SessionError::OtherCall`],
    /// [`SessionError::NotSo`].
    pub fn spend(
        &self,
        id: &ApprovalId,
        request: &Request,
        now: UnixTime,
    ) -> Result<Approval, SessionError> {
        let key = &self.key;
        self.database().write(Durability::Full, |tx| {
            sweep(tx, now)?;
            let Some(info) = one(tx, id)? else {
                return Ok(Err(no_such(id)));
            };
            // One of a turn is spent by going on with the turn, and in no other way.
            if info.token != request.token
                || info.session != request.session
                || info.turn != request.turn
            {
                return Ok(Err(no_such(id)));
            }
            let hash = request.call.arguments_sha256();
            if info.tool != request.call.name || info.arguments_sha256 != hash {
                return Ok(Err(SessionError::OtherCall(id.to_string())));
            }
            spend(tx, key, &info)
        })?
    }
}

/// Spends one that is given and genuine.
pub(crate) fn spend(
    tx: &Transaction<'_>,
    key: &Key,
    info: &ApprovalInfo,
) -> rusqlite::Result<Result<Approval, SessionError>> {
    if info.state != ApprovalState::Given {
        return Ok(Err(not_so(info)));
    }
    if !is_genuine(tx, key, GIVEN, info)? {
        // Somebody wrote it who does not hold the key: nobody gave it.
        return Ok(Err(no_such(&info.id)));
    }
    set_state(tx, &info.id, ApprovalState::Spent)?;
    Ok(Ok(Approval {
        id: info.id.clone(),
        token: info.token.clone(),
        session: info.session.clone(),
        tool: info.tool.clone(),
        arguments_sha256: info.arguments_sha256.clone(),
        expires: info.expires,
    }))
}

pub(crate) fn set_state(
    tx: &Transaction<'_>,
    id: &ApprovalId,
    state: ApprovalState,
) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE approvals SET state = ?2 WHERE id = ?1")?
        .execute([id.as_str(), state.as_str()])?;
    Ok(())
}

/// What a session still waits for is void with it.
pub(crate) fn void_session(tx: &Transaction<'_>, session: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE approvals SET state = 'void'
               WHERE session = ?1 AND state IN ('waiting', 'given')";
    tx.prepare_cached(sql)?.execute([session])?;
    Ok(())
}

pub(crate) fn no_such(id: &ApprovalId) -> SessionError {
    SessionError::NoSuchApproval(id.as_str().chars().take(64).collect())
}

fn not_so(info: &ApprovalInfo) -> SessionError {
    SessionError::NotSo {
        id: info.id.to_string(),
        state: info.state,
    }
}

/// What is over is marked as over, so that setting the clock back does not revive it.
pub(crate) fn sweep(tx: &Transaction<'_>, now: UnixTime) -> rusqlite::Result<()> {
    let sql = "UPDATE approvals SET state = 'expired'
               WHERE state IN ('waiting', 'given') AND (expires <= ?1 OR created > ?2)";
    tx.prepare_cached(sql)?
        .execute([now.as_nanos(), now.plus(CLOCK_STEP).as_nanos()])?;
    Ok(())
}

fn make_room(tx: &Transaction<'_>, now: UnixTime) -> rusqlite::Result<()> {
    let old = now
        .as_nanos()
        .saturating_sub(i64::try_from(KEPT.as_nanos()).unwrap_or(i64::MAX));
    let sql = "DELETE FROM approvals WHERE created <= ?1 AND state NOT IN ('waiting', 'given')";
    tx.prepare_cached(sql)?.execute([old])?;
    let sql = "DELETE FROM approvals WHERE id IN
               (SELECT id FROM approvals ORDER BY created DESC LIMIT -1 OFFSET ?1)";
    tx.prepare_cached(sql)?.execute([MAX_APPROVALS - 1])?;
    Ok(())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;
