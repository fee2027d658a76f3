//! `clawdbot config`.

pub(in crate::cli) mod change;

use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::say;
use clap::Subcommand;
use clawdbot_config::{
    ConfigErrors, KEYS, Key, Loaded, Origin, Overrides, Settings, SettingsFile, Values,
    json_schema, markdown, show,
};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show the value that holds, of a key or of every key of a group
    Get {
        /// Such as gateway.sandbox.mode
        key: String,
        /// Show what each source says, and which one wins
        #[arg(long)]
        why: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change a key; a list is written as a JSON array, none as "[]"
    Set {
        /// Such as gateway.sandbox.mode
        key: String,
        /// The new value
        #[arg(allow_negative_numbers = true)]
        value: String,
        #[command(flatten)]
        consent: change::Consent,
    },
    /// Take a key or a group out of the file, so that the default holds
    Unset {
        /// Such as gateway.sandbox.mode
        key: String,
        #[command(flatten)]
        consent: change::Consent,
    },
    /// Show every key with its value and where it comes from
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what differs from the defaults
    Diff {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a file, by default the one in use with the environment over it
    Validate {
        /// The file to check instead
        file: Option<PathBuf>,
    },
    /// Print the JSON schema of the file
    Schema {
        /// Print the reference of all keys as Markdown instead
        #[arg(long)]
        markdown: bool,
    },
    /// Print a whole file: every key, as file and defaults say
    Export,
    /// Put another file's content in the place of this one's
    Import {
        /// The file; - reads standard input
        file: PathBuf,
        #[command(flatten)]
        consent: change::Consent,
    },
    /// Back to the default: a key, a group, or everything
    Reset {
        /// A key or a group; everything when it is left out
        key: Option<String>,
        #[command(flatten)]
        consent: change::Consent,
    },
    /// Print where the file is
    Path,
}

pub fn run(command: ConfigCommand, home: &Home) -> CliResult {
    let file = SettingsFile::new(home.config_file());
    match command {
        ConfigCommand::Get { key, why, json } => get(&file, &key, why, json),
        ConfigCommand::Set {
            key,
            value,
            consent,
        } => change::set(home, &key, &value, &consent),
        ConfigCommand::List { json } => Ok(list(&load(&file)?, |_| true, json)),
        ConfigCommand::Diff { json } => {
            let loaded = load(&file)?;
            let differs = |key: &Key| key.read(&loaded.values) != key.default_value();
            Ok(list(&loaded, differs, json))
        }
        ConfigCommand::Validate { file: None } => Ok(valid(&file, &load(&file)?)),
        ConfigCommand::Validate { file: Some(path) } => validate_other(path),
        ConfigCommand::Schema { markdown: true } => Ok(print(markdown().trim_end())),
        ConfigCommand::Schema { markdown: false } => Ok(print(format!("{:#}", json_schema()))),
        ConfigCommand::Export => export(&file),
        ConfigCommand::Import { file, consent } => change::import(home, &file, &consent),
        ConfigCommand::Unset { key, consent }
        | ConfigCommand::Reset {
            key: Some(key),
            consent,
        } => change::unset(home, &key, &consent),
        ConfigCommand::Reset { key: None, consent } => change::reset(home, &consent),
        ConfigCommand::Path => Ok(print(file.path().display())),
    }
}

fn print(text: impl std::fmt::Display) -> Exit {
    say!("{text}");
    Exit::Done
}

/// What holds for commands started here: the file with this environment over it.
fn load(file: &SettingsFile) -> Result<Loaded, Failure> {
    file.load(&environment())
        .map_err(|errors| bad_config(&errors))
}

fn environment() -> Overrides {
    Overrides::from_vars(std::env::vars_os())
}

fn bad_config(errors: &ConfigErrors) -> Failure {
    Failure::new(Exit::BadConfig, errors)
}

fn get(file: &SettingsFile, name: &str, why: bool, json: bool) -> CliResult {
    let keys = Key::under(name).map_err(|errors| Failure::new(Exit::Usage, errors))?;
    let loaded = load(file)?;
    let alone = file
        .load(&Overrides::default())
        .map_err(|errors| bad_config(&errors))?;
    if json {
        let rows: Vec<_> = keys.iter().map(|key| row(key, &loaded)).collect();
        let one = rows
            .first()
            .filter(|_| keys.len() == 1 && Key::find(name).is_some());
        return Ok(print(format!(
            "{:#}",
            one.cloned().unwrap_or(Value::Array(rows.clone()))
        )));
    }
    for key in &keys {
        let value = show(&key.read(&loaded.values));
        if why || keys.len() > 1 || key.name() != name {
            say!("{} = {value}", key.name());
        } else {
            say!("{value}");
        }
        if why {
            explain(key, &loaded, &alone);
        }
    }
    Ok(Exit::Done)
}

/// One line a source, the one that wins first.
fn explain(key: &Key, loaded: &Loaded, alone: &Loaded) {
    let mut sources = Vec::new();
    match loaded.origins.get(key.name()) {
        Some(Origin::Env(_) | Origin::Flag) => {
            sources.push((origin_of(key, loaded), key.read(&loaded.values)));
        }
        Some(Origin::File | Origin::Default) | None => {}
    }
    if alone.origins.get(key.name()) == Some(&Origin::File) {
        sources.push(("file".to_owned(), key.read(&alone.values)));
    }
    sources.push(("default".to_owned(), key.default_value()));
    for (at, (source, value)) in sources.iter().enumerate() {
        let wins = if at == 0 { "   <- this one holds" } else { "" };
        say!("  {source}: {}{wins}", show(value));
    }
}

fn list(loaded: &Loaded, which: impl Fn(&Key) -> bool, json: bool) -> Exit {
    let keys: Vec<_> = KEYS.iter().filter(|key| which(key)).collect();
    if json {
        let rows: Vec<_> = keys.iter().map(|key| row(key, loaded)).collect();
        return print(format!("{:#}", Value::Array(rows)));
    }
    let width = keys.iter().map(|key| key.name().len()).max().unwrap_or(0);
    for key in keys {
        let value = show(&key.read(&loaded.values));
        say!(
            "{:width$}  {value}  ({})",
            key.name(),
            origin_of(key, loaded)
        );
    }
    Exit::Done
}

fn row(key: &Key, loaded: &Loaded) -> Value {
    json!({
        "key": key.name(),
        "value": key.read(&loaded.values),
        "default": key.default_value(),
        "origin": origin_of(key, loaded),
        "variable": key.env_var(),
        "needs_restart": key.needs_restart(),
    })
}

fn origin_of(key: &Key, loaded: &Loaded) -> String {
    loaded
        .origins
        .get(key.name())
        .unwrap_or(&Origin::Default)
        .to_string()
}

fn valid(file: &SettingsFile, loaded: &Loaded) -> Exit {
    let there = if loaded.stamp.is_there() {
        "is valid"
    } else {
        "is not there: all defaults"
    };
    print(format!("{} {there}", file.path().display()))
}

fn validate_other(path: PathBuf) -> CliResult {
    let file = SettingsFile::new(path);
    let loaded = file
        .load(&Overrides::default())
        .map_err(|errors| bad_config(&errors))?;
    if !loaded.stamp.is_there() {
        // Somebody named it: its absence is no set of defaults.
        return Err(Failure::new(
            Exit::Io,
            format!("{} is not there", file.path().display()),
        ));
    }
    Ok(valid(&file, &loaded))
}

fn export(file: &SettingsFile) -> CliResult {
    let loaded = file
        .load(&Overrides::default())
        .map_err(|errors| bad_config(&errors))?;
    Ok(print(format!("{:#}", loaded.values.to_json())))
}

/// The settings in force before a change, or the safe ones when the file is being mended.
fn before(file: &SettingsFile) -> Settings {
    let values = file
        .load(&environment())
        .map_or_else(|_| Values::default(), |l| l.values);
    Settings::from(&values)
}
