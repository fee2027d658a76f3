//! The operator's own token: the local command line uses it by itself.

use crate::error::AuthError;
use crate::files;
use crate::store::{Draft, TokenStore};
use clawdbot_domain::{ScopeSet, Secret, TokenEnv, UnixTime};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// Its name. No other token can be given it, so whoever sees it knows whose token that is.
pub const NAME: &str = "operator";

/// A token with no more than this to live is replaced: a gateway runs for a while.
const RENEWED_BEFORE: Duration = Duration::from_secs(7 * 86_400);

fn file(secrets: &Path) -> PathBuf {
    secrets.join("operator.token")
}

/// The operator's token, if one was made in this home.
pub fn read(secrets: &Path) -> Result<Option<Secret>, AuthError> {
    let content = files::read_private(&file(secrets), 4096)?;
    let text = content.and_then(|c| std::str::from_utf8(&c).ok().map(|t| Secret::new(t.trim())));
    Ok(text.filter(|token| !token.expose().is_empty()))
}

/// What is to be done about the operator's token.
#[derive(Debug)]
pub enum Plan {
    /// It works.
    Keep(Secret),
    /// There is none that works; this one would.
    Make(Box<Renewal>),
}

/// An operator's token that does not work yet, so that it can be written down first. While it is
/// held, no other process makes one.
#[derive(Debug)]
pub struct Renewal {
    draft: Draft,
    file: PathBuf,
    _lock: files::Lock,
}

impl Renewal {
    /// The token that would be made.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Makes it: the operator's earlier tokens are revoked, and the file holds the new one.
    pub fn make(self, store: &TokenStore) -> Result<Secret, AuthError> {
        // A crash before the file is replaced leaves a revoked token in it: the next start renews.
        let (token, _) = store.keep(self.draft)?;
        let line = Zeroizing::new(format!("{}\n", token.expose()));
        files::replace(&self.file, line.as_bytes())?;
        Ok(token)
    }
}

/// Looks whether the operator's token works: whether it is there, in force for more than a week, with
/// every scope, and for this environment.
pub fn plan(
    store: &TokenStore,
    secrets: &Path,
    env: TokenEnv,
    now: UnixTime,
) -> Result<Plan, AuthError> {
    // Two processes at once would revoke each other's token.
    let lock = files::Lock::take(&secrets.join(".operator.lock"))?;
    if let Some(token) = read(secrets)?
        && store.recognise(token.expose()).is_ok_and(|info| {
            info.is_live(now)
                && info.expires.since(now) > RENEWED_BEFORE
                && (info.env, info.scopes) == (env, ScopeSet::ALL)
        })
    {
        return Ok(Plan::Keep(token));
    }
    Ok(Plan::Make(Box::new(Renewal {
        draft: store.draft_operator(env, now)?,
        file: file(secrets),
        _lock: lock,
    })))
}

/// The operator's token, made anew when it does not work (see [`plan`]). Whoever can read its file
/// owns the home anyway; it is 0600.
pub fn ensure(
    store: &TokenStore,
    secrets: &Path,
    env: TokenEnv,
    now: UnixTime,
) -> Result<Secret, AuthError> {
    match plan(store, secrets, env, now)? {
        Plan::Keep(token) => Ok(token),
        Plan::Make(renewal) => renewal.make(store),
    }
}
