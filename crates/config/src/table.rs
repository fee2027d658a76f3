//! The table: every key there is, with its type, its place in [`Values`](crate::Values), in which
//! direction it weakens, and what it is for.

use crate::keys::{Key, key};
use crate::kind::Kind;
use crate::weaken::Weaker;
use clawdbot_domain::ProviderName;

/// Every key, in the order of the reference.
pub static KEYS: [Key; 48] = [
    key(
        "gateway.bind",
        Kind::Bind(|v| &mut v.bind),
        "Who can reach the gateway: `localhost` (this machine; in a container also its own \
         default gateway, from where a published port arrives), `loopback` (the loopback \
         interface only), `lan` (every interface) or one address. Anything wider than \
         localhost needs a token before the gateway starts.",
    )
    .weaker(Weaker::Widened)
    .restart(),
    key("gateway.port", Kind::Port(|v| &mut v.port), "TCP port.").restart(),
    key(
        "gateway.environment",
        Kind::Env(|v| &mut v.environment),
        "Which tokens the gateway takes: those made for `dev` or those made for `prod`, \
         never both.",
    )
    .weaker(Weaker::Changed("prod")),
    key(
        "gateway.trustedProxies",
        Kind::Networks(|v| &mut v.trusted_proxies),
        "Only requests from these networks are believed when they say in `X-Forwarded-For` \
         for whom they ask.",
    )
    .weaker(Weaker::Longer),
    key(
        "gateway.allowedHosts",
        Kind::Hosts(|v| &mut v.allowed_hosts),
        "Host names the gateway answers to besides loopback and its own; a request for any \
         other is refused (421), which stops DNS rebinding.",
    )
    .weaker(Weaker::Longer),
    key(
        "gateway.tls.certificate",
        Kind::File(|v| &mut v.tls_certificate),
        "PEM file with the certificate (leaf first, then its chain) of the gateway's own TLS; \
         taken anew when it changes. Unset: no TLS.",
    )
    .weaker(Weaker::Unset)
    .restart(),
    key(
        "gateway.tls.key",
        Kind::File(|v| &mut v.tls_key),
        "PEM file with the private key of that certificate. Both are set, or neither.",
    )
    .weaker(Weaker::Unset)
    .restart(),
    key(
        "gateway.logLevel",
        Kind::Level(|v| &mut v.log_level),
        "How much the operational log says. `debug` never adds a secret.",
    ),
    key(
        "gateway.cors.enabled",
        Kind::Flag(|v| &mut v.cors_enabled),
        "Whether web pages of other origins may call the gateway.",
    )
    .weaker(Weaker::On),
    key(
        "gateway.cors.allowedOrigins",
        Kind::Origins(|v| &mut v.allowed_origins),
        "The origins whose pages may call it while CORS is on: compared whole, never by \
         suffix. `*`, `null` and paths are refused.",
    )
    .weaker(Weaker::Longer),
    key(
        "gateway.security.rateLimit.enabled",
        Kind::Flag(|v| &mut v.rate_enabled),
        "Whether requests are counted and limited, per client address and per token.",
    )
    .weaker(Weaker::Off),
    key(
        "gateway.security.rateLimit.maxRequests",
        Kind::Count(|v| &mut v.max_requests, 1, 1_000_000),
        "At most so many requests in any stretch of `windowMs`.",
    )
    .weaker(Weaker::Higher),
    key(
        "gateway.security.rateLimit.windowMs",
        Kind::Amount(|v| &mut v.window_ms, 100, 86_400_000),
        "Length of the window in milliseconds.",
    )
    .weaker(Weaker::Lower),
    key(
        "gateway.security.promptInjection.enabled",
        Kind::Flag(|v| &mut v.guard_enabled),
        "Whether text is screened for prompt injection before a model sees it.",
    )
    .weaker(Weaker::Off),
    key(
        "gateway.security.promptInjection.strictMode",
        Kind::Flag(|v| &mut v.guard_strict),
        "Block what looks like an attack, where the lenient guard only marks it.",
    )
    .weaker(Weaker::Off),
    key(
        "gateway.security.promptInjection.allowedLinkHosts",
        Kind::Reach(|v| &mut v.link_hosts),
        "The hosts that links and images in an answer may lead to once the model has read untrusted \
         text, besides those that the user named: an address can carry out what the model has \
         read. Others lose their address. `*` is every host, `*.example.org` the names below one.",
    )
    .weaker(Weaker::Reach),
    key(
        "gateway.sandbox.enabled",
        Kind::Flag(|v| &mut v.sandbox_enabled),
        "Whether tools are confined by the kernel. Turning it off takes `--i-accept-the- \
         risk`.",
    )
    .weaker(Weaker::Off)
    .consent(),
    key(
        "gateway.sandbox.mode",
        Kind::Mode(|v| &mut v.sandbox_mode),
        "How tight: `strict` (the workspace only, no command, no network), `moderate` (the \
         workspace, a minimal read-only system, the allowed commands) or `permissive` \
         (local development with trusted input).",
    )
    .weaker(Weaker::Later),
    key(
        "gateway.sandbox.allowedCommands",
        Kind::Commands(|v| &mut v.allowed_commands),
        "The programs that tools may run in `moderate` mode: a name without `/` or an \
         absolute path.",
    )
    .weaker(Weaker::Longer),
    key(
        "gateway.sandbox.allowedHosts",
        Kind::Reach(|v| &mut v.reach),
        "The hosts that `fetch_url` may reach: `*` is every public host, `*.example.org` the \
         names below one, an empty list none. What is inside (loopback, private, link-local, \
         metadata) is reached in mode `permissive` only, and only where it is listed itself.",
    )
    .weaker(Weaker::Reach),
    key(
        "gateway.sandbox.sessionWorkspaces",
        Kind::Flag(|v| &mut v.workspaces),
        "Whether each session works in a folder of its own, empty at first, in which it sees nothing of the \
         others. Otherwise all share the folder `workspace` of the home.",
    )
    .weaker(Weaker::Off),
    key(
        "gateway.sandbox.workspaceQuota",
        Kind::Amount(|v| &mut v.workspace_quota, 1, 1_000_000),
        "How much the workspace of a session may hold, in MB.",
    )
    .weaker(Weaker::Higher),
    key(
        "gateway.sandbox.workspaceHours",
        Kind::Amount(|v| &mut v.workspace_hours, 1, 87_600),
        "How many hours the workspace of a session is kept after its last use.",
    )
    .weaker(Weaker::Higher),
    key(
        "gateway.tools.search",
        Kind::Site(|v| &mut v.search),
        "Base URL of the search that `search_web` asks. `none`: Brave and Tavily are asked at their own \
         address, and SearXNG, which has none, not at all.",
    )
    .weaker(Weaker::Elsewhere),
    key(
        "gateway.tools.searchProvider",
        Kind::Search(|v| &mut v.search_kind),
        "Whose search `search_web` uses: `searxng` (an instance of your own), `brave` or `tavily`. \
         These two want a key: `clawdbot models auth paste-token --provider brave`. The words that are \
         searched for go there.",
    )
    .weaker(Weaker::Changed("searxng")),
    key(
        "gateway.tools.policy",
        Kind::Policy(|v| &mut v.tool_policy),
        "When a tool may run: `restrictive` (on the allow list, and a person approves each \
         call that does more than read), `whitelist` (on the allow list) or `permissive` \
         (everything but the deny list).",
    )
    .weaker(Weaker::Later),
    key(
        "gateway.tools.allowList",
        Kind::Tools(|v| &mut v.allow_list),
        "The tools that may run under `restrictive` and `whitelist`.",
    )
    .weaker(Weaker::Longer),
    key(
        "gateway.tools.denyList",
        Kind::Tools(|v| &mut v.deny_list),
        "The tools that never run, whatever the policy.",
    )
    .weaker(Weaker::Shorter),
    key(
        "gateway.tools.approvedCalls",
        Kind::Calls(|v| &mut v.approved_calls),
        "Calls that policy `restrictive` does not ask about, because a person said yes to them for good \
         (`clawdbot approvals approve ID --always`): one tool with exactly these arguments, of one token. No \
         part is a pattern. It spares this one question: a tool that is not on the allow list is refused all \
         the same, and in a session with untrusted text a person is asked all the same.",
    )
    .weaker(Weaker::Longer),
    key(
        "gateway.audit.enabled",
        Kind::Flag(|v| &mut v.audit.enabled),
        "Whether the audit log is written.",
    )
    .weaker(Weaker::Off),
    key(
        "gateway.audit.logLevel",
        Kind::Level(|v| &mut v.audit.log_level),
        "Leaves out of the audit log what is quieter; never a denial, a warning, an error \
         or a begin record.",
    )
    .weaker(Weaker::Later),
    key(
        "gateway.audit.logRequests",
        Kind::Flag(|v| &mut v.audit.log_requests),
        "Whether API requests and model calls are written to the audit log.",
    )
    .weaker(Weaker::Off),
    key(
        "gateway.audit.logTools",
        Kind::Flag(|v| &mut v.audit.log_tools),
        "Whether tool calls are written to the audit log.",
    )
    .weaker(Weaker::Off),
    key(
        "gateway.audit.maxLogSize",
        Kind::Amount(|v| &mut v.audit.max_log_size_mb, 1, 10_240),
        "Size of one file of the audit log in MB; then the next one is begun.",
    )
    .weaker(Weaker::Lower),
    key(
        "gateway.audit.maxLogFiles",
        Kind::Count(|v| &mut v.audit.max_log_files, 2, 10_000),
        "How many files of the audit log are kept.",
    )
    .weaker(Weaker::Lower),
    key(
        "gateway.audit.minAge",
        Kind::Amount(|v| &mut v.audit.min_age_hours, 0, 8_760),
        "A file of the audit log is never removed before it is so many hours old, however many \
         there are: a flood must not push evidence out. Only hours count that the machine ran: nobody makes \
         a file older by setting a clock.",
    )
    .weaker(Weaker::Lower),
    key(
        "gateway.audit.register",
        Kind::File(|v| &mut v.audit_register),
        "A file outside the logs folder, best on another volume, that keeps the newest signed \
         checkpoint and shows when the log was rolled back. It must be there; begin with an \
         empty one. Empty for none.",
    )
    .weaker(Weaker::Moved)
    .restart(),
    key(
        "agents.main.tools",
        Kind::ToolsOrAll(|v| &mut v.agent_tools),
        "The tools that the agent `main` may use of those that policy allows; `*` is all of these, an \
         empty list none. It never adds one. Calls by hand are not the agent's.",
    )
    .weaker(Weaker::Tools),
    key(
        "models.default",
        Kind::Model(|v| &mut v.model),
        "The model that answers when a request names none, as provider/model.",
    ),
    key(
        "models.demo.enabled",
        Kind::Flag(|v| &mut v.demo_enabled),
        "Whether the built-in scripted provider `demo` answers.",
    ),
    provider(
        "models.providers.anthropic.baseUrl",
        ProviderName::Anthropic,
    ),
    provider("models.providers.openai.baseUrl", ProviderName::OpenAi),
    provider(
        "models.providers.openrouter.baseUrl",
        ProviderName::OpenRouter,
    ),
    provider("models.providers.ollama.baseUrl", ProviderName::Ollama),
    provider("models.providers.llamacpp.baseUrl", ProviderName::LlamaCpp),
    provider("models.providers.vllm.baseUrl", ProviderName::Vllm),
    provider("models.providers.lmstudio.baseUrl", ProviderName::LmStudio),
    provider(
        "models.providers.compatible.baseUrl",
        ProviderName::Compatible,
    ),
];

const fn provider(name: &'static str, provider: ProviderName) -> Key {
    key(
        name,
        Kind::BaseUrl(provider),
        "Where this provider is asked. A stored credential travels only to the origin it was stored \
         for.",
    )
    .weaker(Weaker::Elsewhere)
}

#[cfg(test)]
pub(crate) mod tests;
