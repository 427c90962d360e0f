//! The authorisation matrix: every route by every token, sent either way, on a cold and on a warm
//! cache. The routes are those of `routes`, which holds them to the code.

use harness::{Reply, TestServer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    By, OURS, THEIRS, book, guarded_by, request,
    routes::{About, Route, changed, routes},
    tokens::{Issuer, TOKENS, Token},
    with_token,
};

/// The status that `route` must answer whoever presents `token` with.
fn expected(route: &Route, token: Token) -> u16 {
    match (token, route.about) {
        (token, _) if !token.is_valid() => 401,
        (Token::RightTenant, About::Tenant | About::Appointment)
        | (Token::Admin, About::Service) => route.answer,
        (_, About::Appointment) => 404,
        _ => 403,
    }
}

/// A service with an appointment of each tenant, and what to ask it with.
struct Clinic {
    server: TestServer,
    issuer: Issuer,
    /// The appointment of [`OURS`].
    id: i64,
}

impl Clinic {
    async fn open(issuer: Issuer) -> Self {
        let server = guarded_by(&issuer).start();
        let id = book(&server, &issuer.token_for(&[OURS]), OURS).await;
        book(&server, &issuer.token_for(&[THEIRS]), THEIRS).await;
        Self { server, issuer, id }
    }

    async fn ask(&self, route: &Route, token: Option<&str>, by: By) -> Reply {
        let path = route.path.replace("{id}", &self.id.to_string());
        let mut asked = request(
            &self.server,
            &route.method,
            &format!("{path}{}", route.query),
        );
        if let Some(body) = route.body {
            asked = asked.json(&body());
        }
        Reply::to(match token {
            Some(token) => with_token(asked, token, by),
            None => asked,
        })
        .await
    }

    async fn get(&self, path: &str, token: Token) -> Reply {
        let token = self.issuer.make(token).unwrap();
        Reply::to(request(&self.server, &Method::GET, path).bearer_auth(token)).await
    }

    /// How often statistics were asked for, as far as the cache has noticed.
    async fn reads(&self) -> Value {
        self.get("/cache-metrics", Token::Admin).await.json()["cache_stats"]["total_requests"]
            .clone()
    }

    /// Asks every route with every token that must not do; asserts that it does not, and that
    /// nothing comes of it.
    async fn refuses(&self) {
        let before = (
            self.reads().await,
            self.get("?tenantId=ours", Token::RightTenant).await.body,
        );
        for token in TOKENS {
            let presented = self.issuer.make(token);
            for route in routes() {
                let status = expected(&route, token);
                if status == route.answer {
                    continue;
                }
                for by in [By::Bearer, By::Cookie] {
                    let reply = self.ask(&route, presented.as_deref(), by).await;
                    let what = format!("{} {} {token:?} {by:?}", route.method, route.path);
                    assert_refused(&reply, status, token, &what);
                }
            }
        }
        let after = (
            self.reads().await,
            self.get("?tenantId=ours", Token::RightTenant).await.body,
        );
        assert_eq!(before, after);
    }

    /// Asks for statistics as those who may; asserts where they come from.
    async fn statistics_are(&self, x_cache: &str) {
        for route in routes()
            .iter()
            .filter(|route| ["/mega-stats", "/summary", "/days"].contains(&route.path))
        {
            let token = self.issuer.make(Token::RightTenant);
            let reply = self.ask(route, token.as_deref(), By::Bearer).await;
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
            assert_eq!(reply.header("x-cache"), x_cache, "{}", route.path);
        }
    }

    /// Asks every route with every token that must do.
    async fn answers(&self) {
        for token in TOKENS {
            let presented = self.issuer.make(token);
            for route in routes() {
                if expected(&route, token) != route.answer {
                    continue;
                }
                for by in [By::Bearer, By::Cookie] {
                    let reply = self.ask(&route, presented.as_deref(), by).await;
                    let what = format!("{} {} {token:?} {by:?}", route.method, route.path);
                    assert_eq!(reply.status, route.answer, "{what}: {reply:?}");
                }
            }
        }
    }
}

fn assert_refused(reply: &Reply, status: u16, token: Token, what: &str) {
    assert_eq!(reply.status, status, "{what}: {reply:?}");
    let problem = reply.json();
    assert_eq!(problem["status"], status, "{what}");
    assert_eq!(problem["type"], "about:blank", "{what}");
    assert_eq!(reply.header("content-type"), "application/json", "{what}");
    assert_eq!(reply.header("cache-control"), "no-store", "{what}");
    assert_eq!(reply.header("x-cache"), "", "{what}");
    let challenge = match (status, token) {
        (401, Token::Missing) => "Bearer",
        (401, _) => "Bearer error=\"invalid_token\"",
        _ => "",
    };
    assert_eq!(reply.header("www-authenticate"), challenge, "{what}");
    // Nothing that helps to make a better one.
    let detail = problem["detail"].as_str().unwrap().to_lowercase();
    for told in [
        "signature",
        "algorithm",
        "hs256",
        "rs256",
        "kid",
        "key",
        "issuer",
        "audience",
    ] {
        assert!(!detail.contains(told), "{what}: {detail}");
    }
}

async fn the_matrix_holds(issuer: Issuer) {
    let clinic = Clinic::open(issuer).await;
    clinic.refuses().await;
    // Cold until here: the refused ones have filled nothing.
    clinic.statistics_are("MISS").await;
    clinic.statistics_are("HIT").await;
    clinic.refuses().await;
    // Warm until here: the refused ones have changed nothing.
    clinic.statistics_are("HIT").await;
    clinic.answers().await;
}

#[tokio::test]
async fn the_matrix_holds_for_tokens_signed_with_a_secret() {
    the_matrix_holds(Issuer::with_secret()).await;
}

#[tokio::test]
async fn the_matrix_holds_for_tokens_checked_with_a_public_key() {
    the_matrix_holds(Issuer::with_public_key()).await;
}

#[tokio::test]
async fn the_matrix_holds_for_tokens_checked_with_a_key_set() {
    the_matrix_holds(Issuer::with_set()).await;
}

#[tokio::test]
async fn tenants_and_administrators_may_be_named_in_claims_within_others() {
    let issuer = Issuer::with_set().without_kid();
    let server = guarded_by(&issuer)
        .settings(|settings| {
            settings.auth.tenant_claim = "clinic.tenants".into();
            settings.auth.admin_claim = "realm_access.roles".into();
        })
        .start_at_once();
    let token = issuer.sign(&json!({
        "clinic": { "tenants": [THEIRS] }, "realm_access": { "roles": ["offline", "admin"] },
    }));
    for (path, status) in [
        ("/mega-stats?tenantId=theirs", 200),
        ("/mega-stats?tenantId=ours", 403),
        ("/cache-metrics", 200),
    ] {
        let reply = Reply::to(request(&server, &Method::GET, path).bearer_auth(&token)).await;
        assert_eq!(reply.status, status, "{path} {reply:?}");
    }
}

#[tokio::test]
async fn a_foreign_appointment_looks_as_if_it_did_not_exist() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    let foreign = book(&server, &issuer.token_for(&[THEIRS]), THEIRS).await;
    let (ours, missing) = (issuer.token_for(&[OURS]), foreign + 1);
    for method in [Method::GET, Method::PATCH] {
        let ask = |id: i64| {
            let asked = request(&server, &method, &format!("/{id}")).bearer_auth(&ours);
            Reply::to(asked.json(&changed()))
        };
        let (theirs, nobodys) = (ask(foreign).await, ask(missing).await);
        assert_eq!(theirs.status, StatusCode::NOT_FOUND);
        let renamed = theirs
            .body
            .replace(&foreign.to_string(), &missing.to_string());
        assert_eq!(renamed, nobodys.body);
    }
}

#[tokio::test]
async fn a_caller_of_several_tenants_reaches_each_and_their_appointments() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    let both = issuer.token_for(&[OURS, THEIRS]);
    for tenant in [OURS, THEIRS] {
        let id = book(&server, &both, tenant).await;
        for path in [format!("/{id}"), format!("/mega-stats?tenantId={tenant}")] {
            let reply = Reply::to(request(&server, &Method::GET, &path).bearer_auth(&both)).await;
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        }
    }
}

#[tokio::test]
async fn head_is_refused_as_get_is() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    for path in [
        "/mega-stats?tenantId=ours",
        "?tenantId=ours",
        "/1",
        "/cache-metrics",
    ] {
        let reply = Reply::to(request(&server, &Method::HEAD, path)).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn who_has_no_token_is_not_told_what_else_is_wrong() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    for (method, path, body) in [
        (Method::GET, "/mega-stats", ""),
        (Method::GET, "/mega-stats?tenantId=%FF", ""),
        (Method::GET, "/x", ""),
        (Method::GET, "/1/2", ""),
        (Method::POST, "/", "{"),
        (Method::POST, "/", "not JSON, and without a type"),
        (Method::PATCH, "/x", "{}"),
        (Method::DELETE, "/1", ""),
    ] {
        let reply = Reply::to(request(&server, &method, path).body(body)).await;
        assert_eq!(
            reply.status,
            StatusCode::UNAUTHORIZED,
            "{method} {path}: {reply:?}"
        );
    }
}

#[tokio::test]
async fn an_unread_body_is_not_waited_for() {
    use harness::Raw;
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    let mut client = Raw::connect(server.url());
    client.write(
        "POST /api/v1/appointments/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n",
    );
    assert_eq!(client.reply().status, StatusCode::UNAUTHORIZED);
    client.closed();
}
