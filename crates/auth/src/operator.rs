//! The operator's own token: the local command line uses it by itself.

use crate::error::AuthError;
use crate::files;
use crate::store::{NewToken, TokenStore};
use clawdbot_domain::{ScopeSet, Secret, TokenEnv, UnixTime};
use std::path::{Path, PathBuf};

/// A name only this module gives.
const NAME: &str = "operator";

fn file(secrets: &Path) -> PathBuf {
    secrets.join("operator.token")
}

/// The operator's token, if one was made in this home.
pub fn read(secrets: &Path) -> Result<Option<Secret>, AuthError> {
    let content = files::read_private(&file(secrets), 4096)?;
    let text = content.and_then(|c| std::str::from_utf8(&c).ok().map(|t| Secret::new(t.trim())));
    Ok(text.filter(|token| !token.expose().is_empty()))
}

/// The operator's token, made anew when it is missing, over, revoked or for another environment.
/// Whoever can read this file owns the home anyway; it is 0600.
pub fn ensure(
    store: &TokenStore,
    secrets: &Path,
    env: TokenEnv,
    now: UnixTime,
) -> Result<Secret, AuthError> {
    if let Some(token) = read(secrets)?
        && store
            .check(token.expose(), now)
            .is_ok_and(|principal| principal.env == env)
    {
        return Ok(token);
    }
    let wanted = NewToken {
        name: NAME,
        scopes: ScopeSet::ALL,
        env,
        ttl: None,
    };
    let (token, _) = store.create(&wanted, now)?;
    files::replace(&file(secrets), format!("{}\n", token.expose()).as_bytes())?;
    Ok(token)
}
