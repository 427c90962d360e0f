//! Nothing of what clients send is shown, and no more is kept because of it.

use futures_util::future::join_all;
use harness::{PREFIX, Reply, TODAY, TestServer};
use megastats::settings::CacheBackend;
use reqwest::{Method, RequestBuilder, header};
use serde_json::json;

use super::{scrape, service};

/// What every odd request here holds somewhere.
const MARK: &str = "zebra";

/// Requests that hold `name` wherever a client can put it.
fn requests(server: &TestServer, name: &str) -> Vec<RequestBuilder> {
    let (client, base) = (server.client(), format!("{}{PREFIX}", server.url()));
    let read = |path: &str| client.get(format!("{base}{path}"));
    let method = Method::from_bytes(format!("X{name}").as_bytes()).unwrap();
    vec![
        read("/mega-stats").query(&[("tenantId", name)]),
        read("/summary").query(&[("tenantId", name), ("tz", name)]),
        read("/mega-stats").query(&[("tenantId", "t"), (name, name)]),
        read(&format!("/{name}")),
        read(&format!("/{name}/{name}")),
        read("/mega-stats").header(header::ORIGIN, format!("https://{name}")),
        client.get(format!("{}/{name}", server.url())),
        client.request(method.clone(), format!("{base}/summary")),
        client.request(method, format!("{}/{name}", server.url())),
        client.post(&base).json(&json!({
            "tenantId": name, "patientId": name, "startsAt": TODAY, "durationMin": 30,
        })),
        client
            .patch(format!("{base}/{name}"))
            .json(&json!({ name: name })),
    ]
}

#[tokio::test]
async fn no_tenant_id_path_or_method_of_a_client_is_shown() {
    for backend in [CacheBackend::Memory, CacheBackend::None] {
        let server = service()
            .settings(|settings| settings.cache.backend = backend)
            .start();
        for request in requests(&server, MARK) {
            Reply::to(request).await;
        }
        for tenant in ["zebra\"}", "zebra\\n", "{zebra}", "Zebra Ω", "zebra:1"] {
            server.mega_stats(tenant).await;
            server.book(tenant, TODAY, "pending").await;
        }
        let text = server.send(Method::GET, "/metrics").await.body;
        assert!(text.contains("route=\"unknown\""), "{text}");
        assert!(!text.to_lowercase().contains(MARK), "{text}");
    }
}

#[tokio::test]
async fn ten_thousand_random_paths_and_tenants_do_not_grow_the_number_of_series() {
    const REQUESTS: u64 = 10_000;
    let server = service().start();
    // Each status that is answered below has been answered, so that what grows is the clients' doing.
    for request in requests(&server, "first") {
        Reply::to(request).await;
    }
    scrape(&server).await;
    let before = scrape(&server).await;
    let mut sent = 0;
    while sent < REQUESTS {
        // Spread over all numbers, each another.
        let name = format!("n{:x}", (sent + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let requests = requests(&server, &name);
        sent += requests.len() as u64;
        join_all(requests.into_iter().map(Reply::to)).await;
    }
    let after = scrape(&server).await;
    let series = |of: &harness::Exposition| of.samples.keys().cloned().collect::<Vec<_>>();
    assert_eq!(series(&after), series(&before));
    let counted: f64 = after
        .since(&before)
        .iter()
        .filter(|(series, _)| series.starts_with("megastats_http_requests_total"))
        .map(|(_, by)| by)
        .sum();
    assert_eq!(counted.to_string(), (sent + 1).to_string());
}
