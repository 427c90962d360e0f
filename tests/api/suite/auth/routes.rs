//! Every route below the prefix, and whom it is for. A route that the service has and that is not
//! here fails the test.

use std::collections::BTreeSet;

use harness::{NOW, PREFIX, TestServer};
use reqwest::Method;
use serde_json::{Value, json};

use super::OURS;

/// The routes elsewhere, of which `elsewhere` tests who may use them.
pub const ELSEWHERE: [&str; 4] = ["/health", "/healthz", "/metrics", "/readyz"];

/// What a route is about, which says who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A tenant that the request names.
    Tenant,
    /// One appointment, which is a tenant's.
    Appointment,
    /// No tenant in particular.
    Service,
}

/// A route below the prefix, and how to use it.
pub struct Route {
    pub method: Method,
    /// As the code spells it, below the prefix.
    pub path: &'static str,
    pub query: &'static str,
    pub body: Option<fn() -> Value>,
    pub about: About,
    pub answer: u16,
}

const fn read(path: &'static str, query: &'static str, about: About) -> Route {
    Route {
        method: Method::GET,
        path,
        query,
        body: None,
        about,
        answer: 200,
    }
}

fn purge(query: &'static str) -> Route {
    Route {
        method: Method::DELETE,
        answer: 204,
        ..read("/cache", query, About::Service)
    }
}

/// Every route below the prefix.
pub fn routes() -> Vec<Route> {
    let write = |method, path, body, about, answer| Route {
        method,
        path,
        query: "",
        body: Some(body),
        about,
        answer,
    };
    vec![
        read("", "?tenantId=ours", About::Tenant),
        write(Method::POST, "", created, About::Tenant, 201),
        read("/{id}", "", About::Appointment),
        write(Method::PATCH, "/{id}", changed, About::Appointment, 200),
        read("/mega-stats", "?tenantId=ours&tz=UTC", About::Tenant),
        read("/days", "?tenantId=ours&tz=UTC", About::Tenant),
        read("/mega-stats/events", "?tenantId=ours&tz=UTC", About::Tenant),
        read("/summary", "?tenantId=ours&tz=UTC", About::Tenant),
        read("/cache-metrics", "", About::Service),
        purge("?tenantId=ours"),
        purge(""),
    ]
}

fn created() -> Value {
    json!({ "tenantId": OURS, "patientId": 9, "startsAt": NOW, "durationMin": 15 })
}

/// Changes of an appointment.
pub fn changed() -> Value {
    json!({ "status": "confirmed" })
}

/// Every method and path that the service describes, below the prefix and elsewhere; it describes
/// all that it has.
async fn described() -> [BTreeSet<(String, String)>; 2] {
    let server = TestServer::start();
    let description = server.send(Method::GET, "/openapi.json").await.json();
    let mut found = [BTreeSet::new(), BTreeSet::new()];
    for (path, operations) in description["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let (group, path) = match path.strip_prefix(PREFIX) {
                Some(path) => (0, path.trim_end_matches('/')),
                None => (1, path.as_str()),
            };
            found[group].insert((method.to_uppercase(), path.to_owned()));
        }
    }
    found
}

#[tokio::test]
async fn every_route_is_in_a_table() {
    let table = routes()
        .into_iter()
        .map(|route| (route.method.to_string(), route.path.to_owned()));
    let [below, others] = described().await;
    assert_eq!(below, table.collect());
    for (method, path) in others {
        assert!(
            method == "GET" && ELSEWHERE.contains(&path.as_str()),
            "{path}"
        );
    }
}
