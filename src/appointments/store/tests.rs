//! The statements on both databases: that pages are those of a naive model, that instants come back
//! as they went in, and that ids from elsewhere stay clear of new ones.

use std::cell::RefCell;

use diesel::connection::SimpleConnection;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::{
    appointments::model::PatientId,
    db::{Status, testing::TestDb},
    input::TimeRange,
    tenant::TenantId,
};

const TENANTS: [&str; 2] = ["clinic", "other"];

fn instant(second: i64) -> UtcTime {
    Timestamp::from_second(second).unwrap().into()
}

fn tenant(number: usize) -> TenantId {
    TenantId::parse(TENANTS[number]).unwrap()
}

fn appointment(id: i64, tenant: &str, starts_at: UtcTime) -> Appointment {
    Appointment {
        id,
        tenant_id: tenant.into(),
        patient_id: "ana".into(),
        consultorio_id: Some(i64::MAX),
        starts_at,
        duration_min: 30,
        status: Status::Confirmed,
        created_at: starts_at,
        updated_at: instant(0),
    }
}

fn new(starts_at: UtcTime) -> NewAppointment {
    NewAppointment {
        tenant: tenant(0),
        patient: PatientId::parse("ana").unwrap(),
        consultorio_id: None,
        starts_at,
        duration_min: 30,
        status: Status::Pending,
    }
}

/// Makes `all` all there is.
fn fill(conn: &mut AnyConn, all: &[Appointment]) {
    on_db!(conn, |c| {
        diesel::delete(appointments::table).execute(c).unwrap();
        diesel::insert_into(appointments::table)
            .values(all)
            .execute(c)
            .unwrap();
    });
}

/// A few instants, so that many start at the same one; ids in no order of theirs. `step` seconds are
/// between two.
fn booked(step: i64) -> impl Strategy<Value = Vec<Appointment>> {
    let one = (0..TENANTS.len(), 0i64..10);
    proptest::collection::vec(one, 1..40)
        .prop_map(move |all| {
            let numbered = all.into_iter().zip(1..);
            numbered
                .map(|((owner, at), id)| appointment(id, TENANTS[owner], instant(at * step)))
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
}

fn filters(step: i64) -> impl Strategy<Value = ListFilter> {
    let bound = move || proptest::option::of((-1i64..12).prop_map(move |at| instant(at * step)));
    (bound(), bound(), 1i64..8, 1i64..12).prop_map(|(from, to, page, page_size)| ListFilter {
        tenant: tenant(0),
        range: TimeRange { from, to },
        page,
        page_size,
    })
}

/// Lists by looking at every appointment.
fn naive(all: &[Appointment], filter: &ListFilter) -> Page {
    let mut found: Vec<_> = all
        .iter()
        .filter(|one| one.tenant_id == filter.tenant.as_str())
        .filter(|one| filter.range.from.is_none_or(|from| from <= one.starts_at))
        .filter(|one| filter.range.to.is_none_or(|to| one.starts_at < to))
        .cloned()
        .collect();
    found.sort_by_key(|one| (one.starts_at.timestamp(), one.id));
    let pages: Vec<_> = found
        .chunks(usize::try_from(filter.page_size).unwrap())
        .collect();
    let page = pages.get(usize::try_from(filter.page - 1).unwrap());
    Page {
        data: page.map_or_else(Vec::new, |page| page.to_vec()),
        total: i64::try_from(found.len()).unwrap(),
        page: filter.page,
        page_size: filter.page_size,
        total_pages: i64::try_from(pages.len()).unwrap(),
    }
}

fn pages_are_those_of_a_naive_model(database: TestDb) {
    let database = RefCell::new(database);
    // Within a quarter of an hour, over several of them, over the hours of two days, over days.
    let steps = proptest::sample::select(vec![1i64, 600, 10_000, 86_400]);
    let cases = steps.prop_flat_map(|step| (booked(step), filters(step)));
    proptest!(|((all, filter) in cases)| {
        let page = database.borrow_mut().run(|conn| {
            fill(conn, &all);
            list(conn, &filter).unwrap()
        });
        prop_assert_eq!(page, naive(&all, &filter));
    });
}

#[test]
fn pages_are_those_of_a_naive_model_on_sqlite() {
    pages_are_those_of_a_naive_model(TestDb::sqlite());
}

#[test]
fn pages_are_those_of_a_naive_model_on_postgresql() {
    pages_are_those_of_a_naive_model(TestDb::postgres());
}

#[test]
fn an_appointment_comes_back_as_it_went_in() {
    let micro = SignedDuration::from_micros(1);
    for mut database in TestDb::both() {
        database.run(|conn| {
            for at in ["1900-01-01T00:00:00Z", "2199-12-31T23:59:59.999999Z"] {
                let at: Timestamp = at.parse().unwrap();
                let made = create(conn, &new(at.into()), (at + micro).into()).unwrap();
                assert_eq!(made.starts_at, at.into());
                assert_eq!(made.created_at, (at + micro).into());
                assert_eq!(
                    get(conn, &Scope::All, made.id).unwrap().as_ref(),
                    Some(&made)
                );

                let patch = Changes {
                    status: Some(Status::Cancelled),
                    starts_at: None,
                    duration_min: Some(45),
                };
                let changed = update(conn, &tenant(0), made.id, patch, at.into())
                    .unwrap()
                    .unwrap();
                let expected = Appointment {
                    status: Status::Cancelled,
                    duration_min: 45,
                    updated_at: at.into(),
                    ..made
                };
                assert_eq!(changed, expected);
            }
            assert_eq!(get(conn, &Scope::All, i64::MAX).unwrap(), None);
        });
    }
}

#[test]
fn an_appointment_is_reached_by_its_own_tenant_only() {
    for mut database in TestDb::both() {
        database.run(|conn| {
            let made = create(conn, &new(instant(0)), instant(0)).unwrap();
            let patch = Changes {
                status: Some(Status::Cancelled),
                starts_at: None,
                duration_min: None,
            };
            for (scope, reached) in [
                (Scope::All, true),
                (Scope::Tenants(vec![tenant(0)].into()), true),
                (Scope::Tenants(vec![tenant(1), tenant(0)].into()), true),
                (Scope::Tenants(vec![tenant(1)].into()), false),
                (Scope::Tenants(Vec::new().into()), false),
            ] {
                let found = get(conn, &scope, made.id).unwrap();
                assert_eq!(found, reached.then(|| made.clone()), "{scope:?}");
            }
            let foreign = update(conn, &tenant(1), made.id, patch, instant(1));
            assert_eq!(foreign, Ok(None));
            assert_eq!(get(conn, &Scope::All, made.id), Ok(Some(made)));
        });
    }
}

#[test]
fn new_ids_come_after_those_from_elsewhere() {
    for mut database in TestDb::both() {
        database.run(|conn| {
            let id_of_next =
                |conn: &mut AnyConn| create(conn, &new(instant(0)), instant(0)).unwrap().id;
            assert_eq!(id_of_next(conn), 1);
            // The second batch has smaller ones, and takes nothing back.
            for batch in [[3, 500], [4, 5]] {
                let rows = batch.map(|id| appointment(id, TENANTS[1], instant(0)));
                on_db!(conn, |c| c.write_transaction(|c| {
                    c.reserve_ids(batch[1])?;
                    diesel::insert_into(appointments::table)
                        .values(&rows[..])
                        .execute(c)
                }))
                .unwrap();
            }
            assert_eq!([id_of_next(conn), id_of_next(conn)], [501, 502]);
        });
    }
}

#[test]
fn what_postgresql_refuses_at_the_commit_is_an_error() {
    const REFUSAL: &str = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE 'not today'; END $$;
        CREATE CONSTRAINT TRIGGER refusal AFTER INSERT OR UPDATE ON appointments
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()";
    TestDb::postgres().run(|conn| {
        let made = create(conn, &new(instant(0)), instant(0)).unwrap();
        on_db!(conn, |c| c.batch_execute(REFUSAL)).unwrap();
        let created = create(conn, &new(instant(0)), instant(0));
        assert!(created.unwrap_err().to_string().contains("not today"));
        let patch = Changes {
            status: None,
            starts_at: None,
            duration_min: Some(45),
        };
        let updated = update(conn, &tenant(0), made.id, patch, instant(1));
        assert!(updated.unwrap_err().to_string().contains("not today"));
        assert_eq!(get(conn, &Scope::All, made.id), Ok(Some(made)));
    });
}
