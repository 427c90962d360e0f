//! Importing the appointments of `AlignWork`: the run, batch by batch.
//!
//! | file | what lives there |
//! |---|---|
//! | `cell`, `row`, `statuses` | reading a row of the source, and whether it can be imported |
//! | `store` | statements |
//! | `rejects` | the file of the rows that were not imported |
//! | `report`, `error` | what was done, and why an import stopped |
//!
//! Each batch is written in a transaction of its own, which checks every id again. So a service may run
//! on the database meanwhile, and a run that was interrupted can be repeated. On
//! PostgreSQL such a service hears of the new appointments and counts them at once; on SQLite it counts
//! them at the latest when its cached answers expire.

mod cell;
mod error;
mod rejects;
mod report;
mod row;
mod statuses;
mod store;

use std::{
    iter::zip,
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use error::{ImportError, RejectsError, StepError};
pub use report::Report;
pub use statuses::InvalidMapping;
pub use store::SourceError;

use self::{
    cell::Cell,
    rejects::Rejects,
    row::Columns,
    statuses::Statuses,
    store::{Source, Verdict},
};
use super::model::Appointment;
use crate::{
    db::{Announce, AnyConn, Db, DbError, OpenError, is_same_file},
    settings::{DatabaseSettings, DatabaseUrl, Settings},
};

/// How many rows are read and written in one transaction: few enough to hold the write lock, for which a
/// service may wait, for some milliseconds only.
const BATCH_ROWS: usize = 500;

/// The number of rows from which on a progress bar is shown: about a second's work.
const LONG_IMPORT_ROWS: u64 = 50_000;

/// What to import, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `AlignWork`'s `SQLite` file. It is not changed.
    pub source: PathBuf,
    /// Whether to write nothing but the rejects file.
    pub dry_run: bool,
    /// The file for the rows that are not imported; by default the source's name with `.rejects.jsonl`,
    /// in the working directory. An earlier run's file is replaced.
    pub rejects: Option<PathBuf>,
    /// `FROM=TO` each: which status stands for another one of the source. An empty FROM means NULL.
    pub statuses: Vec<String>,
}

/// Imports as `options` say into the database that `settings` name.
///
/// Rows that are not imported do not make it fail: see [`Report::is_complete`]. It blocks its thread while
/// it reads, so the program must have nothing else to do.
pub async fn run(settings: &Settings, options: &Options) -> Result<Report, ImportError> {
    let statuses = Statuses::parse(&options.statuses)?;
    let database = &settings.database;
    let own = match &database.url {
        DatabaseUrl::Sqlite(own) => Some(own.as_path()),
        DatabaseUrl::Postgres(_) => None,
    };
    let no_source = |reason| ImportError::Source {
        path: options.source.clone(),
        reason,
    };
    if own.is_some_and(|own| is_same_file(&options.source, own)) {
        return Err(no_source(SourceError::Itself));
    }
    let rejects = open_rejects(options, own)?;
    let mut source = Source::open(&options.source, database.busy_timeout).map_err(no_source)?;
    let target =
        ImportTarget::open(database, options.dry_run).map_err(|source| ImportError::Database {
            url: database.url.to_string(),
            source,
        })?;

    let total = source.total();
    let report = Report {
        dry_run: options.dry_run,
        ..Report::default()
    };
    let mut run = Run {
        target,
        statuses,
        rejects,
        report,
    };
    let stopped = |done, source| ImportError::Stopped {
        done,
        total,
        source,
    };
    let progress = progress(total);
    loop {
        let done = run.report.read;
        let rows = source
            .next(BATCH_ROWS)
            .map_err(|error| stopped(done, error.into()))?;
        if rows.is_empty() {
            break;
        }
        run.step(source.columns(), &rows)
            .await
            .map_err(|error| stopped(done, error))?;
        progress.set_position(run.report.read);
    }
    progress.finish_and_clear();
    let Run {
        rejects,
        mut report,
        ..
    } = run;
    report.rejects = rejects
        .finish()
        .map_err(|error| stopped(total, error.into()))?;
    Ok(report)
}

fn open_rejects(options: &Options, own: Option<&Path>) -> Result<Rejects, ImportError> {
    let path = options.rejects.clone().unwrap_or_else(|| {
        let mut name = options.source.file_name().unwrap_or_default().to_owned();
        name.push(".rejects.jsonl");
        name.into()
    });
    let mut taken = [Some(options.source.as_path()), own].into_iter().flatten();
    let opened = if taken.any(|other| is_same_file(&path, other)) {
        Err(RejectsError::Taken)
    } else {
        Rejects::new(&path)
    };
    opened.map_err(|reason| ImportError::Rejects { path, reason })
}

/// It is drawn only where standard error is a terminal.
fn progress(total: u64) -> ProgressBar {
    if total < LONG_IMPORT_ROWS {
        return ProgressBar::hidden();
    }
    let style = "{bar:40} {human_pos} of {human_len} rows, {eta} left";
    ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

/// Where the appointments go.
enum ImportTarget {
    Database(Db),
    DryRun {
        /// The database, if there is one.
        conn: Option<AnyConn>,
        /// What would be stored under the last id.
        carried: Option<Appointment>,
    },
}

impl ImportTarget {
    fn open(settings: &DatabaseSettings, dry_run: bool) -> Result<Self, OpenError> {
        if dry_run {
            Ok(Self::DryRun {
                conn: AnyConn::read_only(settings)?,
                carried: None,
            })
        } else {
            Db::open(settings, None, Announce::Changes).map(Self::Database)
        }
    }

    async fn take(&mut self, batch: Vec<Appointment>) -> Result<Vec<Verdict>, DbError> {
        match self {
            Self::Database(db) => {
                let turn = db.write_turn(None).await?;
                db.write(turn, None, move |conn| store::take(conn, &batch))
                    .await
            }
            Self::DryRun { conn, carried } => Ok(store::compare(conn.as_mut(), &batch, carried)?),
        }
    }
}

/// An import under way.
struct Run {
    target: ImportTarget,
    statuses: Statuses,
    rejects: Rejects,
    report: Report,
}

impl Run {
    /// Imports the next rows.
    async fn step(&mut self, columns: &Columns, rows: &[Vec<Cell>]) -> Result<(), StepError> {
        let read: Vec<_> = rows
            .iter()
            .map(|cells| row::read(columns, cells, &self.statuses))
            .collect();
        let batch = read.iter().flatten().cloned().collect();
        let mut verdicts = self.target.take(batch).await?.into_iter();
        for (cells, read) in zip(rows, read) {
            self.report.read += 1;
            let reason = match read {
                Err(reason) => {
                    self.report.rejected += 1;
                    reason
                }
                Ok(appointment) => match verdicts
                    .next()
                    .expect("the store returns a verdict for each appointment")
                {
                    Verdict::New => {
                        self.report.imported += 1;
                        continue;
                    }
                    Verdict::Same => {
                        self.report.already_here += 1;
                        continue;
                    }
                    Verdict::Other(stored) => {
                        self.report.differing += 1;
                        difference(&appointment, &stored)
                    }
                },
            };
            self.rejects.add(columns, cells, &reason)?;
        }
        Ok(())
    }
}

/// Says in which columns the stored appointment differs, and what it has there.
fn difference(given: &Appointment, stored: &Appointment) -> String {
    let columns = |of: &Appointment| serde_json::to_value(of).unwrap_or_default();
    let given = columns(given);
    let stored = columns(stored);
    let others: Vec<String> = stored
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| given.get(name) != Some(*value))
        .map(|(name, value)| format!("{name} is {value}"))
        .collect();
    format!(
        "id exists with other content, which is left: there {}",
        others.join(", ")
    )
}
