//! What each column may hold, and what it may not.

use proptest::prelude::*;

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

fn text(text: &str) -> Cell {
    Cell::Text(text.into())
}

fn good() -> Vec<Cell> {
    vec![
        Cell::Integer(7),
        text("clinica-1"),
        Cell::Integer(12),
        Cell::Integer(3),
        text("2025-10-31 17:30:00.000000"),
        Cell::Integer(30),
        text("confirmed"),
        text("2025-10-01 08:00:00.123456"),
        text("2025-10-02 09:00:00"),
    ]
}

fn with(changes: &[(&str, Cell)]) -> Result<Appointment, String> {
    let columns = Columns::new(NAMES.map(String::from).into()).unwrap();
    let mut cells = good();
    for (name, cell) in changes {
        cells[NAMES.iter().position(|other| other == name).unwrap()] = cell.clone();
    }
    read(&columns, &cells, &Statuses::parse(&[]).unwrap())
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
fn columns_are_found_in_any_order_and_only_the_consulting_room_may_be_missing() {
    let mut names = NAMES.map(str::to_uppercase).to_vec();
    names.reverse();
    names.insert(0, "notes".into());
    names.retain(|name| name != "CONSULTORIO_ID");
    let columns = Columns::new(names).unwrap();
    let mut cells = good();
    cells.remove(3);
    cells.push(Cell::Blob(vec![]));
    cells.reverse();
    assert_eq!(columns.cell(&cells, "id"), &Cell::Integer(7));
    let taken = read(&columns, &cells, &Statuses::parse(&[]).unwrap());
    let expected = Appointment {
        consultorio_id: None,
        ..with(&[]).unwrap()
    };
    assert_eq!(taken, Ok(expected));

    for missing in NAMES {
        let names = NAMES
            .iter()
            .filter(|name| **name != missing)
            .map(ToString::to_string);
        let found = Columns::new(names.collect());
        assert_eq!(
            found.err(),
            (missing != "consultorio_id").then_some(missing)
        );
    }
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
        let changes: Vec<_> = nulls.iter().map(|name| (*name, Cell::Null)).collect();
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
        let taken = with(&[("starts_at", text(given))]).unwrap();
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
        let reason = with(&[("starts_at", text(given))]).unwrap_err();
        assert!(
            reason.starts_with("starts_at must be UTC as text"),
            "{given}: {reason}"
        );
    }
}

#[test]
fn each_column_refuses_what_it_may_not_hold_by_its_name() {
    let cells = |cells: &[Cell]| cells.to_vec();
    let (real, blob) = (Cell::Real(30.0), Cell::Blob(b"30".into()));
    let malformed = Cell::Malformed(b"\xff".into());
    for (column, refused) in [
        (
            "id",
            cells(&[
                Cell::Integer(0),
                Cell::Integer(MAX_IMPORTED_ID + 1),
                text("7"),
                Cell::Null,
            ]),
        ),
        (
            "tenant_id",
            cells(&[text(""), text("a\nb"), Cell::Integer(1), Cell::Null]),
        ),
        (
            "patient_id",
            cells(&[text(" "), text(&"9".repeat(65)), Cell::Null]),
        ),
        (
            "consultorio_id",
            cells(&[Cell::Integer(0), Cell::Integer(-1), text("3")]),
        ),
        (
            "starts_at",
            cells(&[Cell::Integer(1_761_921_000), Cell::Null]),
        ),
        (
            "duration_min",
            cells(&[Cell::Integer(0), Cell::Integer(1441), text("30")]),
        ),
        (
            "status",
            cells(&[text("realizada"), text(""), Cell::Integer(1), Cell::Null]),
        ),
        ("created_at", cells(&[text(""), Cell::Integer(0)])),
        ("updated_at", cells(&[text("never"), Cell::Integer(0)])),
    ] {
        for cell in refused
            .into_iter()
            .chain([real.clone(), blob.clone(), malformed.clone()])
        {
            let reason = with(&[(column, cell.clone())]).unwrap_err();
            assert!(
                reason.starts_with(&format!("{column} must be ")),
                "{cell}: {reason}"
            );
            assert!(reason.ends_with(&format!("is {cell}")), "{cell}: {reason}");
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
    let reason = with(&[("id", Cell::Null), ("status", text("x"))]).unwrap_err();
    assert!(
        reason.contains("id must be") && reason.contains("; status must be"),
        "{reason}"
    );
}

#[test]
fn what_alignwork_counted_is_taken_even_where_a_client_could_not_make_it() {
    for minutes in [1, 14, 481, 1440] {
        let taken = with(&[("duration_min", Cell::Integer(minutes))]).unwrap();
        assert_eq!(i64::from(taken.duration_min), minutes);
    }
    assert_eq!(
        with(&[("patient_id", Cell::Integer(0))])
            .unwrap()
            .patient_id,
        "0"
    );
    assert_eq!(
        with(&[("patient_id", text("abc-1"))]).unwrap().patient_id,
        "abc-1"
    );
    assert_eq!(
        with(&[("consultorio_id", Cell::Null)])
            .unwrap()
            .consultorio_id,
        None
    );
}

/// Any value, mostly one that some column takes.
fn any_cell() -> impl Strategy<Value = Cell> {
    let plausible = prop::sample::select(good());
    let bounds = vec![MAX_IMPORTED_ID, MAX_IMPORTED_ID + 1, MAX_ID, MAX_ID + 1];
    let number = prop_oneof![-2..1500_i64, any::<i64>(), prop::sample::select(bounds)];
    prop_oneof![
        6 => plausible,
        1 => Just(Cell::Null),
        2 => number.prop_map(Cell::Integer),
        1 => any::<f64>().prop_map(Cell::Real),
        1 => any::<String>().prop_map(Cell::Text),
        2 => "[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.é]{8,16}".prop_map(Cell::Text),
        1 => any::<Vec<u8>>().prop_map(Cell::Malformed),
        1 => any::<Vec<u8>>().prop_map(Cell::Blob),
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
