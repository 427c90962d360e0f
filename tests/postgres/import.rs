//! `megastats import` into PostgreSQL; `tests/api/suite/import` holds what is imported.

use harness::{Process, Raw, Sqlite, command, poll, run};
use serde_json::json;

use crate::server::Postgres;

const ALIGNWORK: &str = "
    CREATE TABLE appointments (
        id INTEGER NOT NULL PRIMARY KEY, tenant_id VARCHAR NOT NULL, patient_id VARCHAR NOT NULL,
        consultorio_id INTEGER, starts_at DATETIME NOT NULL, duration_min INTEGER NOT NULL,
        status VARCHAR NOT NULL, created_at DATETIME, updated_at DATETIME
    );
    WITH RECURSIVE n(id) AS (SELECT 7 UNION ALL SELECT id + 1 FROM n WHERE id < 1500)
    INSERT INTO appointments SELECT id, 'clinic', 'ana', NULL,
        strftime('%Y-%m-%d %H:%M:00.000000', 'now'), 30,
        'confirmed', '2025-10-01 12:00:00.000000', '2025-10-01 12:00:00.000000' FROM n;
";

#[test]
fn appointments_keep_their_ids_new_ones_follow_them_and_a_running_service_counts_them() {
    let server = Postgres::shared();
    let url = server.database();
    let folder = tempfile::tempdir().unwrap();
    Sqlite::open(&folder.path().join("alignwork.db")).execute(ALIGNWORK);
    let environment = [
        ("MEGASTATS__DATABASE__URL", url.as_str()),
        ("MEGASTATS__CACHE__TTL_SECONDS", "3600"),
    ];
    let import = |arguments: &[&str]| {
        let mut command = command(folder.path());
        let output = run(command.envs(environment).arg("import").args(arguments));
        let said = format!("{output:?}");
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };

    // Nothing is made by a dry run, neither before there is a table nor with one.
    let dry = import(&["--dry-run", "alignwork.db"]);
    assert!(dry.contains("1494"), "{dry}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(server.query(&url, tables), "0");

    let service = Process::start(folder.path(), &environment);
    import(&["--dry-run", "alignwork.db"]);
    let rows = "SELECT count(*), min(id), max(id) FROM appointments";
    assert_eq!(server.query(&url, rows), "0||");

    let counted = || {
        let mut client = Raw::connect(service.url());
        client.mega_stats("clinic");
        let stats = client.reply().json();
        stats["month"]["confirmed"].as_i64().unwrap()
    };
    assert_eq!([counted(), counted()], [0, 0]);
    // The second run finds all in its place.
    for _ in 0..2 {
        import(&["alignwork.db"]);
        assert_eq!(server.query(&url, rows), "1494|7|1500");
        poll("the service counts them", || {
            (counted() == 1494).then_some(())
        });
    }
    let mut client = Raw::connect(service.url());
    client.post(&json!({
        "tenantId": "clinic", "patientId": "bia", "durationMin": 30,
        "startsAt": "2026-11-23T14:00:00-03:00",
    }));
    assert_eq!(client.reply().json()["id"], 1501);
}
