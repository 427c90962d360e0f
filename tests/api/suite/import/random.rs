//! Files nobody made: rows of any values, and bytes of any kind.

use std::{fs, path::Path};

use harness::Sqlite;
use megastats::{
    appointments::import::{self, ImportError, Options, Report},
    settings::{DatabaseUrl, Settings},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use tempfile::TempDir;

use super::{
    alignwork::{AlignWork, Schema},
    rejects::lines,
};

const COLUMNS: [&str; 8] = [
    "tenant_id",
    "patient_id",
    "consultorio_id",
    "starts_at",
    "duration_min",
    "status",
    "created_at",
    "updated_at",
];

/// Imports `alignwork.db` in `folder` beside itself.
fn import(runtime: &tokio::runtime::Runtime, folder: &Path) -> Result<Report, ImportError> {
    let mut settings = Settings::default();
    settings.database.url = DatabaseUrl::Sqlite(folder.join("megastats.db"));
    let options = Options {
        source: folder.join("alignwork.db"),
        dry_run: false,
        rejects: Some(folder.join("rejects.jsonl")),
        statuses: Vec::new(),
    };
    runtime.block_on(import::run(&settings, &options))
}

/// Nothing is lost: every row was counted once, and each that was not taken says why.
fn assert_counted(report: &Report, folder: &Path) {
    let refused = report.differing + report.rejected;
    let counted = report.imported + report.already_here + refused;
    assert_eq!(report.read, counted, "{report}");
    let stored =
        Sqlite::open(&folder.join("megastats.db")).number("SELECT count(*) FROM appointments");
    assert_eq!(report.imported, stored.unsigned_abs(), "{report}");
    let reasons = report.rejects.as_deref().map_or_else(Vec::new, lines);
    assert_eq!(refused, reasons.len() as u64, "{report}");
    assert!(
        reasons.iter().all(|line| line["reason"].is_string()),
        "{reasons:?}"
    );
}

fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(&tokio::runtime::Runtime, S::Value)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(strategy, |value| {
        test(&runtime, value);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// A value in SQL.
fn value() -> impl Strategy<Value = String> {
    let plausible = select(vec![
        "NULL",
        "1",
        "30",
        "'clinica'",
        "'pending'",
        "'2025-10-31 17:30:00'",
        "'2025-10-31 17:30:00.000000'",
    ]);
    let hex = |bytes: Vec<u8>| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .concat()
    };
    prop_oneof![
        4 => plausible.prop_map(str::to_owned),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_filter("SQL has a word for it", |real| real.is_finite())
            .prop_map(|real| format!("{real:e}")),
        1 => any::<Vec<u8>>().prop_map(move |bytes| format!("X'{}'", hex(bytes))),
        // Texts of any bytes, UTF-8 or not.
        1 => any::<Vec<u8>>().prop_map(move |bytes| format!("CAST(X'{}' AS TEXT)", hex(bytes))),
        1 => any::<String>().prop_map(move |text| format!("CAST(X'{}' AS TEXT)", hex(text.into()))),
    ]
}

#[test]
fn any_values_in_any_columns_are_taken_or_rejected_and_none_is_lost() {
    let changes = vec((select(COLUMNS.to_vec()), value()), 0..3);
    let rows = vec((-1..9_i64, changes), 0..12);
    check(60, &rows, |runtime, rows| {
        let folder = tempfile::tempdir().unwrap();
        let mut source = AlignWork::new(folder.path(), Schema::Copied);
        for (id, changes) in &rows {
            // The last of those for one column.
            let mut columns: Vec<(&str, &str)> = Vec::new();
            for (name, value) in changes {
                columns.retain(|(other, _)| other != name);
                columns.push((name, value));
            }
            source.add(*id, &columns);
        }
        let report = import(runtime, folder.path()).unwrap();
        assert_eq!(report.read, rows.len() as u64);
        assert_counted(&report, folder.path());
    });
}

/// A sound file, as its bytes.
fn sound() -> Vec<u8> {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let mut source = AlignWork::new(folder.path(), Schema::WithRooms);
    source.fill(40);
    let AlignWork { path, sqlite } = source;
    drop(sqlite);
    fs::read(path).unwrap()
}

/// How a sound file is spoilt: bytes replaced, and perhaps its end cut off.
type Damage = (Vec<(Index, u8)>, Option<Index>);

fn spoil(mut bytes: Vec<u8>, (replaced, cut): Damage) -> Vec<u8> {
    for (at, byte) in replaced {
        let at = at.index(bytes.len());
        bytes[at] = byte;
    }
    bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
    bytes
}

fn assert_imported_or_refused(runtime: &tokio::runtime::Runtime, file: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("alignwork.db"), file).unwrap();
    match import(runtime, folder.path()) {
        Ok(report) => assert_counted(&report, folder.path()),
        Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
    }
}

#[test]
fn a_damaged_file_is_imported_or_refused_in_one_line() {
    let sound = sound();
    let replaced = vec((any::<Index>(), any::<u8>()), 1..40);
    let damage = (replaced, prop::option::weighted(0.2, any::<Index>()));
    check(100, &damage, |runtime, damage| {
        assert_imported_or_refused(runtime, &spoil(sound.clone(), damage));
    });
}

#[test]
fn a_file_of_any_bytes_is_refused_in_one_line() {
    check(30, &any::<Vec<u8>>(), |runtime, file| {
        assert_imported_or_refused(runtime, &file);
    });
}
