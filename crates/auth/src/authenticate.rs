//! From a presented token to a principal.

use crate::error::Rejected;
use crate::store::{TokenInfo, TokenStore};
use clawdbot_domain::{Principal, Secret, TokenEnv, TokenId, UnixTime};
use std::sync::Arc;

/// Somebody who presented a valid token. Made only by [`Authenticator::authenticate`].
#[derive(Debug)]
pub struct Authenticated {
    principal: Principal,
}

impl Authenticated {
    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}

/// Checks tokens for a gateway of one environment.
#[derive(Debug, Clone)]
pub struct Authenticator {
    store: Arc<TokenStore>,
    env: TokenEnv,
}

impl Authenticator {
    /// An authenticator over this store.
    pub fn new(store: Arc<TokenStore>, env: TokenEnv) -> Self {
        Self { store, env }
    }

    /// Checks a presented token. A change made by another process counts from the next call on.
    pub fn authenticate(&self, presented: &str, now: UnixTime) -> Result<Authenticated, Rejected> {
        let principal = self.store.check(presented, now)?;
        if principal.env != self.env {
            return Err(Rejected::WrongEnvironment(principal.env));
        }
        Ok(Authenticated { principal })
    }

    /// True while the token still counts here; asked again and again for an open stream.
    pub fn still_valid(&self, token: &TokenId, now: UnixTime) -> bool {
        self.store.still_valid(token, self.env, now)
    }

    /// Trades a setup token for an admin token of this environment.
    pub fn redeem_setup(
        &self,
        presented: &str,
        name: &str,
        now: UnixTime,
    ) -> Result<(Secret, TokenInfo), Rejected> {
        self.store.redeem_setup(presented, name, self.env, now)
    }
}
