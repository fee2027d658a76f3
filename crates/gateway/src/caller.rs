//! Who calls: what every handler of a guarded route is given, and cannot make for itself.

use crate::answer::ApiError;
use crate::live::Rooms;
use crate::serve::Server;
use clawdbot_auth::Authenticated;
use clawdbot_domain::{
    Principal, Protocol, RequestId, Scope, SessionId, TokenId, TurnId, UnixTime, Who,
};
use http::HeaderMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// One request: under which rooms, from where, and who turned out to be asking.
pub(crate) struct Context {
    pub(crate) server: Arc<Server>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) id: RequestId,
    pub(crate) address: IpAddr,
    pub(crate) dialect: Protocol,
    /// Set once the token is known; read for the request's own record.
    pub(crate) actor: OnceLock<TokenId>,
    /// The name of its turn, if it is one.
    pub(crate) turn: TurnId,
    /// The name of a turn that waited, and goes on in this request.
    pub(crate) goes_on: OnceLock<TurnId>,
    /// Set once the session is known; read for the request's own record.
    pub(crate) session: OnceLock<SessionId>,
    /// The room its body takes, for as long as anything of the request is left.
    pub(crate) body: OnceLock<OwnedSemaphorePermit>,
}

impl Context {
    /// Who the request is about, as far as it is known.
    pub(crate) fn who(&self) -> Who {
        Who {
            actor: self.actor.get().cloned(),
            session: self.session.get().cloned(),
            request: Some(self.id.clone()),
            address: Some(self.address),
        }
    }

    /// Holds the room for the body.
    pub(crate) fn hold(&self, room: OwnedSemaphorePermit) {
        // A body is read once.
        let _ = self.body.set(room);
    }

    /// Somebody could not say who they are: counted by address, answered later and later, and past
    /// the cap not even told why. A valid token from the same address is never held up.
    pub(crate) async fn not_authenticated(&self, why: impl Into<String>) -> ApiError {
        match self.server.edge.count_failure(self.address, Instant::now()) {
            Ok(delay) => {
                tokio::time::sleep(delay).await;
                ApiError::unauthenticated(why)
            }
            Err(error) => error,
        }
    }
}

/// An authenticated caller with the scope its route asks for.
///
/// A handler of a guarded route takes one, and outside this crate nobody can make one:
///
/// ```compile_fail,E0451
/// # fn forge(authenticated: clawdbot_auth::Authenticated) {
/// let forged = clawdbot_gateway::Caller { authenticated, context: unreachable!() };
/// # }
/// ```
pub struct Caller {
    authenticated: Authenticated,
    context: Arc<Context>,
}

impl Caller {
    /// Authenticates a request and checks that its token has the scope, where one is needed.
    pub(crate) async fn identify(
        context: &Arc<Context>,
        headers: &HeaderMap,
        needed: Option<Scope>,
    ) -> Result<Self, ApiError> {
        let authenticated = match authenticate(&context.rooms, headers) {
            Ok(authenticated) => authenticated,
            Err(why) => return Err(context.not_authenticated(why).await),
        };
        let principal = authenticated.principal();
        let _ = context.actor.set(principal.token.clone());
        context
            .server
            .edge
            .admit_token(&context.rooms.edge, &principal.token, Instant::now())?;
        if needed == Some(Scope::Admin) {
            let (edge, rules) = (&context.server.edge, &context.rooms.edge);
            edge.admit_admin(rules, &principal.token, Instant::now())?;
        }
        if let Some(missing) = needed.filter(|scope| !principal.scopes.has(*scope)) {
            return Err(ApiError::scope(missing));
        }
        Ok(Self {
            authenticated,
            context: Arc::clone(context),
        })
    }

    /// Who asks.
    pub(crate) fn principal(&self) -> &Principal {
        self.authenticated.principal()
    }

    /// Who asks, for the record.
    pub(crate) fn who(&self) -> Who {
        self.context.who()
    }

    pub(crate) fn rooms(&self) -> &Arc<Rooms> {
        &self.context.rooms
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

/// The token from `Authorization: Bearer`, or else from `x-api-key`; official SDKs send one or the other.
/// Of two headers of one name a proxy in front may have gone by the other.
fn authenticate(rooms: &Rooms, headers: &HeaderMap) -> Result<Authenticated, String> {
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(format!("there are two {name} headers")),
            (value, None) => Ok(value.map(|value| value.to_str().unwrap_or_default())),
        }
    };
    let presented = match (one("authorization")?, one("x-api-key")?) {
        (Some(text), _) => {
            let bearer = text.split_once(' ');
            let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let (_, token) = bearer.ok_or("the Authorization header is not a bearer token")?;
            Some(token.trim())
        }
        (None, key) => key,
    };
    let presented = presented.ok_or("no token was presented")?;
    rooms
        .authenticator
        .authenticate(presented, UnixTime::now())
        .map_err(|why| why.to_string())
}
