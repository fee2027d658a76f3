//! Setup tokens: 15 minutes, one use, traded for the first admin token.

use super::draft::check_new;
use super::row::TokenInfo;
use super::{Failed, NewToken, TokenStore, unreadable};
use crate::error::{AuthError, Rejected};
use crate::token::{self, Kind};
use clawdbot_domain::{ScopeSet, Secret, TokenEnv, UnixTime};
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::time::Duration;
use subtle::ConstantTimeEq as _;

/// How long a setup token lasts.
pub const SETUP_TTL: Duration = Duration::from_secs(15 * 60);

const PURPOSE: &str = "clawdbot setup 1";

/// A setup token as it is kept.
struct Setup {
    tag: [u8; 32],
    expires: UnixTime,
    /// The latest time anything was written since it was made, this attempt included.
    seen: UnixTime,
    spent: bool,
}

impl TokenStore {
    /// Makes a setup token: [`SETUP_TTL`], one use. Any earlier one stops working.
    pub fn create_setup(&self, now: UnixTime) -> Result<(Secret, UnixTime), AuthError> {
        let (id, secret) = token::mint(Kind::Setup)?;
        let expires = now.plus(SETUP_TTL);
        let tag = self.setup_tag(secret.expose(), expires);
        self.write(now, |tx| {
            tx.execute(
                "DELETE FROM setups WHERE spent IS NULL OR expires < ?1",
                [now.as_nanos()],
            )?;
            tx.execute(
                "INSERT INTO setups (id, tag, created, expires, seen) VALUES (?1, ?2, ?3, ?4, ?3)",
                params![id, tag, now.as_nanos(), expires.as_nanos()],
            )
        })?;
        Ok((secret, expires))
    }

    /// Makes every setup token that was not traded yet worthless.
    pub fn void_setups(&self, now: UnixTime) -> Result<usize, AuthError> {
        self.write(now, |tx| {
            tx.execute("DELETE FROM setups WHERE spent IS NULL", [])
        })
    }

    /// Trades a setup token for an admin token. That it is spent and the new token are one durable
    /// step, taken before this returns.
    ///
    /// # Errors
    /// Everything but a genuine setup token, for the first time, within its 15 minutes.
    pub fn redeem_setup(
        &self,
        presented: &str,
        name: &str,
        env: TokenEnv,
        now: UnixTime,
    ) -> Result<(Secret, TokenInfo), Rejected> {
        let parts = token::parse(presented).filter(|p| p.kind == Kind::Setup);
        let id = parts.ok_or(Rejected::Malformed)?.id;
        let new = NewToken {
            name,
            scopes: ScopeSet::ALL,
            env,
            ttl: None,
        };
        check_new(&new).map_err(Rejected::BadName)?;
        let draft = self.draft(&new, now).map_err(unreadable)?;
        let spent = self.write(now, |tx| {
            let judged = self.judge(tx, id, presented, now)?;
            if judged.is_ok() {
                let sql = "UPDATE setups SET spent = ?2 WHERE id = ?1";
                tx.execute(sql, params![id, now.as_nanos()])?;
                draft.insert(tx)?;
            }
            Ok::<_, Failed>(judged)
        });
        spent.map_err(unreadable)??;
        Ok(draft.into_parts())
    }

    /// Whether this setup token may be redeemed now. In the transaction that spends it: nobody can
    /// come in between.
    fn judge(
        &self,
        tx: &Transaction<'_>,
        id: &str,
        presented: &str,
        now: UnixTime,
    ) -> rusqlite::Result<Result<(), Rejected>> {
        let sql = "SELECT tag, expires, seen, spent IS NOT NULL FROM setups WHERE id = ?1";
        let found = tx.query_row(sql, [id], |row| {
            Ok(Setup {
                tag: row.get(0)?,
                expires: UnixTime::from_nanos(row.get(1)?),
                seen: UnixTime::from_nanos(row.get(2)?),
                spent: row.get(3)?,
            })
        });
        let found = found.optional()?;
        let expires = found.as_ref().map_or(now, |setup| setup.expires);
        let tag = self.setup_tag(presented, expires);
        Ok(match found {
            None => Err(Rejected::Unknown),
            Some(setup) if !bool::from(tag.ct_eq(&setup.tag)) => Err(Rejected::Unknown),
            Some(setup) if setup.spent => Err(Rejected::Spent),
            // Else setting the clock back would make fifteen minutes last for ever.
            Some(setup) if now < setup.seen => Err(Rejected::ClockSetBack),
            Some(setup) if now >= setup.expires => Err(Rejected::Expired),
            Some(_) => Ok(()),
        })
    }

    fn setup_tag(&self, text: &str, expires: UnixTime) -> [u8; 32] {
        let expires = expires.as_nanos().to_le_bytes();
        self.keyed.tag(PURPOSE, &[text.as_bytes(), &expires])
    }
}

/// Tells how late it is to open setup tokens and to tokens whose end has come, so that a clock that is
/// set back revives none of them.
pub(super) fn tell_time(tx: &Transaction<'_>, now: UnixTime) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE setups SET seen = max(seen, ?1) WHERE spent IS NULL",
        params![now.as_nanos()],
    )?;
    tx.execute(
        "UPDATE tokens SET ended = ?1 \
         WHERE ended IS NULL AND min(expires, ifnull(grace_until, expires)) <= ?1",
        params![now.as_nanos()],
    )?;
    Ok(())
}
