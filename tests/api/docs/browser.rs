//! The page in a real browser, which can reach nothing but the service.

use std::process::Command;

use harness::MAX_WAIT;

use super::{TestServer, description};

/// How long the page may work on itself, in milliseconds of the browser's own time.
const BUDGET: &str = "--virtual-time-budget=20000";

/// What the page at `url` has become once its scripts have run.
pub fn rendered(url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        // The sandbox needs what a container may lack, and the page is ours.
        .args(["--headless", "--no-sandbox", "--disable-gpu", BUDGET])
        .arg("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_reaches_nobody_else_shows_every_operation() {
    let server = TestServer::start();
    let url = format!("{}/docs/", server.url());
    let page = tokio::task::spawn_blocking(move || rendered(&url));
    // A browser starts slowly beside other tests.
    let page = tokio::time::timeout(2 * MAX_WAIT, page).await;
    let page = page.expect("the page, in time").unwrap();
    for (path, operations) in description(&server).await["paths"].as_object().unwrap() {
        let shown = page.matches(&format!("data-path=\"{path}\"")).count();
        assert_eq!(shown, operations.as_object().unwrap().len(), "{path}");
    }
}
