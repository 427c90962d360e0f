//! An import whose files are in the database's place, or the database in theirs.

use std::fs;

use harness::Folder;

use super::database;
use crate::suite::import::{
    alignwork::{AlignWork, Schema},
    refusal, report, stored,
};

#[test]
fn the_database_is_not_imported_into_itself() {
    let folder = Folder::new();
    AlignWork::new(folder.path(), Schema::WithRooms).fill(1);
    report(folder.path(), &["alignwork.db"], true);
    let line = refusal(folder.path(), &["data/megastats.db"]);
    assert!(
        line.contains("it is the configured database (database.url) itself"),
        "{line}"
    );
}

#[test]
fn a_database_that_cannot_be_opened_is_named_by_its_setting() {
    let folder = Folder::new();
    AlignWork::new(folder.path(), Schema::WithRooms).fill(1);
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(database(folder.path()), b"no database".repeat(100)).unwrap();
    for arguments in [&["alignwork.db"][..], &["alignwork.db", "--dry-run"]] {
        let line = refusal(folder.path(), arguments);
        assert!(
            line.starts_with("database.url: sqlite://data/megastats.db: "),
            "{line}"
        );
        assert!(line.ends_with("file is not a database"), "{line}");
    }
}

#[test]
fn the_file_may_not_take_the_place_of_something_else() {
    let folder = Folder::new();
    let mut source = AlignWork::new(folder.path(), Schema::WithRooms);
    source.add(1, &[]);
    report(folder.path(), &["alignwork.db"], true);
    source.add(2, &[("status", "NULL")]);
    let bytes = fs::read(&source.path).unwrap();
    for (path, said) in [
        (
            "alignwork.db",
            "must be another file than the source and the database",
        ),
        (
            "data/../alignwork.db",
            "must be another file than the source and the database",
        ),
        (
            "data/megastats.db",
            "must be another file than the source and the database",
        ),
        ("data", "must be a file, or not be there yet"),
        ("/dev/null", "must be a file, or not be there yet"),
        ("data/..", "must be a file, or not be there yet"),
        ("nowhere/left.jsonl", "No such file or directory"),
        ("alignwork.db/left.jsonl", "not a directory"),
    ] {
        let line = refusal(folder.path(), &["alignwork.db", "--rejects", path]);
        assert!(
            line.starts_with("--rejects ") && line.contains(said),
            "{path}: {line}"
        );
    }
    assert_eq!(fs::read(&source.path).unwrap(), bytes);
    assert_eq!(stored(folder.path()).len(), 1);
}
