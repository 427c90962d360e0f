//! Files in use, in odd places, and what is no file of `AlignWork`'s.

use std::{fs, os::unix::fs::PermissionsExt};

use harness::{Database, Folder, Sqlite, poll};

use super::{
    Running,
    alignwork::{AlignWork, Schema},
    files, refusal, report, stored,
};

#[test]
fn it_is_only_read() {
    let folder = Folder::new();
    let within = folder.path().join("backup");
    fs::create_dir(&within).unwrap();
    let mut source = AlignWork::new(&within, Schema::WithRooms);
    source.fill(3);
    source.add(4, &[("status", "NULL")]);
    let AlignWork { path, sqlite } = source;
    drop(sqlite);
    let (bytes, modified) = (
        fs::read(&path).unwrap(),
        path.metadata().unwrap().modified().unwrap(),
    );
    // Whoever runs this as root may write there all the same.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(&within, fs::Permissions::from_mode(0o555)).unwrap();
    let said = report(folder.path(), &["backup/alignwork.db"], false);
    assert!(said.starts_with("read 4, imported 3, "), "{said}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(path.metadata().unwrap().modified().unwrap(), modified);
    assert_eq!(files(&within), ["alignwork.db"]);
    fs::set_permissions(&within, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_a_running_alignwork_has_committed_is_imported_and_nothing_else() {
    for journal in ["delete", "wal"] {
        let folder = Folder::new();
        let mut source = AlignWork::new(folder.path(), Schema::WithRooms);
        source
            .sqlite
            .texts(&format!("PRAGMA journal_mode = {journal}"));
        source.sqlite.execute("PRAGMA wal_autocheckpoint = 0");
        source.fill(3);
        let main = folder.path().join("main.db");
        fs::copy(&source.path, &main).unwrap();
        let in_main = Sqlite::open(&main).number("SELECT count(*) FROM appointments");
        assert_eq!(
            in_main,
            if journal == "wal" { 0 } else { 3 },
            "the rest is in the log"
        );
        source.sqlite.execute("BEGIN IMMEDIATE");
        source.add(4, &[]);
        let said = report(folder.path(), &["alignwork.db"], true);
        assert_eq!(
            said, "read 3, imported 3, already here 0, differing 0, rejected 0",
            "{journal}"
        );
        // It goes on undisturbed.
        source.sqlite.execute("COMMIT");
        let said = report(folder.path(), &["alignwork.db"], true);
        assert_eq!(
            said, "read 4, imported 1, already here 3, differing 0, rejected 0",
            "{journal}"
        );
    }
}

#[test]
fn a_log_that_alignwork_left_behind_is_read_and_not_written_back() {
    let folder = Folder::new();
    let mut source = AlignWork::new(folder.path(), Schema::WithRooms);
    source.sqlite.texts("PRAGMA journal_mode = wal");
    source.fill(3);
    // As after kill -9: whoever closes the database last would clear the log away.
    let paths = ["left.db", "left.db-wal"].map(|name| folder.path().join(name));
    fs::copy(&source.path, &paths[0]).unwrap();
    fs::copy(folder.path().join("alignwork.db-wal"), &paths[1]).unwrap();
    let before = paths.each_ref().map(|path| fs::read(path).unwrap());
    let said = report(folder.path(), &["left.db"], true);
    assert_eq!(
        said,
        "read 3, imported 3, already here 0, differing 0, rejected 0"
    );
    assert_eq!(paths.each_ref().map(|path| fs::read(path).unwrap()), before);
}

#[test]
fn a_file_that_was_left_half_written_is_refused_with_advice_that_helps() {
    let folder = Folder::new();
    let mut source = AlignWork::new(folder.path(), Schema::WithRooms);
    source.fill(3);
    // More than there is room for in memory, so that the file is written before the commit.
    source.sqlite.execute("PRAGMA cache_size = 1; BEGIN");
    source.fill_from(4, 5_000);
    let copy = folder.path().join("left.db");
    fs::copy(&source.path, &copy).unwrap();
    let journal = folder.path().join("alignwork.db-journal");
    fs::copy(journal, folder.path().join("left.db-journal")).unwrap();
    let line = refusal(folder.path(), &["left.db"]);
    assert!(
        line.contains("open a copy of it") && line.contains("once with sqlite3"),
        "{line}"
    );
    Sqlite::open(&copy).number("SELECT count(*) FROM appointments");
    let said = report(folder.path(), &["left.db"], true);
    assert_eq!(
        said,
        "read 3, imported 3, already here 0, differing 0, rejected 0"
    );
}

#[test]
fn a_running_alignwork_commits_while_its_appointments_are_still_imported() {
    let folder = Folder::new();
    let mut source = AlignWork::new(folder.path(), Schema::WithRooms);
    source.fill(5_000);
    let mut importing = Running::start(folder.path());
    // It is made after the source was opened.
    poll("the database is there", || {
        Database::has_appointments(folder.path()).then_some(())
    });
    importing.signal("STOP");
    source.sqlite.execute("PRAGMA busy_timeout = 0");
    source.add(5_001, &[]);
    importing.signal("CONT");
    assert_eq!(
        importing.ends(),
        "read 5000, imported 5000, already here 0, differing 0, rejected 0\n"
    );
}

#[test]
fn its_path_may_be_made_of_anything() {
    let folder = Folder::new();
    for (at, name) in (1..).zip([
        "a b.db",
        "what?mode=rwc.db",
        "no#1.db",
        "100%.db",
        "%41.db",
        "file:x.db",
        "ação 'x' \"y\".db",
        "&a=b;c+d.db",
        ":memory:",
    ]) {
        let mut source = AlignWork::at(folder.path().join("plain.db"), Schema::Numbered);
        source.add(at, &[("status", "NULL")]);
        let AlignWork { path, sqlite } = source;
        drop(sqlite);
        fs::rename(path, folder.path().join(name)).unwrap();
        let said = report(folder.path(), &[name], false);
        assert!(
            said.starts_with("nothing to import: read 1, "),
            "{name}: {said}"
        );
        assert!(
            folder.path().join(format!("{name}.rejects.jsonl")).exists(),
            "{name}"
        );
    }
}

#[test]
fn its_text_may_be_utf_16_and_its_table_a_view() {
    let folder = Folder::new();
    let path = folder.path().join("alignwork.db");
    let mut sqlite = Sqlite::open(&path);
    sqlite.execute("PRAGMA encoding = 'UTF-16le'");
    drop(sqlite);
    let mut source = AlignWork::at(path, Schema::Numbered);
    source.add(1, &[("tenant_id", "'clínica €'")]);
    source.sqlite.execute(
        "ALTER TABLE appointments RENAME TO atendimentos;
         CREATE VIEW appointments AS SELECT *, 1 AS rowid FROM atendimentos",
    );
    report(folder.path(), &["alignwork.db"], true);
    let stored = stored(folder.path());
    assert!(
        stored[0].starts_with("1|clínica €|7|NULL|2025-10-31 17:30:00.000000|"),
        "{stored:?}"
    );
}

#[test]
fn what_is_no_file_of_alignworks_is_refused_in_one_line() {
    let folder = Folder::new();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write(
        "text.db",
        &b"not a database, but long enough to be taken for one".repeat(100),
    );
    write("empty.db", b"");
    let mut other = Sqlite::open(&folder.path().join("other.db"));
    other.execute("CREATE TABLE patients (id INTEGER PRIMARY KEY)");
    let mut older = Sqlite::open(&folder.path().join("older.db"));
    older.execute("CREATE TABLE appointments (id INTEGER PRIMARY KEY, tenant_id, starts_at)");
    for (name, said) in [
        ("missing.db", "No such file or directory"),
        (".", "not a file"),
        ("/dev/null", "not a file"),
        ("text.db", "file is not a database"),
        ("empty.db", "no table named appointments"),
        ("other.db", "no table named appointments"),
        ("older.db", "no column patient_id"),
    ] {
        let line = refusal(folder.path(), &[name]);
        assert!(
            line.starts_with(&format!("cannot import {name}: ")),
            "{line}"
        );
        assert!(line.contains(said), "{name}: {line}");
    }
    assert!(!Database::is_made(folder.path()));
}
