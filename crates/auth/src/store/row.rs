//! One token as it is kept, and as it is shown.

use crate::database::Database;
use crate::error::{AuthError, Rejected};
use crate::keyed::Keyed;
use clawdbot_domain::{Event, ScopeSet, TokenEnv, TokenId, ToolLimit, UnixTime};
use rusqlite::{OptionalExtension as _, Transaction, params, types::Type};
use std::sync::Arc;
use std::time::Duration;

const PURPOSE: &str = "clawdbot token 1";
const COLUMNS: &str = "id, tag, name, scopes, env, created, expires, operator, last_used, revoked, \
                       replaced_by, grace_until, ended, tools";

/// A token as it is kept.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: TokenId,
    pub(super) tag: [u8; 32],
    pub(super) name: Arc<str>,
    pub(super) scopes: ScopeSet,
    pub(super) env: TokenEnv,
    pub(super) created: UnixTime,
    pub(super) expires: UnixTime,
    pub(super) operator: bool,
    pub(super) last_used: Option<UnixTime>,
    pub(super) revoked: Option<UnixTime>,
    pub(super) replaced_by: Option<TokenId>,
    pub(super) grace_until: Option<UnixTime>,
    /// Since when it is known to be over. A clock that is set back does not change that.
    pub(super) ended: Option<UnixTime>,
    pub(super) tools: ToolLimit,
}

/// What is known of a token; never its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its public id.
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: ScopeSet,
    /// Which gateways take it.
    pub env: TokenEnv,
    /// When it was made.
    pub created: UnixTime,
    /// From when on it no longer counts: its own end, or that of its grace when it was replaced.
    pub expires: UnixTime,
    /// When it was last used, to the minute.
    pub last_used: Option<UnixTime>,
    /// Since when it is revoked.
    pub revoked: Option<UnixTime>,
    /// The token that took its place.
    pub replaced_by: Option<TokenId>,
    /// True when its end was seen once, whatever the clock says now.
    pub over: bool,
    /// Which tools it may use at all.
    pub tools: ToolLimit,
}

/// Whether a token counts, as people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// It counts.
    Live,
    /// It counts, has no successor, and is over soon: in the last tenth of its time, and at most two
    /// weeks.
    Due,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl TokenState {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Due => "due",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Nobody is told earlier than this that a token is due.
const DUE_AT_MOST: Duration = Duration::from_secs(14 * 86_400);

impl TokenInfo {
    /// That it was made, for the audit log.
    pub fn created_event(&self) -> Event {
        Event::TokenCreated {
            token: self.id.clone(),
            name: self.name.clone(),
            scopes: self.scopes.to_string(),
            expires: Some(self.expires.to_string()),
            tools: self.tools.names().map(|names| names.join(",")),
        }
    }

    /// Whether it counts now.
    pub fn state(&self, now: UnixTime) -> TokenState {
        let tenth = self.expires.since(self.created) / 10;
        if self.revoked.is_some() {
            TokenState::Revoked
        } else if !self.is_live(now) {
            TokenState::Expired
        } else if self.replaced_by.is_none() && self.expires.since(now) <= tenth.min(DUE_AT_MOST) {
            TokenState::Due
        } else {
            TokenState::Live
        }
    }

    /// True when it counts.
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.revoked.is_none() && !self.over && now < self.expires
    }

    /// When it stopped counting, or will.
    pub(super) fn ended(&self) -> UnixTime {
        self.revoked
            .map_or(self.expires, |revoked| revoked.min(self.expires))
    }
}

impl Row {
    /// The keyed hash over the token's text and over what it may do, and until when.
    pub(super) fn tag_of(&self, keyed: &Keyed, text: &str) -> [u8; 32] {
        self.over(text, |parts| keyed.tag(PURPOSE, parts))
    }

    /// True when this is the token's text and nobody changed what it may do.
    pub(super) fn is_genuine(&self, keyed: &Keyed, text: &str) -> bool {
        self.over(text, |parts| keyed.matches(PURPOSE, parts, &self.tag))
    }

    fn over<T>(&self, text: &str, hash: impl FnOnce(&[&[u8]]) -> T) -> T {
        let scopes = [self.scopes.iter().fold(0_u8, |bits, s| bits | 1 << s as u8)];
        let expires = self.expires.as_nanos().to_le_bytes();
        let mut parts = vec![
            text.as_bytes(),
            self.id.as_str().as_bytes(),
            self.env.as_str().as_bytes(),
            &scopes,
            &expires,
        ];
        // A part of its own where there is a limit: tokens from before there were limits stay genuine, and
        // whoever strikes a limit from the file has a token that is not.
        let tools = self.tools.names().map(|names| names.join(","));
        parts.extend(tools.as_deref().map(str::as_bytes));
        hash(&parts)
    }

    /// Whether the token counts at this moment, and why not.
    pub(super) fn in_force(&self, now: UnixTime) -> Result<(), Rejected> {
        if self.revoked.is_some() {
            Err(Rejected::Revoked)
        } else if self.ended.is_some() || now >= self.ends() {
            Err(Rejected::Expired)
        } else {
            Ok(())
        }
    }

    fn ends(&self) -> UnixTime {
        let grace = self.grace_until;
        grace.map_or(self.expires, |until| until.min(self.expires))
    }

    pub(super) fn info(&self) -> TokenInfo {
        TokenInfo {
            id: self.id.clone(),
            name: self.name.as_ref().to_owned(),
            scopes: self.scopes,
            env: self.env,
            created: self.created,
            expires: self.ends(),
            last_used: self.last_used,
            revoked: self.revoked,
            replaced_by: self.replaced_by.clone(),
            over: self.ended.is_some(),
            tools: self.tools.clone(),
        }
    }
}

/// A store from before tokens had limits gets the column for them; its tokens have none.
pub(super) fn add_what_is_new(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    // Some files of version 2 have it already.
    let sql = "SELECT count(*) FROM pragma_table_info('tokens') WHERE name = 'tools'";
    let there: u32 = tx.query_row(sql, [], |row| row.get(0))?;
    if there == 0 {
        tx.execute("ALTER TABLE tokens ADD COLUMN tools TEXT", [])?;
    }
    Ok(())
}

pub(super) fn insert(tx: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
    let sql = "INSERT INTO tokens (id, tag, name, scopes, env, created, expires, operator, tools) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    tx.execute(
        sql,
        params![
            row.id.as_str(),
            row.tag,
            &*row.name,
            row.scopes.to_string(),
            row.env.as_str(),
            row.created.as_nanos(),
            row.expires.as_nanos(),
            row.operator,
            row.tools.names().map(|names| names.join(",")),
        ],
    )?;
    Ok(())
}

/// Every token, the newest first.
pub(super) fn all(db: &Database) -> Result<Vec<Row>, AuthError> {
    let sql = format!("SELECT {COLUMNS} FROM tokens ORDER BY created DESC, id");
    let rows = || {
        let mut statement = db.conn.prepare_cached(&sql)?;
        statement.query_map([], from_sql)?.collect::<Result<_, _>>()
    };
    rows().map_err(db.failed())
}

pub(super) fn one(db: &Database, id: &str) -> Result<Option<Row>, AuthError> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE id = ?1");
    let row = db.conn.query_row(&sql, params![id], from_sql).optional();
    row.map_err(db.failed())
}

fn from_sql(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let time = |column| row.get(column).map(UnixTime::from_nanos);
    let maybe = |column| {
        row.get(column)
            .map(|nanos: Option<i64>| nanos.map(UnixTime::from_nanos))
    };
    Ok(Row {
        id: TokenId::new(row.get::<_, String>(0)?),
        tag: row.get(1)?,
        name: row.get::<_, String>(2)?.into(),
        scopes: word(3, row.get_ref(3)?.as_str()?.parse::<ScopeSet>())?,
        env: word(4, env_of(row.get_ref(4)?.as_str()?))?,
        created: time(5)?,
        expires: time(6)?,
        operator: row.get(7)?,
        last_used: maybe(8)?,
        revoked: maybe(9)?,
        replaced_by: row.get::<_, Option<String>>(10)?.map(TokenId::new),
        grace_until: maybe(11)?,
        ended: maybe(12)?,
        tools: match row.get_ref(13)?.as_str_or_null()? {
            Some(names) => word(13, names.parse::<ToolLimit>())?,
            None => ToolLimit::Unlimited,
        },
    })
}

fn env_of(text: &str) -> Result<TokenEnv, std::fmt::Error> {
    [TokenEnv::Dev, TokenEnv::Prod]
        .into_iter()
        .find(|env| env.as_str() == text)
        .ok_or(std::fmt::Error)
}

fn word<T, E>(column: usize, parsed: Result<T, E>) -> rusqlite::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    parsed.map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}
