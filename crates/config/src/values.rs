//! The values as they were written, one field a key.
//!
//! [`Settings`](crate::Settings) names states and so forgets what does not matter in a state (the
//! limits while limiting is off). A file must not forget, so keys read and write this instead.

use crate::bind::Bind;
use crate::nested;
use crate::settings::{AuditPolicy, Cors, ModelRef, RateLimit, SearchKind, Settings};
use crate::table::KEYS;
use clawdbot_domain::{
    ApprovedCall, Level, ProviderName, SandboxMode, TokenEnv, ToolName, ToolPolicyMode,
};
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One field a key; `Default` is the default of every key.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "one field a key: the states are named in Settings, which is made from this"
)]
pub struct Values {
    pub(crate) bind: Bind,
    pub(crate) port: u16,
    pub(crate) environment: TokenEnv,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) tls_certificate: Option<String>,
    pub(crate) tls_key: Option<String>,
    pub(crate) cors_enabled: bool,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) rate_enabled: bool,
    pub(crate) max_requests: u32,
    pub(crate) window_ms: u64,
    pub(crate) sandbox_enabled: bool,
    pub(crate) sandbox_mode: SandboxMode,
    pub(crate) allowed_commands: Vec<String>,
    pub(crate) reach: Vec<String>,
    /// True when each session has its own.
    pub(crate) workspaces: bool,
    pub(crate) workspace_quota: u64,
    pub(crate) workspace_hours: u64,
    pub(crate) search: Option<String>,
    pub(crate) search_kind: SearchKind,
    pub(crate) tool_policy: ToolPolicyMode,
    pub(crate) allow_list: Vec<ToolName>,
    pub(crate) deny_list: Vec<ToolName>,
    pub(crate) approved_calls: Vec<ApprovedCall>,
    /// Names of tools, or `*`.
    pub(crate) agent_tools: Vec<String>,
    pub(crate) guard_enabled: bool,
    pub(crate) guard_strict: bool,
    pub(crate) link_hosts: Vec<String>,
    pub(crate) audit: AuditPolicy,
    /// Empty when there is none.
    pub(crate) audit_register: Option<String>,
    pub(crate) log_level: Level,
    pub(crate) model: ModelRef,
    pub(crate) demo_enabled: bool,
    pub(crate) base_urls: BTreeMap<ProviderName, String>,
}

/// Every default on one screen, each the safe one.
impl Default for Values {
    fn default() -> Self {
        Self {
            bind: Bind::Localhost,
            port: 18_789,
            environment: TokenEnv::Prod,
            trusted_proxies: Vec::new(),
            allowed_hosts: Vec::new(),
            tls_certificate: None,
            tls_key: None,
            cors_enabled: false,
            allowed_origins: Vec::new(),
            rate_enabled: true,
            max_requests: 100,
            window_ms: 60_000,
            sandbox_enabled: true,
            sandbox_mode: SandboxMode::Strict,
            allowed_commands: Vec::new(),
            reach: vec!["*".to_owned()],
            workspaces: false,
            workspace_quota: 256,
            workspace_hours: 168,
            search: None,
            search_kind: SearchKind::SearXng,
            tool_policy: ToolPolicyMode::Restrictive,
            allow_list: Vec::new(),
            deny_list: Vec::new(),
            approved_calls: Vec::new(),
            agent_tools: vec!["*".to_owned()],
            guard_enabled: true,
            guard_strict: true,
            link_hosts: Vec::new(),
            audit: AuditPolicy {
                enabled: true,
                log_level: Level::Info,
                log_requests: true,
                log_tools: true,
                max_log_size_mb: 100,
                max_log_files: 10,
                min_age_hours: 24,
            },
            audit_register: None,
            log_level: Level::Info,
            model: ModelRef {
                provider: ProviderName::Demo,
                model: "demo".to_owned(),
            },
            demo_enabled: true,
            base_urls: base_urls(),
        }
    }
}

impl Values {
    /// As a whole file that names every key that has a value.
    pub fn to_json(&self) -> Value {
        let mut root = Map::new();
        for key in &KEYS {
            let value = key.read(self);
            if !value.is_null() {
                // No key is a group of another, so there is never anything in the way.
                let _ = nested::insert(&mut root, key.name(), value);
            }
        }
        Value::Object(root)
    }
}

fn base_urls() -> BTreeMap<ProviderName, String> {
    [
        (ProviderName::Anthropic, "https://api.anthropic.com"),
        (ProviderName::OpenAi, "https://api.openai.com/v1"),
        (ProviderName::OpenRouter, "https://openrouter.ai/api/v1"),
        (ProviderName::Ollama, "http://127.0.0.1:11434/v1"),
        (ProviderName::LlamaCpp, "http://127.0.0.1:8080/v1"),
        (ProviderName::Vllm, "http://127.0.0.1:8000/v1"),
        (ProviderName::LmStudio, "http://127.0.0.1:1234/v1"),
    ]
    .map(|(provider, url)| (provider, url.to_owned()))
    .into()
}

/// Back from the states; what a state forgot is its default.
impl From<&Settings> for Values {
    fn from(s: &Settings) -> Self {
        let g = &s.gateway;
        let default = Self::default();
        let (cors_enabled, allowed_origins) = match &g.cors {
            Cors::Disabled => (false, Vec::new()),
            Cors::Allow(origins) => (true, origins.clone()),
        };
        let (rate_enabled, max_requests, window_ms) = match g.rate_limit {
            RateLimit::Off => (false, default.max_requests, default.window_ms),
            RateLimit::Limit {
                max_requests,
                window,
            } => (
                true,
                max_requests,
                u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
            ),
        };
        Self {
            bind: g.bind,
            port: g.port,
            environment: g.environment,
            trusted_proxies: g.trusted_proxies.clone(),
            allowed_hosts: g.allowed_hosts.clone(),
            tls_certificate: g.tls.certificate.clone(),
            tls_key: g.tls.key.clone(),
            cors_enabled,
            allowed_origins,
            rate_enabled,
            max_requests,
            window_ms,
            sandbox_enabled: g.sandbox.enabled,
            sandbox_mode: g.sandbox.mode,
            allowed_commands: g.sandbox.allowed_commands.clone(),
            reach: g.sandbox.allowed_hosts.clone(),
            workspaces: g.sandbox.workspaces.of_sessions,
            workspace_quota: g.sandbox.workspaces.quota_mb,
            workspace_hours: g.sandbox.workspaces.keep_hours,
            search: g.tools.search.as_ref().and_then(|s| s.elsewhere.clone()),
            search_kind: g
                .tools
                .search
                .as_ref()
                .map_or(SearchKind::SearXng, |s| s.kind),
            agent_tools: match s.agent_tools.names() {
                None => vec!["*".to_owned()],
                Some(names) => names.into_iter().map(str::to_owned).collect(),
            },
            tool_policy: g.tools.policy,
            allow_list: g.tools.allow_list.clone(),
            deny_list: g.tools.deny_list.clone(),
            approved_calls: g.tools.approved_calls.clone(),
            guard_enabled: g.prompt_injection.enabled,
            guard_strict: g.prompt_injection.strict_mode,
            link_hosts: g.link_hosts.clone(),
            audit: g.audit,
            audit_register: g.audit_register.clone(),
            log_level: g.log_level,
            model: s.models.default.clone(),
            demo_enabled: s.models.demo_enabled,
            base_urls: s.models.base_urls.clone(),
        }
    }
}
