//! A turn that waits for a person, so that it can go on after a restart.
//!
//! It is kept whole: what was said and what tools returned. That is text at rest, in a file that only its
//! owner may read, for as long as the turn waits; it is overwritten when the turn goes on or ends.

use crate::approval::{self, ApprovalInfo, ApprovalState};
use crate::database::Durability;
use crate::error::SessionError;
use crate::store::SessionStore;
use clawdbot_domain::{Approval, ApprovalId, SessionId, TokenId, TurnId, UnixTime};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use std::time::Duration;

/// The largest turn that can wait, in bytes of JSON.
const MAX_BODY: usize = 4 << 20;

/// All waiting turns of one token.
const MAX_BODIES_OF_TOKEN: i64 = 32 << 20;

/// All waiting turns.
const MAX_BODIES: i64 = 256 << 20;

/// How long after its approval was over a turn can still be told so, and be looked at once it has ended.
const KEPT: Duration = Duration::from_secs(3_600);

/// Turns that are kept, ended ones among them.
const MAX_TURNS: u32 = 10_000;

/// What a turn that once waited is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnState {
    /// A person has not decided yet.
    Waiting,
    /// It was decided, or nobody did in time: the turn can go on and hear of it.
    Ready,
    /// It goes on.
    Running,
    /// It has ended well.
    Done,
    /// It has ended with an error.
    Failed,
    /// It was ended by hand.
    Cancelled,
    /// The gateway or its client went away while it ran; what it did is in the log.
    Lost,
}

impl TurnState {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    fn parse(text: &str) -> Self {
        let all = [
            Self::Waiting,
            Self::Running,
            Self::Done,
            Self::Failed,
            Self::Cancelled,
        ];
        let found = all.into_iter().find(|state| state.as_str() == text);
        found.unwrap_or(Self::Lost)
    }
}

/// A turn, as people look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnInfo {
    /// Its id.
    pub id: TurnId,
    /// Whose it is.
    pub token: TokenId,
    /// In which session.
    pub session: SessionId,
    /// When it first waited.
    pub created: UnixTime,
    /// What it is doing.
    pub state: TurnState,
    /// What it waits or waited for.
    pub approval: Option<ApprovalInfo>,
}

/// What came of the approval that a turn waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// A person said yes; this is now spent.
    Given(Approval),
    /// A person said no.
    Denied,
    /// Nobody said anything in time.
    Expired,
}

/// A turn that goes on. It is this caller's now and nobody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// Which turn.
    pub id: TurnId,
    /// As it was kept.
    pub body: String,
    /// What was decided.
    pub decided: Decided,
}

impl SessionStore {
    /// Every turn that waits, is ready or runs on, newest first.
    pub fn turns(&self, now: UnixTime) -> Result<Vec<TurnInfo>, SessionError> {
        self.database().write(Durability::Process, |tx| {
            approval::sweep(tx, now)?;
            let sql =
                format!("{SELECT} WHERE state IN ('waiting', 'running') ORDER BY created DESC");
            let mut statement = tx.prepare_cached(&sql)?;
            let rows = statement.query_map([], info)?;
            let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter();
            rows.map(|row| with_approval(tx, row)).collect()
        })
    }

    /// One turn, of this token or, without one, of any.
    ///
    /// # Errors
    /// [`SessionError::NoSuchTurn`].
    pub fn turn(
        &self,
        token: Option<&TokenId>,
        id: &TurnId,
        now: UnixTime,
    ) -> Result<TurnInfo, SessionError> {
        let found = self.database().write(Durability::Process, |tx| {
            approval::sweep(tx, now)?;
            one(tx, id)
        })?;
        found
            .filter(|info| token.is_none_or(|token| *token == info.token))
            .ok_or_else(|| no_such(id))
    }

    /// Goes on with a turn whose approval is decided or over. A given approval is spent by this, and that
    /// is durable when it returns: a turn goes on once.
    ///
    /// # Errors
    /// [`SessionError::StillWaiting`]; [`SessionError::NoSuchTurn`] for one that is another token's, has
    /// ended or goes on already.
    pub fn resume(
        &self,
        token: &TokenId,
        id: &TurnId,
        now: UnixTime,
    ) -> Result<Resumed, SessionError> {
        let key = &self.key;
        self.database().write(Durability::Full, |tx| {
            approval::sweep(tx, now)?;
            let Some(turn) = one(tx, id)?.filter(|turn| turn.token == *token) else {
                return Ok(Err(no_such(id)));
            };
            let Some(asked) = turn.approval else {
                return Ok(Err(no_such(id)));
            };
            let decided = match (turn.state, asked.state) {
                (TurnState::Waiting, _) => {
                    return Ok(Err(SessionError::StillWaiting {
                        turn: id.to_string(),
                        approval: asked.id.to_string(),
                    }));
                }
                (TurnState::Ready, ApprovalState::Given) => {
                    match approval::spend(tx, key, &asked)? {
                        Ok(approval) => Decided::Given(approval),
                        Err(error) => return Ok(Err(error)),
                    }
                }
                (TurnState::Ready, ApprovalState::Denied) => Decided::Denied,
                (TurnState::Ready, ApprovalState::Expired) => Decided::Expired,
                (
                    TurnState::Ready
                    | TurnState::Running
                    | TurnState::Done
                    | TurnState::Failed
                    | TurnState::Cancelled
                    | TurnState::Lost,
                    _,
                ) => return Ok(Err(no_such(id))),
            };
            let body = "SELECT body FROM turns WHERE id = ?1";
            let body = tx
                .prepare_cached(body)?
                .query_row([id.as_str()], |row| row.get(0))?;
            end(tx, id, TurnState::Running)?;
            Ok(Ok(Resumed {
                id: id.clone(),
                body,
                decided,
            }))
        })?
    }

    /// How a turn that went on has ended.
    pub fn ended(&self, id: &TurnId, state: TurnState) -> Result<(), SessionError> {
        self.database().write(Durability::Process, |tx| {
            let sql = "UPDATE turns SET state = ?2 WHERE id = ?1 AND state = 'running'";
            tx.prepare_cached(sql)?
                .execute([id.as_str(), state.as_str()])?;
            Ok(())
        })
    }

    /// Ends a turn that waits; what it waited for is void. False when it does not wait.
    pub fn cancel(&self, id: &TurnId) -> Result<bool, SessionError> {
        self.database().write(Durability::Full, |tx| {
            let Some(turn) = one(tx, id)? else {
                return Ok(false);
            };
            if !matches!(turn.state, TurnState::Waiting | TurnState::Ready) {
                return Ok(false);
            }
            if let Some(asked) = turn.approval {
                let open = matches!(asked.state, ApprovalState::Waiting | ApprovalState::Given);
                if open {
                    approval::set_state(tx, &asked.id, ApprovalState::Void)?;
                }
            }
            end(tx, id, TurnState::Cancelled)?;
            Ok(true)
        })
    }

    /// For a gateway that starts: turns that ran when the last one went away will not go on.
    pub fn lose_running(&self) -> Result<usize, SessionError> {
        self.database().write(Durability::Full, |tx| {
            tx.execute(
                "UPDATE turns SET state = 'lost' WHERE state = 'running'",
                [],
            )
        })
    }
}

/// Keeps a turn that waits; false when there is no room for it.
pub(crate) fn keep(
    tx: &Transaction<'_>,
    asked: &ApprovalInfo,
    turn: &TurnId,
    body: &str,
    now: UnixTime,
) -> rusqlite::Result<bool> {
    make_room(tx, now)?;
    let sum = "SELECT coalesce(sum(length(body)), 0) FROM turns";
    let all: i64 = tx.prepare_cached(sum)?.query_row([], |row| row.get(0))?;
    let sum = "SELECT coalesce(sum(length(body)), 0) FROM turns WHERE token = ?1";
    let own: i64 = tx
        .prepare_cached(sum)?
        .query_row([asked.token.as_str()], |row| row.get(0))?;
    let more = i64::try_from(body.len()).unwrap_or(i64::MAX);
    if body.len() > MAX_BODY
        || own.saturating_add(more) > MAX_BODIES_OF_TOKEN
        || all.saturating_add(more) > MAX_BODIES
    {
        return Ok(false);
    }
    let session = asked.session.as_ref().map_or("", SessionId::as_str);
    // A turn that went on waits again under its own name.
    let sql = "INSERT INTO turns (id, token, session, created, state, approval, body)
               VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, ?6) ON CONFLICT (id) DO UPDATE
               SET state = 'waiting', approval = ?5, body = ?6 WHERE state = 'running'";
    let kept = tx.prepare_cached(sql)?.execute(params![
        turn.as_str(),
        asked.token.as_str(),
        session,
        now.as_nanos(),
        asked.id.as_str(),
        body
    ])?;
    Ok(kept > 0)
}

/// With its session.
pub(crate) fn cancel_session(tx: &Transaction<'_>, session: &str) -> rusqlite::Result<()> {
    let sql =
        "UPDATE turns SET state = 'cancelled', body = '' WHERE session = ?1 AND state = 'waiting'";
    tx.prepare_cached(sql)?.execute([session])?;
    Ok(())
}

/// Turns that nobody took up in time go, with what they kept.
pub(crate) fn make_room(tx: &Transaction<'_>, now: UnixTime) -> rusqlite::Result<()> {
    let kept = approval::APPROVAL_LASTS + KEPT;
    let old = now
        .as_nanos()
        .saturating_sub(i64::try_from(kept.as_nanos()).unwrap_or(i64::MAX));
    let sql = "DELETE FROM turns WHERE state != 'running' AND created <= ?1 AND NOT EXISTS
               (SELECT 1 FROM approvals a WHERE a.id = turns.approval AND a.created > ?1)";
    tx.prepare_cached(sql)?.execute([old])?;
    let sql = "DELETE FROM turns WHERE id IN
               (SELECT id FROM turns ORDER BY created DESC LIMIT -1 OFFSET ?1)";
    tx.prepare_cached(sql)?.execute([MAX_TURNS - 1])?;
    Ok(())
}

fn end(tx: &Transaction<'_>, id: &TurnId, state: TurnState) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE turns SET state = ?2, body = '' WHERE id = ?1")?
        .execute([id.as_str(), state.as_str()])?;
    Ok(())
}

fn no_such(id: &TurnId) -> SessionError {
    SessionError::NoSuchTurn(id.as_str().chars().take(64).collect())
}

const SELECT: &str = "SELECT id, token, session, created, state, approval FROM turns";

/// A turn, and the id of its approval.
type Found = (TurnInfo, ApprovalId);

fn info(row: &Row<'_>) -> rusqlite::Result<Found> {
    let text = |at: usize| row.get::<_, String>(at);
    let turn = TurnInfo {
        id: TurnId::new(text(0)?),
        token: TokenId::new(text(1)?),
        session: SessionId::new(text(2)?),
        created: UnixTime::from_nanos(row.get(3)?),
        state: TurnState::parse(&text(4)?),
        approval: None,
    };
    Ok((turn, ApprovalId::new(text(5)?)))
}

fn one(tx: &Transaction<'_>, id: &TurnId) -> rusqlite::Result<Option<TurnInfo>> {
    let sql = format!("{SELECT} WHERE id = ?1");
    let mut statement = tx.prepare_cached(&sql)?;
    let found = statement.query_row([id.as_str()], info).optional()?;
    found.map(|found| with_approval(tx, found)).transpose()
}

/// Whether a waiting turn is ready stands in its approval.
fn with_approval(tx: &Transaction<'_>, (mut turn, asked): Found) -> rusqlite::Result<TurnInfo> {
    turn.approval = approval::one(tx, &asked)?;
    let waits = turn
        .approval
        .as_ref()
        .is_some_and(|asked| asked.state == ApprovalState::Waiting);
    if turn.state == TurnState::Waiting && !waits {
        turn.state = TurnState::Ready;
    }
    Ok(turn)
}
