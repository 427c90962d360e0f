//! Making, confirming, moving and cancelling appointments: the counts follow at once.

use std::sync::Arc;

use harness::{FakeClock, NOW, TestServer};
use serde_json::json;

use crate::browser::{Browser, DESKTOP};

const PAGE: &str = "/?tenantId=clinic&tz=America/Recife";
const ENTER: &str = "\u{e007}";

fn server() -> TestServer {
    TestServer::builder()
        .clock(Arc::new(FakeClock::at(NOW)))
        .start()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appointment_is_made_confirmed_moved_and_cancelled() {
    let server = server();
    let browser = Browser::open(DESKTOP, server.url(), PAGE).await;
    browser
        .sees("#agenda-note", "No appointments on this day.")
        .await;

    browser.click("#add").await;
    browser.fill("#form-patientId", "Ana").await;
    browser.set("#form-startsAt", "2025-10-31T14:30").await;
    browser.click("dialog .main").await;
    browser.sees_totals([1, 1, 1, 0]).await;
    browser.sees("#appointments time", "14:30").await;
    browser
        .sees(".today .parts", "0 confirmed\n1 pending")
        .await;
    browser.is_accessible().await;

    browser.click("#appointments [data-action='confirm']").await;
    browser
        .sees(".today .parts", "1 confirmed\n0 pending")
        .await;
    browser.sees("#appointments .state", "confirmed").await;

    browser.click("#appointments [data-action='move']").await;
    browser.set("#form-startsAt", "2025-11-03T09:15").await;
    browser.is_accessible().await;
    browser.click("dialog .main").await;
    browser.sees_totals([0, 0, 0, 1]).await;
    browser
        .sees("#agenda-title", "Agenda of Monday, November 3")
        .await;
    let moved = server.get("/1").await.json();
    assert_eq!(
        moved["starts_at"], "2025-11-03T12:15:00Z",
        "in the clinic's zone"
    );

    browser.click("#appointments [data-action='cancel']").await;
    browser.sees_totals([0, 0, 0, 0]).await;
    browser.sees("#appointments .state", "cancelled").await;
    browser.click("#day-today").await;
    browser
        .sees("#agenda-title", "Agenda of Friday, October 31")
        .await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_field_stands_beside_it_in_the_service_s_words() {
    let server = server();
    let browser = Browser::open(DESKTOP, server.url(), PAGE).await;
    browser.sees("#status-text", "Live").await;
    browser.click("#add").await;
    browser.fill("#form-durationMin", "5").await;
    browser.click("dialog .main").await;
    let refused = server
        .post(&json!({
            "tenantId": "clinic", "patientId": "", "durationMin": 5, "startsAt": NOW,
        }))
        .await
        .json();
    for error in refused["errors"].as_array().unwrap() {
        let css = format!("#form-{}-error", error["field"].as_str().unwrap());
        browser.sees(&css, error["message"].as_str().unwrap()).await;
    }
    assert_eq!(refused["errors"].as_array().unwrap().len(), 2);
    let focused = browser.run("return document.activeElement.id").await;
    assert_eq!(focused, "form-patientId");
    browser.is_accessible().await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_can_be_done_with_the_keyboard_alone() {
    let server = server();
    let browser = Browser::open(DESKTOP, server.url(), PAGE).await;
    browser
        .sees("#agenda-note", "No appointments on this day.")
        .await;
    browser.tab_to("#add").await;
    browser.press(ENTER).await;
    browser.tab_to("#form-patientId").await;
    browser.press("Ana\u{e007}").await;
    browser.sees_totals([1, 1, 1, 0]).await;
    for action in ["confirm", "cancel"] {
        browser.tab_to(&format!("[data-action='{action}']")).await;
        browser.press(ENTER).await;
        let state = format!("{action}ed").replace("canceled", "cancelled");
        browser.sees("#appointments .state", &state).await;
    }
    browser.sees_totals([0, 0, 0, 0]).await;
    // From today's column one to the left, and into the agenda.
    browser.tab_to(".day").await;
    browser.press("\u{e012}\u{e007}").await;
    browser
        .sees("#agenda-title", "Agenda of Thursday, October 30")
        .await;
    browser.tab_to("#tenant").await;
    browser.end().await;
}
