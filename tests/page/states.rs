//! What the page says when something is wrong, and that it recovers by itself; midnight; tokens.

use std::sync::Arc;

use harness::{FakeClock, Folder, NOW, Process, TODAY, TestServer};
use jsonwebtoken::{EncodingKey, Header, encode};
use megastats::settings::AuthMode;
use serde_json::json;

use crate::browser::{Browser, DESKTOP};

const PAGE: &str = "/?tenantId=clinic&tz=America/Recife";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_and_comes_back_is_noticed_both_times() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &[]);
    let url = process.url().to_owned();
    let browser = Browser::open(DESKTOP, &url, PAGE).await;
    browser.sees("#status-text", "Live").await;
    process.signal("TERM");
    assert_eq!(process.wait().0.code(), Some(0));
    browser.sees("#status-text", "Offline").await;
    browser
        .sees_text("#notice", "a notice", |text| !text.is_empty())
        .await;
    let (_, port) = url.rsplit_once(':').unwrap();
    let _process = Process::start(folder.path(), &[("MEGASTATS__SERVER__PORT", port)]);
    browser.sees("#status-text", "Live").await;
    browser.sees("#notice", "").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_fails_is_said_and_so_is_that_it_is_back() {
    let server = TestServer::builder()
        .clock(Arc::new(FakeClock::at(NOW)))
        .start();
    let browser = Browser::open(DESKTOP, server.url(), PAGE).await;
    browser.sees_totals([0, 0, 0, 0]).await;
    let mut database = server.database();
    database.hide_appointments();
    let purge = format!("{}/cache", harness::PREFIX);
    server.send(reqwest::Method::DELETE, &purge).await;
    browser.sees("#status-text", "Failing").await;
    browser.is_accessible().await;
    database.show_appointments();
    browser.sees("#status-text", "Live").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_midnight_the_figures_the_month_and_the_agenda_go_on_to_the_next_day() {
    let clock = Arc::new(FakeClock::at(NOW));
    let server = TestServer::builder().clock(clock.clone()).start();
    server.book("clinic", TODAY, "pending").await;
    let browser = Browser::open(DESKTOP, server.url(), PAGE).await;
    browser.sees_totals([1, 1, 1, 0]).await;
    browser
        .sees("#agenda-title", "Agenda of Friday, October 31")
        .await;
    clock.set("2025-11-01T03:00:00Z");
    browser.sees_totals([0, 1, 0, 0]).await;
    browser.sees("#month-title", "November 2025").await;
    browser
        .sees("#agenda-title", "Agenda of Saturday, November 1")
        .await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_and_asked_for_again_once_it_has_expired() {
    const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
    let clock = Arc::new(FakeClock::at(NOW));
    let builder = TestServer::builder().clock(clock.clone());
    let secret = builder.file("secret", std::str::from_utf8(SECRET).unwrap());
    let server = builder
        .settings(|settings| {
            settings.auth.mode = AuthMode::Jwt;
            settings.auth.secret_file = secret;
        })
        .start();
    let token = |expires_at: u64| {
        let claims = json!({ "tenants": ["clinic"], "exp": expires_at });
        encode(
            &Header::default(),
            &claims,
            &EncodingKey::from_secret(SECRET),
        )
        .unwrap()
    };
    let browser = Browser::open(DESKTOP, server.url(), PAGE).await;
    browser.sees("#status-text", "Signed out").await;
    browser.is_accessible().await;
    browser.fill("#token", &token(1_761_915_600)).await;
    browser.click("dialog .main").await;
    browser.sees_totals([0, 0, 0, 0]).await;
    browser.sees("#status-text", "Live").await;
    browser.click("#operations summary").await;
    browser
        .sees(
            "#operations .note",
            "Only administrators see the cache's figures.",
        )
        .await;

    // The button for a new appointment needs the day.
    browser
        .sees("#agenda-note", "No appointments on this day.")
        .await;

    // An hour later whoever writes is told that they must sign in, and so is whoever looks.
    clock.set("2025-10-31T14:00:00Z");
    browser.run("document.querySelector('#add').click()").await;
    browser.fill("#form-patientId", "Ana\u{e007}").await;
    browser.sees("#status-text", "Signed out").await;
    browser.fill("#token", &token(1_762_000_000)).await;
    browser.click("dialog .main").await;
    browser.sees("#status-text", "Live").await;
    let kept = "return JSON.stringify([localStorage, sessionStorage, document.cookie])";
    let kept = browser.run(kept).await;
    assert!(!kept.as_str().unwrap().contains("eyJ"), "{kept}");
    browser.close().await;
}
