//! What `AlignWork` takes is taken, where it can mean one thing only.

use std::sync::Arc;

use harness::{FakeClock, PREFIX, Reply, TestServer};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::server;

/// Sends `body` as it stands.
async fn create(server: &TestServer, body: impl Into<reqwest::Body>) -> Reply {
    let request = server.client().post(format!("{}{PREFIX}/", server.url()));
    let request = request.header("content-type", "application/json");
    server.request(request.body(body)).await
}

/// Creates with that field, and returns the appointment.
async fn created_with(server: &TestServer, field: &str, value: Value) -> Value {
    let mut body = json!({ "tenantId": "t", "patientId": 7, "durationMin": 30,
                           "startsAt": "2025-11-03T12:00:00Z" });
    body[field] = value;
    let reply = create(server, body.to_string()).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{body}: {reply:?}");
    reply.json()
}

#[tokio::test]
async fn white_space_around_a_tenant_is_no_part_of_it() {
    let server = server();
    for tenant in ["clinic", " clinic", "clinic ", "  clinic\u{a0}"] {
        let created = created_with(&server, "tenantId", json!(tenant)).await;
        assert_eq!(created["tenant_id"], "clinic", "{tenant:?}");
    }
    for query in ["clinic", "+clinic", "clinic%20"] {
        let list = server.get(&format!("?tenantId={query}")).await.json();
        assert_eq!(list["total"], 4, "{query}");
        let (_, today) = server
            .get(&format!("/mega-stats?tenantId={query}"))
            .await
            .today();
        assert_eq!(today, 0, "they are in November");
    }
}

#[tokio::test]
async fn starts_in_the_past_are_refused_if_the_settings_say_so() {
    let clock = Arc::new(FakeClock::at("2025-10-31T12:00:00Z"));
    let server = TestServer::builder()
        .clock(clock.clone())
        .settings(|settings| settings.appointments.allow_past_starts = false)
        .start_at_once();
    let refused = |reply: Reply| {
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{reply:?}");
        let problem = reply.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("cannot be scheduled in the past"),
            "{detail}"
        );
        assert_eq!(problem["errors"][0]["field"], "startsAt");
    };
    let starting = |start: &str| json!({ "tenantId": "t", "patientId": 7, "durationMin": 30, "startsAt": start });
    refused(server.post(&starting("2025-10-31T11:59:59Z")).await);
    refused(server.post(&starting("2025-10-31T08:59:00-03:00")).await);
    let now = "2025-10-31T09:00:00-03:00";
    let id = server.book("t", now, "pending").await;

    clock.set("2025-10-31T13:00:00Z");
    for change in [
        json!({ "status": "confirmed" }),
        json!({ "durationMin": 45 }),
        json!({ "status": "pending", "startsAt": now }),
    ] {
        let reply = server.patch(id, &change).await;
        assert_eq!(reply.status, StatusCode::OK, "{change} {reply:?}");
    }
    refused(
        server
            .patch(id, &json!({ "startsAt": "2025-10-31T12:59:59Z" }))
            .await,
    );
    let moved = server
        .patch(id, &json!({ "startsAt": "2025-10-31T13:00:00Z" }))
        .await;
    assert_eq!(moved.status, StatusCode::OK, "{moved:?}");
}

#[tokio::test]
async fn white_space_around_a_patient_is_no_part_of_it() {
    let server = server();
    for patient in [json!("7"), json!(" 7 "), json!(7), json!(7.0)] {
        let created = created_with(&server, "patientId", patient.clone()).await;
        assert_eq!(created["patient_id"], "7", "{patient}");
    }
}

#[tokio::test]
async fn a_start_may_be_written_with_a_space_without_seconds_or_without_a_colon_in_its_offset() {
    let server = server();
    for start in [
        "2025-11-03T12:00Z",
        "2025-11-03 12:00:00Z",
        "2025-11-03T09:00:00-0300",
        "2025-11-03 09:00-0300",
    ] {
        let created = created_with(&server, "startsAt", json!(start)).await;
        assert_eq!(created["starts_at"], "2025-11-03T12:00:00Z", "{start}");
    }
}

#[tokio::test]
async fn a_whole_number_may_be_written_as_a_string_or_with_a_fraction_of_zero() {
    let server = server();
    for minutes in [json!(60), json!("60"), json!(60.0), json!(6e1)] {
        let created = created_with(&server, "durationMin", minutes.clone()).await;
        assert_eq!(created["duration_min"], 60, "{minutes}");
    }
    for room in [json!(2), json!("2"), json!(2.0)] {
        let created = created_with(&server, "consultorioId", room.clone()).await;
        assert_eq!(created["consultorio_id"], 2, "{room}");
    }
}

#[tokio::test]
async fn a_bound_without_an_offset_is_in_utc() {
    let server = server();
    server.book("t", "2025-10-31T23:59:59Z", "pending").await;
    server.book("t", "2025-11-01T00:00:00Z", "pending").await;
    for from in ["2025-11-01", "2025-11-01T00:00", "2025-11-01%2000:00:00"] {
        let list = server.get(&format!("?tenantId=t&from={from}")).await.json();
        assert_eq!(list["total"], 1, "{from}");
        let list = server.get(&format!("?tenantId=t&to={from}")).await.json();
        assert_eq!(list["total"], 1, "{from}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_before_the_body_is_ignored() {
    let server = server();
    let body =
        r#"{"tenantId":"t","patientId":7,"startsAt":"2025-11-03T12:00:00Z","durationMin":30}"#;
    let reply = create(&server, format!("\u{feff}{body}")).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    for refused in [
        format!("\u{feff}\u{feff}{body}").into_bytes(),
        format!(" \u{feff}{body}").into_bytes(),
        "\u{feff}".as_bytes().to_owned(),
        body.encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ] {
        let reply = create(&server, refused).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{reply:?}");
    }
}

#[tokio::test]
async fn a_zone_with_a_plus_sign_is_found_once_the_sign_is_escaped() {
    let server = server();
    let found = server.get("/mega-stats?tenantId=t&tz=Etc/GMT%2B3").await;
    assert_eq!(found.status, StatusCode::OK, "{found:?}");
    let refused = server.get("/mega-stats?tenantId=t&tz=Etc/GMT+3").await;
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("+ is written %2B"), "{detail}");
}
