//! What is in force: what the running gateway says it goes by, or, where none runs, what one started now
//! would go by.

use crate::cli::gateway::runtime;
use crate::cli::record::settings;
use crate::cli::{Exit, Failure, chat};
use crate::home::Home;
use clawdbot_config::{KEYS, Key, Loaded, Origin, Overrides, Settings, SettingsFile, Values, show};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A gateway that is there answers at once.
const PATIENCE: Duration = Duration::from_secs(3);

/// The settings in force, and who said so.
pub(in crate::cli) struct Effective {
    pub(in crate::cli) settings: Settings,
    pub(in crate::cli) values: Values,
    /// What the running gateway says of itself.
    pub(in crate::cli) running: Option<Value>,
    /// Why there is no such word, if there is none.
    pub(in crate::cli) silent: Option<String>,
    /// What this command would read from file and environment.
    pub(in crate::cli) loaded: Loaded,
}

impl Effective {
    /// Asks the gateway of this home, if one runs.
    pub(in crate::cli) fn of(home: &Home, port: Option<u16>) -> Result<Self, Failure> {
        let loaded = settings(home)?;
        let (running, silent) = match asked(home, port) {
            Ok(status) => (Some(status), None),
            Err(failure) => (None, Some(failure.message().to_owned())),
        };
        let told = running.as_ref().and_then(|status| status.get("config"));
        let values = match (&running, told.and_then(Value::as_object)) {
            (None, _) => loaded.values.clone(),
            (Some(_), Some(told)) => values_of(told)?,
            (Some(_), None) => {
                let why = "the running gateway does not say which settings it goes by";
                return Err(Failure::new(Exit::Unavailable, why).hint(
                    "it is of another version, or the operator's token is no admin's: restart it",
                ));
            }
        };
        Ok(Self {
            settings: Settings::from(&values),
            values,
            running,
            silent,
            loaded,
        })
    }

    /// The keys whose value in force is another than in the file: a restart is due.
    pub(in crate::cli) fn waiting(&self) -> Vec<&'static str> {
        let differs = |key: &&Key| key.read(&self.values) != key.read(&self.loaded.values);
        KEYS.iter().filter(differs).map(Key::name).collect()
    }

    /// What sets a key to a value for good.
    pub(in crate::cli) fn mend(&self, key: &str, value: &str) -> String {
        match self.loaded.origins.get(key) {
            Some(Origin::Env(name)) => format!("take {name} out of the gateway's environment"),
            _ => format!("clawdbot config set {key} {}", quoted(value)),
        }
    }

    /// In one line for people: whose word this is.
    pub(in crate::cli) fn source(&self) -> String {
        let Some(status) = &self.running else {
            return "what a gateway started now would go by; none runs".to_owned();
        };
        let version = status.get("version").and_then(Value::as_str).unwrap_or("?");
        let up = status.get("uptime_seconds").and_then(Value::as_u64);
        format!(
            "the running gateway (version {version}, up {} s)",
            up.unwrap_or(0)
        )
    }

    /// The same for programs.
    pub(in crate::cli) fn source_json(&self) -> Value {
        json!({"running": self.running.is_some(), "why_not": self.silent, "restart_due": self.waiting()})
    }
}

/// A word a shell takes as it is.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

fn asked(home: &Home, port: Option<u16>) -> Result<Value, Failure> {
    let client = chat::client(home, port)?;
    runtime()?.block_on(async {
        let asked = tokio::time::timeout(PATIENCE, client.get("/status")).await;
        asked.unwrap_or_else(|_| {
            let why = "something accepts connections at the gateway's port and does not answer";
            Err(Failure::new(Exit::Unavailable, why))
        })
    })
}

/// The values that a gateway told, read by the rules that a command line is read by.
fn values_of(told: &Map<String, Value>) -> Result<Values, Failure> {
    let known = told.iter().filter(|(_, value)| !value.is_null());
    let overrides = Overrides {
        env: Vec::new(),
        flags: known
            .map(|(key, value)| (key.clone(), show(value)))
            .collect(),
    };
    // Laid over nothing: a file that is not there is all defaults.
    let nothing = SettingsFile::new("/proc/self/no-settings");
    nothing
        .load(&overrides)
        .map(|loaded| loaded.values)
        .map_err(|errors| {
            Failure::new(
                Exit::Unavailable,
                format!(
                    "the running gateway goes by settings this program does not know: {errors}"
                ),
            )
            .hint("use the `clawdbot` of the version that runs")
        })
}

/// Every setting in force, as `/status` tells it: those that are read once at the start are as they were
/// then, whatever the file says by now.
pub fn told(values: &Values, started: &Values) -> Vec<(&'static str, Value)> {
    let of = |key: &Key| key.read(if key.needs_restart() { started } else { values });
    KEYS.iter().map(|key| (key.name(), of(key))).collect()
}

#[cfg(test)]
mod tests {
    use super::{quoted, told, values_of};
    use clawdbot_config::Key;
    use serde_json::{Map, json};

    #[test]
    fn what_a_gateway_tells_is_read_back_as_it_was() {
        let set = [
            ("gateway.tls.certificate", json!("/tls/cert.pem")),
            ("gateway.security.rateLimit.maxRequests", json!(7)),
            (
                "gateway.sandbox.allowedCommands",
                json!(["ls", "/usr/bin/git"]),
            ),
            ("gateway.cors.enabled", json!(true)),
            ("gateway.cors.allowedOrigins", json!(["https://a.example"])),
        ];
        let set: Map<_, _> = set.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let values = values_of(&set).unwrap();
        for (key, value) in &set {
            assert_eq!(&Key::find(key).unwrap().read(&values), value, "{key}");
        }
        let all: Map<_, _> = told(&values, &values)
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v))
            .collect();
        assert_eq!(values_of(&all).unwrap(), values);
        let mut newer = all;
        newer.insert("gateway.of.tomorrow".into(), true.into());
        assert!(
            values_of(&newer).is_err(),
            "what is not understood is not passed over"
        );
    }

    #[test]
    fn a_value_is_one_word_of_a_shell() {
        assert_eq!(quoted("strict"), "strict");
        assert_eq!(quoted(r#"["a"]"#), r#"'["a"]'"#);
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
