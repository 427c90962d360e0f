//! The command line: its grammar and its help. Settings come from a file and the environment.

#![expect(
    clippy::doc_markdown,
    reason = "the comments on what can be given are the help, which has no markup"
)]

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use megastats::appointments::import;

/// Appointment statistics for a clinic's dashboard: cached, and never older than the last
/// acknowledged write.
#[derive(Debug, Parser)]
#[command(name = "megastats", version)]
pub(crate) struct Cli {
    /// A TOML file that overrides the built-in defaults; variables spelt MEGASTATS__SECTION__KEY
    /// override both
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Serve over HTTP until told to stop; what happens when no command is given
    Serve,
    /// Serve made-up clinics to look at, whose figures move; nothing is left behind
    ///
    /// The data is in a temporary SQLite file, the cache in memory and warm. Of the settings only
    /// [server] and [log] count. Ctrl-C ends it.
    Demo {
        /// Open the page in the browser
        #[arg(long)]
        open: bool,
    },
    /// Copy the appointments of an AlignWork SQLite file into the configured database
    ///
    /// That database is the one that database.url names. Ids are kept: import before clients create
    /// appointments there, which would take the same ids. A row that is there already is not touched, so
    /// a second run changes nothing; a row whose id is there with other content is left. Such rows, and
    /// those that cannot be taken, are written to the rejects file with the reason, one JSON object a
    /// line.
    ///
    /// The file is opened read-only and may be in use: what it holds at the start is imported. A service
    /// that runs on a PostgreSQL database hears of the new appointments and counts them at once. One
    /// that runs on a SQLite file counts them when its cached answers have expired (cache.ttl_seconds).
    ///
    /// Exits with 0 when all that was read is there, and with 1 when rows were rejected or differ, or
    /// when it failed.
    Import(import::Options),
    /// Write a copy of the SQLite database to a new file
    ///
    /// A service may use the database (database.url) meanwhile: the copy has every write that was
    /// acknowledged before, and whole transactions only. It gets its name when it is complete and
    /// checked. Copying the database file itself would miss the latest writes. A PostgreSQL database is
    /// backed up with pg_dump.
    Backup {
        /// The copy; there must be no such file yet
        #[arg(value_name = "FILE")]
        target: PathBuf,
    },
    /// Count all appointments again, and correct the counts that are wrong
    ///
    /// They are those of the configured database (database.url). It counts by triggers, so counts are
    /// wrong only after somebody has changed rows while the triggers were off, or has changed the counts.
    /// A service may run meanwhile; what it has cached by wrong counts it answers until that expires
    /// (cache.ttl_seconds).
    ///
    /// Exits with 0 when all counts are right, or are now.
    Recount {
        /// Change nothing, name the tenants and periods whose counts are wrong, and exit with 1 if
        /// there are any
        #[arg(long)]
        check: bool,
    },
    /// Print the effective settings as a config file, without secrets
    Config,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_config_file_is_given_before_or_after_the_command_or_without_one() {
        for line in [
            "megastats --config x.toml",
            "megastats --config x.toml config",
        ] {
            assert_eq!(parse(line).config.as_deref(), Some(Path::new("x.toml")));
        }
        assert_eq!(
            parse("megastats serve --config x").config.as_deref(),
            Some(Path::new("x"))
        );
        assert_eq!(parse("megastats").command, None);
    }

    #[test]
    fn an_import_may_map_several_statuses() {
        let line = "megastats import a.db --status faltou=cancelled --dry-run --status x=pending";
        let Some(Command::Import(import)) = parse(line).command else {
            panic!("not an import")
        };
        assert_eq!(import.source, Path::new("a.db"));
        assert_eq!(import.statuses, ["faltou=cancelled", "x=pending"]);
        assert!(import.dry_run && import.rejects.is_none());
    }
}
