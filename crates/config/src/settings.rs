//! The settings as the rest of the program sees them: states named, nothing to parse again.

use crate::bind::Bind;
use crate::values::Values;
use clawdbot_domain::{
    ApprovedCall, Level, ProviderName, SandboxMode, TokenEnv, ToolLimit, ToolName, ToolPolicyMode,
};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Everything that can be set. `Settings::default()` is what an empty file means: the safe one.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `gateway.*`.
    pub gateway: Gateway,
    /// `agents.main.tools`.
    pub agent_tools: ToolLimit,
    /// `models.*`.
    pub models: Models,
}

/// `gateway.*`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Who can reach the gateway at all.
    pub bind: Bind,
    /// TCP port, never 0.
    pub port: u16,
    /// Which tokens it takes.
    pub environment: TokenEnv,
    /// Only from these is `X-Forwarded-For` believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Host names it answers to besides its own; lower case, no port.
    pub allowed_hosts: Vec<String>,
    /// The gateway's own TLS.
    pub tls: TlsFiles,
    /// Which web pages may call it.
    pub cors: Cors,
    /// How many requests one client may make.
    pub rate_limit: RateLimit,
    /// How tools are confined.
    pub sandbox: SandboxSettings,
    /// Which tools may run.
    pub tools: ToolSettings,
    /// How text is screened.
    pub prompt_injection: PromptInjection,
    /// `gateway.security.promptInjection.allowedLinkHosts`.
    pub link_hosts: Vec<String>,
    /// What is written down.
    pub audit: AuditPolicy,
    /// `gateway.audit.register`: an absolute path; `None` when it is not set.
    pub audit_register: Option<String>,
    /// The operational log, not the audit log.
    pub log_level: Level,
}

/// `gateway.tls.*`: both are set, or neither; a gateway does not start with one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Absolute path of the certificate.
    pub certificate: Option<String>,
    /// Absolute path of its key.
    pub key: Option<String>,
}

/// `gateway.cors.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cors {
    /// No web page of another origin may call the gateway.
    Disabled,
    /// Pages of exactly these origins may. An empty list lets none in.
    Allow(Vec<String>),
}

/// `gateway.security.rateLimit.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimit {
    /// Nobody counts.
    Off,
    /// At most `max_requests` in any stretch of `window`.
    Limit {
        /// At least 1.
        max_requests: u32,
        /// At least 100 ms.
        window: Duration,
    },
}

/// `gateway.sandbox.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSettings {
    /// False only after somebody accepted the risk.
    pub enabled: bool,
    /// How tight.
    pub mode: SandboxMode,
    /// Names without '/' or absolute paths.
    pub allowed_commands: Vec<String>,
    /// Names, `*.name`, addresses, or `*` for every public host.
    pub allowed_hosts: Vec<String>,
    /// Which folder calls work in.
    pub workspaces: WorkspacePlan,
}

/// Which folder calls work in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkspacePlan {
    /// True when each session has a folder of its own.
    pub of_sessions: bool,
    /// What a session's folder may hold, in MB of 1,000,000 bytes.
    pub quota_mb: u64,
    /// How long it is kept after its last use.
    pub keep_hours: u64,
}

/// `gateway.tools.*`.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSettings {
    /// The policy.
    pub policy: ToolPolicyMode,
    /// What may run under `restrictive` and `whitelist`.
    pub allow_list: Vec<ToolName>,
    /// What never runs, whatever the policy.
    pub deny_list: Vec<ToolName>,
    /// What a person approved for good.
    pub approved_calls: Vec<ApprovedCall>,
    /// What `search_web` asks.
    pub search: Option<Search>,
}

/// Whose search `search_web` uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchKind {
    /// An instance of one's own, without a key.
    #[default]
    SearXng,
    /// Brave, with a key from the vault.
    Brave,
    /// Tavily, with a key from the vault.
    Tavily,
}

impl SearchKind {
    /// Where it is when nothing else is said; a `SearXNG` is nowhere.
    pub const fn own_place(self) -> Option<&'static str> {
        match self {
            Self::SearXng => None,
            Self::Brave => Some("https://api.search.brave.com"),
            Self::Tavily => Some("https://api.tavily.com"),
        }
    }

    /// Under which name the vault keeps its key.
    pub const fn provider(self) -> Option<ProviderName> {
        match self {
            Self::SearXng => None,
            Self::Brave => Some(ProviderName::Brave),
            Self::Tavily => Some(ProviderName::Tavily),
        }
    }
}

/// A search that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Whose it is.
    pub kind: SearchKind,
    /// Its base URL, when it is not at its own place.
    pub elsewhere: Option<String>,
}

impl Search {
    /// Where it is.
    pub fn base_url(&self) -> &str {
        let elsewhere = self.elsewhere.as_deref();
        elsewhere.or(self.kind.own_place()).unwrap_or_default()
    }
}

/// `gateway.security.promptInjection.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptInjection {
    /// Screen at all.
    pub enabled: bool,
    /// Block where the lenient guard would only mark.
    pub strict_mode: bool,
}

/// `gateway.audit.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPolicy {
    /// Write an audit log.
    pub enabled: bool,
    /// Leave out what is quieter.
    pub log_level: Level,
    /// Write API requests and model calls.
    pub log_requests: bool,
    /// Write tool calls.
    pub log_tools: bool,
    /// Size of one segment, in MB of 1,000,000 bytes.
    pub max_log_size_mb: u64,
    /// How many segments are kept, at least 2.
    pub max_log_files: u32,
    /// No segment is pruned before it is so many hours old.
    pub min_age_hours: u64,
}

/// `models.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Models {
    /// The model that answers when nobody names one.
    pub default: ModelRef,
    /// Whether the built-in scripted provider answers.
    pub demo_enabled: bool,
    /// Where each provider is; `compatible` is absent until it is set. `demo` has none.
    pub base_urls: BTreeMap<ProviderName, String>,
}

/// `provider/model`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The provider, before the first '/'.
    pub provider: ProviderName,
    /// Its own name of the model; may hold more '/'.
    pub model: String,
}

impl ModelRef {
    /// Reads `provider/model`.
    ///
    /// # Errors
    /// In words, when there is no '/', the provider is unknown, or the name is empty, longer than
    /// 200 characters or holds white space.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (provider, model) = text
            .split_once('/')
            .ok_or("must be provider/model, as in demo/demo")?;
        let provider = provider
            .parse::<ProviderName>()
            .map_err(|e| e.to_string())?;
        if provider.is_search() {
            return Err(format!("{provider} searches the web and has no models"));
        }
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if model.is_empty() || model.chars().count() > 200 || model.contains(odd) {
            return Err(
                "after provider/ comes the model's name: 1 to 200 characters, no spaces".into(),
            );
        }
        Ok(Self {
            provider,
            model: model.to_owned(),
        })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(&Values::default())
    }
}

impl From<&Values> for Settings {
    fn from(v: &Values) -> Self {
        Self {
            gateway: Gateway::from(v),
            agent_tools: if v.agent_tools.iter().any(|name| name == "*") {
                ToolLimit::Unlimited
            } else {
                ToolLimit::only(
                    v.agent_tools
                        .iter()
                        .filter_map(|name| ToolName::parse(name).ok()),
                )
            },
            models: Models {
                default: v.model.clone(),
                demo_enabled: v.demo_enabled,
                base_urls: v.base_urls.clone(),
            },
        }
    }
}

impl From<&Values> for Gateway {
    fn from(v: &Values) -> Self {
        Self {
            bind: v.bind,
            port: v.port,
            environment: v.environment,
            trusted_proxies: v.trusted_proxies.clone(),
            allowed_hosts: v.allowed_hosts.clone(),
            tls: TlsFiles {
                certificate: v.tls_certificate.clone(),
                key: v.tls_key.clone(),
            },
            cors: if v.cors_enabled {
                Cors::Allow(v.allowed_origins.clone())
            } else {
                Cors::Disabled
            },
            rate_limit: if v.rate_enabled {
                RateLimit::Limit {
                    max_requests: v.max_requests,
                    window: Duration::from_millis(v.window_ms),
                }
            } else {
                RateLimit::Off
            },
            sandbox: SandboxSettings {
                enabled: v.sandbox_enabled,
                mode: v.sandbox_mode,
                allowed_commands: v.allowed_commands.clone(),
                allowed_hosts: v.reach.clone(),
                workspaces: WorkspacePlan {
                    of_sessions: v.workspaces,
                    quota_mb: v.workspace_quota,
                    keep_hours: v.workspace_hours,
                },
            },
            tools: ToolSettings {
                policy: v.tool_policy,
                allow_list: v.allow_list.clone(),
                deny_list: v.deny_list.clone(),
                approved_calls: v.approved_calls.clone(),
                search: (v.search.is_some() || v.search_kind != SearchKind::SearXng).then(|| {
                    Search {
                        kind: v.search_kind,
                        elsewhere: v.search.clone(),
                    }
                }),
            },
            prompt_injection: PromptInjection {
                enabled: v.guard_enabled,
                strict_mode: v.guard_strict,
            },
            link_hosts: v.link_hosts.clone(),
            audit: v.audit,
            audit_register: v.audit_register.clone(),
            log_level: v.log_level,
        }
    }
}
