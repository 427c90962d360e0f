//! Why an import did not run, or not to its end.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::{statuses::InvalidMapping, store::SourceError};
use crate::db::{DbError, OpenError};

/// An import that did not run to its end. `Display` is one line.
#[derive(Debug, Error)]
pub enum ImportError {
    /// A status mapping says nothing usable.
    #[error(transparent)]
    Mapping(#[from] InvalidMapping),
    /// The source cannot be read.
    #[error("cannot import {}: {reason}", path.display())]
    Source {
        /// The source.
        path: PathBuf,
        /// Why not.
        reason: SourceError,
    },
    /// The configured database cannot be opened.
    #[error("database.url: {url}: {source}")]
    Database {
        /// The database, without secrets.
        url: String,
        /// Why not.
        source: OpenError,
    },
    /// The rejects file cannot be written.
    #[error("--rejects {}: {reason}", path.display())]
    Rejects {
        /// The rejects file.
        path: PathBuf,
        /// Why not.
        reason: RejectsError,
    },
    /// It failed on its way; what was imported before is in the database.
    #[error("stopped after {done} of {total} rows: {source}; run it again to go on")]
    Stopped {
        /// Rows that were dealt with.
        done: u64,
        /// Rows of the source.
        total: u64,
        /// Why.
        source: StepError,
    },
}

/// A rejects file that cannot be written.
#[derive(Debug, Error)]
pub enum RejectsError {
    /// The system says why.
    #[error(transparent)]
    File(#[from] io::Error),
    /// Something other than a file has that name.
    #[error("must be a file, or not be there yet")]
    NotAFile,
    /// It would replace a database.
    #[error("must be another file than the source and the database")]
    Taken,
}

/// A step of the import failed.
#[derive(Debug, Error)]
pub enum StepError {
    /// The snapshot of the source could not be read on.
    #[error("cannot read the source: {0}")]
    Source(#[from] SourceError),
    /// The database could not be read or written.
    #[error("database.url: {0}")]
    Database(#[from] DbError),
    /// The rejects file could not be written.
    #[error("cannot write the rejects file: {0}")]
    Rejects(#[from] io::Error),
}
