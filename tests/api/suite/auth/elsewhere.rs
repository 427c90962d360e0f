//! Who may use the routes that are not below the prefix, and those below it by another spelling.

use harness::{Reply, TestServer};
use reqwest::Method;

use super::{
    By, guarded_by,
    tokens::{Issuer, TOKENS, Token},
    with_token,
};

async fn get(server: &TestServer, path: &str, token: Option<&str>, by: By) -> Reply {
    let asked = server
        .client()
        .request(Method::GET, format!("{}{path}", server.url()));
    Reply::to(match token {
        Some(token) => with_token(asked, token, by),
        None => asked,
    })
    .await
}

#[tokio::test]
async fn the_metrics_are_for_administrators() {
    let issuer = Issuer::with_public_key();
    let server = guarded_by(&issuer)
        .settings(|settings| settings.auth.admin_listen = Some(([127, 0, 0, 1], 0).into()))
        .start();
    for token in TOKENS {
        let status = match token {
            Token::Admin => 200,
            token if token.is_valid() => 403,
            _ => 401,
        };
        let presented = issuer.make(token);
        for by in [By::Bearer, By::Cookie] {
            for path in ["/metrics", "/metrics/"] {
                let reply = get(&server, path, presented.as_deref(), by).await;
                assert_eq!(reply.status, status, "{token:?} {by:?} {reply:?}");
                assert_eq!(
                    reply.body.contains("megastats_"),
                    status == 200,
                    "{token:?}"
                );
            }
        }
    }
    let scraped = server
        .client()
        .get(format!("{}/metrics", server.admin_url()));
    assert_eq!(Reply::to(scraped).await.status, 200);
}

#[tokio::test]
async fn probes_and_what_does_not_exist_need_no_token() {
    let issuer = Issuer::with_secret();
    let server = guarded_by(&issuer).start();
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/health", 200),
        ("/openapi.json", 200),
        ("/docs/", 200),
        ("/", 200),
        ("/api/v1", 404),
    ] {
        for token in [
            Token::Missing,
            Token::Garbage,
            Token::Expired,
            Token::RightTenant,
        ] {
            let presented = issuer.make(token);
            let reply = get(&server, path, presented.as_deref(), By::Bearer).await;
            assert_eq!(reply.status, status, "{path} {token:?}");
        }
    }
}

#[tokio::test]
async fn without_tokens_everything_is_for_everybody() {
    let server = TestServer::start();
    for path in ["/metrics", "/healthz", "/api/v1/appointments/cache-metrics"] {
        assert_eq!(
            get(&server, path, None, By::Bearer).await.status,
            200,
            "{path}"
        );
    }
}

/// Routes are found after `%61` was read as `a`, so the token must be asked for after that, too.
#[tokio::test]
async fn however_a_path_is_spelt_it_needs_a_token_or_none() {
    let issuer = Issuer::with_secret();
    let guarded = guarded_by(&issuer).start();
    let open = TestServer::start();
    for path in [
        "/api/v1/appointments/mega-stats?tenantId=clinic-a",
        "/api/v1/%61ppointments/mega-stats?tenantId=clinic-a",
        "/%61pi/v1/appointments/%6dega-stats/?tenantId=clinic-a",
    ] {
        for (server, status) in [(&guarded, 401), (&open, 200)] {
            let reply = get(server, path, None, By::Bearer).await;
            assert_eq!(reply.status, status, "{path}");
        }
    }
}
