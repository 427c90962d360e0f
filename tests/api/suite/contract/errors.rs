//! How a request that fails is answered.

use harness::PREFIX;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::server;

#[tokio::test]
async fn an_error_has_the_members_of_rfc_9457_and_is_plain_json() {
    let server = server();
    for (reply, status, title, detail) in [
        (
            server.get("/77").await,
            404,
            "Not Found",
            "There is no appointment 77.",
        ),
        (
            server.send(Method::GET, "/nothing").await,
            404,
            "Not Found",
            "There is no such route. /docs/ and /openapi.json describe those that there are; the \
             appointments are below /api/v1/appointments.",
        ),
        (
            server.send(Method::DELETE, &format!("{PREFIX}/77")).await,
            405,
            "Method Not Allowed",
            "This method is not allowed here. Allowed: GET, HEAD, PATCH.",
        ),
    ] {
        assert_eq!(
            reply.body,
            format!(
                r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"}}"#
            )
        );
        assert_eq!(reply.status, StatusCode::from_u16(status).unwrap());
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn wrong_fields_are_named_one_by_one_and_in_the_detail() {
    let server = server();
    let reply = server.get("?tenantId=&page=0").await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        reply.body,
        r#"{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"tenantId: must be 1 to 128 characters, not blank, without control characters; page: must be a whole number from 1 to 9007199254740991","errors":[{"field":"tenantId","message":"must be 1 to 128 characters, not blank, without control characters"},{"field":"page","message":"must be a whole number from 1 to 9007199254740991"}]}"#
    );
}

#[tokio::test]
async fn missing_fields_are_all_named_at_once() {
    let server = server();
    let errors = server.post(&json!({})).await.json()["errors"].clone();
    let required = |field: &str| json!({ "field": field, "message": "is required" });
    assert_eq!(
        errors,
        json!(["tenantId", "patientId", "startsAt", "durationMin"].map(required))
    );
}

#[tokio::test]
async fn a_database_that_fails_is_told_without_its_name_or_the_statement() {
    let server = server();
    server.database().hide_appointments();
    for reply in [
        server.mega_stats("t").await,
        server.get("/1").await,
        server.get("?tenantId=t").await,
        server.get("/summary?tenantId=t").await,
    ] {
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            reply.body,
            r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"The service failed to answer."}"#
        );
    }
}
