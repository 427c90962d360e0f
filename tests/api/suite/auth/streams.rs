//! Streams of events outlive the request that opened them, but not its token.

use std::sync::Arc;

use harness::{EventStream, FakeClock, NOW, TODAY};
use reqwest::Method;
use serde_json::json;

use super::{By, Issuer, OURS, guarded_by, request, with_token};

#[tokio::test]
async fn a_stream_tells_nothing_more_once_its_token_has_expired_and_ends() {
    let clock = Arc::new(FakeClock::at(NOW));
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).clock(clock.clone()).start();
    let token = issuer.token_for(&[OURS]);
    let path = "/mega-stats/events?tenantId=ours";
    let mut viewers = Vec::new();
    for by in [By::Bearer, By::Cookie] {
        let asked = with_token(request(&server, &Method::GET, path), &token, by);
        let mut viewer = EventStream::open(asked).await;
        assert_eq!(viewer.next().await.unwrap().name, "message");
        viewers.push(viewer);
    }
    clock.set("2025-10-31T13:00:00Z");
    let fresh = issuer.sign(&json!({ "exp": 4_000_000_000_u64 }));
    let body = json!({ "tenantId": OURS, "patientId": 1, "startsAt": TODAY, "durationMin": 30 });
    let create = request(&server, &Method::POST, "/")
        .bearer_auth(fresh)
        .json(&body);
    assert_eq!(server.request(create).await.status, 201);
    for mut viewer in viewers {
        let told = viewer.next().await.unwrap();
        assert_eq!(
            (told.name.as_str(), &told.json()["status"]),
            ("problem", &401.into())
        );
        assert_eq!(viewer.next().await, None);
    }
}
