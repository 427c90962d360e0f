//! Why settings were refused. Every message is one line and shows no secret, so that it can be
//! printed as it is.

use std::io;

use thiserror::Error;

/// Settings that stop the start. Each message names the key, or the file where there is none.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The config file cannot be read.
    #[error("cannot read the config file {file}: {source}")]
    Unreadable {
        /// Its path as given, on one line.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The config file is not TOML.
    #[error("{file}, line {line}, column {column}: {problem}")]
    Syntax {
        /// Its path as given, on one line.
        file: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is wrong there, without the text of the line: it may hold a secret.
        problem: String,
    },
    /// A key of the config file, or a variable of the environment, that is not a setting.
    #[error("{name} in {origin} is not a setting: {hint}")]
    Unknown {
        /// The dotted key or the variable, on one line.
        name: String,
        /// The file, or the environment.
        origin: String,
        /// What may have been meant.
        hint: String,
    },
    /// A setting with a value that is not allowed.
    #[error("{key} in {origin}: {problem}")]
    Invalid {
        /// The dotted key.
        key: String,
        /// The file, or the variable of the environment.
        origin: String,
        /// What was given and what is allowed.
        problem: String,
    },
    /// Settings that do not fit each other.
    #[error("{keys}: {problem}")]
    Together {
        /// The dotted key to change.
        keys: &'static str,
        /// What does not fit.
        problem: String,
    },
}
