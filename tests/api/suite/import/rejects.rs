//! The rows that are not taken: none is lost, and each says why.

use std::{fs, path::Path};

use harness::{Database, Folder};
use serde_json::{Value, json};

use super::{
    alignwork::{AlignWork, Schema},
    refusal, report, stored,
};

/// The lines of a rejects file.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What a column may not hold: its name, the value in SQL, and as the rejects file has it.
fn bad_values() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("id", "NULL", json!(null)),
        ("id", "0", json!(0)),
        ("id", "-9223372036854775808", json!(i64::MIN)),
        ("id", "9007199254740992", json!(9_007_199_254_740_992_i64)),
        ("id", "'seven'", json!("seven")),
        ("id", "7.5", json!(7.5)),
        ("id", "X'07'", json!({ "blob_hex": "07" })),
        ("tenant_id", "NULL", json!(null)),
        ("tenant_id", "'  '", json!("  ")),
        ("tenant_id", "'a' || char(10) || 'b'", json!("a\nb")),
        (
            "tenant_id",
            "CAST(X'ff61' AS TEXT)",
            json!({ "text_hex": "ff61" }),
        ),
        ("patient_id", "NULL", json!(null)),
        ("patient_id", "''", json!("")),
        ("patient_id", "9e999", json!({ "real": "inf" })),
        ("consultorio_id", "0", json!(0)),
        ("consultorio_id", "'sala 1'", json!("sala 1")),
        ("starts_at", "NULL", json!(null)),
        ("starts_at", "1761921000", json!(1_761_921_000)),
        (
            "starts_at",
            "'2025-10-31T17:30:00'",
            json!("2025-10-31T17:30:00"),
        ),
        (
            "starts_at",
            "'2025-10-31 17:30:00-03:00'",
            json!("2025-10-31 17:30:00-03:00"),
        ),
        (
            "starts_at",
            "'2025-10-31 17:30:00.000000Z'",
            json!("2025-10-31 17:30:00.000000Z"),
        ),
        (
            "starts_at",
            "'2025-02-29 17:30:00'",
            json!("2025-02-29 17:30:00"),
        ),
        (
            "starts_at",
            "'1969-12-31 23:59:59'",
            json!("1969-12-31 23:59:59"),
        ),
        (
            "starts_at",
            "'2200-01-01 00:00:00'",
            json!("2200-01-01 00:00:00"),
        ),
        ("duration_min", "NULL", json!(null)),
        ("duration_min", "0", json!(0)),
        ("duration_min", "1441", json!(1441)),
        ("duration_min", "30.0", json!(30.0)),
        ("duration_min", "'30'", json!("30")),
        ("status", "NULL", json!(null)),
        ("status", "'Confirmed'", json!("Confirmed")),
        ("status", "zeroblob(3)", json!({ "blob_hex": "000000" })),
        ("created_at", "'ontem'", json!("ontem")),
        ("updated_at", "5", json!(5)),
    ]
}

#[test]
fn each_is_kept_whole_with_the_column_that_is_wrong() {
    let bad = bad_values();
    let folder = Folder::new();
    let mut source = AlignWork::new(folder.path(), Schema::Copied);
    for (at, (column, sql, _)) in (100_i64..).zip(&bad) {
        source.add(at, &[("notes", "'de manhã'"), (column, sql)]);
    }
    source.add(1, &[]);
    source.add(200, &[]);

    let said = report(
        folder.path(),
        &["alignwork.db", "--rejects", "left.jsonl"],
        false,
    );
    let expected = format!(
        "read {}, imported 2, already here 0, differing 0, rejected {}; ",
        bad.len() + 2,
        bad.len()
    );
    assert!(
        said.starts_with(&expected) && said.contains(" left.jsonl "),
        "{said}"
    );
    assert_eq!(stored(folder.path()).len(), 2);
    let lines = lines(&folder.path().join("left.jsonl"));
    assert_eq!(lines.len(), bad.len());
    for (column, sql, value) in &bad {
        let line = lines
            .iter()
            .find(|line| {
                let reason = line["reason"].as_str().unwrap();
                line["row"][column] == *value && reason.starts_with(&format!("{column} must be "))
            })
            .unwrap_or_else(|| panic!("{column} {sql} is not in {lines:#?}"));
        assert_eq!(line["id"], line["row"]["id"]);
        let names = line["row"].as_object().unwrap().keys();
        assert_eq!(names.len(), 10, "{line}");
        assert_eq!(line["row"]["notes"], "de manhã");
        let names_option = line["reason"]
            .as_str()
            .unwrap()
            .contains("--status FROM=TO");
        assert_eq!(names_option, *column == "status", "{line}");
    }
}

#[test]
fn a_row_keeps_the_order_of_its_columns_and_all_that_is_wrong_is_said() {
    let folder = Folder::new();
    let mut source = AlignWork::new(folder.path(), Schema::Oldest);
    source.add(5, &[("status", "'x'"), ("duration_min", "-1")]);
    report(folder.path(), &["alignwork.db"], false);
    assert_eq!(
        fs::read_to_string(folder.path().join("alignwork.db.rejects.jsonl")).unwrap(),
        "{\"id\":5,\"reason\":\"duration_min must be a whole number from 1 to 1440, is -1; status \
         must be one of pending, confirmed, cancelled (or be given with --status FROM=TO), is \
         \\\"x\\\"\",\"row\":{\"id\":5,\"tenant_id\":\"clinica\",\"patient_id\":\"7\",\
         \"starts_at\":\"2025-10-31 17:30:00.000000\",\"duration_min\":-1,\"status\":\"x\",\
         \"created_at\":\"2025-10-01 09:00:00.123456\",\
         \"updated_at\":\"2025-10-02 09:00:00.000000\"}}\n"
    );
}

#[test]
fn ops_say_what_other_statuses_mean_and_the_file_is_written_anew() {
    let folder = Folder::new();
    let mut source = AlignWork::new(folder.path(), Schema::WithRooms);
    for (id, status) in [
        (1, "'realizada'"),
        (2, "'canceled'"),
        (3, "NULL"),
        (4, "'a=b'"),
    ] {
        source.add(id, &[("status", status)]);
    }
    let rejects = folder.path().join("alignwork.db.rejects.jsonl");
    report(folder.path(), &["alignwork.db"], false);
    assert_eq!(lines(&rejects).len(), 4);

    let mappings = ["--status", "realizada=confirmed", "--status", "=pending"];
    let arguments = [&["alignwork.db"], &mappings[..]].concat();
    let said = report(folder.path(), &arguments, false);
    assert!(said.starts_with("read 4, imported 2, already here 0, differing 0, rejected 2; "));
    let ids: Vec<_> = lines(&rejects)
        .iter()
        .map(|line| line["id"].clone())
        .collect();
    assert_eq!(ids, [2, 4]);

    let rest = [
        "--status",
        "canceled=cancelled",
        "--status",
        "a=b=cancelled",
    ];
    let arguments = [&["alignwork.db"], &mappings[..], &rest].concat();
    let said = report(folder.path(), &arguments, true);
    assert_eq!(
        said,
        "read 4, imported 2, already here 2, differing 0, rejected 0"
    );
    let statuses: Vec<_> = stored(folder.path())
        .iter()
        .map(|row| row.split('|').nth(6).unwrap().to_owned())
        .collect();
    assert_eq!(statuses, ["confirmed", "cancelled", "pending", "cancelled"]);
}

#[test]
fn a_mapping_that_says_nothing_usable_is_refused_before_anything_is_done() {
    let folder = Folder::new();
    AlignWork::new(folder.path(), Schema::WithRooms).add(1, &[]);
    for (mappings, said) in [
        (&["realizada"][..], "must be FROM=TO"),
        (
            &["x=done"],
            "\"done\" must be one of pending, confirmed, cancelled",
        ),
        (&["x="], "\"\" must be one of pending, confirmed, cancelled"),
        (
            &["pending=confirmed"],
            "FROM must be none of pending, confirmed, cancelled",
        ),
        (&["x=pending", "x=confirmed"], "each FROM may be given once"),
    ] {
        let options = mappings.iter().flat_map(|mapping| ["--status", mapping]);
        let arguments: Vec<_> = ["alignwork.db"].into_iter().chain(options).collect();
        let line = refusal(folder.path(), &arguments);
        assert!(
            line.starts_with("--status ") && line.contains(said),
            "{line}"
        );
    }
    assert!(!Database::is_made(folder.path()));
}
