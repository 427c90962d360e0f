//! Who may do what: tokens, tenants, administrators, and pages that write with a cookie.

mod admin_listener;
mod cookies;
mod elsewhere;
mod matrix;
mod rotation;
mod routes;
mod start;
mod streams;
mod tokens;

use std::sync::Arc;

use harness::{Builder, FakeClock, NOW, PREFIX, Reply, TestServer};
use megastats::settings::AuthMode;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use self::tokens::{Issuer, Kind};

/// A front end that may call, with `cors.allowed_origins` as they are.
const FRONT_END: &str = "http://localhost:8080";

/// Whose appointments the tests are about, and who else has some.
const OURS: &str = "ours";
const THEIRS: &str = "theirs";

/// How a token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Bearer,
    /// By a page of [`FRONT_END`].
    Cookie,
}

/// A service that takes the tokens of `issuer`, at [`NOW`].
fn guarded_by(issuer: &Issuer) -> Builder {
    let builder = TestServer::builder().clock(Arc::new(FakeClock::at(NOW)));
    let file = builder.file("key", issuer.public());
    builder.settings(|settings| {
        let auth = &mut settings.auth;
        auth.mode = AuthMode::Jwt;
        auth.issuer = tokens::ISSUER.into();
        auth.audience = tokens::AUDIENCE.into();
        match issuer.kind() {
            Kind::Secret => auth.secret_file = file,
            Kind::PublicKey => auth.public_key_file = file,
            Kind::Set => auth.jwks_file = file,
        }
    })
}

fn request(server: &TestServer, method: &Method, path: &str) -> RequestBuilder {
    let url = format!("{}{PREFIX}{path}", server.url());
    server.client().request(method.clone(), url)
}

fn with_token(request: RequestBuilder, token: &str, by: By) -> RequestBuilder {
    match by {
        By::Bearer => request.bearer_auth(token),
        By::Cookie => request
            .header("cookie", format!("theme=dark; access_token={token}; x=y"))
            .header("origin", FRONT_END),
    }
}

/// Makes an appointment of `tenant` for today; returns its id.
async fn book(server: &TestServer, token: &str, tenant: &str) -> i64 {
    let body = json!({ "tenantId": tenant, "patientId": 1, "startsAt": NOW, "durationMin": 30 });
    let reply = Reply::to(
        request(server, &Method::POST, "/")
            .bearer_auth(token)
            .json(&body),
    )
    .await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["id"].as_i64().unwrap()
}
