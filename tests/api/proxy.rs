//! The service behind a real nginx: with the file that puts it behind `AlignWork`, and below a path of
//! the proxy's own.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use harness::{FakeClock, MAX_WAIT, NOW, PREFIX, Reply, TODAY, TestServer, eventually};
use reqwest::StatusCode;
use serde_json::json;

use crate::docs::browser::rendered;

/// A running nginx, killed when it is dropped.
struct Nginx {
    child: Child,
    url: String,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Nginx {
    /// Starts nginx with `servers` within its `http` block, one of which listens on `port`.
    async fn start(port: u16, servers: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {kind};"))
            .concat();
        // One process, so that killing it leaves no worker behind.
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr;\n\
             events {{}}\n\
             http {{ access_log off; {temporary}\n{servers}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let child = Command::new("nginx")
            .args(["-e", "stderr", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            http: reqwest::Client::new(),
            _folder: folder,
        };
        eventually("nginx listens", async || {
            nginx.http.get(&nginx.url).send().await.is_ok()
        })
        .await;
        nginx
    }

    async fn get(&self, path: &str) -> Reply {
        Reply::to(self.http.get(format!("{}{path}", self.url))).await
    }

    /// Makes an appointment of today at `path`.
    async fn create(&self, path: &str) -> Reply {
        let body = json!({ "tenantId": "t", "patientId": 7, "startsAt": TODAY, "durationMin": 30 });
        let request = self.http.post(format!("{}{path}", self.url)).json(&body);
        let reply = Reply::to(request).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        reply
    }
}

/// The host and port of a service.
fn address(server: &TestServer) -> &str {
    server.url().strip_prefix("http://").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_alignwork_the_appointments_are_answered_here_and_all_else_there() {
    let server = TestServer::builder()
        .clock(Arc::new(FakeClock::at(NOW)))
        .start();
    let (port, alignwork) = (free_port(), free_port());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = fs::read_to_string(root.join("deploy/alignwork/nginx.conf")).unwrap();
    let adjusted = file
        .replace("listen 8000;", &format!("listen 127.0.0.1:{port};"))
        .replace("127.0.0.1:8001", &format!("127.0.0.1:{alignwork}"))
        .replace("127.0.0.1:8002", address(&server));
    assert_eq!(adjusted.matches("127.0.0.1:").count(), 3);
    let stand_in = format!(
        "server {{ listen 127.0.0.1:{alignwork}; \
         location / {{ return 200 \"alignwork $request_uri $http_x_forwarded_for\"; }} }}"
    );
    let nginx = Nginx::start(port, &format!("{adjusted}{stand_in}")).await;

    for path in [
        "/",
        "/docs",
        "/health",
        "/api/auth/me",
        "/api/v1/patients/?tenantId=t",
        "/api/v1/consultorios/light",
        "/api/v1/appointmentsx",
    ] {
        let reply = nginx.get(path).await;
        assert_eq!(reply.body, format!("alignwork {path} 127.0.0.1"));
    }
    let stats = format!("{PREFIX}/mega-stats?tenantId=t");
    assert_eq!(nginx.get(&stats).await.today(), ("MISS", 0));
    for path in [PREFIX.to_owned(), format!("{PREFIX}/")] {
        let created = nginx.create(&path).await;
        assert!(created.header("location").starts_with(PREFIX));
        let got = nginx.get(created.header("location")).await;
        assert_eq!((got.status, got.body), (StatusCode::OK, created.body));
    }
    let (_, counted) = nginx.get(&stats).await.today();
    assert_eq!(counted, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_path_of_the_proxy_s_own_every_link_leads_there() {
    let server = TestServer::start();
    let port = free_port();
    let site = format!(
        "server {{ listen 127.0.0.1:{port}; location /stats/ {{ \
         proxy_pass http://{}/; proxy_set_header X-Forwarded-Prefix /stats; }} }}",
        address(&server)
    );
    let nginx = Nginx::start(port, &site).await;

    let created = nginx.create(&format!("/stats{PREFIX}/")).await;
    let location = created.header("location").to_owned();
    assert_eq!(location, format!("/stats{PREFIX}/1"));
    assert_eq!(nginx.get(&location).await.body, created.body);

    // The client follows the redirect.
    let page = nginx.get("/stats/docs").await;
    assert_eq!(page.header("content-type"), "text/html");
    let description = nginx.get("/stats/openapi.json").await.json();
    assert_eq!(description["servers"], json!([{ "url": "." }]));

    let url = format!("{}/stats/docs/", nginx.url);
    let shown = tokio::task::spawn_blocking(move || rendered(&url));
    // A browser starts slowly beside other tests.
    let shown = tokio::time::timeout(2 * MAX_WAIT, shown).await;
    let shown = shown.expect("the page, in time").unwrap();
    assert!(shown.contains("data-path=\"/api/v1/appointments/mega-stats\""));
}

#[tokio::test]
async fn a_prefix_that_is_no_path_changes_nothing() {
    let server = TestServer::start();
    for prefix in ["//evil.example", "https://evil.example", "/a b", ""] {
        let body = json!({ "tenantId": "t", "patientId": 7, "durationMin": 30,
                           "startsAt": "2025-11-03T12:00:00Z" });
        let request = server
            .client()
            .post(format!("{}{PREFIX}/", server.url()))
            .header("X-Forwarded-Prefix", prefix);
        let reply = server.request(request.json(&body)).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{prefix}");
        assert!(reply.header("location").starts_with(PREFIX), "{reply:?}");
    }
}
