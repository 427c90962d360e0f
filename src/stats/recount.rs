//! `megastats recount`: whether the database's counts are equal to its appointments, and making them so.

use std::{fmt, time::Duration};

use thiserror::Error;

use super::store::{self, Difference};
use crate::{
    db::{Announce, AnyConn, Db, DbError, OpenError},
    settings::{DatabaseSettings, Settings},
};

/// How long it may take: everything is counted in one statement.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// How many differences are reported: each is a line.
const MAX_LINES: usize = 100;

/// The first periods whose counts are wrong, by tenant and time. `Display` has a line for each, and a last
/// one.
#[derive(Debug)]
pub struct Differences(Vec<Difference>);

impl Differences {
    /// Whether all counts are right.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in self.0.iter().take(MAX_LINES) {
            writeln!(f, "{difference}")?;
        }
        match self.0.len() {
            0 => write!(f, "all counts are right"),
            number if number > MAX_LINES => {
                write!(
                    f,
                    "counts that are wrong: more than {MAX_LINES}; run megastats recount"
                )
            }
            number => write!(f, "counts that are wrong: {number}; run megastats recount"),
        }
    }
}

/// Compares the counts with the appointments, and changes nothing. Others may write meanwhile. It is called
/// within a runtime, whose thread it blocks.
pub fn check(settings: &Settings) -> Result<Differences, RecountError> {
    let database = patient(settings);
    let url = || database.url.to_string();
    let connected = AnyConn::read_only(&database);
    let mut conn = connected
        .map_err(|source| RecountError::Open {
            url: url(),
            source: source.into(),
        })?
        .ok_or_else(|| RecountError::Missing { url: url() })?;
    let found = store::differences(&mut conn, MAX_LINES + 1).map_err(DbError::from)?;
    Ok(Differences(found))
}

/// Makes the counts equal to the appointments, in one transaction; returns how many it changed. On
/// PostgreSQL others may write meanwhile.
pub async fn recount(settings: &Settings) -> Result<usize, RecountError> {
    let database = patient(settings);
    let opened = Db::open(&database, None, Announce::Nothing);
    let db = opened.map_err(|source| RecountError::Open {
        url: database.url.to_string(),
        source,
    })?;
    let turn = db.write_turn(None).await?;
    Ok(db.write(turn, None, store::recount).await?)
}

/// The settings of a database whose statements may take long.
fn patient(settings: &Settings) -> DatabaseSettings {
    DatabaseSettings {
        statement_timeout: TIMEOUT,
        ..settings.database.clone()
    }
}

/// The counts could not be compared or changed. `Display` is one line.
#[derive(Debug, Error)]
pub enum RecountError {
    /// The configured database cannot be opened.
    #[error("database.url: {url}: {source}")]
    Open {
        /// The database, without secrets.
        url: String,
        /// Why not.
        source: OpenError,
    },
    /// There is no database, or one without appointments.
    #[error("database.url: {url}: there are no appointments to count")]
    Missing {
        /// The database, without secrets.
        url: String,
    },
    /// The database could not be read or written.
    #[error("database.url: {0}")]
    Database(#[from] DbError),
}
