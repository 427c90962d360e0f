//! The counts that PostgreSQL keeps.

use futures_util::{StreamExt, stream};
use harness::{PREFIX, TODAY, TestServer, eventually};
use megastats::settings::DatabaseUrl;
use reqwest::StatusCode;
use serde_json::json;
use tokio_postgres::NoTls;

use crate::server::Postgres;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_nobody_reads_leaves_few_changes_that_are_not_merged() {
    const WRITES: i64 = 600;
    const WRITERS: usize = 4;
    let server = Postgres::shared();
    let url = server.database();
    let service = TestServer::builder()
        .settings(|settings| settings.database.url = DatabaseUrl::parse(&url).unwrap())
        .start();
    let appointment = json!({
        "tenantId": "clinic", "patientId": 1, "startsAt": TODAY, "durationMin": 30,
    });
    let create = |_| {
        let url = format!("{}{PREFIX}", service.url());
        service.client().post(url).json(&appointment).send()
    };
    let created = stream::iter(0..WRITES)
        .map(create)
        .buffer_unordered(WRITERS);
    let created =
        created.map(|response| assert_eq!(response.unwrap().status(), StatusCode::CREATED));
    created.collect::<()>().await;

    let (session, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    eventually("changes are merged", async || {
        let changes = "SELECT count(*) FROM appointment_count_changes";
        let changes: i64 = session.query_one(changes, &[]).await.unwrap().get(0);
        changes < WRITES / 2
    })
    .await;
}
