//! The pictures of the page that the README shows: `scripts/screenshots` takes them.

use std::{fs, path::Path};

use harness::{Folder, Process};

use crate::browser::{Browser, DESKTOP, Looks, PHONE};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it changes docs/images"]
async fn pictures() {
    let folder = Folder::new();
    let demo = Process::start_with(folder.path(), &["demo"], &[]);
    let path = "/?tenantId=default-tenant&tz=America/Recife";
    for (name, looks) in [("desktop", DESKTOP), ("phone", PHONE)] {
        for (scheme, is_dark) in [("light", false), ("dark", true)] {
            let looks = Looks {
                language: "pt-BR",
                is_dark,
                ..looks
            };
            let browser = Browser::open(looks, demo.url(), path).await;
            browser
                .sees_text("#appointments", "the agenda", |text| !text.is_empty())
                .await;
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let file = root.join(format!("docs/images/{name}-{scheme}.png"));
            fs::write(file, browser.picture().await).unwrap();
            browser.close().await;
        }
    }
}
