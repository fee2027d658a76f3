//! `clawdbot doctor`: what does not work, and what to do about it. What is not safe is `clawdbot
//! security`'s to say.

use super::security::{BAD, DIM, DOUBT, Finding, GOOD, Severity, json_text};
use super::{CliResult, Exit, chat};
use crate::cli::gateway::runtime;
use crate::home::Home;
use crate::{say, wire};
use clap::Args;
use clawdbot_audit::Tail;
use clawdbot_auth::{TokenStore, Vault};
use clawdbot_config::{Overrides, Settings, SettingsFile};
use clawdbot_domain::{Origin, ProviderName, UnixTime};
use clawdbot_sandbox::{Sandbox, SandboxSettings};
use serde_json::json;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

/// Less than this free, and the audit log is about to stop everything.
const FREE: u64 = 100 << 20;
/// A clock that is so far behind the newest record was set back.
const BEHIND: Duration = Duration::from_secs(60);
/// This program was not built before then (2026-01-01), so no clock that works says so.
const BUILT: UnixTime = UnixTime::from_secs(1_767_225_600);
/// A gateway that is there answers at once.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The gateway's port, when it is not gateway.port
    #[arg(long)]
    port: Option<u16>,
    /// Also show what works
    #[arg(long, short)]
    verbose: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What was looked at: one name, and what is wrong with it.
struct Looked {
    id: &'static str,
    well: String,
    wrong: Option<Finding>,
}

fn well(id: &'static str, what: impl Into<String>) -> Looked {
    Looked {
        id,
        well: what.into(),
        wrong: None,
    }
}

fn wrong(
    id: &'static str,
    severity: Severity,
    what: impl std::fmt::Display,
    why: &str,
    mend: impl Into<String>,
) -> Looked {
    Looked {
        id,
        well: String::new(),
        wrong: Some(Finding::new(id, severity, what.to_string(), why, mend)),
    }
}

pub fn run(args: &DoctorArgs, home: &Home) -> CliResult {
    let mut all = vec![writable(home), space(home), clock(home)];
    let overrides = Overrides::from_vars(std::env::vars_os());
    let loaded = SettingsFile::new(home.config_file()).load(&overrides);
    let fallback = Settings::default();
    let settings = match &loaded {
        Ok(loaded) => &loaded.settings,
        Err(_) => &fallback,
    };
    all.push(match &loaded {
        Ok(_) => well("settings", "every setting can be taken"),
        Err(errors) => wrong(
            "settings",
            Severity::Fail,
            format!("the settings cannot be taken: {errors}"),
            "no gateway starts with them",
            "clawdbot config validate",
        ),
    });
    all.push(gateway(home, settings, args.port));
    all.push(log(home, settings));
    all.push(store(home));
    all.push(vault(home));
    all.push(provider(home, settings));
    all.push(sandbox(home, settings));
    report(args, &all)
}

fn report(args: &DoctorArgs, all: &[Looked]) -> CliResult {
    let ill: Vec<&Finding> = all.iter().filter_map(|one| one.wrong.as_ref()).collect();
    let fails = ill
        .iter()
        .filter(|one| one.severity == Severity::Fail)
        .count();
    if args.json {
        let checks: Vec<_> = all
            .iter()
            .map(|one| match &one.wrong {
                Some(finding) => json!(finding),
                None => json!({"id": one.id, "severity": "ok", "what": one.well}),
            })
            .collect();
        say!("{}", json_text(&json!({"checks": checks, "fail": fails}))?);
    } else {
        for one in all {
            match &one.wrong {
                Some(ill) => {
                    let style = ill.severity.style();
                    say!("{style}{}{style:#}  {}", ill.severity, ill.what);
                    say!("      why: {}", ill.why);
                    say!("      do:  {}", ill.mend);
                }
                None if args.verbose => say!("{GOOD}ok{GOOD:#}    {}", one.well),
                None => {}
            }
        }
        match (fails, ill.len()) {
            (0, 0) => say!("{GOOD}everything works{GOOD:#}"),
            (0, some) => say!("{DOUBT}it works; {some} to know{DOUBT:#}"),
            (fails, _) => say!("{BAD}{fails} do not work{BAD:#}"),
        }
        if !args.verbose {
            say!("{DIM}--verbose shows all {} checks{DIM:#}", all.len());
        }
    }
    Ok(if fails == 0 { Exit::Done } else { Exit::Found })
}

/// Whether each folder takes a file.
fn writable(home: &Home) -> Looked {
    let id = "home";
    if !home.root().exists() {
        return wrong(
            id,
            Severity::Info,
            format!("{} is not there yet", home.root().display()),
            "the first start makes it",
            "clawdbot up",
        );
    }
    for folder in [
        home.root().to_owned(),
        home.root().join("config"),
        home.logs(),
        home.state(),
        home.secrets(),
        home.workspace(),
    ] {
        if !folder.exists() {
            continue;
        }
        if let Err(error) = try_to_write(&folder) {
            return wrong(
                id,
                Severity::Fail,
                format!("{} cannot be written: {error}", folder.display()),
                "settings, tokens and the audit log are kept there",
                how_to_write(&folder, &error),
            );
        }
    }
    well(id, format!("{} can be written", home.root().display()))
}

fn how_to_write(folder: &Path, error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem {
        return "mount that file system writable, or use another folder: --home DIR".to_owned();
    }
    format!(
        "make it this user's: chown -R {} '{}'",
        rustix::process::geteuid().as_raw(),
        folder.display()
    )
}

fn try_to_write(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)?;
    drop(file);
    std::fs::remove_file(&path)
}

fn space(home: &Home) -> Looked {
    let id = "space";
    let place = if home.root().exists() {
        home.root()
    } else {
        Path::new("/")
    };
    match rustix::fs::statvfs(place) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free >= FREE {
                return well(id, format!("{} MB are free", free >> 20));
            }
            wrong(
                id,
                Severity::Fail,
                format!("only {} MB are free", free >> 20),
                "when the audit log cannot grow, nothing that must be recorded is done",
                "free some space on this disk",
            )
        }
        Err(error) => wrong(
            id,
            Severity::Warn,
            error,
            "nobody knows how much space is left",
            "df -h",
        ),
    }
}

/// The clock, against this program and the newest record.
fn clock(home: &Home) -> Looked {
    let (id, now) = ("clock", UnixTime::now());
    let why = "tokens end, limits count and records are dated by it";
    let mend = "set the clock, and let it be kept: timedatectl set-ntp true";
    if now < BUILT {
        return wrong(
            id,
            Severity::Fail,
            format!("the clock says {now}"),
            why,
            mend,
        );
    }
    let newest = Tail::open(&home.logs(), 1).ok().and_then(|(_, lines)| {
        let record: serde_json::Value = serde_json::from_str(lines.last()?).ok()?;
        super::security::moment(record.get("time")?.as_str()?)
    });
    match newest.filter(|newest| newest.since(now) > BEHIND) {
        Some(newest) => wrong(
            id,
            Severity::Fail,
            format!("the clock says {now}, and the newest audit record is of {newest}"),
            why,
            mend,
        ),
        None => well(id, format!("the clock says {now}")),
    }
}

/// A gateway that answers, or a port that one could take.
fn gateway(home: &Home, settings: &Settings, port: Option<u16>) -> Looked {
    let id = "gateway";
    let port_number = port.unwrap_or(settings.gateway.port);
    let asked = chat::client(home, port).and_then(|client| {
        runtime()?.block_on(async {
            let asked = tokio::time::timeout(PATIENCE, client.get("/status")).await;
            asked.unwrap_or_else(|_| {
                Err(super::Failure::new(Exit::Unavailable, "no answer in time"))
            })
        })
    });
    if let Ok(status) = &asked {
        let parts = status.get("parts").and_then(serde_json::Value::as_object);
        let broken = parts.and_then(|parts| parts.iter().find(|(_, state)| *state != "ok"));
        return match broken {
            None => well(id, format!("the gateway on port {port_number} is ready")),
            Some((name, state)) => wrong(
                id,
                Severity::Fail,
                format!(
                    "the running gateway says of {name}: {}",
                    state.as_str().unwrap_or("?")
                ),
                "it refuses what it cannot do safely",
                "see the other findings here, or the gateway's own log",
            ),
        };
    }
    let why_not = asked
        .err()
        .map(|failure| failure.message().to_owned())
        .unwrap_or_default();
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port_number)) {
        Ok(_) => wrong(
            id,
            Severity::Info,
            format!("no gateway runs, and port {port_number} is free"),
            "nobody answers",
            "clawdbot gateway   (or: clawdbot up)",
        ),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => wrong(
            id,
            Severity::Fail,
            format!(
                "port {port_number} is taken by something that is not this home's gateway ({why_not})"
            ),
            "a gateway cannot start there",
            format!(
                "see who: ss -ltnp 'sport = :{port_number}'; or: clawdbot config set gateway.port PORT"
            ),
        ),
        Err(error) => wrong(
            id,
            Severity::Fail,
            format!("port {port_number} cannot be taken: {error}"),
            "a gateway cannot start there",
            "clawdbot config set gateway.port PORT (1024 or more)",
        ),
    }
}

/// The log: what a start needs of it, and then opened as everything that writes opens it, which sets a
/// torn end aside and judges the newest part.
fn log(home: &Home, settings: &Settings) -> Looked {
    let id = "audit";
    let places = wire::audit_places(home, settings);
    let begun = home.logs().join("epochs").exists();
    if begun && !places.key.exists() {
        return wrong(
            id,
            Severity::Fail,
            format!(
                "{} is missing: the audit log cannot be signed",
                places.key.display()
            ),
            "no gateway starts, so that nobody goes on with a log that is not his",
            "bring the file back; or keep the folder `logs` elsewhere as evidence and start with a new one",
        );
    }
    if let Some(register) = places
        .register
        .as_ref()
        .filter(|register| !register.exists())
    {
        return wrong(
            id,
            Severity::Fail,
            format!("the register {} is missing", register.display()),
            "no gateway starts without it: it shows when the log was put back",
            "mount its volume, or bring the file back",
        );
    }
    if !begun {
        return well(id, "there is no audit log yet; the first start makes it");
    }
    if clawdbot_audit::root_key(&home.logs()).is_err() {
        return wrong(
            id,
            Severity::Fail,
            "the audit log's keys cannot be read: the log is locked",
            "no gateway starts with a log it cannot trust",
            "clawdbot audit verify names what is wrong; keep the folder as evidence",
        );
    }
    if !settings.gateway.audit.enabled {
        return wrong(
            id,
            Severity::Warn,
            "gateway.audit.enabled is false",
            "nobody will know what happened",
            "clawdbot config set gateway.audit.enabled true",
        );
    }
    match wire::open_audit(home, settings) {
        Ok(_) => well(id, "the audit log can be written"),
        Err(error) => wrong(
            id,
            Severity::Fail,
            format!("the audit log is locked: {error}"),
            "no gateway starts with a log it cannot trust",
            "clawdbot audit verify names what is wrong; keep the folder as evidence",
        ),
    }
}

fn store(home: &Home) -> Looked {
    let id = "tokens";
    if !home.state().exists() {
        return well(id, "there are no tokens yet");
    }
    let opened = TokenStore::open(&home.state(), &home.secrets());
    match opened.and_then(|store| store.list(UnixTime::now())) {
        Ok(all) => well(id, format!("{} tokens can be checked", all.len())),
        Err(error) => wrong(
            id,
            Severity::Fail,
            error,
            "nobody can be let in",
            "bring the folder `secrets` back from a backup; or move state/tokens.db away, and every token with it",
        ),
    }
}

fn vault(home: &Home) -> Looked {
    let id = "vault";
    if !home.state().exists() {
        return well(id, "there are no credentials yet");
    }
    let opened = Vault::open(&home.state(), &home.secrets());
    match opened.and_then(|vault| vault.check()) {
        Ok(()) => well(id, "the vault is open"),
        Err(error) => wrong(
            id,
            Severity::Fail,
            error,
            "no provider can be asked",
            "give the key or the passphrase that it was sealed with (docs: keys of the vault)",
        ),
    }
}

/// Whether the default model's provider can be asked.
fn provider(home: &Home, settings: &Settings) -> Looked {
    let (id, name) = ("provider", settings.models.default.provider);
    let model = &settings.models.default;
    let paste = format!("clawdbot models auth paste-token --provider {name}");
    let Some(base_url) = settings.models.base_urls.get(&name) else {
        return if name == ProviderName::Demo && settings.models.demo_enabled {
            wrong(
                id,
                Severity::Info,
                "agents use the built-in demo, which knows nothing",
                "no provider is set up",
                "clawdbot models auth paste-token --provider PROVIDER, then: clawdbot models set-default PROVIDER/MODEL",
            )
        } else {
            wrong(
                id,
                Severity::Fail,
                format!("the default model is {model}, and {name} is not set up"),
                "no agent answers",
                format!("clawdbot config set models.providers.{name}.baseUrl URL"),
            )
        };
    };
    let here = Origin::of_base_url(base_url).is_ok_and(|(origin, _)| origin.is_loopback());
    let listed = Vault::open(&home.state(), &home.secrets()).and_then(|vault| vault.list());
    let has = listed.is_ok_and(|all| all.iter().any(|one| one.provider == name));
    if has || here {
        return well(
            id,
            format!("{name} has what it needs to be asked for {model}"),
        );
    }
    wrong(
        id,
        Severity::Fail,
        format!("the default model is {model}, and there is no credential of {name}"),
        "no agent answers",
        paste,
    )
}

fn sandbox(home: &Home, settings: &Settings) -> Looked {
    let id = "sandbox";
    let settings = SandboxSettings {
        enabled: true,
        ..wire::sandbox_settings(home, settings)
    };
    match Sandbox::prove(settings) {
        Ok(proven) if proven.missing().is_empty() => well(
            id,
            format!("every layer of the sandbox holds, tier {}", proven.tier()),
        ),
        Ok(proven) => wrong(
            id,
            Severity::Warn,
            format!(
                "the sandbox holds at tier {}; not here: {}",
                proven.tier(),
                proven.missing().join("; ")
            ),
            "one wall fewer stands between a tool and this machine",
            "clawdbot sandbox test shows what holds; a kernel or container that allows user namespaces has the rest",
        ),
        Err(why) => wrong(
            id,
            Severity::Fail,
            format!("the sandbox does not hold: {why}"),
            "no gateway starts, and no tool runs",
            "a kernel with Landlock and seccomp (Linux 5.13 or later) is needed, and a container that does not shut them off",
        ),
    }
}
