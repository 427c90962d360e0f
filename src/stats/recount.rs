//! `megastats recount`: whether the database's counts are equal to its appointments, and making them so.

use std::{fmt, time::Duration};

use thiserror::Error;

use super::store::{self, Difference};
use crate::{
    db::{Announce, Db, DbError, OpenError},
    settings::Settings,
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
                    "more than {MAX_LINES} counts are wrong: run megastats recount"
                )
            }
            number => write!(f, "{number} counts are wrong: run megastats recount"),
        }
    }
}

/// Compares the counts with the appointments. Others may write meanwhile.
pub async fn check(settings: &Settings) -> Result<Differences, RecountError> {
    let db = open(settings)?;
    let found = db
        .read(None, |conn| store::differences(conn, MAX_LINES + 1))
        .await?;
    Ok(Differences(found))
}

/// Makes the counts equal to the appointments, in one transaction; returns how many it changed. On
/// PostgreSQL others may write meanwhile.
pub async fn recount(settings: &Settings) -> Result<usize, RecountError> {
    let db = open(settings)?;
    let turn = db.write_turn(None).await?;
    Ok(db.write(turn, None, store::recount).await?)
}

fn open(settings: &Settings) -> Result<Db, RecountError> {
    let mut settings = settings.database.clone();
    settings.statement_timeout = TIMEOUT;
    Db::open(&settings, None, Announce::Nothing).map_err(|source| RecountError::Open {
        url: settings.url.to_string(),
        source,
    })
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
    /// The database could not be read or written.
    #[error("database.url: {0}")]
    Database(#[from] DbError),
}
