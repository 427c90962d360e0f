//! The command line: its grammar and its help. Settings come from a file and the environment.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use megastats::appointments::import;

const CONFIG_HELP: &str = "A TOML file that overrides the built-in defaults; variables spelt \
                           MEGASTATS__SECTION__KEY override both";

const IMPORT_ABOUT: &str = "Copy the appointments of an AlignWork database into this one";

const IMPORT_HELP: &str = "\
Copy the appointments of an AlignWork SQLite file into the configured database (database.url).

Ids are kept: import before clients create appointments here, which would take the same ids. A \
row that is here already is not touched, so a second run changes nothing; a row whose id is here \
with other content is left. Such rows, and those that cannot be taken, are written to the rejects \
file with the reason, one JSON object a line.

The file is opened read-only and may be in use: what it holds at the start is imported. A service \
that runs on a PostgreSQL database hears of the new appointments and counts them at once. One that \
runs on a SQLite file counts them when its cached answers have expired (cache.ttl_seconds).

Exits with 0 when all that was read is here, and with 1 when rows were rejected or differ, or when \
it failed.";

const BACKUP_ABOUT: &str = "Write a copy of the SQLite database to a new file";

const BACKUP_HELP: &str = "\
Write a copy of the SQLite database (database.url) to a new file.

A service may use the database meanwhile: the copy has every write that was acknowledged before, and \
whole transactions only. It gets its name when it is complete and checked. Copying the database file \
itself would miss the latest writes. A PostgreSQL database is backed up with pg_dump.";

/// Appointment statistics for a clinic's dashboard: cached, and never older than the last
/// acknowledged write.
#[derive(Debug, Parser)]
#[command(name = "megastats", version)]
pub(crate) struct Cli {
    #[arg(long, value_name = "FILE", global = true, help = CONFIG_HELP)]
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
    #[command(about = IMPORT_ABOUT, long_about = IMPORT_HELP)]
    Import(ImportArgs),
    #[command(about = BACKUP_ABOUT, long_about = BACKUP_HELP)]
    Backup {
        #[arg(value_name = "FILE", help = "The copy; there must be no such file yet")]
        target: PathBuf,
    },
    /// Print the effective settings as a config file, without secrets
    Config,
}

#[derive(Debug, PartialEq, Eq, Args)]
pub(crate) struct ImportArgs {
    #[arg(
        value_name = "FILE",
        help = "AlignWork's SQLite file; it is not changed"
    )]
    pub(crate) source: PathBuf,

    /// Check every row and report, but write nothing except the rejects file
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Where to write the rows that are not taken, with the reasons; an earlier run's file is
    /// replaced [default: FILE.rejects.jsonl in the working directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) rejects: Option<PathBuf>,

    /// Read the status FROM as TO (pending, confirmed or cancelled); may be repeated. An empty
    /// FROM is NULL or empty text
    #[arg(long = "status", value_name = "FROM=TO")]
    pub(crate) statuses: Vec<String>,
}

impl From<ImportArgs> for import::Options {
    fn from(args: ImportArgs) -> Self {
        let ImportArgs {
            source,
            dry_run,
            rejects,
            statuses,
        } = args;
        Self {
            source,
            dry_run,
            rejects,
            statuses,
        }
    }
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
