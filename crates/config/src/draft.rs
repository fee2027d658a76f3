//! A change to the file, prepared under the lock: look at what it does, write it down, commit.

use crate::document::{Document, is_group, unknown};
use crate::error::{ConfigError, ConfigErrors, Place};
use crate::file::{Lock, SettingsFile, replace, target_of};
use crate::keys::Key;
use crate::load::Layers;
use crate::nested;
use crate::values::Values;
use crate::weaken::{Change, changes};
use serde_json::{Map, Value};
use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be changed. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// What is there, or what it would become, is no valid configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// Another change does not finish.
    #[error("another command is changing the configuration and does not finish (lock: {})", path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
    /// The disk said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A change that is not made yet. The lock is held until it is committed or dropped, so what
/// [`changes`](Self::changes) says is what [`commit`](Self::commit) does.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    target: PathBuf,
    was: Option<Map<String, Value>>,
    root: Map<String, Value>,
    before: Values,
    _lock: Lock,
}

impl Draft {
    pub(crate) fn begin(file: &SettingsFile) -> Result<Self, EditError> {
        let path = file.path().to_owned();
        let target = target_of(&path)?;
        let lock = Lock::take(&target)?;
        let mut layers = Layers::new();
        let was = match file.document()? {
            // Which of two values is meant only a person can say; any edit would choose for them.
            Some((document, _)) if document.ambiguous => {
                return Err(ConfigErrors(document.faults).into());
            }
            Some((document, _)) => {
                let root = document.root.clone();
                layers.file(document);
                Some(root)
            }
            None => None,
        };
        let root = was.clone().unwrap_or_default();
        Ok(Self {
            path,
            target,
            was,
            root,
            before: layers.values,
            _lock: lock,
        })
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// An unknown key with the nearest known one, or what the key may be.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), ConfigErrors> {
        let key = Key::find(name).ok_or_else(|| unknown_or_group(name))?;
        let refused = |problem| {
            ConfigError::new(Place::Request, problem)
                .key(name)
                .value(&value.to_string())
        };
        let mut parsed = Values::default();
        key.kind.write(&mut parsed, value).map_err(refused)?;
        // Kept in its canonical spelling, so that equal settings have equal files.
        nested::insert(&mut self.root, name, key.read(&parsed)).map_err(|group| {
            ConfigErrors::from(
                ConfigError::new(
                    Place::File(self.path.clone()),
                    "is a group of keys: must be an object { … }",
                )
                .key(&group)
                .remedy(format!("clawdbot config unset {group}")),
            )
        })
    }

    /// Gives a key the value that a word stands for, as on the command line.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_word(&mut self, name: &str, text: &str) -> Result<(), ConfigErrors> {
        let key = Key::find(name).ok_or_else(|| unknown_or_group(name))?;
        let refused = |problem| {
            ConfigError::new(Place::Request, problem)
                .key(name)
                .value(text)
        };
        let value = key.value_of_word(text).map_err(refused)?;
        // A word shown as JSON would have quotes nobody typed.
        key.kind
            .write(&mut Values::default(), &value)
            .map_err(refused)?;
        self.set(name, &value)
    }

    /// Takes a key, or a whole group, out of the file: the default holds again. An unknown key can be
    /// taken out too when the file holds it.
    ///
    /// # Errors
    /// A name that is neither known nor in the file.
    pub fn unset(&mut self, name: &str) -> Result<(), ConfigErrors> {
        let known = Key::find(name).is_some() || is_group(name);
        if nested::remove(&mut self.root, name) || known {
            Ok(())
        } else {
            Err(unknown(name, Place::Request).into())
        }
    }

    /// Takes everything out of the file.
    pub fn reset(&mut self) {
        self.root = Map::new();
    }

    /// Puts another file's content in the place of this one's. `name` is where it came from.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn import(&mut self, bytes: &[u8], name: &Path) -> Result<(), ConfigErrors> {
        let document = Document::parse(bytes, name)?;
        let root = document.root.clone();
        let mut layers = Layers::new();
        layers.file(document);
        ConfigErrors::none_of(layers.errors)?;
        self.root = root;
        Ok(())
    }

    /// What would change, before it does.
    ///
    /// # Errors
    /// Everything that would be wrong with the file then, what was wrong before included.
    pub fn changes(&self) -> Result<Vec<Change>, ConfigErrors> {
        Ok(changes(&self.before, &self.after()?))
    }

    /// What the file alone would say, key by key.
    ///
    /// # Errors
    /// As [`changes`](Self::changes).
    pub fn after(&self) -> Result<Values, ConfigErrors> {
        let here = || Place::File(self.path.clone());
        let mut layers = Layers::new();
        layers.file(Document::parse(self.text().as_bytes(), &self.path)?);
        // Lines and columns would be those of a text that nobody has.
        for error in &mut layers.errors {
            error.place = here();
        }
        ConfigErrors::none_of(layers.errors)?;
        Ok(layers.values)
    }

    /// Makes the change: durable when this returns, or not made at all.
    ///
    /// # Errors
    /// As [`changes`](Self::changes), or when the disk says no.
    pub fn commit(self) -> Result<Vec<Change>, EditError> {
        let changes = self.changes()?;
        let untouched = self
            .was
            .as_ref()
            .map_or(self.root.is_empty(), |was| *was == self.root);
        if !untouched {
            replace(&self.target, self.text().as_bytes())?;
        }
        Ok(changes)
    }

    fn text(&self) -> String {
        format!("{:#}\n", Value::Object(self.root.clone()))
    }
}

fn unknown_or_group(name: &str) -> ConfigErrors {
    match Key::under(name) {
        Ok(keys) => {
            let names: Vec<_> = keys.iter().map(|key| key.name()).collect();
            let problem = format!("is a group of keys; set one of {}", names.join(", "));
            ConfigError::new(Place::Request, problem).key(name).into()
        }
        Err(errors) => errors,
    }
}

#[cfg(test)]
mod tests;
