//! What each column may hold, and what it may not.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::db::Status;

const NAMES: [&str; 9] = [
    "id",
    "tenant_id",
    "patient_id",
    "consultorio_id",
    "starts_at",
    "duration_min",
    "status",
    "created_at",
    "updated_at",
];

fn good() -> Vec<Value> {
    vec![
        json!(7),
        json!("clinica-1"),
        json!(12),
        json!(3),
        json!("2025-10-31 17:30:00.000000"),
        json!(30),
        json!("confirmed"),
        json!("2025-10-01 08:00:00.123456"),
        json!("2025-10-02 09:00:00"),
    ]
}

fn good_row() -> SourceRow {
    SourceRow(NAMES.map(String::from).into_iter().zip(good()).collect())
}

fn taken(row: &SourceRow) -> Result<Appointment, String> {
    read(row, &Statuses::parse(&[]).unwrap())
}

fn with(changes: &[(&str, Value)]) -> Result<Appointment, String> {
    let mut row = good_row();
    for (name, cell) in changes {
        let at = NAMES.iter().position(|other| other == name).unwrap();
        row.0[at].1 = cell.clone();
    }
    taken(&row)
}

fn time(rfc3339: &str) -> UtcTime {
    instant(rfc3339).unwrap()
}

#[test]
fn a_good_row_is_taken_as_it_is() {
    assert_eq!(
        with(&[]),
        Ok(Appointment {
            id: 7,
            tenant_id: "clinica-1".into(),
            patient_id: "12".into(),
            consultorio_id: Some(3),
            starts_at: time("2025-10-31T17:30:00Z"),
            duration_min: 30,
            status: Status::Confirmed,
            created_at: time("2025-10-01T08:00:00.123456Z"),
            updated_at: time("2025-10-02T09:00:00Z"),
        })
    );
}

#[test]
fn columns_are_found_in_any_order_and_the_consulting_room_may_be_missing() {
    let mut row = good_row();
    row.0.retain(|(name, _)| name != "consultorio_id");
    row.0.push(("notes".into(), cell::blob(&[])));
    row.0.reverse();
    for (name, _) in &mut row.0 {
        name.make_ascii_uppercase();
    }
    assert_eq!(row.get("id"), 7);
    let expected = Appointment {
        consultorio_id: None,
        ..with(&[]).unwrap()
    };
    assert_eq!(taken(&row), Ok(expected));
}

#[test]
fn missing_times_are_filled_from_those_there_are() {
    let (created, updated) = ("2025-10-01T08:00:00.123456Z", "2025-10-02T09:00:00Z");
    let starts = "2025-10-31T17:30:00Z";
    for (nulls, expected) in [
        (&["updated_at"][..], (created, created)),
        (&["created_at"], (updated, updated)),
        (&["created_at", "updated_at"], (starts, starts)),
    ] {
        let changes: Vec<_> = nulls.iter().map(|name| (*name, Value::Null)).collect();
        let taken = with(&changes).unwrap();
        assert_eq!(
            (taken.created_at, taken.updated_at),
            (time(expected.0), time(expected.1)),
            "{nulls:?}"
        );
    }
}

#[test]
fn times_have_up_to_six_digits_of_fraction() {
    for (given, expected) in [
        ("2025-10-31 17:30:59", "2025-10-31T17:30:59Z"),
        ("2025-10-31 17:30:00.5", "2025-10-31T17:30:00.5Z"),
        ("2025-10-31 17:30:00.123456", "2025-10-31T17:30:00.123456Z"),
        ("1970-01-01 00:00:00.000000", "1970-01-01T00:00:00Z"),
        ("2199-12-31 23:59:59.999999", "2199-12-31T23:59:59.999999Z"),
    ] {
        let taken = with(&[("starts_at", json!(given))]).unwrap();
        assert_eq!(taken.starts_at, time(expected), "{given}");
    }
}

#[test]
fn other_forms_of_times_are_refused_rather_than_guessed() {
    for given in [
        "2025-10-31 17:30:00.000000+00:00",
        "2025-10-31 17:30:00-03:00",
        "2025-10-31 17:30:00Z",
        "2025-10-31 17:30:00.000000Z",
        "2025-10-31T17:30:00",
        "2025-10-31 17:30",
        "2025-10-31",
        "2025-10-31 17:30:00.",
        "2025-10-31 17:30:00.1234567",
        "2025-10-31 17:30:00,123",
        " 2025-10-31 17:30:00",
        "2025-10-31 17:30:00[UTC]",
        "2025-02-29 17:30:00",
        "2025-13-01 17:30:00",
        "2025-10-31 24:00:00",
        "2025-10-31 17:60:00",
        "2025-10-31 23:59:60",
        "1969-12-31 23:59:59.999999",
        "2200-01-01 00:00:00",
        "31/10/2025 17:30:00",
        "2025-10-31 17:30:0ç",
        "٢٠٢٥-10-31 17:30:00",
        "",
    ] {
        let reason = with(&[("starts_at", json!(given))]).unwrap_err();
        assert!(
            reason.starts_with("starts_at must be UTC as text"),
            "{given}: {reason}"
        );
    }
}

#[test]
fn each_column_refuses_what_it_may_not_hold_by_its_name() {
    let always = [
        cell::real(30.0),
        cell::blob(b"30"),
        cell::malformed(b"\xff"),
    ];
    for (column, refused) in [
        (
            "id",
            vec![
                json!(0),
                json!(MAX_IMPORTED_ID + 1),
                json!("7"),
                Value::Null,
            ],
        ),
        (
            "tenant_id",
            vec![json!(""), json!("a\nb"), json!(1), Value::Null],
        ),
        (
            "patient_id",
            vec![json!(" "), json!(&"9".repeat(65)), Value::Null],
        ),
        ("consultorio_id", vec![json!(0), json!(-1), json!("3")]),
        ("starts_at", vec![json!(1_761_921_000), Value::Null]),
        ("duration_min", vec![json!(0), json!(1441), json!("30")]),
        (
            "status",
            vec![json!("realizada"), json!(""), json!(1), Value::Null],
        ),
        ("created_at", vec![json!(""), json!(0)]),
        ("updated_at", vec![json!("never"), json!(0)]),
    ] {
        for cell in refused.into_iter().chain(always.clone()) {
            let reason = with(&[(column, cell.clone())]).unwrap_err();
            assert!(
                reason.starts_with(&format!("{column} must be ")),
                "{cell}: {reason}"
            );
            let end = format!("is {}", cell::shown(&cell));
            assert!(reason.ends_with(&end), "{cell}: {reason}");
            assert_eq!(
                reason.contains("--status FROM=TO"),
                column == "status",
                "{reason}"
            );
        }
    }
}

#[test]
fn all_that_is_wrong_with_a_row_is_said_at_once() {
    let reason = with(&[("id", Value::Null), ("status", json!("x"))]).unwrap_err();
    assert!(
        reason.contains("id must be") && reason.contains("; status must be"),
        "{reason}"
    );
}

#[test]
fn what_alignwork_counted_is_taken_even_where_a_client_could_not_make_it() {
    for minutes in [1, 14, 481, 1440] {
        let taken = with(&[("duration_min", json!(minutes))]).unwrap();
        assert_eq!(i64::from(taken.duration_min), minutes);
    }
    assert_eq!(with(&[("patient_id", json!(0))]).unwrap().patient_id, "0");
    assert_eq!(
        with(&[("patient_id", json!("abc-1"))]).unwrap().patient_id,
        "abc-1"
    );
    assert_eq!(
        with(&[("consultorio_id", Value::Null)])
            .unwrap()
            .consultorio_id,
        None
    );
}

/// Any value, mostly one that some column takes.
fn any_cell() -> impl Strategy<Value = Value> {
    let plausible = prop::sample::select(good());
    let bounds = vec![MAX_IMPORTED_ID, MAX_IMPORTED_ID + 1, MAX_ID, MAX_ID + 1];
    let number = prop_oneof![-2..1500_i64, any::<i64>(), prop::sample::select(bounds)];
    prop_oneof![
        6 => plausible,
        1 => Just(Value::Null),
        2 => number.prop_map(Value::from),
        1 => any::<f64>().prop_map(cell::real),
        1 => any::<String>().prop_map(Value::from),
        2 => "[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.é]{8,16}".prop_map(Value::from),
        1 => any::<Vec<u8>>().prop_map(|bytes| cell::malformed(&bytes)),
        1 => any::<Vec<u8>>().prop_map(|bytes| cell::blob(&bytes)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_row_is_taken_within_what_is_allowed_or_refused_in_one_line(
        changes in prop::collection::vec((0..NAMES.len(), any_cell()), 0..5)
    ) {
        let changes: Vec<_> = changes.into_iter().map(|(at, cell)| (NAMES[at], cell)).collect();
        match with(&changes) {
            Ok(taken) => {
                prop_assert!((1..=MAX_IMPORTED_ID).contains(&taken.id));
                prop_assert!((1..=MAX_DURATION_MIN).contains(&taken.duration_min.into()));
                prop_assert!(TenantId::parse(&taken.tenant_id).is_ok());
                prop_assert!(PatientId::parse(&taken.patient_id).is_ok());
            }
            Err(reason) => {
                prop_assert!(reason.contains(" must be "), "{}", reason);
                prop_assert_eq!(reason.lines().count(), 1);
            }
        }
    }
}
