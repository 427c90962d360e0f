//! `megastats backup`, and putting a backup in place.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::Path, sync::Mutex, thread};

use harness::{Folder, Process, Sqlite, command, poll, run};
use reqwest::StatusCode;

use super::{create, database, disk, program, refusal};
use crate::suite::life::patients;

/// How many appointments each of two writers makes.
const WRITES: usize = 80;

/// Backs the database of `folder` up to `target`; returns the line that says so.
fn backup(folder: &Path, target: &str) -> String {
    let output = run(command(folder).args(["backup", target]));
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn a_backup_has_every_write_that_was_acknowledged_before_it_began() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &[]);
    let acknowledged = Mutex::new(BTreeSet::new());
    let backups = thread::scope(|scope| {
        for writer in 0..2 {
            let (process, acknowledged) = (&process, &acknowledged);
            scope.spawn(move || {
                for n in 0..WRITES {
                    let patient = format!("{writer}-{n}");
                    assert_eq!(create(process, &patient), StatusCode::CREATED);
                    acknowledged.lock().unwrap().insert(patient);
                }
            });
        }
        [WRITES / 4, WRITES / 2, WRITES].map(|enough| {
            let expected = poll("enough is written", || {
                let now = acknowledged.lock().unwrap().clone();
                (now.len() >= enough).then_some(now)
            });
            let target = format!("{enough}.db");
            backup(folder.path(), &target);
            (target, expected)
        })
    });
    process.kill();
    for (target, expected) in backups {
        let process = Process::start_command(program(folder.path(), &[], &target), &[]);
        let there: BTreeSet<_> = patients(process.url()).await.into_iter().collect();
        assert!(expected.is_subset(&there), "{target}");
        let attempted = acknowledged.lock().unwrap();
        assert!(there.is_subset(&attempted), "{target}");
    }
}

#[tokio::test]
async fn a_backup_replaces_a_database_whose_service_was_killed() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &[]);
    assert_eq!(create(&process, "ana"), StatusCode::CREATED);
    assert_eq!(
        backup(folder.path(), "backup.db"),
        "backed up 1 appointments to backup.db\n"
    );
    assert_eq!(create(&process, "bia"), StatusCode::CREATED);
    process.kill();
    fs::rename(folder.path().join("backup.db"), database(folder.path())).unwrap();
    // SQLite would bring "bia" into it, and whatever else does not fit.
    let line = refusal(program(folder.path(), &[], "data/megastats.db"));
    assert!(
        line.contains("megastats.db-wal has changes of another database"),
        "{line}"
    );
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(format!("{}{suffix}", database(folder.path()).display())).unwrap();
    }
    let process = Process::start(folder.path(), &[]);
    assert_eq!(patients(process.url()).await, ["ana"]);
}

#[test]
fn a_backup_replaces_nothing_and_leaves_nothing_when_it_fails() {
    let folder = Folder::new();
    Process::start(folder.path(), &[]).kill();
    fs::write(folder.path().join("taken"), "mine").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    symlink("nowhere", folder.path().join("link")).unwrap();
    let before = names(folder.path());
    for (target, said) in [
        (
            "taken",
            "it is there already, and a backup replaces nothing",
        ),
        ("folder", "it is there already"),
        ("link", "it is there already"),
        ("data/megastats.db", "it is there already"),
        ("missing/backup.db", "there is no folder missing"),
        ("taken/backup.db", "there is no folder taken"),
        ("..", "it is there already"),
    ] {
        let output = run(command(folder.path()).args(["backup", target]));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let expected = format!("megastats: cannot back up to {target}: {said}");
        assert!(
            stderr.starts_with(&expected) && stderr.lines().count() == 1,
            "{stderr}"
        );
        assert_eq!(names(folder.path()), before);
    }
    assert_eq!(fs::read(folder.path().join("taken")).unwrap(), b"mine");
}

#[test]
fn what_is_no_database_of_ours_is_not_backed_up() {
    let folder = Folder::new();
    fs::write(folder.path().join("empty.db"), "").unwrap();
    let before = names(folder.path());
    for path in ["missing.db", "missing/m.db", "empty.db"] {
        let line = refusal(program(folder.path(), &["backup", "backup.db"], path));
        assert!(
            line.ends_with("there is no database of megastats\n"),
            "{line}"
        );
    }
    let mut postgres = command(folder.path());
    postgres.args(["backup", "backup.db"]);
    postgres.env(
        "MEGASTATS__DATABASE__URL",
        "postgres://ana:hunter2@127.0.0.1:1/clinic",
    );
    let line = refusal(postgres);
    assert!(
        line.contains("pg_dump") && !line.contains("hunter2"),
        "{line}"
    );
    assert_eq!(names(folder.path()), before);
}

#[test]
fn a_full_disk_leaves_no_part_of_a_backup() {
    let folder = Folder::new();
    Process::start(folder.path(), &[]).kill();
    let mut sqlite = Sqlite::open(&database(folder.path()));
    sqlite.execute(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
         INSERT INTO appointments SELECT n, 'clinic', 'ana', NULL, '2025-10-31 12:00:00.000000', 30,
             'pending', '2025-10-31 12:00:00.000000', '2025-10-31 12:00:00.000000' FROM n",
    );
    let before = names(folder.path());
    let output = run(disk::on_a_small_disk(folder.path()).args(["backup", "backup.db"]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.starts_with("megastats: cannot back up to backup.db: "),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(names(folder.path()), before);
}
