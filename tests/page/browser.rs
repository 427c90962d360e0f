//! Chromium, and what a person sees and does in it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use fantoccini::{
    Client, ClientBuilder, Locator,
    actions::{InputSource, KeyAction, KeyActions},
};
use harness::{MAX_WAIT, eventually, within};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// The checker of accessibility, which `scripts/test` brings: see `scripts/need`.
const AXE: &str = "axe-core/axe.min.js";

/// How a browser looks.
#[derive(Clone, Copy)]
pub struct Looks {
    pub language: &'static str,
    pub width: u32,
    pub height: u32,
    pub is_dark: bool,
}

pub const DESKTOP: Looks = Looks {
    language: "en",
    width: 1440,
    height: 900,
    is_dark: false,
};

pub const PHONE: Looks = Looks {
    width: 360,
    height: 780,
    is_dark: true,
    ..DESKTOP
};

/// A browser that shows the page.
pub struct Browser {
    client: Client,
    driver: Driver,
    origin: String,
}

/// A running chromedriver, which ends its browser; killed when it is dropped.
struct Driver {
    child: Child,
    url: String,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Driver {
    fn start() -> Self {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Debian's package chromium-driver is installed");
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it did not start");
            if let Some((_, port)) = line.trim_end().rsplit_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }
}

impl Browser {
    /// Opens `path` of the service at `origin`.
    pub async fn open(looks: Looks, origin: &str, path: &str) -> Self {
        let driver = tokio::task::spawn_blocking(Driver::start).await.unwrap();
        let Looks {
            language,
            width,
            height,
            is_dark,
        } = looks;
        let mut arguments = vec![
            "--headless=new".to_owned(),
            // The sandbox needs what a container may lack, and the page is ours.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--hide-scrollbars".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1".to_owned(),
            format!("--window-size={width},{height}"),
        ];
        if is_dark {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let longest = 1_000 * MAX_WAIT.as_secs();
        let capabilities = json!({
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": { "intl.accept_languages": language },
                // A window is never as narrow as a phone.
                "mobileEmulation": {
                    "deviceMetrics": { "width": width, "height": height, "pixelRatio": 1, "mobile": false }
                }
            },
            "goog:loggingPrefs": { "browser": "ALL" },
            // On a busy machine a script takes long.
            "timeouts": { "script": longest, "pageLoad": longest }
        });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let client = within("a browser", builder.connect(&driver.url))
            .await
            .unwrap();
        let browser = Self {
            client,
            driver,
            origin: origin.to_owned(),
        };
        browser.go_to(path).await;
        browser
    }

    /// Opens another address of the service.
    pub async fn go_to(&self, path: &str) {
        let url = format!("{}{path}", self.origin);
        within("the page", self.client.goto(&url)).await.unwrap();
    }

    pub async fn query(&self) -> String {
        let url = self.client.current_url().await.unwrap();
        url.query().unwrap_or_default().to_owned()
    }

    /// What `script` returns.
    pub async fn run(&self, script: &str) -> Value {
        within(script, self.client.execute(script, Vec::new()))
            .await
            .unwrap()
    }

    /// The visible text of the first element that `css` finds; nothing if there is none.
    pub async fn text(&self, css: &str) -> String {
        let script = format!("return document.querySelector({css:?})?.innerText ?? ''");
        self.run(&script).await.as_str().unwrap().to_owned()
    }

    /// Waits until the text of `css` is `like` that.
    pub async fn sees_text(&self, css: &str, what: &str, like: impl Fn(&str) -> bool) {
        let mut last = String::new();
        let seen = eventually(what, async || {
            last = self.text(css).await;
            like(&last)
        });
        seen.await;
    }

    /// Waits until the text of `css` is `expected`.
    pub async fn sees(&self, css: &str, expected: &str) {
        let what = format!("{css} shows {expected}");
        self.sees_text(css, &what, |text| text == expected).await;
    }

    /// Waits until the figures show these totals: of today, the week, the month and the next one.
    pub async fn sees_totals(&self, totals: [u32; 4]) {
        let script =
            "return [...document.querySelectorAll('.figure .number')].map(n => n.innerText)";
        let expected = json!(totals.map(|total| total.to_string()));
        eventually(&format!("the totals are {totals:?}"), async || {
            self.run(script).await == expected
        })
        .await;
    }

    /// Waits until `css` is there, and clicks on it.
    pub async fn click(&self, css: &str) {
        eventually(&format!("a click on {css}"), async || {
            match self.client.find(Locator::Css(css)).await {
                // The page may put another in its place at the same moment.
                Ok(element) => element.click().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    /// Replaces the text of the field `css`.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.client.wait().for_element(Locator::Css(css));
        let field = within(css, field).await.unwrap();
        // All of it is chosen first.
        let keys = format!("\u{e009}a\u{e000}{text}");
        field.send_keys(&keys).await.unwrap();
    }

    /// Sets a field for dates, which a keyboard fills in another way in each language.
    pub async fn set(&self, css: &str, value: &str) {
        let script = format!(
            "const field = document.querySelector({css:?}); field.value = {value:?}; \
             field.dispatchEvent(new Event('change', {{ bubbles: true }}))"
        );
        self.run(&script).await;
    }

    /// Types `keys` wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let mut actions = KeyActions::new("keyboard".to_owned());
        for value in keys.chars() {
            actions = actions
                .then(KeyAction::Down { value })
                .then(KeyAction::Up { value });
        }
        self.client.perform_actions(actions).await.unwrap();
    }

    /// Goes on by the Tab key until the focus is on `css`.
    pub async fn tab_to(&self, css: &str) {
        let script = format!("return document.activeElement.matches({css:?})");
        for _ in 0..80 {
            if self.run(&script).await == json!(true) {
                return;
            }
            self.press("\u{e004}").await;
        }
        panic!("the Tab key does not lead to {css}");
    }

    /// Asserts that nothing on the page is hard to use for anybody.
    pub async fn is_accessible(&self) {
        let folder = option_env!("CARGO_TARGET_DIR").unwrap_or("target");
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let axe = folder.join("page/node_modules").join(AXE);
        let axe = std::fs::read_to_string(&axe)
            .unwrap_or_else(|error| panic!("{}: {error}; run scripts/test", axe.display()));
        self.run(&axe).await;
        let script = "const done = arguments[0]; axe.run().then(found => done(found.violations.map(\
                      rule => [rule.id, rule.nodes.map(node => node.html + node.failureSummary)])), \
                      error => done(String(error)))";
        // It fails if the page changes meanwhile.
        let mut found = Value::Null;
        eventually("the checks", async || {
            found = self.client.execute_async(script, Vec::new()).await.unwrap();
            found.is_array()
        })
        .await;
        assert_eq!(found, json!([]));
    }

    /// What it looks like, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        self.client.screenshot().await.unwrap()
    }

    /// Asserts that nobody has to scroll sideways.
    pub async fn fits(&self) {
        let script = "return [document.documentElement.scrollWidth, innerWidth]";
        let widths = self.run(script).await;
        let [content, window] = [0, 1].map(|index| widths[index].as_u64().unwrap());
        assert!(content <= window, "{content} of {window} pixels");
    }

    /// What the browser complained about since it was asked last.
    pub async fn complaints(&self) -> Vec<String> {
        let session = self.client.session_id().await.unwrap().unwrap();
        let url = format!("{}/session/{session}/se/log", self.driver.url);
        let asked = reqwest::Client::new()
            .post(url)
            .json(&json!({ "type": "browser" }));
        let log: Value = asked.send().await.unwrap().json().await.unwrap();
        let lines = log["value"].as_array().unwrap().iter();
        lines.map(|line| line["message"].to_string()).collect()
    }

    /// Ends the browser, which has had nothing to complain about, and has asked nobody else.
    pub async fn end(self) {
        assert_eq!(self.complaints().await, Vec::<String>::new());
        let script = "return performance.getEntriesByType('resource').map(entry => entry.name)";
        for asked in self.run(script).await.as_array().unwrap() {
            assert!(asked.as_str().unwrap().starts_with(&self.origin), "{asked}");
        }
        self.close().await;
    }

    /// Ends the browser, whatever it has complained about.
    pub async fn close(self) {
        self.client.close().await.unwrap();
    }
}
