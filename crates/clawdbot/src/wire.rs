//! Settings become rooms here, and nowhere else: past this file no code reads a setting.

use crate::home::Home;
use clawdbot_agent::{Agent, Budget, Kept, Links};
use clawdbot_audit::{AuditError, AuditSettings, Places, Recorder};
use clawdbot_auth::{Authenticator, TokenStore, Vault};
use clawdbot_config::{Bind, Cors, RateLimit, SearchKind, Settings, Values};
use clawdbot_domain::{Origin, ProviderName, Secret, Taint, UnixTime};
use clawdbot_gateway::{EdgeRules, Limit, Ready, Rooms, Tls};
use clawdbot_guard::{Guard, GuardSettings};
use clawdbot_policy::{RuleOfTwo, SandboxRule, ToolPolicy};
use clawdbot_providers::{Credentials, Directory, Provider, ProviderSettings, Timeouts};
use clawdbot_sandbox::{Sandbox, SandboxSettings};
use clawdbot_sessions::SessionStore;
use clawdbot_tools::{
    Broker, Dialect, HostRules, SearchSettings, SessionFolders, System, Toolbox, Workspaces,
};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The one agent there is, as settings name it.
pub const AGENT: &str = "main";

/// What lives as long as the gateway, whatever the settings.
#[derive(Clone)]
pub struct Keepers {
    /// The audit log.
    pub recorder: Recorder,
    /// Tokens.
    pub tokens: Arc<TokenStore>,
    /// Provider credentials.
    pub vault: Arc<Vault>,
    /// Sessions, and what waits in them.
    pub sessions: Arc<SessionStore>,
    /// The sandbox as it was proven under the present sandbox settings.
    pub sandbox: Arc<Sandbox>,
    /// What turns know across turns.
    pub kept: Arc<Kept>,
    /// The settings it was started with: some hold until the next start.
    pub started: Arc<Settings>,
}

/// The rooms under these settings.
pub fn rooms(home: &Home, settings: &Settings, keepers: &Keepers) -> Result<Rooms, String> {
    let commands = settings.gateway.sandbox.allowed_commands.clone();
    let workspaces = workspaces(home, settings);
    let toolbox = Toolbox::new(Arc::clone(&keepers.sandbox), workspaces, commands)
        .with_broker(broker(settings, keepers)?);
    let agent = Agent::new(
        guard(settings),
        tool_policy(settings),
        keepers.recorder.clone(),
        Arc::new(toolbox),
        Arc::clone(&keepers.sessions),
        Budget::default(),
    )
    .with_kept(Arc::clone(&keepers.kept))
    .with_links(links(settings))
    .limited(AGENT, settings.agent_tools.clone());
    know_secrets(keepers);
    let environment = settings.gateway.environment;
    Ok(Rooms {
        agent: Arc::new(agent),
        models: directory(settings, &keepers.vault, Some(keepers))?,
        authenticator: Authenticator::new(Arc::clone(&keepers.tokens), environment),
        tokens: Arc::clone(&keepers.tokens),
        sessions: Arc::clone(&keepers.sessions),
        edge: edge_rules(settings),
        ready: ready(keepers.clone()),
        posture: posture(settings, &keepers.sandbox),
        for_good: {
            let home = home.clone();
            Box::new(move |call| crate::for_good::prepare(&home, call))
        },
        config: crate::cli::told(&Values::from(settings), &Values::from(&*keepers.started)),
    })
}

/// Where tool calls work.
fn workspaces(home: &Home, settings: &Settings) -> Workspaces {
    let plan = settings.gateway.sandbox.workspaces;
    if !plan.of_sessions {
        return Workspaces::shared(home.workspace());
    }
    let sessions = SessionFolders {
        folder: home.session_workspaces(),
        most_bytes: plan.quota_mb.saturating_mul(1_000_000),
        keep: Duration::from_secs(plan.keep_hours.saturating_mul(3_600)),
    };
    Workspaces::of_sessions(home.workspace(), sessions)
}

/// The tools' way to the network.
fn broker(settings: &Settings, keepers: &Keepers) -> Result<Broker, String> {
    let (sandbox, tools) = (&settings.gateway.sandbox, &settings.gateway.tools);
    let search = tools.search.as_ref().map(|search| {
        let base_url = search.base_url().to_owned();
        let provider = search.kind.provider();
        let origin = Origin::of_base_url(&base_url);
        let vault = FromVault::new(&keepers.vault, Some(keepers));
        SearchSettings {
            dialect: match search.kind {
                SearchKind::SearXng => Dialect::SearXng,
                SearchKind::Brave => Dialect::Brave,
                SearchKind::Tavily => Dialect::Tavily,
            },
            base_url,
            key: Arc::new(move || match (provider, &origin) {
                (None, _) => Ok(None),
                (Some(provider), Ok((origin, _))) => vault.secret_for(provider, origin).inspect_err(
                    |why| tracing::warn!(%provider, why, "the key of a search provider cannot be read"),
                ),
                (Some(_), Err(error)) => Err(error.to_string()),
            }),
        }
    });
    let rules = HostRules::new(sandbox.mode, sandbox.allowed_hosts.clone());
    Broker::new(rules, search, Arc::new(System), keepers.recorder.clone())
}

/// The tool policy under these settings.
pub fn tool_policy(settings: &Settings) -> ToolPolicy {
    let (tools, sandbox) = (&settings.gateway.tools, &settings.gateway.sandbox);
    let injection = settings.gateway.prompt_injection;
    let rule_of_two = match (injection.enabled, injection.strict_mode) {
        (true, true) => RuleOfTwo::Always,
        (true, false) => RuleOfTwo::WhenHostile,
        (false, _) => RuleOfTwo::Off,
    };
    ToolPolicy::new(
        tools.policy,
        tools.allow_list.iter().cloned(),
        tools.deny_list.iter().cloned(),
        SandboxRule {
            mode: sandbox.mode,
            allowed_commands: sandbox.allowed_commands.iter().cloned().collect(),
        },
        rule_of_two,
    )
    .approving(tools.approved_calls.iter().cloned())
}

/// The guard under these settings.
pub fn guard(settings: &Settings) -> Guard {
    let injection = settings.gateway.prompt_injection;
    Guard::new(GuardSettings {
        enabled: injection.enabled,
        strict: injection.strict_mode,
    })
}

/// Which addresses in answers are taken out. As with the Rule of Two: in strict mode once there is
/// untrusted text at all, else once there is an attack in it.
fn links(settings: &Settings) -> Links {
    let injection = settings.gateway.prompt_injection;
    let hosts = &settings.gateway.link_hosts;
    Links {
        allowed: (!hosts.iter().any(|host| host == "*")).then(|| hosts.clone()),
        from: match (injection.enabled, injection.strict_mode) {
            (true, true) => Some(Taint::Untrusted),
            (true, false) => Some(Taint::Hostile),
            (false, _) => None,
        },
    }
}

/// Makes every stored credential known to what looks at answers, also those that nobody used yet.
fn know_secrets(keepers: &Keepers) {
    match keepers.vault.every_secret() {
        Ok(all) => {
            for (provider, secret) in all {
                learn(&keepers.kept, provider.as_str(), &secret);
            }
        }
        // A locked vault hands nothing out either; what it hands out later is learned then.
        Err(error) => tracing::warn!(%error, "stored credentials cannot be read"),
    }
}

/// Makes a secret known to what looks at answers.
pub fn learn(kept: &Kept, name: &str, secret: &Secret) {
    if let Err(error) = kept.known.learn(name, secret) {
        tracing::warn!(%error, "security: a secret is too short to be found in answers");
    }
}

/// The audit log's settings.
pub fn audit_settings(settings: &Settings) -> AuditSettings {
    let audit = &settings.gateway.audit;
    AuditSettings {
        enabled: audit.enabled,
        level: audit.log_level,
        log_requests: audit.log_requests,
        log_tools: audit.log_tools,
        max_segment_bytes: audit.max_log_size_mb.saturating_mul(1_000_000),
        max_segments: audit.max_log_files,
        min_age: Duration::from_secs(audit.min_age_hours.saturating_mul(3_600)),
    }
}

/// Opens the audit log of a home. The key that signs it lies with the secrets, so that a copy of the
/// logs has none.
pub fn open_audit(home: &Home, settings: &Settings) -> Result<Recorder, AuditError> {
    Recorder::open_at(
        &home.logs(),
        &audit_places(home, settings),
        audit_settings(settings),
    )
}

/// Where the key and the register of the audit log are.
pub fn audit_places(home: &Home, settings: &Settings) -> Places {
    let register = settings.gateway.audit_register.as_ref();
    Places {
        key: home.secrets().join("audit.key"),
        register: register.map(std::path::PathBuf::from),
    }
}

/// The sandbox's settings.
pub fn sandbox_settings(home: &Home, settings: &Settings) -> SandboxSettings {
    let sandbox = &settings.gateway.sandbox;
    SandboxSettings {
        enabled: sandbox.enabled,
        mode: sandbox.mode,
        home: home.root().to_owned(),
    }
}

/// Where to listen.
pub fn bind(bind: Bind) -> clawdbot_gateway::Bind {
    match bind {
        Bind::Localhost => clawdbot_gateway::Bind::Localhost,
        Bind::Loopback => clawdbot_gateway::Bind::Loopback,
        Bind::Lan => clawdbot_gateway::Bind::Lan,
        Bind::Address(address) => clawdbot_gateway::Bind::Address(address),
    }
}

/// The gateway's own TLS, if any.
///
/// # Errors
/// In words, when one of the two files is not named, or they are not usable.
pub fn tls(settings: &Settings) -> Result<Option<Arc<Tls>>, String> {
    let files = &settings.gateway.tls;
    match (&files.certificate, &files.key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Tls::load(certificate.as_ref(), key.as_ref())
            .map(|tls| Some(Arc::new(tls)))
            .map_err(|e| format!("gateway.tls: {e}")),
        (Some(_), None) => Err("gateway.tls.certificate is set and gateway.tls.key is not".into()),
        (None, Some(_)) => Err("gateway.tls.key is set and gateway.tls.certificate is not".into()),
    }
}

fn edge_rules(settings: &Settings) -> EdgeRules {
    let gateway = &settings.gateway;
    let mut hosts: HashSet<String> = ["localhost", "127.0.0.1", "[::1]"]
        .map(str::to_owned)
        .into();
    if let Bind::Address(address) = gateway.bind {
        hosts.insert(match address {
            std::net::IpAddr::V4(v4) => v4.to_string(),
            std::net::IpAddr::V6(v6) => format!("[{v6}]"),
        });
    }
    hosts.extend(gateway.allowed_hosts.iter().cloned());
    EdgeRules {
        hosts,
        cors: match &gateway.cors {
            Cors::Disabled => clawdbot_gateway::Cors::Disabled,
            Cors::Allow(origins) => clawdbot_gateway::Cors::Allow(origins.clone()),
        },
        trusted_proxies: gateway.trusted_proxies.clone(),
        limit: match gateway.rate_limit {
            RateLimit::Off => None,
            RateLimit::Limit {
                max_requests,
                window,
            } => Some(Limit {
                max_requests,
                window,
            }),
        },
    }
}

/// The providers under these settings. Each credential that is handed out is made known to the
/// recorder, if there is one, so that it can never stand in the log, and to what looks at answers.
pub fn directory(
    settings: &Settings,
    vault: &Arc<Vault>,
    keepers: Option<&Keepers>,
) -> Result<Directory, String> {
    let credentials: Arc<dyn Credentials> = Arc::new(FromVault::new(vault, keepers));
    let mut providers: Vec<Arc<dyn Provider>> = Vec::new();
    if settings.models.demo_enabled {
        providers.push(clawdbot_providers::demo());
    }
    for (name, base_url) in &settings.models.base_urls {
        let provider = ProviderSettings {
            name: *name,
            base_url: base_url.clone(),
            timeouts: Timeouts::default(),
        };
        let connected = clawdbot_providers::connect(provider, Arc::clone(&credentials));
        providers.push(connected.map_err(|e| e.to_string())?);
    }
    let default = &settings.models.default;
    Ok(Directory::new(
        providers,
        (default.provider, default.model.clone()),
    ))
}

/// The vault, as providers see it: one secret, for one provider, at one origin.
struct FromVault {
    vault: Arc<Vault>,
    /// Who must know what is handed out: the log, and what looks at answers.
    knowers: Option<(Recorder, Arc<Kept>)>,
    /// What was handed out last, by provider.
    known: Mutex<BTreeMap<ProviderName, Secret>>,
}

impl FromVault {
    fn new(vault: &Arc<Vault>, keepers: Option<&Keepers>) -> Self {
        Self {
            vault: Arc::clone(vault),
            knowers: keepers.map(|k| (k.recorder.clone(), Arc::clone(&k.kept))),
            known: Mutex::default(),
        }
    }

    fn redact(&self, provider: ProviderName, secret: &Secret) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&provider) != Some(secret) {
            if let Some((recorder, kept)) = &self.knowers {
                recorder.redact(secret);
                learn(kept, provider.as_str(), secret);
            }
            known.insert(provider, secret.clone());
        }
    }
}

impl Credentials for FromVault {
    fn secret_for(
        &self,
        provider: ProviderName,
        origin: &Origin,
    ) -> Result<Option<Secret>, String> {
        let found = self.vault.secret_for(provider, origin, UnixTime::now());
        let found = found.map_err(|e| e.to_string())?;
        if let Some(secret) = &found {
            self.redact(provider, secret);
        }
        Ok(found)
    }
}

fn ready(keepers: Keepers) -> Box<dyn Fn() -> Vec<Ready> + Send + Sync> {
    Box::new(move || {
        let writable = keepers.recorder.writable();
        let audit = if writable {
            Ok(())
        } else {
            Err("the audit log cannot be written".into())
        };
        let vault = keepers.vault.check().map_err(|e| e.to_string());
        let proven = keepers.sandbox.is_enabled();
        let sandbox = if proven {
            Ok(())
        } else {
            Err("the sandbox is switched off".into())
        };
        vec![("audit", audit), ("vault", vault), ("sandbox", sandbox)]
    })
}

/// What people ask first: one line a setting.
fn posture(settings: &Settings, proven: &Sandbox) -> Vec<(&'static str, String)> {
    let gateway = &settings.gateway;
    let list = |names: Vec<&str>| {
        if names.is_empty() {
            "nothing".to_owned()
        } else {
            names.join(", ")
        }
    };
    let allowed = gateway
        .tools
        .allow_list
        .iter()
        .map(clawdbot_domain::ToolName::as_str)
        .collect();
    let on = |enabled: bool| if enabled { "on" } else { "OFF" };
    vec![
        ("model", settings.models.default.to_string()),
        (
            "tool policy",
            format!("{}, allows {}", gateway.tools.policy, list(allowed)),
        ),
        (
            "sandbox",
            if gateway.sandbox.enabled {
                format!("{}, tier {}", gateway.sandbox.mode, proven.tier())
            } else {
                "OFF".into()
            },
        ),
        (
            "prompt injection",
            match gateway.prompt_injection {
                p if p.enabled && p.strict_mode => "strict".to_owned(),
                p => on(p.enabled).to_owned(),
            },
        ),
        (
            "rate limit",
            match gateway.rate_limit {
                RateLimit::Off => "OFF".to_owned(),
                RateLimit::Limit {
                    max_requests,
                    window,
                } => {
                    format!("{max_requests} in any {} ms", window.as_millis())
                }
            },
        ),
        ("audit", on(gateway.audit.enabled).to_owned()),
        ("environment", gateway.environment.to_string()),
    ]
}
