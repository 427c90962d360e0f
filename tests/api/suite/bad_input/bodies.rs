//! Bodies that can be read, but say something that is not allowed.

use harness::{PREFIX, Reply, TestServer};
use serde_json::{Value, json};

use super::{assert_error, assert_refused, assert_unharmed, refused};

const TENANT: &str = "1 to 128 characters, not blank, without control characters";
const PATIENT: &str = "a positive whole number, or a string of 1 to 64 characters, not blank, without control characters";
const TIME: &str =
    "an RFC 3339 date and time with offset, from 1970 to 2199, e.g. 2025-10-31T14:30:00Z";
const DURATION: &str = "a whole number from 15 to 480";
const STATUS: &str = "one of pending, confirmed, cancelled";
const ROOM: &str = "a whole number from 1 to 9007199254740991";

/// Creates with `raw` JSON for `field`, and the other fields as they should be.
async fn create(server: &TestServer, field: &str, raw: &str) -> Reply {
    let fields = [
        ("tenantId", "\"t\""),
        ("patientId", "1"),
        ("startsAt", "\"2025-11-03T12:00:00Z\""),
        ("durationMin", "30"),
    ];
    let others = fields.iter().filter(|(name, _)| *name != field);
    let others: Vec<_> = others
        .map(|(name, value)| format!("\"{name}\":{value},"))
        .collect();
    let body = format!("{{{}\"{field}\":{raw}}}", others.concat());
    let url = format!("{}{PREFIX}", server.url());
    let request = server
        .client()
        .post(url)
        .header("content-type", "application/json");
    server.request(request.body(body)).await
}

/// Updates appointment 1, which there is not, with `raw` JSON for `field`.
async fn update(server: &TestServer, field: &str, raw: &str) -> Reply {
    let url = format!("{}{PREFIX}/1", server.url());
    let request = server
        .client()
        .patch(url)
        .header("content-type", "application/json");
    server
        .request(request.body(format!("{{\"{field}\":{raw}}}")))
        .await
}

/// Asserts that neither a create nor, where `updates`, an update takes any of `values`, given in
/// JSON, for `field`.
async fn assert_none_allowed(field: &str, updates: bool, allowed: &str, values: &[&str]) {
    let server = TestServer::start();
    for value in values {
        assert_refused(&create(&server, field, value).await, field, allowed);
        if updates {
            assert_refused(&update(&server, field, value).await, field, allowed);
        }
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn required_fields_may_be_neither_missing_nor_null() {
    let server = TestServer::start();
    for field in ["tenantId", "patientId", "startsAt", "durationMin"] {
        assert_refused(&create(&server, field, "null").await, field, "is required");
        let mut body = json!({ "tenantId": "t", "patientId": 1, "durationMin": 30,
                               "startsAt": "2025-11-03T12:00:00Z" });
        body.as_object_mut().unwrap().remove(field);
        assert_refused(&server.post(&body).await, field, "is required");
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn a_tenant_that_is_blank_overlong_or_has_control_characters_is_refused() {
    let overlong = format!("\"{}\"", "ã".repeat(129));
    let values = [
        "\"\"",
        "\" \"",
        "\"\\u0000\"",
        "\"a\\n\"",
        "\"a\\u007f\"",
        "\"a\\u0085\"",
        &overlong,
    ];
    assert_none_allowed("tenantId", false, TENANT, &values).await;
}

#[tokio::test]
async fn a_tenant_that_is_no_string_is_refused() {
    let values = ["1", "true", "[\"t\"]", "{\"t\":1}", "1e300"];
    assert_none_allowed("tenantId", false, "must be a string", &values).await;
}

#[tokio::test]
async fn a_patient_that_is_no_identifier_is_refused() {
    let overlong = format!("\"{}\"", "a".repeat(65));
    let values = [
        "0",
        "-1",
        "1.5",
        "1e300",
        "-0",
        "9007199254740992.0",
        "\"\"",
        "\" \"",
        "\"a\\u0000\"",
        "\"\\t\"",
        "true",
        "false",
        "[]",
        "[1]",
        "{}",
        "99999999999999999999",
        &overlong,
    ];
    assert_none_allowed("patientId", false, PATIENT, &values).await;
}

#[tokio::test]
async fn a_start_that_is_no_instant_is_refused() {
    let values = [
        "\"\"",
        "\"now\"",
        "\"2025-11-03\"",
        "\"2025-11-03T12:00:00\"",
        "\"2025-11-03 12:00:00\"",
        "\"2025-11-03T12:00:00 03:00\"",
        "\"2025-02-29T12:00:00Z\"",
        "\"2025-02-30T12:00:00Z\"",
        "\"2025-13-03T12:00:00Z\"",
        "\"2025-11-03T25:00:00Z\"",
        "\"2025-11-03T12:00:00+99:00\"",
        "\"1969-12-31T23:59:59Z\"",
        "\"2200-01-01T00:00:00Z\"",
        "\"9999-12-31T23:59:59Z\"",
        "\"10000-01-01T00:00:00Z\"",
        "\"-000001-01-01T00:00:00Z\"",
        "\"2025-11-03T12:00:00-03:00[America/Recife]\"",
    ];
    assert_none_allowed("startsAt", true, TIME, &values).await;
}

#[tokio::test]
async fn a_start_that_is_no_string_is_refused() {
    let values = ["1762171200", "1762171200.5", "true", "[]", "{}"];
    assert_none_allowed("startsAt", true, "must be a string", &values).await;
}

#[tokio::test]
async fn a_duration_that_is_not_15_to_480_whole_minutes_is_refused() {
    let values = [
        "0",
        "14",
        "481",
        "-1",
        "-30",
        "30.5",
        "14.0",
        "\"30.0\"",
        "\"+30\"",
        "\" 30\"",
        "\"3e1\"",
        "\"481\"",
        "\"\"",
        "1e300",
        "99999999999999999999",
        "4294967326",
        "true",
        "[30]",
        "{}",
    ];
    assert_none_allowed("durationMin", true, DURATION, &values).await;
}

#[tokio::test]
async fn a_status_that_is_none_is_refused() {
    let values = [
        "\"\"",
        "\"Pending\"",
        "\"CONFIRMED\"",
        "\"canceled\"",
        "\"done\"",
        "\" pending\"",
    ];
    assert_none_allowed("status", true, STATUS, &values).await;
}

#[tokio::test]
async fn a_status_that_is_no_string_is_refused() {
    let values = ["0", "true", "[\"pending\"]", "{}"];
    assert_none_allowed("status", true, "must be a string", &values).await;
}

#[tokio::test]
async fn a_consulting_room_that_is_no_positive_whole_number_is_refused() {
    let values = [
        "0",
        "-1",
        "1.5",
        "\"x\"",
        "\"1.0\"",
        "\"0\"",
        "true",
        "[]",
        "{}",
        "1e300",
        "9007199254740992",
        "99999999999999999999",
    ];
    assert_none_allowed("consultorioId", false, ROOM, &values).await;
}

#[tokio::test]
async fn a_number_that_no_computer_holds_is_no_json() {
    let server = TestServer::start();
    for field in ["durationMin", "patientId", "consultorioId"] {
        let detail = assert_error(&create(&server, field, "1e999").await, 400);
        assert!(detail.contains("number out of range"), "{detail}");
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn an_update_of_nothing_names_what_can_be_updated() {
    let server = TestServer::start();
    for body in [
        json!({}),
        json!({ "status": null }),
        json!({ "tenantId": "t", "x": 1 }),
    ] {
        let reply = server.patch(1, &body).await;
        assert_refused(
            &reply,
            "body",
            "at least one of status, startsAt, durationMin",
        );
    }
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn everything_that_is_wrong_is_named_at_once() {
    let server = TestServer::start();
    let wrong = json!({ "tenantId": "", "patientId": 0, "startsAt": "x", "durationMin": 0,
                        "status": "x", "consultorioId": 0 });
    let all = [
        "tenantId",
        "patientId",
        "startsAt",
        "durationMin",
        "status",
        "consultorioId",
    ];
    assert_eq!(refused(&server.post(&wrong).await), all);
    assert_eq!(
        refused(&server.patch(1, &wrong).await),
        ["status", "startsAt", "durationMin"]
    );
    assert_unharmed(&server).await;
}

#[tokio::test]
async fn an_update_with_one_wrong_field_changes_none() {
    let server = TestServer::start();
    let id = server.book("t", "2025-11-03T12:00:00Z", "pending").await;
    let before = server.get(&format!("/{id}")).await.body;
    let reply = server
        .patch(id, &json!({ "status": "confirmed", "durationMin": 14 }))
        .await;
    assert_refused(&reply, "durationMin", DURATION);
    assert_eq!(server.get(&format!("/{id}")).await.body, before);
}

#[tokio::test]
async fn what_was_sent_is_not_sent_back() {
    let server = TestServer::start();
    let secret = "<script>alert(1)</script>";
    let body: Value = json!({ "tenantId": 1, "patientId": [secret], "startsAt": secret,
                              "durationMin": secret, "status": secret });
    assert!(!server.post(&body).await.body.contains("script"));
    assert!(
        !server
            .get(&format!("/mega-stats?tenantId=t&tz={secret}"))
            .await
            .body
            .contains("script")
    );
}
