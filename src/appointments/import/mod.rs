//! Importing the appointments of `AlignWork`: the run, batch by batch.
//!
//! | file | what lives there |
//! |---|---|
//! | `cell`, `row`, `statuses` | reading a row of the source, and whether it can be imported |
//! | `store` | statements |
//! | `rejects` | the file of the rows that were not imported |
//! | `report` | what was done |
//!
//! Each batch is written in a transaction of its own, which checks every id again. So a service may run
//! on the database meanwhile, and a run that was interrupted can be repeated. On
//! PostgreSQL such a service hears of the new appointments and counts them at once; on SQLite it counts
//! them at the latest when its cached answers expire.

mod cell;
mod rejects;
mod report;
mod row;
mod statuses;
mod store;

use std::{
    io,
    iter::zip,
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use thiserror::Error;

pub use self::report::Report;
use self::{
    rejects::Rejects,
    row::SourceRow,
    statuses::Statuses,
    store::{Source, SourceError, Verdict},
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

/// What to import, and how. The comments are the help, too.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// AlignWork's SQLite file; it is not changed
    #[arg(value_name = "FILE")]
    pub source: PathBuf,

    /// Check every row and report, but write nothing except the rejects file
    #[arg(long)]
    pub dry_run: bool,

    /// Where to write the rows that are not taken, with the reasons; an earlier run's file is
    /// replaced [default: FILE.rejects.jsonl in the working directory]
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,

    /// Read the status FROM as TO (pending, confirmed or cancelled); may be repeated. An empty
    /// FROM is NULL or empty text
    #[arg(long = "status", value_name = "FROM=TO")]
    pub statuses: Vec<String>,
}

/// An import that did not run, or not to its end. The message is one line.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ImportError(String);

/// Imports as `options` say into the database that `settings` name.
///
/// Rows that are not imported do not make it fail: see [`Report::is_complete`]. It blocks its thread while
/// it reads, so the program must have nothing else to do.
pub async fn run(settings: &Settings, options: &Options) -> Result<Report, ImportError> {
    let statuses = Statuses::parse(&options.statuses).map_err(ImportError)?;
    let database = &settings.database;
    let own = match &database.url {
        DatabaseUrl::Sqlite(own) => Some(own.as_path()),
        DatabaseUrl::Postgres(_) => None,
    };
    let no_source = |reason: SourceError| {
        ImportError(format!(
            "cannot import {}: {reason}",
            options.source.display()
        ))
    };
    if own.is_some_and(|own| is_same_file(&options.source, own)) {
        return Err(no_source(SourceError::Itself));
    }
    let rejects = open_rejects(options, own)?;
    let mut source = Source::open(&options.source, database.busy_timeout).map_err(no_source)?;
    let target = ImportTarget::open(database, options.dry_run)
        .map_err(|error| ImportError(format!("database.url: {}: {error}", database.url)))?;

    let total = source.total();
    let mut run = Run {
        target,
        statuses,
        rejects,
        report: Report {
            dry_run: options.dry_run,
            ..Report::default()
        },
    };
    let stopped = |done, reason| {
        ImportError(format!(
            "stopped after {done} of {total} rows: {reason}; run it again to go on"
        ))
    };
    let progress = progress(total);
    loop {
        let done = run.report.read;
        let rows = source
            .next(BATCH_ROWS)
            .map_err(|error| stopped(done, format!("cannot read the source: {error}")))?;
        if rows.is_empty() {
            break;
        }
        run.step(&rows)
            .await
            .map_err(|reason| stopped(done, reason))?;
        progress.set_position(run.report.read);
    }
    progress.finish_and_clear();
    let rejects = run.rejects.finish().map_err(|error| no_rejects(&error));
    Ok(Report {
        rejects: rejects.map_err(|reason| stopped(total, reason))?,
        ..run.report
    })
}

fn no_rejects(error: &io::Error) -> String {
    format!("cannot write the rejects file: {error}")
}

fn open_rejects(options: &Options, own: Option<&Path>) -> Result<Rejects, ImportError> {
    let path = options.rejects.clone().unwrap_or_else(|| {
        let mut name = options.source.file_name().unwrap_or_default().to_owned();
        name.push(".rejects.jsonl");
        name.into()
    });
    let mut taken = [Some(options.source.as_path()), own].into_iter().flatten();
    let opened = if taken.any(|other| is_same_file(&path, other)) {
        Err(io::Error::other(
            "must be another file than the source and the database",
        ))
    } else {
        Rejects::new(&path)
    };
    opened.map_err(|error| ImportError(format!("--rejects {}: {error}", path.display())))
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
    /// Imports the next rows; `Err` says why not.
    async fn step(&mut self, rows: &[SourceRow]) -> Result<(), String> {
        let read = rows.iter().map(|row| row::read(row, &self.statuses));
        let read: Vec<_> = read.collect();
        let batch = read.iter().flatten().cloned().collect();
        let verdicts = self.target.take(batch).await;
        let verdicts = verdicts.map_err(|error| format!("database.url: {error}"))?;
        let mut verdicts = verdicts.into_iter();
        for (row, read) in zip(rows, read) {
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
            self.rejects
                .add(row, &reason)
                .map_err(|error| no_rejects(&error))?;
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
