//! The statements on both databases: what is made once, and what is forgotten.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    appointments::model::PatientId,
    db::{Status, testing::TestDb},
    tenant::TenantId,
};

const NOW: &str = "2025-10-31T12:00:00Z";

fn at(raw: &str) -> UtcTime {
    raw.parse::<Timestamp>().unwrap().into()
}

fn now() -> UtcTime {
    at(NOW)
}

/// The earliest start, where there is none.
fn any_time() -> UtcTime {
    Timestamp::MIN.into()
}

/// So long after [`now`].
fn later(by: SignedDuration) -> UtcTime {
    (now().timestamp() + by).into()
}

fn new(tenant: &str) -> NewAppointment {
    NewAppointment {
        tenant: TenantId::parse(tenant).unwrap(),
        patient: PatientId::parse("ana").unwrap(),
        consultorio_id: None,
        starts_at: now(),
        duration_min: 30,
        status: Status::Pending,
    }
}

fn key(raw: &str) -> IdempotencyKey {
    IdempotencyKey::parse(raw.as_bytes()).unwrap()
}

fn count(conn: &mut AnyConn) -> (i64, i64) {
    on_db!(conn, |c| (
        appointments::table.count().get_result(c).unwrap(),
        idempotency_keys::table.count().get_result(c).unwrap(),
    ))
}

#[test]
fn the_same_request_is_answered_alike_and_another_is_told_apart() {
    for mut database in TestDb::both() {
        database.run(|conn| {
            let mut create =
                |new: &NewAppointment, raw| create(conn, new, &key(raw), any_time(), now());
            let first = create(&new("clinic"), "a").unwrap();
            let CreateOutcome::Created(answer) = first else {
                panic!("{first:?}")
            };
            let again = create(&new("clinic"), "\"a\"").unwrap();
            assert_eq!(again, CreateOutcome::Replayed(answer.clone()));
            let other = |change: fn(&mut NewAppointment)| {
                let mut other = new("clinic");
                change(&mut other);
                other
            };
            for another in [
                other(|new| new.patient = PatientId::parse("bia").unwrap()),
                other(|new| new.consultorio_id = Some(1)),
                other(|new| new.starts_at = later(SignedDuration::from_micros(1))),
                other(|new| new.duration_min = 31),
                other(|new| new.status = Status::Confirmed),
            ] {
                assert_eq!(create(&another, "a").unwrap(), CreateOutcome::KeyReused);
            }
            for (tenant, raw) in [("clinic", "A"), ("other", "a")] {
                let made = create(&new(tenant), raw).unwrap();
                assert!(matches!(made, CreateOutcome::Created(_)), "{made:?}");
            }
            assert_eq!(count(conn), (3, 3));
        });
    }
}

#[test]
fn a_key_is_forgotten_after_its_time_and_not_before() {
    for mut database in TestDb::both() {
        database.run(|conn| {
            let mut create = |at| create(conn, &new("clinic"), &key("a"), any_time(), at).unwrap();
            assert!(matches!(create(now()), CreateOutcome::Created(_)));
            let short_of_it = KEY_LIFE - SignedDuration::from_micros(1);
            assert!(matches!(
                create(later(short_of_it)),
                CreateOutcome::Replayed(_)
            ));
            assert!(matches!(create(later(KEY_LIFE)), CreateOutcome::Created(_)));
            assert!(matches!(
                create(later(KEY_LIFE)),
                CreateOutcome::Replayed(_)
            ));
            assert_eq!(count(conn), (2, 1));
        });
    }
}

#[test]
fn old_keys_are_removed_a_few_at_a_time() {
    for mut database in TestDb::both() {
        database.run(|conn| {
            for number in 0..=2 * REMOVED_PER_CREATE {
                let old = key(&format!("old-{number}"));
                create(conn, &new("clinic"), &old, any_time(), now()).unwrap();
            }
            let left = ["a", "b", "c", "d"].map(|raw| {
                create(conn, &new("other"), &key(raw), any_time(), later(KEY_LIFE)).unwrap();
                count(conn).1
            });
            assert_eq!(
                left,
                [i64::try_from(REMOVED_PER_CREATE).unwrap() + 2, 3, 3, 4]
            );
        });
    }
}
