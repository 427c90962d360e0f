//! Clinics, zones, languages and sizes.

use std::sync::Arc;

use harness::{FakeClock, NOW, TODAY, TestServer};

use crate::browser::{Browser, DESKTOP, Looks, PHONE};

fn server() -> TestServer {
    TestServer::builder()
        .clock(Arc::new(FakeClock::at(NOW)))
        .start()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clinic_and_zone_are_shown_kept_in_the_address_and_remembered() {
    let server = server();
    server.book("clinic", TODAY, "pending").await;
    // It is November already in Auckland.
    server
        .book("other", "2025-11-01T10:00:00+13:00", "confirmed")
        .await;
    let browser = Browser::open(DESKTOP, server.url(), "/?tenantId=clinic&tz=UTC").await;
    browser.sees_totals([1, 1, 1, 0]).await;
    browser.fill("#tenant", "other\u{e007}").await;
    browser.sees_totals([1, 1, 1, 0]).await;
    browser.fill("#zone", "Pacific/Auckland\u{e007}").await;
    browser.sees_totals([1, 1, 1, 0]).await;
    browser.sees("#month-title", "November 2025").await;
    assert_eq!(
        browser.query().await,
        "tenantId=other&tz=Pacific%2FAuckland"
    );

    browser.go_to("/").await;
    browser.sees("#month-title", "November 2025").await;
    assert_eq!(
        browser.query().await,
        "tenantId=other&tz=Pacific%2FAuckland"
    );
    browser.fill("#tenant", "clinic\u{e007}").await;
    browser.sees("#month-title", "October 2025").await;
    assert_eq!(
        browser.query().await,
        "tenantId=clinic&tz=UTC",
        "each has its zone"
    );
    browser.run("history.back()").await;
    browser.sees("#month-title", "November 2025").await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_there_is_not_is_named_and_can_be_mended() {
    let server = server();
    let browser = Browser::open(DESKTOP, server.url(), "/?tenantId=clinic&tz=Mars/Olympus").await;
    let said = server
        .get("/mega-stats?tenantId=clinic&tz=Mars/Olympus")
        .await
        .json();
    let said = said["errors"][0]["message"].as_str().unwrap();
    browser.sees("#zone-error", said).await;
    browser.fill("#zone", "UTC\u{e007}").await;
    browser.sees_totals([0, 0, 0, 0]).await;
    browser.sees("#zone-error", "").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_speaks_portuguese_is_spoken_to_in_it() {
    let server = server();
    server.book("clinic", TODAY, "pending").await;
    let looks = Looks {
        language: "pt-BR,pt,en",
        ..DESKTOP
    };
    let path = "/?tenantId=clinic&tz=America/Recife";
    let browser = Browser::open(looks, server.url(), path).await;
    browser.sees("#status-text", "Ao vivo").await;
    let titles = "return [...document.querySelectorAll('.figure h3')].map(t => t.innerText)";
    assert_eq!(
        browser.run(titles).await,
        serde_json::json!(["Hoje", "Essa semana", "Mês vigente", "Mês subsequente"])
    );
    browser
        .sees("#agenda-title", "Agenda de sexta-feira, 31 de outubro")
        .await;
    assert_eq!(
        browser.run("return document.documentElement.lang").await,
        "pt-BR"
    );
    browser.is_accessible().await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_shows_all_of_it_without_scrolling_sideways_light_and_dark() {
    let server = server();
    for hour in 8..20 {
        let starts_at = format!("2025-10-31T{hour:02}:00:00-03:00");
        server
            .book(
                "a-clinic-with-a-name-that-is-rather-long",
                &starts_at,
                "pending",
            )
            .await;
    }
    let path =
        "/?tenantId=a-clinic-with-a-name-that-is-rather-long&tz=America/Argentina/ComodRivadavia";
    for is_dark in [false, true] {
        let browser = Browser::open(Looks { is_dark, ..PHONE }, server.url(), path).await;
        browser.sees_totals([12, 12, 12, 0]).await;
        browser.sees("#appointments time", "08:00").await;
        let scheme = "return matchMedia('(prefers-color-scheme: dark)').matches";
        assert_eq!(browser.run(scheme).await, is_dark);
        browser.fits().await;
        browser.is_accessible().await;
        browser.click("#operations summary").await;
        browser
            .sees_text("#operations dd", "figures", |text| !text.is_empty())
            .await;
        browser.fits().await;
        browser.is_accessible().await;
        browser.end().await;
    }
}
