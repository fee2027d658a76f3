//! A row of an approval.

use super::{ApprovalInfo, ApprovalState};
use crate::key::{Digest, Key};
use clawdbot_domain::{ApprovalId, Effect, SessionId, TokenId, ToolName, TurnId, UnixTime};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

pub(super) const SELECT: &str =
    "SELECT id, token, session, turn, tool, effect, arguments, sha256, reasons,
    created, expires, state, decided_by FROM approvals";

/// Tagged from the start: whoever changes what a person is asked has nobody asked.
pub(super) fn insert(
    tx: &Transaction<'_>,
    key: &Key,
    asked: &ApprovalInfo,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO approvals (id, token, session, turn, tool, effect, arguments, sha256,
               reasons, created, expires, state, tag) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
               ?10, ?11, ?12, ?13)";
    tx.prepare_cached(sql)?.execute(params![
        asked.id.as_str(),
        asked.token.as_str(),
        asked.session.as_ref().map(SessionId::as_str),
        asked.turn.as_ref().map(TurnId::as_str),
        asked.tool.as_str(),
        asked.effect.as_str(),
        asked.arguments,
        asked.arguments_sha256,
        asked.reasons.join("\n"),
        asked.created.as_nanos(),
        asked.expires.as_nanos(),
        asked.state.as_str(),
        tag(key, ASKED, asked),
    ])?;
    Ok(())
}

pub(crate) fn one(
    conn: &rusqlite::Connection,
    id: &ApprovalId,
) -> rusqlite::Result<Option<ApprovalInfo>> {
    let sql = format!("{SELECT} WHERE id = ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    statement.query_row([id.as_str()], info).optional()
}

pub(super) fn info(row: &Row<'_>) -> rusqlite::Result<ApprovalInfo> {
    let text = |at: usize| row.get::<_, String>(at);
    let maybe = |at: usize| row.get::<_, Option<String>>(at);
    let tool = ToolName::parse(&text(4)?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, error.into())
    })?;
    let arguments = text(6)?;
    Ok(ApprovalInfo {
        id: ApprovalId::new(text(0)?),
        token: TokenId::new(text(1)?),
        session: maybe(2)?.map(SessionId::new),
        turn: maybe(3)?.map(TurnId::new),
        tool,
        effect: effect(&text(5)?),
        // Of what a person is shown, not the one that is kept beside it: a row that waits has no tag yet.
        arguments_sha256: clawdbot_domain::sha256_hex(arguments.as_bytes()),
        arguments,
        reasons: text(8)?.lines().map(str::to_owned).collect(),
        created: UnixTime::from_nanos(row.get(9)?),
        expires: UnixTime::from_nanos(row.get(10)?),
        state: ApprovalState::parse(&text(11)?),
        decided_by: maybe(12)?,
    })
}

/// What is no word of ours is shown as the most far-reaching.
fn effect(text: &str) -> Effect {
    let all = [Effect::Read, Effect::Write, Effect::Execute];
    let found = all.into_iter().find(|effect| effect.as_str() == text);
    found.unwrap_or(Effect::Network)
}

/// That a person is asked.
pub(super) const ASKED: &str = "approval asked";

/// That a person said yes.
pub(super) const GIVEN: &str = "approval given";

/// That this was said of this very approval.
pub(super) fn tag(key: &Key, what: &'static str, info: &ApprovalInfo) -> Digest {
    let expires = info.expires.as_nanos().to_le_bytes();
    let session = info.session.as_ref().map_or("", SessionId::as_str);
    let turn = info.turn.as_ref().map_or("", TurnId::as_str);
    let parts = [
        info.id.as_str(),
        info.token.as_str(),
        session,
        turn,
        info.tool.as_str(),
        info.effect.as_str(),
        &info.arguments_sha256,
    ];
    let parts = parts.into_iter().map(str::as_bytes);
    key.digest(what, parts.chain([&expires[..]]))
}

/// Whether that is what the row says, by somebody who holds the key.
pub(super) fn is_genuine(
    tx: &Transaction<'_>,
    key: &Key,
    what: &'static str,
    info: &ApprovalInfo,
) -> rusqlite::Result<bool> {
    let kept: Option<Vec<u8>> = tx
        .prepare_cached("SELECT tag FROM approvals WHERE id = ?1")?
        .query_row([info.id.as_str()], |row| row.get(0))?;
    Ok(kept.as_deref() == Some(tag(key, what, info).as_slice()))
}
