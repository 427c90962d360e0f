//! Where the file is, and what is no place or file for it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use harness::{Folder, Process, Raw, Sqlite};
use megastats::{
    db::{Announce, Db},
    settings::{DatabaseUrl, Settings},
};
use reqwest::StatusCode;

use super::{create, database, killed, program, refusal};
use crate::suite::{
    import::alignwork::{AlignWork, Schema},
    life::appointment,
};

#[tokio::test]
async fn it_starts_in_an_empty_folder_and_says_where_it_listens_and_with_what() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &[]);
    assert!(database(folder.path()).is_file());
    let mut client = Raw::connect(process.url());
    client.mega_stats("clinic");
    assert_eq!(client.reply().today(), ("MISS", 0));
    client.post(&appointment("ana"));
    assert_eq!(client.reply().status, StatusCode::CREATED);

    let url = process.url().to_owned();
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0));
    let line = log
        .lines()
        .find(|line| line.contains("listening on"))
        .unwrap()
        .to_lowercase();
    for part in [
        url.as_str(),
        "sqlite://data/megastats.db",
        "memory",
        "workers",
    ] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn a_new_database_that_another_is_setting_up_is_waited_for() {
    let folder = Folder::new();
    let path = folder.path().join("new.db");
    let mut settings = Settings::default().database;
    settings.url = DatabaseUrl::Sqlite(path.clone());
    settings.busy_timeout = Duration::from_secs(60);
    let mut other = Sqlite::lock(&path);
    let opening =
        std::thread::spawn(move || Db::open(&settings, None, Announce::Changes).map(drop));
    // Nothing tells from outside that it waits; one that does not soon fails.
    for _ in 0..50 {
        assert!(!opening.is_finished(), "it did not wait");
        std::thread::sleep(Duration::from_millis(10));
    }
    other.execute("COMMIT");
    opening.join().unwrap().unwrap();
}

/// What is in `folder`: of each file when it was changed, and its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let changed = path.metadata().unwrap().modified().unwrap();
            let bytes = fs::read(&path).unwrap();
            (path, (changed, bytes))
        })
        .collect()
}

/// Every command that uses a database refuses the one in `file`, and leaves the whole folder as it is.
fn assert_left_as_it_is(file: &str, prepare: impl Fn(&Path), said: &str) {
    let folder = Folder::new();
    let elsewhere = Folder::new();
    AlignWork::new(elsewhere.path(), Schema::WithRooms).fill(1);
    prepare(&folder.path().join(file));
    let before = contents(folder.path());
    for arguments in [
        &["serve"][..],
        &["import", "alignwork.db"],
        &["import", "alignwork.db", "--dry-run"],
        &["backup", "backup.db"],
    ] {
        let path = folder.path().join(file);
        let line = refusal(program(elsewhere.path(), arguments, &path));
        assert!(
            line.contains(said) && line.contains(file),
            "{arguments:?}: {line}"
        );
        assert_eq!(contents(folder.path()), before, "{arguments:?}");
    }
}

#[test]
fn the_database_of_another_program_is_refused_and_stays_as_it_is() {
    let said = "megastats import";
    assert_left_as_it_is(
        "alignwork.db",
        |path| AlignWork::at(path.to_owned(), Schema::WithRooms).fill(3),
        said,
    );
    let tables = "CREATE TABLE appointments (name TEXT); PRAGMA wal_checkpoint; \
                  INSERT INTO appointments VALUES ('ana')";
    assert_left_as_it_is("killed.db", |path| killed(path, tables), said);
    let migrated =
        "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL,
                        run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
                    INSERT INTO __diesel_schema_migrations (version) VALUES ('20250101000000');
                    CREATE TABLE patients (name TEXT)";
    assert_left_as_it_is(
        "diesel.db",
        |path| Sqlite::open(path).execute(migrated),
        said,
    );
    assert_left_as_it_is(
        "interrupted.db",
        |path| {
            Sqlite::open(path).execute("CREATE TABLE patients (name TEXT)");
            fs::write(path.with_extension("db-journal"), b"half").unwrap();
        },
        said,
    );
}

#[test]
fn tables_of_another_program_that_are_in_the_wal_file_only_are_kept() {
    let folder = Folder::new();
    let path = folder.path().join("new.db");
    killed(&path, "CREATE TABLE patients AS SELECT 'ana' AS name");
    let line = refusal(program(folder.path(), &["serve"], &path));
    assert!(line.contains("megastats import"), "{line}");
    assert_eq!(
        Sqlite::open(&path).texts("SELECT name FROM patients"),
        ["ana"]
    );
}

#[test]
fn a_file_that_is_no_database_is_refused_and_stays_as_it_is() {
    for text in ["x", "patient;start\n", &"patient;start\n".repeat(1000)] {
        let write = |path: &Path| fs::write(path, text).unwrap();
        assert_left_as_it_is("patients.csv", write, "not a database");
    }
}

#[test]
fn changes_of_a_database_that_is_missing_are_not_given_to_another() {
    let folder = Folder::new();
    let path = folder.path().join("m.db");
    let process = Process::start_command(program(folder.path(), &[], &path), &[]);
    assert_eq!(create(&process, "ana"), StatusCode::CREATED);
    process.kill();
    let saved = folder.path().join("saved.db");
    let another = folder.path().join("another.db");
    Sqlite::open(&another).execute("CREATE TABLE patients (name TEXT)");
    let empty = folder.path().join("empty.db");
    fs::write(&empty, "").unwrap();
    for other in [None, Some(another), Some(empty)] {
        fs::rename(&path, &saved).unwrap();
        if let Some(other) = other {
            fs::copy(other, &path).unwrap();
        }
        let line = refusal(program(folder.path(), &[], &path));
        assert!(
            line.contains("m.db-wal has changes of another database"),
            "{line}"
        );
        fs::rename(&saved, &path).unwrap();
    }
    let process = Process::start_command(program(folder.path(), &[], &path), &[]);
    assert_eq!(
        Sqlite::open(&path).texts("SELECT patient_id FROM appointments"),
        ["ana"]
    );
    drop(process);
}

#[test]
fn a_new_database_is_said_once_with_its_whole_path() {
    let folder = Folder::new();
    let line = format!(
        "created a new database at {}",
        database(&folder.path().canonicalize().unwrap()).display()
    );
    for times in [1, 0] {
        let process = Process::start(folder.path(), &[]);
        process.signal("TERM");
        let (_status, log) = process.wait();
        assert_eq!(log.matches(&line).count(), times, "{log}");
    }
}

#[test]
fn no_folder_of_an_absolute_path_is_made() {
    let folder = Folder::new();
    for path in ["data/m.db", "data/far/m.db"] {
        let line = refusal(program(folder.path(), &[], folder.path().join(path)));
        let missing = format!(
            "there is no folder {}:",
            folder.path().join("data").display()
        );
        assert!(line.contains(&missing), "{line}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_place_that_cannot_hold_a_database_stops_the_start() {
    let folder = Folder::new();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
    for path in ["file/below.db", "file/far/below.db", "folder", "link"] {
        let line = refusal(program(folder.path(), &[], path));
        assert!(line.contains(path), "{line}");
    }
}
