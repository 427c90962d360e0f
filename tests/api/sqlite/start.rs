//! Where the file is, who else may have it, and what is no place or file for it.

use std::{fs, path::Path, time::Duration};

use harness::{Folder, Process, Raw, Sqlite, command, run};
use megastats::{
    db::Db,
    settings::{DatabaseUrl, Settings},
};
use reqwest::StatusCode;

use super::database;
use crate::suite::life::appointment;

/// For a process that shares its file with others.
const UNCACHED: (&str, &str) = ("MEGASTATS__CACHE__BACKEND", "none");

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
fn a_process_with_a_cache_serves_its_file_alone() {
    let folder = Folder::new();
    let another = |environment: &[(&str, &str)]| {
        let line = refusal(folder.path(), "sqlite://data/megastats.db", environment);
        assert!(line.contains("another process serves this file"), "{line}");
    };
    let cached = Process::start(folder.path(), &[]);
    another(&[]);
    another(&[UNCACHED]);
    cached.kill();
    let uncached = Process::start(folder.path(), &[UNCACHED]);
    another(&[]);
    uncached.kill();
    Process::start(folder.path(), &[]);
}

#[test]
fn a_new_database_that_another_is_setting_up_is_waited_for() {
    let folder = Folder::new();
    let path = folder.path().join("new.db");
    let mut settings = Settings::default().database;
    settings.url = DatabaseUrl::Sqlite(path.clone());
    settings.busy_timeout = Duration::from_secs(60);
    let mut other = Sqlite::lock(&path);
    let opening = std::thread::spawn(move || Db::open(&settings).map(drop));
    // Nothing tells from outside that it waits; one that does not soon fails.
    for _ in 0..50 {
        assert!(!opening.is_finished(), "it did not wait");
        std::thread::sleep(Duration::from_millis(10));
    }
    other.execute("COMMIT");
    opening.join().unwrap().unwrap();
}

/// Runs the program on `url`, which must stop it with one line; returns the line.
fn refusal(folder: &Path, url: &str, environment: &[(&str, &str)]) -> String {
    let mut command = command(folder);
    command
        .envs([
            ("MEGASTATS__DATABASE__URL", url),
            ("MEGASTATS__SERVER__PORT", "0"),
        ])
        .envs(environment.iter().copied());
    let output = run(&mut command);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("megastats: database.url: "), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

#[test]
fn a_file_that_is_no_database_stops_the_start_and_stays_as_it_is() {
    let folder = Folder::new();
    let text = "patient;start\n".repeat(1000);
    fs::write(folder.path().join("patients.csv"), &text).unwrap();
    let line = refusal(folder.path(), "sqlite://patients.csv", &[]);
    assert!(
        line.contains("patients.csv") && line.contains("not a database"),
        "{line}"
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("patients.csv")).unwrap(),
        text
    );
}

#[test]
fn a_database_with_other_appointments_stops_the_start_and_keeps_them() {
    let folder = Folder::new();
    let mut other = Sqlite::open(&folder.path().join("other.db"));
    other.execute("CREATE TABLE appointments (name TEXT); INSERT INTO appointments VALUES ('ana')");
    let line = refusal(folder.path(), "sqlite://other.db", &[]);
    assert!(line.contains("appointments already exists"), "{line}");
    assert_eq!(other.texts("SELECT name FROM appointments"), ["ana"]);
    assert_eq!(
        other.number("SELECT count(*) FROM sqlite_schema"),
        1,
        "nothing was added"
    );
}

#[test]
fn a_place_that_cannot_hold_a_database_stops_the_start() {
    let folder = Folder::new();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    for path in ["file/below.db", "file/far/below.db", "folder"] {
        let line = refusal(folder.path(), &format!("sqlite://{path}"), &[]);
        assert!(line.contains(path), "{line}");
    }
}
