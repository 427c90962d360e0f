//! Thousands at once, dry runs, and a service that writes meanwhile.

use std::{fs, path::Path};

use harness::{Database, Folder, TODAY, poll};
use serde_json::Value;

use super::{
    Running,
    alignwork::{AlignWork, Schema},
    files, rejects, report, serve,
};

/// 5,000 rows in ten batches, and an id that spans two of them: taken once, there once, and once
/// with other content.
fn many(folder: &Path) -> AlignWork {
    let mut source = AlignWork::new(folder, Schema::Copied);
    source.fill(4_997);
    for (patient, count) in [("500", 1), ("501", 2)] {
        for _ in 0..count {
            let same = "strftime('%Y-%m-%d %H:%M:%S.000000', '2025-01-01', '499 minutes')";
            source.add(
                499,
                &[
                    ("patient_id", patient),
                    ("starts_at", same),
                    ("status", "'confirmed'"),
                    ("created_at", "'2025-01-01 00:00:00'"),
                    ("updated_at", "NULL"),
                ],
            );
        }
    }
    source
}

#[test]
fn thousands_are_taken_batch_by_batch_and_a_dry_run_counts_the_same() {
    let folder = Folder::new();
    let mut source = many(folder.path());
    assert_eq!(source.count(), 5_000);
    let counts = "imported 4997, already here 0, differing 3, rejected 0";
    let dry = report(folder.path(), &["--dry-run", "alignwork.db"], false);
    let expected = format!(
        "dry run, nothing is written: read 5000, would {}",
        &counts[..6]
    );
    assert!(dry.starts_with(&expected), "{dry}");
    let dry_counts = dry.replace("would import ", "imported ");
    assert!(dry_counts.contains(counts), "{dry}");
    let dry_rejects = fs::read(folder.path().join("alignwork.db.rejects.jsonl")).unwrap();
    assert_eq!(
        files(folder.path()),
        ["alignwork.db", "alignwork.db.rejects.jsonl"]
    );

    let wet = report(folder.path(), &["alignwork.db"], false);
    assert!(wet.contains(counts), "{wet}");
    assert_eq!(
        fs::read(folder.path().join("alignwork.db.rejects.jsonl")).unwrap(),
        dry_rejects
    );
    let ids = Database::of(folder.path())
        .number("SELECT count(*) FROM appointments WHERE id BETWEEN 1 AND 4997");
    assert_eq!(ids, 4_997);
}

#[test]
fn another_run_finishes_what_a_killed_one_began() {
    let folder = Folder::new();
    AlignWork::new(folder.path(), Schema::WithRooms).fill(20_000);
    let importing = Running::start(folder.path());
    poll("there is a table", || {
        Database::has_appointments(folder.path()).then_some(())
    });
    let mut database = Database::of(folder.path());
    // It cannot go on meanwhile.
    let lock = poll("some are imported", || {
        let lock = Database::lock(folder.path());
        (database.appointments("clinica") > 0).then_some(lock)
    });
    drop(importing);
    drop(lock);
    let there = database.appointments("clinica");
    assert!(there < 20_000 && there % 500 == 0, "{there}");
    let said = report(folder.path(), &["alignwork.db"], true);
    let rest = 20_000 - there;
    let expected =
        format!("read 20000, imported {rest}, already here {there}, differing 0, rejected 0");
    assert_eq!(said, expected);
}

#[test]
fn a_dry_run_leaves_the_database_as_it_is() {
    let folder = Folder::new();
    let mut source = AlignWork::new(folder.path(), Schema::WithRooms);
    source.fill(2);
    report(folder.path(), &["alignwork.db"], true);
    source.fill_from(3, 4);
    source
        .sqlite
        .execute("UPDATE appointments SET duration_min = 31 WHERE id = 1");
    source.add(9, &[("status", "'x'")]);
    let (names, bytes) = (files(folder.path()), Database::state(folder.path()));

    let rejects = folder.path().join("elsewhere.jsonl");
    let arguments = [
        "alignwork.db",
        "--dry-run",
        "--rejects",
        rejects.to_str().unwrap(),
    ];
    let dry = report(folder.path(), &arguments, false);
    assert!(
        dry.starts_with(
            "dry run, nothing is written: read 5, would import 2, already here 1, differing 1, \
             rejected 1; "
        ),
        "{dry}"
    );
    assert_eq!(rejects::lines(&rejects).len(), 2);
    fs::remove_file(rejects).unwrap();
    assert_eq!(files(folder.path()), names);
    assert_eq!(Database::state(folder.path()), bytes);
    let wet = report(folder.path(), &["alignwork.db"], false);
    assert!(wet.starts_with("read 5, imported 2, already here 1, differing 1, rejected 1; "));
}

#[tokio::test]
async fn a_service_may_write_while_thousands_are_imported() {
    let folder = Folder::new();
    // The service's own ids come after the largest.
    AlignWork::at(folder.path().join("large.db"), Schema::WithRooms).add(1_000_000, &[]);
    report(folder.path(), &["large.db"], true);
    AlignWork::new(folder.path(), Schema::WithRooms).fill(5_000);
    let server = serve(folder.path());
    let path = folder.path().to_owned();
    let importing = tokio::task::spawn_blocking(move || report(&path, &["alignwork.db"], true));
    let mut booked = 0;
    while !importing.is_finished() {
        server.book("clinica", TODAY, "confirmed").await;
        booked += 1;
    }
    let said = importing.await.unwrap();
    assert_eq!(
        said,
        "read 5000, imported 5000, already here 0, differing 0, rejected 0"
    );
    let all: Value = server.get("?tenantId=clinica&page_size=1").await.json();
    assert_eq!(all["total"], 5_001 + booked);
}
