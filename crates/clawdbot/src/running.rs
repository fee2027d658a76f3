//! A running gateway: started in an order that is argued, watched for changes of its settings,
//! stopped in peace.

use crate::cli::{Exit, Failure};
use crate::home::Home;
use crate::standing::Standing;
use crate::wire::{self, Keepers};
use clawdbot_agent::Kept;
use clawdbot_audit::{AuditError, NotRecorded, Recorder};
use clawdbot_auth::operator::{self, Plan};
use clawdbot_auth::{TokenInfo, TokenStore, Vault};
use clawdbot_config::{Change, ConfigErrors, Loaded, Overrides, Settings, SettingsFile};
use clawdbot_domain::{Event, Outcome, Secret, TokenEnv, UnixTime, Who};
use clawdbot_gateway::{Drained, Listener, Live, Serving, Stop, Stopper, Tls};
use clawdbot_sandbox::{Sandbox, Zygote};
use clawdbot_sessions::SessionStore;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How often the settings file is looked at. A container's mounts deliver no change notices, and a
/// look is one `stat`.
const LOOK: Duration = Duration::from_millis(500);

/// How long requests in flight may take once the gateway is asked to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// What is proven before any thread or secret exists.
pub struct Proven {
    loaded: Loaded,
    overrides: Overrides,
    file: SettingsFile,
    sandbox: Sandbox,
}

/// A gateway that listens but does not serve yet.
pub struct Started {
    home: Home,
    proven_settings: Loaded,
    overrides: Overrides,
    file: SettingsFile,
    keepers: Keepers,
    listener: Listener,
    standing: Option<Standing>,
    tls: Option<Arc<Tls>>,
    live: Live,
    /// The operator's own token.
    pub operator: Secret,
    /// A setup token, on the very first start.
    pub setup: Option<Secret>,
}

impl Proven {
    /// Starts the process that tools are forked from, reads the settings and proves the sandbox. Synchronous,
    /// and first: before any thread or secret exists.
    pub fn new(home: &Home, overrides: Overrides) -> Result<Self, Failure> {
        home.create().map_err(|e| {
            let what = format!("cannot create the home {}: {e}", home.root().display());
            Failure::new(Exit::CannotCreate, what)
                .hint("a folder of your own: --home DIR, or CLAWDBOT_HOME=DIR for every command")
        })?;
        if let Some((what, mend)) = home.remedy_if_shared() {
            return Err(Failure::new(Exit::Refused, what).hint(mend));
        }
        // First, so that it prepares itself while the settings are read.
        let zygote = Zygote::start().map_err(|e| {
            Failure::new(
                Exit::Unavailable,
                format!("cannot start the process that starts tools: {e}"),
            )
        })?;
        let file = SettingsFile::new(home.config_file());
        let loaded = file.load(&overrides).map_err(bad_settings)?;
        let settings = wire::sandbox_settings(home, &loaded.settings);
        let sandbox = Sandbox::prove_in(settings, zygote).map_err(|e| {
            Failure::new(Exit::Unavailable, format!("the sandbox is not proven: {e}"))
        })?;
        Ok(Self {
            loaded,
            overrides,
            file,
            sandbox,
        })
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.loaded.settings
    }

    /// Opens the log, the stores and the sockets, in this order: from here on nothing is done that
    /// is not written down.
    ///
    /// One gateway serves a home: limits, places and the table of what runs are counted in its memory, and
    /// two would each count for themselves. `beside` another one only for a conversation with itself.
    pub async fn start(
        self,
        home: &Home,
        port: Option<u16>,
        beside: bool,
    ) -> Result<Started, Failure> {
        let settings = &self.loaded.settings;
        let recorder = wire::open_audit(home, settings).map_err(|e| bad_log(&e))?;
        recorder.check_what_stands().map_err(|e| bad_log(&e))?;
        crate::secrecy::know_what(&recorder);
        let tokens = TokenStore::open(&home.state(), &home.secrets()).map_err(bad_store)?;
        let now = UnixTime::now();
        let environment = settings.gateway.environment;
        let first = tokens.list(now).map_err(bad_store)?.is_empty();
        let operator = operator_token(home, &tokens, &recorder, environment, now).await?;
        recorder.redact(&operator);
        let kept = Arc::new(Kept::default());
        wire::learn(&kept, "operator token", &operator);
        let setup = if first {
            Some(make_setup(&tokens, &recorder, now).await?)
        } else {
            None
        };
        let vault = Vault::open(&home.state(), &home.secrets()).map_err(bad_store)?;
        crate::unlock::unlock(&vault)?;
        let sessions = SessionStore::open(&home.state(), &home.secrets()).map_err(bad_store)?;
        let keepers = Keepers {
            recorder,
            tokens: Arc::new(tokens),
            vault: Arc::new(vault),
            sessions: Arc::new(sessions),
            sandbox: Arc::new(self.sandbox),
            kept,
            started: Arc::new(settings.clone()),
        };
        let rooms =
            wire::rooms(home, settings, &keepers).map_err(|e| Failure::new(Exit::BadConfig, e))?;
        let tls = wire::tls(settings).map_err(|e| Failure::new(Exit::BadConfig, e))?;
        let bind = wire::bind(settings.gateway.bind);
        if bind.is_wide() {
            check_wide(&keepers.tokens, settings, now)?;
        }
        let port = port.unwrap_or(settings.gateway.port);
        let listener = bind.listen(port).map_err(|e| {
            Failure::new(Exit::Unavailable, e)
                .hint("another gateway may run there: clawdbot status   (or choose --port)")
        })?;
        let port = listener.addresses().first().map(SocketAddr::port);
        let standing = Standing::take(home, port).map_err(bad_store)?;
        if standing.is_none() && !beside {
            let what = format!("a gateway serves {} already", home.root().display());
            return Err(Failure::new(Exit::Unavailable, what)
                .hint("clawdbot status   (or: clawdbot gateway stop; another home: --home DIR)"));
        }
        if standing.is_some() {
            lose_running(&keepers.sessions)?;
        }
        Ok(Started {
            home: home.clone(),
            proven_settings: self.loaded,
            overrides: self.overrides,
            file: self.file,
            keepers,
            listener,
            standing,
            tls,
            live: Live::new(rooms),
            operator,
            setup,
        })
    }
}

impl Started {
    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listener.addresses()
    }

    /// The scheme of its addresses.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The layers of the sandbox, as proven.
    pub fn layers(&self) -> Vec<String> {
        self.keepers.sandbox.layers()
    }

    /// Serves until it is asked to stop. Start and stop are in the log.
    pub async fn serve(self, stopper: Stopper) -> Result<Drained, Failure> {
        let listening = self
            .addresses()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        let recorder = self.keepers.recorder.clone();
        let settings = &self.proven_settings.settings;
        let weaker = clawdbot_config::weakening(&Settings::default(), settings);
        let begun = Event::GatewayStart {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listening: listening.join(", "),
            sandbox: self.keepers.sandbox.mode(),
            layers: self.layers(),
            weakened: weaker
                .iter()
                .map(|change| format!("{}={}", change.key, change.to))
                .collect(),
        };
        recorder
            .note(Who::default(), Outcome::Ok, begun)
            .await
            .map_err(|e| not_written(&e))?;
        tracing::info!(listening = listening.join(", "), "gateway started");
        // Whoever weakened a control, by whatever door, is told at every start.
        warn_of(&weaker, "is weaker than the default");
        if self.tls.as_ref().is_some_and(|tls| tls.key_is_open()) {
            tracing::warn!("security: everyone on this machine may read gateway.tls.key");
        }
        crate::reminders::start(
            Arc::clone(&self.keepers.vault),
            Arc::clone(&self.keepers.tokens),
        );
        let incident = self.home.incident_file();
        crate::incident::look(&incident, &self.live);
        crate::tidy::start(
            self.live.clone(),
            Arc::clone(&self.keepers.sessions),
            recorder.clone(),
        );
        let watcher = Watcher {
            tls: self.tls.clone(),
            home: self.home,
            settings: self.proven_settings.settings,
            overrides: self.overrides,
            file: self.file,
            keepers: self.keepers,
            live: self.live.clone(),
        };
        let watching = tokio::spawn(watcher.watch());
        let closing = tokio::spawn(crate::incident::watch(incident, self.live.clone()));
        let serving = Serving {
            listener: self.listener,
            tls: self.tls,
            connections: connections(),
            drain: DRAIN,
        };
        let drained = clawdbot_gateway::serve(serving, self.live, stopper.clone()).await;
        watching.abort();
        closing.abort();
        let reason = match stopper.asked() {
            Stop::Now => "asked to stop at once; what ran was ended",
            Stop::Drain | Stop::Serve => "asked to stop",
        };
        let ended = Event::GatewayStop {
            reason: reason.to_owned(),
        };
        // The log may be the very thing that is broken; the gateway stops all the same.
        let _ = recorder.note(Who::default(), Outcome::Ok, ended).await;
        recorder.close().await;
        // Last: who waits for the gateway to be gone finds everything written down.
        drop(self.standing);
        tracing::info!(?drained, "gateway stopped");
        Ok(drained)
    }
}

/// Turns that ran when the last gateway of this home went away do not go on; nobody is to wait for them.
fn lose_running(sessions: &SessionStore) -> Result<(), Failure> {
    let lost = sessions.lose_running().map_err(bad_store)?;
    if lost > 0 {
        tracing::warn!(lost, "turns were cut when the last gateway went away");
    }
    Ok(())
}

/// Takes changes of the settings file into a running gateway.
struct Watcher {
    home: Home,
    settings: Settings,
    overrides: Overrides,
    file: SettingsFile,
    keepers: Keepers,
    tls: Option<Arc<Tls>>,
    live: Live,
}

/// Connections held at once, at most.
const CONNECTIONS: usize = 12_000;

/// Files, stores, providers and tools need descriptors as well.
const OTHER_FILES: u64 = 128;

/// As many connections as there are descriptors for, once this process may open all it is allowed
/// to.
fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let open = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let room = open.map_or(u64::MAX, |open| {
        open.saturating_sub(OTHER_FILES).max(open / 2)
    });
    usize::try_from(room)
        .unwrap_or(CONNECTIONS)
        .min(CONNECTIONS)
}

impl Watcher {
    async fn watch(mut self) {
        let mut seen = self.file.stamp();
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            self.renew_tls();
            let stamp = self.file.stamp();
            if stamp == seen {
                continue;
            }
            seen = stamp;
            if let Err(errors) = self.take_in() {
                tracing::error!(
                    ?errors,
                    "security: changed settings are wrong; the old ones stay in force"
                );
                let event = Event::ConfigRejected { errors };
                self.keepers
                    .recorder
                    .note_later(Who::default(), Outcome::Failed, event);
            }
        }
    }

    fn renew_tls(&self) {
        match self.tls.as_ref().map(|tls| tls.renew()) {
            Some(Ok(true)) => tracing::info!("security: the TLS certificate was renewed"),
            Some(Err(error)) => {
                tracing::error!(%error, "security: the TLS files changed and are not usable; the old certificate stays in force");
            }
            Some(Ok(false)) | None => {}
        }
    }

    /// All of the new settings, or none of them.
    fn take_in(&mut self) -> Result<(), Vec<String>> {
        let loaded = self
            .file
            .load(&self.overrides)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        if loaded.settings == self.settings {
            return Ok(());
        }
        let one = |error: String| vec![error];
        let mut keepers = self.keepers.clone();
        let settings = wire::sandbox_settings(&self.home, &loaded.settings);
        if settings != wire::sandbox_settings(&self.home, &self.settings) {
            keepers.sandbox = Arc::new(Sandbox::prove(settings).map_err(|e| one(e.to_string()))?);
        }
        let rooms = wire::rooms(&self.home, &loaded.settings, &keepers).map_err(one)?;
        let changes = clawdbot_config::differences(&self.settings, &loaded.settings);
        warn_of(&changes, "was weakened");
        // In the queue before anything can be done under the new settings. What waits for a restart is not in force.
        for change in changes.into_iter().filter(|change| !change.needs_restart) {
            let applied = Event::ConfigApplied {
                key: change.key.to_owned(),
                from: change.from,
                to: change.to,
                weakens: change.weakens,
            };
            keepers
                .recorder
                .note_later(Who::default(), Outcome::Ok, applied);
        }
        keepers
            .recorder
            .reconfigure(wire::audit_settings(&loaded.settings));
        crate::logging::set_level(loaded.settings.gateway.log_level);
        self.live.replace(rooms);
        self.keepers = keepers;
        self.settings = loaded.settings;
        tracing::info!("settings reloaded");
        Ok(())
    }
}

/// The operator's own token; a new one is written down before it works.
async fn operator_token(
    home: &Home,
    tokens: &TokenStore,
    recorder: &Recorder,
    environment: TokenEnv,
    now: UnixTime,
) -> Result<Secret, Failure> {
    let planned = operator::plan(tokens, &home.secrets(), environment, now).map_err(bad_store)?;
    let renewal = match planned {
        Plan::Keep(token) => return Ok(token),
        Plan::Make(renewal) => renewal,
    };
    let event = renewal.draft().info().created_event();
    recorder
        .note(Who::default(), Outcome::Begin, event)
        .await
        .map_err(|e| not_written(&e))?;
    renewal.make(tokens).map_err(bad_store)
}

/// Whoever opens the gateway to other machines means other people, and those need tokens of their
/// own: the operator's is for this machine.
fn check_wide(tokens: &TokenStore, settings: &Settings, now: UnixTime) -> Result<(), Failure> {
    let all = tokens.list(now).map_err(bad_store)?;
    let usable = |t: &TokenInfo| {
        t.is_live(now) && t.env == settings.gateway.environment && t.name != operator::NAME
    };
    if all.iter().any(usable) {
        return Ok(());
    }
    let bind = settings.gateway.bind;
    Err(Failure::new(
        Exit::BadConfig,
        format!("gateway.bind {bind} lets other machines connect, and no token was made for them"),
    )
    .hint("clawdbot tokens create --name NAME --scopes chat,tools   (or: clawdbot config set gateway.bind localhost)"))
}

fn warn_of(changes: &[Change], what: &str) {
    for change in changes.iter().filter(|change| change.weakens) {
        let (key, from, to) = (change.key, &change.from, &change.to);
        tracing::warn!(key, from, to, "security: a control {what}");
    }
}

/// Written down before it exists.
async fn make_setup(
    tokens: &TokenStore,
    recorder: &Recorder,
    now: UnixTime,
) -> Result<Secret, Failure> {
    let expires = now.plus(clawdbot_auth::SETUP_TTL).to_string();
    let noted = recorder
        .note(
            Who::default(),
            Outcome::Begin,
            Event::SetupCreated { expires },
        )
        .await;
    noted.map_err(|e| not_written(&e))?;
    tokens
        .create_setup(now)
        .map(|(secret, _)| secret)
        .map_err(bad_store)
}

/// Wrong settings stop the start, with every error at once.
pub fn bad_settings(errors: ConfigErrors) -> Failure {
    Failure::new(Exit::BadConfig, errors)
}

fn not_written(error: &NotRecorded) -> Failure {
    Failure::new(
        Exit::Io,
        format!("the audit log cannot be written: {error}"),
    )
}

fn bad_log(error: &AuditError) -> Failure {
    Failure::new(Exit::Io, format!("the audit log: {error}"))
}

fn bad_store(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Io, error)
}
