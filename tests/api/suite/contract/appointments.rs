//! `POST /`, `GET /{id}` and `PATCH /{id}`.

use harness::{NOW, TestServer};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{server, server_and_clock};

/// What a create must say, and no more.
fn least() -> Value {
    json!({ "tenantId": "t", "patientId": 7, "startsAt": "2025-11-03T12:00:00Z", "durationMin": 30 })
}

/// [`least`] with one field more, or another.
fn least_with(field: &str, value: impl Into<Value>) -> Value {
    let mut body = least();
    body[field] = value.into();
    body
}

async fn create(server: &TestServer, body: &Value) -> Value {
    let reply = server.post(body).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{body}: {reply:?}");
    reply.json()
}

async fn update(server: &TestServer, created: &Value, changes: &Value) -> Value {
    let reply = server.patch(created["id"].as_i64().unwrap(), changes).await;
    assert_eq!(reply.status, StatusCode::OK, "{changes}: {reply:?}");
    reply.json()
}

#[tokio::test]
async fn a_created_appointment_is_shown_whole_and_located() {
    let server = server();
    let reply = server.post(&least()).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(reply.header("location"), "/api/v1/appointments/1");
    assert_eq!(
        reply.body,
        r#"{"id":1,"tenant_id":"t","patient_id":"7","consultorio_id":null,"starts_at":"2025-11-03T12:00:00Z","duration_min":30,"status":"pending","created_at":"2025-10-31T12:00:00Z","updated_at":"2025-10-31T12:00:00Z"}"#
    );
    let got = server
        .send(reqwest::Method::GET, reply.header("location"))
        .await;
    assert_eq!((got.status, got.body), (StatusCode::OK, reply.body));
}

#[tokio::test]
async fn every_appointment_has_an_id_of_its_own() {
    let server = server();
    let first = create(&server, &least()).await;
    let second = create(&server, &least_with("tenantId", "another")).await;
    assert_ne!(first["id"], second["id"]);
    for created in [first, second] {
        assert_eq!(
            server.get(&format!("/{}", created["id"])).await.json(),
            created
        );
    }
}

#[tokio::test]
async fn a_patient_may_be_a_number_or_a_string_and_is_kept_as_a_string() {
    let server = server();
    let longest = "ã".repeat(64);
    for (sent, kept) in [
        (json!(1), "1"),
        (json!(9_007_199_254_740_993_u64), "9007199254740993"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!("007"), "007"),
        (json!("Ana Luísa"), "Ana Luísa"),
        (json!(" x "), "x"),
        (
            json!("'; DROP TABLE appointments; --"),
            "'; DROP TABLE appointments; --",
        ),
        (json!(longest), &longest),
    ] {
        let created = create(&server, &least_with("patientId", sent)).await;
        assert_eq!(created["patient_id"], kept);
        assert_eq!(
            server.get(&format!("/{}", created["id"])).await.json(),
            created
        );
    }
}

#[tokio::test]
async fn a_consulting_room_is_a_number_or_null() {
    let server = server();
    for (sent, kept) in [
        (json!(1), json!(1)),
        (
            json!(9_007_199_254_740_991_i64),
            json!(9_007_199_254_740_991_i64),
        ),
        (Value::Null, Value::Null),
    ] {
        let created = create(&server, &least_with("consultorioId", sent)).await;
        assert_eq!(created["consultorio_id"], kept);
    }
}

#[tokio::test]
async fn times_are_shown_in_utc_whatever_offset_they_came_with() {
    let server = server();
    for (sent, shown) in [
        ("2025-11-03T09:00:00-03:00", "2025-11-03T12:00:00Z"),
        ("2025-11-04T00:30:00+14:00", "2025-11-03T10:30:00Z"),
        ("2025-11-03T17:45:00+05:45", "2025-11-03T12:00:00Z"),
        ("2025-11-03T12:00:00+00:00", "2025-11-03T12:00:00Z"),
        ("2025-11-03T12:00:00.25Z", "2025-11-03T12:00:00.25Z"),
        ("2025-11-03T12:00:00.123456Z", "2025-11-03T12:00:00.123456Z"),
        ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("2199-12-31T23:59:59Z", "2199-12-31T23:59:59Z"),
    ] {
        let created = create(&server, &least_with("startsAt", sent)).await;
        assert_eq!(created["starts_at"], shown, "{sent}");
        let updated = update(&server, &created, &json!({ "startsAt": NOW })).await;
        assert_eq!(updated["starts_at"], NOW);
        let back = update(&server, &created, &json!({ "startsAt": sent })).await;
        assert_eq!(back["starts_at"], shown, "{sent}");
    }
}

#[tokio::test]
async fn each_status_and_the_bounds_of_the_duration_are_taken() {
    let server = server();
    for status in ["pending", "confirmed", "cancelled"] {
        let created = create(&server, &least_with("status", status)).await;
        assert_eq!(created["status"], status);
    }
    for minutes in [15, 480] {
        let created = create(&server, &least_with("durationMin", minutes)).await;
        assert_eq!(created["duration_min"], minutes);
    }
}

#[tokio::test]
async fn a_tenant_may_be_any_text_of_128_characters() {
    let server = server();
    for tenant in [
        "ã".repeat(128),
        "a".into(),
        "a:b/c?d=e&f#g%00".into(),
        "日本 🦷".into(),
    ] {
        let created = create(&server, &least_with("tenantId", tenant.clone())).await;
        assert_eq!(created["tenant_id"], tenant);
    }
}

#[tokio::test]
async fn null_is_the_same_as_no_field() {
    let server = server();
    let body = least_with("status", Value::Null);
    assert_eq!(create(&server, &body).await["status"], "pending");
    let created = create(&server, &least()).await;
    for (field, shown, value) in [
        ("status", "status", json!("confirmed")),
        ("startsAt", "starts_at", json!("2025-12-24T12:00:00Z")),
        ("durationMin", "duration_min", json!(45)),
    ] {
        let mut changes = json!({ "status": null, "startsAt": null, "durationMin": null });
        changes[field] = value.clone();
        let mut expected = server.get(&format!("/{}", created["id"])).await.json();
        expected[shown] = value;
        assert_eq!(update(&server, &created, &changes).await, expected);
    }
}

#[tokio::test]
async fn fields_nobody_knows_are_ignored() {
    let server = server();
    let mut body = least();
    for (field, value) in [
        ("id", json!(99)),
        ("tenant_id", json!("another")),
        ("createdAt", json!("1999-01-01T00:00:00Z")),
        ("notes", json!({ "nested": [1, "two", null] })),
        ("", json!("")),
    ] {
        body[field] = value;
    }
    let created = create(&server, &body).await;
    assert_eq!(
        (&created["id"], &created["tenant_id"]),
        (&json!(1), &json!("t"))
    );
    let changes = json!({ "status": "confirmed", "tenantId": "another", "patientId": 8, "id": 9,
                          "consultorioId": 3, "x": {} });
    let mut expected = created.clone();
    expected["status"] = json!("confirmed");
    assert_eq!(update(&server, &created, &changes).await, expected);
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_nothing_else() {
    let server = server();
    for (changes, expected) in [
        (
            json!({ "status": "confirmed" }),
            json!({ "status": "confirmed" }),
        ),
        (
            json!({ "status": "cancelled" }),
            json!({ "status": "cancelled" }),
        ),
        (
            json!({ "durationMin": 480 }),
            json!({ "duration_min": 480 }),
        ),
        (
            json!({ "startsAt": "2025-12-24T09:00:00-03:00" }),
            json!({ "starts_at": "2025-12-24T12:00:00Z" }),
        ),
        (
            json!({ "status": "confirmed", "startsAt": "2025-12-24T12:00:00Z", "durationMin": 15 }),
            json!({ "status": "confirmed", "starts_at": "2025-12-24T12:00:00Z", "duration_min": 15 }),
        ),
    ] {
        let bystander = create(&server, &least()).await;
        let created = create(&server, &least_with("consultorioId", 3)).await;
        let mut whole = created.clone();
        for (field, value) in expected.as_object().unwrap() {
            whole[field] = value.clone();
        }
        assert_eq!(
            update(&server, &created, &changes).await,
            whole,
            "{changes}"
        );
        assert_eq!(
            server.get(&format!("/{}", created["id"])).await.json(),
            whole,
            "{changes}"
        );
        let other = server.get(&format!("/{}", bystander["id"])).await.json();
        assert_eq!(other, bystander, "{changes}");
    }
}

#[tokio::test]
async fn an_update_moves_updated_at_on_and_leaves_created_at() {
    let (server, clock) = server_and_clock();
    let created = create(&server, &least()).await;
    assert_eq!([&created["created_at"], &created["updated_at"]], [NOW, NOW]);
    for later in ["2025-10-31T12:00:00.000001Z", "2025-11-02T00:00:00Z"] {
        clock.set(later);
        let updated = update(&server, &created, &json!({ "status": "confirmed" })).await;
        assert_eq!(
            [&updated["created_at"], &updated["updated_at"]],
            [NOW, later]
        );
    }
    clock.set("2025-11-03T00:00:00Z");
    let got = server.get(&format!("/{}", created["id"])).await.json();
    assert_eq!(got["updated_at"], "2025-11-02T00:00:00Z");
}
