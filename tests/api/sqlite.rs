//! What holds only where the database is a `SQLite` file and the cache in the service's memory.
//!
//! | file | what lives there |
//! |---|---|
//! | `start` | where the file is, and what is no place or file for it |
//! | `names` | who else may have it, by whatever name |
//! | `moved` | a file that is removed or replaced while it is served |
//! | `backup` | `megastats backup`, and putting a backup in place |
//! | `disk` | a full disk |
//! | `demo` | made-up clinics to look at |
//! | `import` | an import whose files are in the database's place, or the database in theirs |

mod backup;
mod demo;
mod disk;
mod import;
mod moved;
mod names;
mod start;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use harness::{Folder, Process, Raw, SQLITE_FILE, Sqlite, command, run};
use reqwest::StatusCode;

use crate::suite::life::appointment;

/// For a process that shares its file with others.
const UNCACHED: (&str, &str) = ("MEGASTATS__CACHE__BACKEND", "none");

fn database(folder: &Path) -> PathBuf {
    folder.join(SQLITE_FILE)
}

/// The environment of a program that uses the file at `path`.
fn url(path: impl AsRef<Path>) -> [(&'static str, String); 1] {
    let url = format!("sqlite://{}", path.as_ref().display());
    [("MEGASTATS__DATABASE__URL", url)]
}

/// The program in `folder` with `arguments`, on the file at `path`.
fn program(folder: &Path, arguments: &[&str], path: impl AsRef<Path>) -> Command {
    let mut command = command(folder);
    command
        .args(arguments)
        .envs(url(path))
        .env("MEGASTATS__SERVER__PORT", "0");
    command
}

/// Runs the program, which must stop with one line about the database; returns the line.
fn refusal(mut command: Command) -> String {
    let output = run(&mut command);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("megastats: database.url: "), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// The status with which the service answers a create.
fn create(process: &Process, patient: &str) -> StatusCode {
    let mut client = Raw::connect(process.url());
    client.post(&appointment(patient));
    client.reply().status
}

/// A database at `path` as a program leaves it that is killed: its latest rows are in the `-wal` file.
fn killed(path: &Path, tables: &str) {
    let folder = Folder::new();
    let running = folder.path().join("running.db");
    let mut sqlite = Sqlite::open(&running);
    sqlite.execute("PRAGMA journal_mode = WAL");
    sqlite.execute(tables);
    for suffix in ["", "-wal"] {
        let [from, to] = [&running, path].map(|path| format!("{}{suffix}", path.display()));
        fs::copy(from, to).unwrap();
    }
}
