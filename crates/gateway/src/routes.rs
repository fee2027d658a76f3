//! The routes, one row each: method, path, who may.
//!
//! A guarded row takes a handler whose first argument is a [`Caller`], so a handler that forgot to
//! ask who is calling does not compile; an open row is open because it says so here.

use crate::answer::ApiError;
use crate::caller::{Caller, Context};
use crate::{chat, models, setup, state, tools};
use axum::Router;
use axum::body::Body;
use axum::routing::{MethodFilter, on};
use clawdbot_domain::{Protocol, Scope};
use http::{Request, Response};
use std::future::Future;
use std::sync::Arc;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone who passes the edge.
    Open,
    /// A token with this scope.
    Scope(Scope),
}

/// Every route. The router is built from the same calls, and a test holds the two together.
pub const TABLE: &[(&str, &str, Access)] = &[
    ("GET", "/", Access::Open),
    ("GET", "/health", Access::Open),
    ("GET", "/ready", Access::Open),
    ("POST", "/setup", Access::Open),
    ("POST", "/v1/chat/completions", Access::Scope(Scope::Chat)),
    ("POST", "/v1/messages", Access::Scope(Scope::Chat)),
    ("GET", "/v1/models", Access::Scope(Scope::Read)),
    ("POST", "/tools/invoke", Access::Scope(Scope::Tools)),
    ("GET", "/status", Access::Scope(Scope::Read)),
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
                let answered = match Caller::identify(&context, request.headers(), Some(scope)) {
                    Ok(caller) => handler(caller, request).await,
                    Err(error) => Err(error),
                };
                answered.unwrap_or_else(|error| error.into_response(dialect))
            }
        };
        self.router = self.router.route(path, on(filter(method), handle));
        self
    }

    /// An unknown path or method tells a caller without a token nothing: 401 comes before 404.
    fn otherwise(mut self) -> Self {
        let handle = |request: Request<Body>| async move {
            let Some(context) = context(&request) else {
                return nobody();
            };
            let error = match Caller::identify(&context, request.headers(), None) {
                Ok(_) => ApiError::no_route(),
                Err(error) => error,
            };
            error.into_response(context.dialect)
        };
        self.router = self
            .router
            .fallback(handle)
            .method_not_allowed_fallback(handle);
        self
    }
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
        assert_eq!(routes().rows, TABLE);
    }

    #[test]
    fn only_these_routes_are_open() {
        let open = TABLE
            .iter()
            .filter(|(_, _, access)| *access == Access::Open);
        let open = open.map(|(_, path, _)| *path).collect::<Vec<_>>();
        assert_eq!(open, ["/", "/health", "/ready", "/setup"]);
    }
}
