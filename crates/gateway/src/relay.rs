//! A client's own request to a provider's model: screened and recorded like every other, then sent
//! on as it is. Unknown fields and beta headers pass; credentials of the gateway never do.

use crate::answer::ApiError;
use crate::caller::Caller;
use crate::routes::Handled;
use axum::body::Body;
use clawdbot_domain::Protocol;
use clawdbot_guard::ScreenedBody;
use clawdbot_providers::RelayCall;
use http::{HeaderMap, HeaderName, StatusCode, header};

/// Headers of a client that mean something to a provider. All others stay here: they speak of the
/// connection, of the gateway's token, or of the client's network.
const PASSED: [HeaderName; 4] = [
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::USER_AGENT,
    header::ACCEPT_LANGUAGE,
];

/// Header families that the public APIs grow new members in.
const PASSED_FAMILIES: [&str; 4] = ["anthropic-", "openai-", "x-stainless-", "x-app"];

pub(crate) async fn relay(
    caller: &Caller,
    protocol: Protocol,
    query: Option<&str>,
    headers: &HeaderMap,
    body: ScreenedBody,
) -> Handled {
    let rooms = caller.rooms();
    let picked = rooms.models.pick(body.model(), protocol)?;
    let path = match protocol {
        Protocol::OpenAi => "/chat/completions",
        Protocol::Anthropic => "/v1/messages",
    };
    let call = RelayCall {
        who: caller.who(),
        provider: picked.provider.name(),
        protocol,
        path_and_query: query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")),
        headers: passed_on(headers),
        body: body.with_model(&picked.model),
    };
    let (relayed, _record) = rooms.agent.relay(picked.provider.as_ref(), call).await?;
    let status = relayed.response.status();
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(ApiError::our_credential(picked.provider.name(), status));
    }
    Ok(relayed.response.map(Body::new))
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let passes = |name: &HeaderName| {
        PASSED.contains(name) || PASSED_FAMILIES.iter().any(|f| name.as_str().starts_with(f))
    };
    let kept = headers.iter().filter(|(name, _)| passes(name));
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beta_headers_pass_and_the_gateways_token_does_not() {
        let mut headers = HeaderMap::new();
        for name in [
            "anthropic-beta",
            "anthropic-version",
            "openai-beta",
            "content-type",
            "authorization",
            "x-api-key",
            "cookie",
            "host",
            "x-forwarded-for",
            "connection",
            "content-length",
        ] {
            headers.insert(HeaderName::from_static(name), "v".parse().unwrap());
        }
        let mut passed = passed_on(&headers)
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        passed.sort();
        assert_eq!(
            passed,
            [
                "anthropic-beta",
                "anthropic-version",
                "content-type",
                "openai-beta"
            ]
        );
    }
}
