//! The routes, one row each: method, path, who may, what goes in and what comes out.
//!
//! A guarded row takes a handler whose first argument is a [`Caller`], so a handler that forgot to
//! ask who is calling does not compile; an open row is open because it says so here.

use crate::answer::ApiError;
use crate::caller::{Caller, Context};
use crate::openapi::{SchemaOf, schema_of};
use crate::running::Running;
use crate::{
    anthropic, approvals, chat, models, openai, openapi, sessions, setup, state, stop, tokens,
    tools, turns, watch,
};
use axum::Router;
use axum::body::Body;
use axum::routing::{MethodFilter, on};
use clawdbot_domain::{Protocol, Scope};
use http::{HeaderValue, Request, Response, StatusCode, header};
use schemars::JsonSchema;
use std::future::Future;
use std::sync::Arc;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anyone who passes the edge.
    Open,
    /// A token with this scope.
    Scope(Scope),
}

/// One route, as it is reviewed and as `/openapi.json` tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    /// The name of the operation, for generated clients.
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    /// The body it takes.
    pub(crate) takes: Option<SchemaOf>,
    /// It may come without a body.
    pub(crate) perhaps: bool,
    /// What it answers when all is well.
    pub(crate) gives: Gives,
    /// Answers beyond those that every route may give.
    pub(crate) also: &'static [(u16, &'static str)],
}

/// What a route answers when all is well.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gives {
    /// JSON with this status, in this shape where it is ours to say.
    Json(u16, Option<SchemaOf>),
    /// JSON, or events when the client asks for a stream.
    Stream,
    /// Plain text.
    Text,
}

const fn row(
    method: &'static str,
    path: &'static str,
    access: Access,
    name: &'static str,
    summary: &'static str,
) -> Row {
    Row {
        method,
        path,
        access,
        name,
        summary,
        takes: None,
        perhaps: false,
        gives: Gives::Json(200, None),
        also: &[],
    }
}

impl Row {
    const fn takes<T: JsonSchema>(mut self) -> Self {
        self.takes = Some(schema_of::<T>);
        self
    }

    const fn takes_perhaps<T: JsonSchema>(self) -> Self {
        let mut row = self.takes::<T>();
        row.perhaps = true;
        row
    }

    const fn gives<T: JsonSchema>(mut self, status: u16) -> Self {
        self.gives = Gives::Json(status, Some(schema_of::<T>));
        self
    }

    const fn streams(mut self) -> Self {
        self.gives = Gives::Stream;
        self.also = &[
            (422, "The provider cannot work with it"),
            (500, "The provider broke"),
            (
                502,
                "The provider cannot be reached, or does not speak its protocol",
            ),
            (504, "The provider did not answer in time"),
            (529, "The provider is overloaded"),
        ];
        self
    }

    const fn text(mut self) -> Self {
        self.gives = Gives::Text;
        self
    }

    const fn also(mut self, also: &'static [(u16, &'static str)]) -> Self {
        self.also = also;
        self
    }
}

const CHAT: Access = Access::Scope(Scope::Chat);
const TOOLS: Access = Access::Scope(Scope::Tools);
const READ: Access = Access::Scope(Scope::Read);
const ADMIN: Access = Access::Scope(Scope::Admin);

const CONFLICT: &[(u16, &str)] = &[(409, "The token is over, or there are too many")];

/// Every route. The router is built from the same calls, and a test holds the two together.
#[rustfmt::skip]
pub(crate) const TABLE: &[Row] = &[
    row("GET", "/", Access::Open, "root", "What this is"),
    row("GET", "/health", Access::Open, "health", "The process answers"),
    row("GET", "/ready", Access::Open, "ready", "Every control works"),
    row("POST", "/setup", Access::Open, "redeemSetup", "Trade a setup token for the first admin token")
        .takes::<setup::Setup>().gives::<setup::Redeemed>(200),
    row("POST", "/v1/chat/completions", CHAT, "chatCompletions", "OpenAI's chat completions: an agent turn, or a provider's model")
        .takes::<openai::Request>().streams(),
    row("POST", "/v1/messages", CHAT, "messages", "Anthropic's messages: an agent turn, or a provider's model")
        .takes::<anthropic::Request>().streams(),
    row("GET", "/v1/models", READ, "models", "The agent, and what each configured provider offers"),
    row("POST", "/tools/invoke", TOOLS, "invokeTool", "One tool call by hand, on the road every call takes")
        .takes::<tools::Invocation>(),
    row("GET", "/status", READ, "status", "What is in force"),
    row("GET", "/metrics", READ, "metrics", "What has happened since the start, in numbers")
        .text(),
    row("POST", "/gateway/stop", ADMIN, "stopGateway", "Stop the gateway: when what runs has ended, or at once")
        .takes::<stop::StopGateway>().gives::<stop::Stopping>(202),
    row("GET", "/openapi.json", READ, "openapi", "This description"),
    row("GET", "/tokens", ADMIN, "listTokens", "Every token, newest first; never a secret")
        .gives::<tokens::Tokens>(200),
    row("POST", "/tokens", ADMIN, "createToken", "Make a token; its secret is in the answer and nowhere else")
        .takes::<tokens::CreateToken>().gives::<tokens::MadeToken>(201).also(CONFLICT),
    row("POST", "/tokens/setup", ADMIN, "createSetup", "Make a setup token: 15 minutes, one use")
        .gives::<tokens::MadeSetup>(201),
    row("POST", "/tokens/{id}/rotate", ADMIN, "rotateToken", "Put a new token in the place of an old one")
        .takes::<tokens::RotateToken>().gives::<tokens::MadeToken>(201).also(CONFLICT),
    row("POST", "/tokens/{id}/revoke", ADMIN, "revokeToken", "Take a token back; its open streams end within a second")
        .gives::<tokens::Token>(200),
    row("GET", "/sessions", ADMIN, "listSessions", "Every session: whose it is, and what it has taken in")
        .gives::<sessions::Sessions>(200),
    row("GET", "/sessions/{id}", CHAT, "showSession", "One session of the caller's own")
        .gives::<sessions::Session>(200),
    row("POST", "/sessions/{id}/end", ADMIN, "endSession", "End a session; what was said in it counts as untrusted wherever it comes back")
        .gives::<sessions::Ended>(200),
    row("GET", "/approvals", ADMIN, "listApprovals", "Calls that wait for a person, and what was decided of late")
        .gives::<approvals::Approvals>(200),
    row("GET", "/approvals/{id}", TOOLS, "showApproval", "What became of a call of the caller's own that waits for a person")
        .gives::<approvals::Approval>(200),
    row("POST", "/approvals/{id}/approve", ADMIN, "approve", "Say yes to this very call; it counts once, and until five minutes after it was asked for; or, with `always`, for good")
        .takes_perhaps::<approvals::Approve>().gives::<approvals::Approval>(200),
    row("POST", "/approvals/{id}/deny", ADMIN, "deny", "Say no to this very call")
        .gives::<approvals::Approval>(200),
    row("GET", "/turns", ADMIN, "listTurns", "Turns, relays and calls that run, and turns that wait for a person")
        .gives::<turns::Turns>(200),
    row("GET", "/turns/{id}", CHAT, "showTurn", "A turn of the caller's own that runs, waits or waited")
        .gives::<turns::Turn>(200),
    row("POST", "/turns/{id}/resume", CHAT, "resumeTurn", "Go on with a turn whose call was decided; answers as the model route does")
        .takes_perhaps::<turns::GoOn>().streams(),
    row("POST", "/turns/{id}/cancel", ADMIN, "cancelTurn", "End a turn, running or waiting, with all it started; `all` ends every one")
        .gives::<turns::Cancelled>(200),
];

pub(crate) type Handled = Result<Response<Body>, ApiError>;

/// The router, and the rows it was built from.
pub(crate) struct Routes {
    pub(crate) router: Router,
    rows: Vec<(&'static str, &'static str, Access)>,
}

pub(crate) fn routes() -> Routes {
    Routes {
        router: Router::new(),
        rows: Vec::new(),
    }
    .open("GET", "/", state::root)
    .open("GET", "/health", state::health)
    .open("GET", "/ready", state::ready)
    .open("POST", "/setup", setup::setup)
    .guarded(
        "POST",
        "/v1/chat/completions",
        Scope::Chat,
        chat::chat_completions,
    )
    .guarded("POST", "/v1/messages", Scope::Chat, chat::messages)
    .guarded("GET", "/v1/models", Scope::Read, models::models)
    .guarded("POST", "/tools/invoke", Scope::Tools, tools::invoke)
    .guarded("GET", "/status", Scope::Read, state::status)
    .guarded("GET", "/metrics", Scope::Read, state::metrics)
    .guarded("POST", "/gateway/stop", Scope::Admin, stop::stop)
    .guarded("GET", "/openapi.json", Scope::Read, openapi::openapi)
    .guarded("GET", "/tokens", Scope::Admin, tokens::list)
    .guarded("POST", "/tokens", Scope::Admin, tokens::create)
    .guarded("POST", "/tokens/setup", Scope::Admin, tokens::setup)
    .guarded("POST", "/tokens/{id}/rotate", Scope::Admin, tokens::rotate)
    .guarded("POST", "/tokens/{id}/revoke", Scope::Admin, tokens::revoke)
    .guarded("GET", "/sessions", Scope::Admin, sessions::list)
    .guarded("GET", "/sessions/{id}", Scope::Chat, sessions::show)
    .guarded("POST", "/sessions/{id}/end", Scope::Admin, sessions::end)
    .guarded("GET", "/approvals", Scope::Admin, approvals::list)
    .guarded("GET", "/approvals/{id}", Scope::Tools, approvals::show)
    .guarded(
        "POST",
        "/approvals/{id}/approve",
        Scope::Admin,
        approvals::approve,
    )
    .guarded(
        "POST",
        "/approvals/{id}/deny",
        Scope::Admin,
        approvals::deny,
    )
    .guarded("GET", "/turns", Scope::Admin, turns::list)
    .guarded("GET", "/turns/{id}", Scope::Chat, turns::show)
    .guarded("POST", "/turns/{id}/resume", Scope::Chat, turns::resume)
    .guarded("POST", "/turns/{id}/cancel", Scope::Admin, turns::cancel)
    .otherwise()
}

impl Routes {
    fn open<H, F>(mut self, method: &'static str, path: &'static str, handler: H) -> Self
    where
        H: Fn(Arc<Context>, Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Handled> + Send,
    {
        self.rows.push((method, path, Access::Open));
        let handle = move |request: Request<Body>| {
            let handler = handler.clone();
            async move {
                let Some(context) = context(&request) else {
                    return nobody();
                };
                let dialect = context.dialect;
                handler(context, request)
                    .await
                    .unwrap_or_else(|e| e.into_response(dialect))
            }
        };
        self.router = self.router.route(path, on(filter(method), handle));
        self
    }

    fn guarded<H, F>(
        mut self,
        method: &'static str,
        path: &'static str,
        scope: Scope,
        handler: H,
    ) -> Self
    where
        H: Fn(Caller, Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Handled> + Send,
    {
        self.rows.push((method, path, Access::Scope(scope)));
        let handle = move |request: Request<Body>| {
            let handler = handler.clone();
            async move {
                let Some(context) = context(&request) else {
                    return nobody();
                };
                let dialect = context.dialect;
                let path = request.uri().path().to_owned();
                let answered =
                    match Caller::identify(&context, request.headers(), Some(scope)).await {
                        Ok(caller) => {
                            as_long_as_it_counts(caller, scope, &context, &path, |caller| {
                                handler(caller, request)
                            })
                            .await
                        }
                        Err(error) => Err(error),
                    };
                answered.unwrap_or_else(|error| error.into_response(dialect))
            }
        };
        self.router = self.router.route(path, on(filter(method), handle));
        self
    }

    /// An unknown path or method tells a caller without a token nothing: 401 comes before 404 and
    /// 405.
    fn otherwise(mut self) -> Self {
        self.router = self
            .router
            .fallback(|request| otherwise(request, ApiError::no_route()))
            .method_not_allowed_fallback(|request| otherwise(request, ApiError::no_method()));
        self
    }
}

async fn otherwise(request: Request<Body>, error: ApiError) -> Response<Body> {
    let Some(context) = context(&request) else {
        return nobody();
    };
    let is_method = error.status == StatusCode::METHOD_NOT_ALLOWED;
    let error = Caller::identify(&context, request.headers(), None)
        .await
        .err()
        .unwrap_or(error);
    let mut response = error.into_response(context.dialect);
    if is_method && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = methods_of(request.uri().path());
        if let Ok(allowed) = HeaderValue::from_str(&allowed) {
            response.headers_mut().insert(header::ALLOW, allowed);
        }
    }
    response
}

/// Runs a handler, and lets its answer out, as long as the caller's token counts. What works for
/// the caller meanwhile has a place among those that may.
async fn as_long_as_it_counts<F: Future<Output = Handled>>(
    caller: Caller,
    scope: Scope,
    context: &Arc<Context>,
    path: &str,
    handler: impl FnOnce(Caller) -> F,
) -> Handled {
    let token = caller.principal().token.clone();
    let works = matches!(scope, Scope::Chat | Scope::Tools);
    let place = if works {
        let slot = context.server.caps.turn(&token)?;
        Some((slot, Running::enter(context, &token, path)))
    } else {
        None
    };
    let entered = place.as_ref().map(|(_, entered)| entered);
    let over = watch::over(Arc::clone(context), token, entered);
    let mut over = Box::pin(over);
    let response = tokio::select! {
        biased;
        answered = handler(caller) => answered?,
        why = &mut over => return Err(watch::cut(context, why)),
    };
    Ok(watch::watched(context, over, place, response))
}

/// The methods a path takes, for `Allow`.
fn methods_of(path: &str) -> String {
    let fits = |row: &&Row| {
        let (mut wanted, mut given) = (row.path.split('/'), path.split('/'));
        let same = wanted
            .by_ref()
            .zip(given.by_ref())
            .all(|(w, g)| w == g || w == "{id}");
        same && row.path.split('/').count() == path.split('/').count()
    };
    let mut methods = Vec::new();
    for row in TABLE.iter().filter(fits) {
        methods.push(row.method);
        if row.method == "GET" {
            methods.push("HEAD");
        }
    }
    methods.join(", ")
}

/// The second part of the path: `/tokens/{id}/…`.
pub(crate) fn id_in(request: &Request<Body>) -> &str {
    request.uri().path().split('/').nth(2).unwrap_or_default()
}

/// The service puts a context into every request before it reaches the router. Without one there is
/// no caller to speak of, and the answer is a plain refusal.
fn context(request: &Request<Body>) -> Option<Arc<Context>> {
    request.extensions().get::<Arc<Context>>().cloned()
}

fn nobody() -> Response<Body> {
    ApiError::no_route().into_response(Protocol::OpenAi)
}

fn filter(method: &str) -> MethodFilter {
    match method {
        "GET" => MethodFilter::GET.or(MethodFilter::HEAD),
        "POST" => MethodFilter::POST,
        // A new method is a new arm; until then its route answers to nothing that is sent.
        _ => MethodFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reviewed_table_is_the_router() {
        let table = TABLE.iter().map(|row| (row.method, row.path, row.access));
        assert_eq!(routes().rows, table.collect::<Vec<_>>());
    }

    #[test]
    fn only_these_routes_are_open() {
        let open = TABLE.iter().filter(|row| row.access == Access::Open);
        let open = open.map(|row| row.path).collect::<Vec<_>>();
        assert_eq!(open, ["/", "/health", "/ready", "/setup"]);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let mut names = TABLE.iter().map(|row| row.name).collect::<Vec<_>>();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn a_path_names_its_methods() {
        assert_eq!(methods_of("/tokens"), "GET, HEAD, POST");
        assert_eq!(methods_of("/tokens/abc/revoke"), "POST");
        assert_eq!(methods_of("/nowhere"), "");
    }
}
