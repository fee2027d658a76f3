//! Everything that is wrong, at once.

use crate::kind::short;
use std::fmt;
use std::path::PathBuf;

/// Where a value came from that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A point in a file.
    At {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// A file as a whole.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A flag on the command line.
    Flag(String),
    /// What was asked for just now.
    Request,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At { path, line, column } => write!(f, "{}:{line}:{column}: ", path.display()),
            Self::File(path) => write!(f, "{}: ", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}: "),
            Self::Flag(name) => write!(f, "flag {name}: "),
            Self::Request => Ok(()),
        }
    }
}

/// One thing that is wrong: where, which key, what it holds, what is right, how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it stands.
    pub place: Place,
    /// The key, when the error is about one.
    pub key: Option<String>,
    /// The value, cut to 80 characters. Never that of an unknown key: it may be a misplaced secret.
    pub value: Option<String>,
    /// What is wrong, or what would be right.
    pub problem: String,
    /// How to mend it, when that is more than writing another value.
    pub remedy: Option<String>,
}

impl ConfigError {
    pub(crate) fn new(place: Place, problem: impl Into<String>) -> Self {
        Self {
            place,
            key: None,
            value: None,
            problem: problem.into(),
            remedy: None,
        }
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = Some(short(key));
        self
    }

    pub(crate) fn value(mut self, value: &str) -> Self {
        self.value = Some(short(value));
        self
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)?;
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, "{key} = {value}: ")?,
            (Some(key), None) => write!(f, "{key}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.problem)?;
        match &self.remedy {
            Some(remedy) => write!(f, " ({remedy})"),
            None => Ok(()),
        }
    }
}

/// All that is wrong with a configuration; at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl ConfigErrors {
    /// Each error.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// `Ok` when nothing is wrong.
    pub(crate) fn none_of(errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Self(errors))
        }
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return only.fmt(f);
        }
        write!(
            f,
            "{} things are wrong with the configuration:",
            self.0.len()
        )?;
        self.0
            .iter()
            .try_for_each(|error| write!(f, "\n  - {error}"))
    }
}

impl std::error::Error for ConfigErrors {}
