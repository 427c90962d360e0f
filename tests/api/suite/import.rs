//! Bringing `AlignWork`'s appointments here, with the program itself.
//!
//! | file | what lives there |
//! |---|---|
//! | `alignwork` | files to import, in all the forms they have in the field |
//! | `batches` | thousands at once, dry runs, and a service that writes meanwhile |
//! | `random` | rows of any values, and bytes of any kind |
//! | `rejects` | the rows that are not taken |
//! | `source` | files in use, in odd places, and what is no file of `AlignWork`'s |

pub mod alignwork;
mod batches;
mod random;
mod rejects;
mod source;

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Stdio},
    sync::Arc,
    time::Duration,
};

use harness::{
    Database, FakeClock, Folder, NOW, SQLITE_FILE, TestServer, command, database_url, poll, run,
    signal,
};
use reqwest::StatusCode;
use serde_json::json;

use self::alignwork::{AlignWork, Schema};

/// What the program said before it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `megastats import` in `folder` to its end.
fn import(folder: &Path, arguments: &[&str]) -> Said {
    let output = run(command(folder).arg("import").args(arguments));
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Said {
        code: output.status.code(),
        stdout,
        stderr,
    }
}

/// Runs it, and returns the line that it reports with; `complete` says whether all is to be here.
pub fn report(folder: &Path, arguments: &[&str], complete: bool) -> String {
    let said = import(folder, arguments);
    assert_eq!(
        (said.code, said.stderr.as_str()),
        (Some(i32::from(!complete)), ""),
        "{said:?}"
    );
    assert_eq!(said.stdout.lines().count(), 1, "{said:?}");
    said.stdout.trim_end().to_owned()
}

/// Runs it, and returns the one line with which it refuses.
pub fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let said = import(folder, arguments);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    let line = said
        .stderr
        .strip_prefix("megastats: ")
        .unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(line.lines().count(), 1, "{said:?}");
    line.trim_end().to_owned()
}

/// An import of `alignwork.db` under way, killed when it is dropped.
struct Running(Child);

impl Running {
    fn start(folder: &Path) -> Self {
        let mut command = command(folder);
        command
            .args(["import", "alignwork.db"])
            .stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Sends a signal by its name, e.g. `STOP`.
    fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }

    /// Waits until all is imported; returns what it said.
    fn ends(&mut self) -> String {
        let status = poll("the import ends", || self.0.try_wait().unwrap());
        assert!(status.success());
        let mut said = String::new();
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All that is stored, a text for each row.
pub fn stored(folder: &Path) -> Vec<String> {
    Database::of(folder).rows()
}

/// The names of all files below `folder`, in order, but for a database in its usual place.
fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(within) = folders.pop() {
        for entry in fs::read_dir(within).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(
                    path.strip_prefix(folder)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
    names.retain(|name| name != SQLITE_FILE);
    names.sort();
    names
}

/// A service on the imported appointments, at [`NOW`].
fn serve(folder: &Path) -> TestServer {
    let url = database_url(folder);
    TestServer::builder()
        .settings(|settings| {
            settings.database.url = url;
            // A busy machine may take long over a batch, whose lock writes wait for.
            settings.database.statement_timeout = Duration::from_secs(60);
        })
        .clock(Arc::new(FakeClock::at(NOW)))
        .start()
}

#[tokio::test]
async fn the_statistics_are_those_alignwork_gave_whatever_its_schema() {
    // Both sides of every bound of every bucket, as AlignWork's clients see them.
    let bounds = [
        "2025-10-01",
        "2025-10-26",
        "2025-10-31",
        "2025-11-01",
        "2025-11-02",
        "2025-12-01",
    ];
    let times = ["02:59:59.999999", "03:00:00.000000", "17:30:00.000000"];
    let statuses = [
        "pending",
        "confirmed",
        "cancelled",
        "Confirmed",
        "realizada",
        "",
    ];
    for schema in Schema::FIELD {
        let folder = Folder::new();
        let mut source = AlignWork::new(folder.path(), schema);
        let mut id = 0;
        for (day, time) in bounds.iter().flat_map(|day| times.map(|time| (day, time))) {
            for (at, status) in statuses.iter().enumerate() {
                // Unequal numbers, so that no two counts are the same by chance.
                for _ in 0..=at % 3 {
                    id += 1;
                    let tenant = if id % 5 == 0 { "'outra'" } else { "'clinica'" };
                    let (starts_at, status) = (format!("'{day} {time}'"), format!("'{status}'"));
                    source.add(
                        id,
                        &[
                            ("tenant_id", tenant),
                            ("starts_at", &starts_at),
                            ("status", &status),
                        ],
                    );
                }
            }
        }
        if schema != Schema::Oldest {
            source.add(id + 1, &[("status", "NULL")]);
        }
        let expected = ["clinica", "outra", "nobody"].map(|tenant| source.mega_stats(tenant));
        assert_ne!(
            expected[0]["nextMonth"]["confirmed"],
            expected[0]["month"]["confirmed"]
        );
        let said = report(folder.path(), &["alignwork.db"], false);
        assert!(
            said.starts_with(&format!("read {}, ", source.count())),
            "{said}"
        );

        let server = serve(folder.path());
        for (tenant, expected) in ["clinica", "outra", "nobody"].iter().zip(expected) {
            assert_eq!(
                server.mega_stats(tenant).await.json(),
                expected,
                "{tenant} {schema:?}"
            );
        }
    }
}

#[test]
fn every_column_arrives_as_it_was() {
    let folder = Folder::new();
    for (at, schema) in (1..).zip(Schema::FIELD) {
        let name = format!("{at}.db");
        let mut source = AlignWork::at(folder.path().join(&name), schema);
        source.add(10 * at, &[("updated_at", "NULL")]);
        report(folder.path(), &[&name], true);
    }
    let mut source = AlignWork::at(folder.path().join("rooms.db"), Schema::WithRooms);
    source.add(
        4_503_599_627_370_495,
        &[("consultorio_id", "3"), ("duration_min", "1440")],
    );
    source.add(
        1,
        &[
            ("tenant_id", "'a:b {ç}'"),
            ("status", "'pending'"),
            ("created_at", "NULL"),
        ],
    );
    report(folder.path(), &["rooms.db"], true);
    let (starts, created) = ("2025-10-31 17:30:00.000000", "2025-10-01 09:00:00.123456");
    let updated = "2025-10-02 09:00:00.000000";
    assert_eq!(
        stored(folder.path()),
        [
            format!("1|a:b {{ç}}|7|NULL|{starts}|30|pending|{updated}|{updated}"),
            format!("10|clinica|7|NULL|{starts}|30|confirmed|{created}|{created}"),
            format!("20|clinica|7|NULL|{starts}|30|confirmed|{created}|{created}"),
            format!("30|clinica|7|NULL|{starts}|30|confirmed|{created}|{created}"),
            format!("4503599627370495|clinica|7|3|{starts}|1440|confirmed|{created}|{updated}"),
        ]
    );
}

#[test]
fn a_second_run_changes_nothing_and_says_so() {
    let folder = Folder::new();
    AlignWork::new(folder.path(), Schema::WithRooms).fill(3);
    let first = report(folder.path(), &["alignwork.db"], true);
    assert_eq!(
        first,
        "read 3, imported 3, already here 0, differing 0, rejected 0"
    );
    let (before, bytes) = (stored(folder.path()), Database::state(folder.path()));
    let second = report(folder.path(), &["alignwork.db"], true);
    assert_eq!(
        second,
        "nothing to import: all 3 appointments are already here"
    );
    assert_eq!(stored(folder.path()), before);
    assert_eq!(Database::state(folder.path()), bytes);
    assert_eq!(files(folder.path()), ["alignwork.db"]);
}

#[test]
fn a_source_without_appointments_is_no_mistake() {
    let folder = Folder::new();
    AlignWork::new(folder.path(), Schema::Oldest);
    let said = report(folder.path(), &["alignwork.db"], true);
    assert_eq!(said, "nothing to import: the source has no appointments");
}

#[tokio::test]
async fn what_was_changed_here_since_is_reported_and_left() {
    let folder = Folder::new();
    let mut source = AlignWork::new(folder.path(), Schema::Numbered);
    source.fill(3);
    report(folder.path(), &["alignwork.db"], true);
    let mut server = serve(folder.path());
    assert_eq!(
        server
            .patch(2, &json!({ "status": "pending" }))
            .await
            .status,
        StatusCode::OK
    );
    server.stop();
    let before = stored(folder.path());
    source.add(4, &[]);

    let said = report(folder.path(), &["alignwork.db"], false);
    assert!(said.starts_with("read 4, imported 1, already here 2, differing 1, rejected 0; "));
    assert!(said.contains(" alignwork.db.rejects.jsonl "), "{said}");
    assert_eq!(stored(folder.path())[..3], before);
    let lines = rejects::lines(&folder.path().join("alignwork.db.rejects.jsonl"));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["id"], 2);
    assert_eq!(lines[0]["row"]["status"], "cancelled");
    let reason = lines[0]["reason"].as_str().unwrap();
    assert_eq!(
        reason,
        "id exists with other content, which is left: there status is \"pending\", \
         updated_at is \"2025-10-31T12:00:00Z\""
    );

    let said = report(folder.path(), &["alignwork.db"], false);
    assert!(said.starts_with("nothing to import: read 4, imported 0, already here 3, differing 1"));
}
