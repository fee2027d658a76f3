//! A token that is thought out but does not work yet, so that it can be written down first.

use super::row::{self, Row, TokenInfo};
use super::{DEFAULT_TTL, Failed, KEPT, MAX_TOKENS, MAX_TTL, TokenStore};
use crate::error::AuthError;
use crate::operator;
use crate::token::{self, Kind};
use clawdbot_domain::{ScopeSet, Secret, TokenEnv, TokenId, ToolLimit, UnixTime};
use rusqlite::{Transaction, params};
use std::time::Duration;

/// A token to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewToken<'a> {
    /// What people call it.
    pub name: &'a str,
    /// What it may do.
    pub scopes: ScopeSet,
    /// Which gateways take it.
    pub env: TokenEnv,
    /// How long it lasts, at most [`MAX_TTL`]; [`DEFAULT_TTL`] when nobody says.
    pub ttl: Option<Duration>,
}

/// A token that does not work until [`TokenStore::keep`] has kept it.
#[derive(Debug)]
pub struct Draft {
    secret: Secret,
    row: Row,
    /// The token whose place it takes, and until when that one works on.
    replaces: Option<(TokenId, UnixTime)>,
}

impl Draft {
    /// What the token will be.
    pub fn info(&self) -> TokenInfo {
        self.row.info()
    }

    /// The token whose place it will take.
    pub fn replaces(&self) -> Option<&TokenId> {
        self.replaces.as_ref().map(|(id, _)| id)
    }
}

impl TokenStore {
    /// Thinks out a token.
    ///
    /// # Errors
    /// [`AuthError::BadToken`] when there can be no such token.
    pub fn draft(&self, new: &NewToken<'_>, now: UnixTime) -> Result<Draft, AuthError> {
        check_new(new).map_err(AuthError::BadToken)?;
        self.mint(new, now)
    }

    fn mint(&self, new: &NewToken<'_>, now: UnixTime) -> Result<Draft, AuthError> {
        let (id, secret) = token::mint(Kind::Access(new.env))?;
        let mut row = Row {
            id: TokenId::new(id),
            tag: [0; 32],
            name: new.name.into(),
            scopes: new.scopes,
            env: new.env,
            created: now,
            expires: now.plus(new.ttl.unwrap_or(DEFAULT_TTL)),
            operator: false,
            last_used: None,
            revoked: None,
            replaced_by: None,
            grace_until: None,
            ended: None,
            tools: ToolLimit::Unlimited,
        };
        row.tag = row.tag_of(&self.keyed, secret.expose());
        Ok(Draft {
            secret,
            row,
            replaces: None,
        })
    }

    /// The same token with fewer tools, whatever policy allows. The limit is part of what its hash covers.
    #[must_use]
    pub fn limited(&self, mut draft: Draft, tools: ToolLimit) -> Draft {
        draft.row.tools = tools;
        draft.row.tag = draft.row.tag_of(&self.keyed, draft.secret.expose());
        draft
    }

    /// Thinks out the token that takes the place of another, with the same scopes and tools.
    ///
    /// # Errors
    /// [`AuthError::NoSuchToken`], or [`AuthError::NotLive`] when it is dead or replaced already.
    pub fn draft_rotation(
        &self,
        id: &TokenId,
        grace: Duration,
        now: UnixTime,
    ) -> Result<Draft, AuthError> {
        let old = self.row(id)?;
        if old.in_force(now).is_err() || old.replaced_by.is_some() {
            return Err(AuthError::NotLive(id.to_string()));
        }
        let new = NewToken {
            name: &old.name,
            scopes: old.scopes,
            env: old.env,
            ttl: Some(old.expires.since(old.created)),
        };
        let draft = self.limited(self.draft(&new, now)?, old.tools);
        Ok(Draft {
            replaces: Some((old.id, now.plus(grace))),
            ..draft
        })
    }

    /// Thinks out the operator's token; keeping it revokes the operator's other ones.
    pub(crate) fn draft_operator(&self, env: TokenEnv, now: UnixTime) -> Result<Draft, AuthError> {
        let new = NewToken {
            name: operator::NAME,
            scopes: ScopeSet::ALL,
            env,
            ttl: None,
        };
        let mut draft = self.mint(&new, now)?;
        draft.row.operator = true;
        Ok(draft)
    }

    /// Keeps a token: durable when this returns, and in force in every process. The secret is in what
    /// this returns and nowhere else.
    ///
    /// # Errors
    /// [`AuthError::TooMany`], [`AuthError::NotLive`] when the token it takes the place of died in the
    /// meantime, or when the store cannot be written.
    pub fn keep(&self, draft: Draft) -> Result<(Secret, TokenInfo), AuthError> {
        let now = draft.row.created;
        self.write(now, |tx| draft.insert(tx))?;
        Ok(draft.into_parts())
    }
}

impl Draft {
    /// The part of a transaction that makes the token work.
    pub(super) fn insert(&self, tx: &Transaction<'_>) -> Result<(), Failed> {
        let (id, now) = (self.row.id.as_str(), self.row.created);
        let long_ago = now
            .as_nanos()
            .saturating_sub(i64::try_from(KEPT.as_nanos()).unwrap_or(i64::MAX));
        tx.execute(
            "DELETE FROM tokens WHERE min(expires, ifnull(revoked, expires)) < ?1",
            params![long_ago],
        )?;
        let count: u32 = tx.query_row("SELECT count(*) FROM tokens", [], |row| row.get(0))?;
        if count >= MAX_TOKENS {
            return Err(AuthError::TooMany(MAX_TOKENS).into());
        }
        if let Some((old, until)) = &self.replaces {
            let replaced = tx.execute(
                "UPDATE tokens SET replaced_by = ?2, grace_until = ?3 \
                 WHERE id = ?1 AND revoked IS NULL AND replaced_by IS NULL",
                params![old.as_str(), id, until.as_nanos()],
            )?;
            if replaced != 1 {
                return Err(AuthError::NotLive(old.to_string()).into());
            }
        }
        if self.row.operator {
            tx.execute(
                "UPDATE tokens SET revoked = ?2, replaced_by = ?1 WHERE operator AND revoked IS NULL",
                params![id, now.as_nanos()],
            )?;
        }
        row::insert(tx, &self.row)?;
        Ok(())
    }

    /// The token's text, once it works.
    pub(super) fn into_parts(self) -> (Secret, TokenInfo) {
        let info = self.info();
        (self.secret, info)
    }
}

/// Whether there can be such a token; in words when not.
pub(super) fn check_new(new: &NewToken<'_>) -> Result<(), &'static str> {
    let name_is_fit = (1..=64).contains(&new.name.chars().count())
        && !new.name.chars().any(char::is_control)
        && new.name.trim() == new.name;
    if !name_is_fit {
        return Err(
            "a token's name has 1 to 64 characters, no control characters, no spaces around it",
        );
    }
    if new.name == operator::NAME {
        return Err("the name operator is kept for the token in secrets/operator.token");
    }
    if new.scopes == ScopeSet::NONE {
        return Err("a token needs at least one scope: chat, tools, read, audit, admin");
    }
    if new.ttl.is_some_and(|ttl| ttl.is_zero() || ttl > MAX_TTL) {
        return Err("a token lasts longer than no time at all and at most 366 days");
    }
    Ok(())
}
