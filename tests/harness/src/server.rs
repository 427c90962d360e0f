//! A service inside the test's process, on a runtime of its own, as `main` starts it.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use megastats::{
    cache::{self, Lookup, StatsCache, StatsKey},
    clock::{Clock, SystemClock},
    server::{Application, StopSignal},
    settings::{CacheBackend, Settings},
    tasks::Tasks,
    tenant::TenantId,
};
use reqwest::{
    Method, RequestBuilder, StatusCode,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde_json::Value;
use tokio::runtime::Handle;

use super::{Database, EventStream, Folder, Lock, eventually, folder};

/// What the path of every route begins with.
pub const PREFIX: &str = "/api/v1/appointments";

/// How a test wants its service.
pub struct Builder {
    settings: Settings,
    clock: Arc<dyn Clock>,
    wrap: Option<Wrap>,
    folder: Folder,
}

/// Makes the cache that a service uses from the one it would have used.
type Wrap = Box<dyn FnOnce(Arc<dyn StatsCache>) -> Arc<dyn StatsCache> + Send>;

/// A service that runs until it is dropped.
pub struct TestServer {
    url: String,
    admin_url: Option<String>,
    client: reqwest::Client,
    stop: StopSignal,
    thread: Option<JoinHandle<()>>,
    folder: Folder,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as text.
    pub body: String,
}

impl Reply {
    /// Sends `request` and reads the answer; of a stream, which has no end, the first event.
    pub async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let is_stream = headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == "text/event-stream");
        let body = if is_stream {
            let first = EventStream::of(response).next().await;
            first.unwrap_or_default().data
        } else {
            response.text().await.unwrap()
        };
        Self {
            status,
            headers,
            body,
        }
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// Where statistics came from, and how many appointments they count today.
    pub fn today(&self) -> (&str, i64) {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        let today = &self.json()["today"];
        let counted = ["confirmed", "pending"].map(|status| today[status].as_i64().unwrap());
        (self.header("x-cache"), counted.iter().sum())
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// Waits until `cache` stores entries: right after its start an instance does not trust Redis yet.
async fn wait_until_it_stores(cache: &dyn StatsCache) {
    let key = StatsKey::new("probe", &TenantId::parse("nobody").unwrap(), &[]);
    eventually("the cache is used", async || {
        matches!(cache.look_up(&key).await, Ok(Lookup::Miss(_)))
    })
    .await;
}

impl Builder {
    /// Changes the settings.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Puts a file beside the service's database.
    pub fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Has the service ask `clock` for the time.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Has the service use `cache`, made from what it would have used.
    pub fn cache<C: StatsCache>(
        mut self,
        wrap: impl FnOnce(Arc<dyn StatsCache>) -> Arc<C> + Send + 'static,
    ) -> Self {
        self.wrap = Some(Box::new(|cache| wrap(cache)));
        self
    }

    /// Starts the service, and waits until it stores what it computes.
    pub fn start(self) -> TestServer {
        self.start_and_wait(true)
    }

    /// Starts the service, which may not store yet what it computes: for tests that do not look at
    /// `X-Cache`.
    pub fn start_at_once(self) -> TestServer {
        self.start_and_wait(false)
    }

    fn start_and_wait(self, until_it_stores: bool) -> TestServer {
        let Self {
            settings,
            clock,
            wrap,
            folder,
        } = self;
        let stop = StopSignal::default();
        let stopped = stop.clone();
        let (send_addresses, addresses) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let tasks = Tasks::new(Handle::current());
                let is_shared = settings.cache.backend == CacheBackend::Redis;
                let mut parts =
                    cache::from_settings(&settings.cache, Arc::clone(&clock), &tasks).unwrap();
                let inner = Arc::clone(&parts.cache);
                if let Some(wrap) = wrap {
                    parts.cache = wrap(parts.cache);
                }
                let application = Application::build(settings, clock, parts, tasks)
                    .await
                    .unwrap();
                if is_shared && until_it_stores {
                    wait_until_it_stores(&*inner).await;
                }
                send_addresses
                    .send((application.addresses()[0], application.admin_address()))
                    .unwrap();
                application.run(stopped).await.unwrap();
            });
        });
        let (address, admin_address) = addresses.recv().expect("the service starts");
        TestServer {
            url: format!("http://{address}"),
            admin_url: admin_address.map(|address| format!("http://{address}")),
            client: reqwest::Client::new(),
            stop,
            thread: Some(thread),
            folder,
        }
    }
}

impl TestServer {
    /// A service with the default settings, as [`Builder::start_at_once`] starts it.
    pub fn start() -> Self {
        Self::builder().start_at_once()
    }

    /// A service to be described.
    pub fn builder() -> Builder {
        let folder = Folder::new();
        let mut settings = folder::settings(folder.path());
        settings.server.port = 0;
        settings.server.workers = 2;
        Builder {
            settings,
            clock: Arc::new(SystemClock),
            wrap: None,
            folder,
        }
    }

    /// `http://host:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// As [`TestServer::url`], of the listener for administrators.
    pub fn admin_url(&self) -> &str {
        self.admin_url.as_deref().unwrap()
    }

    /// The database.
    pub fn database(&self) -> Database {
        Database::of(self.folder.path())
    }

    /// Locks the database: nobody else can write until the lock is dropped.
    pub fn lock_database(&self) -> Lock {
        Database::lock(self.folder.path())
    }

    /// Sends a request without a body; `path` starts with `/`.
    pub async fn send(&self, method: Method, path: &str) -> Reply {
        self.request(self.client.request(method, format!("{}{path}", self.url)))
            .await
    }

    /// `GET` [`PREFIX`] + `path`.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, &format!("{PREFIX}{path}")).await
    }

    /// `GET /mega-stats` of `tenant`.
    pub async fn mega_stats(&self, tenant: &str) -> Reply {
        let url = format!("{}{PREFIX}/mega-stats", self.url);
        self.request(self.client.get(url).query(&[("tenantId", tenant)]))
            .await
    }

    /// `POST /` with a JSON body.
    pub async fn post(&self, body: &Value) -> Reply {
        let url = format!("{}{PREFIX}/", self.url);
        self.request(self.client.post(url).json(body)).await
    }

    /// `PATCH /{id}` with a JSON body.
    pub async fn patch(&self, id: i64, body: &Value) -> Reply {
        let url = format!("{}{PREFIX}/{id}", self.url);
        self.request(self.client.patch(url).json(body)).await
    }

    /// Sends a request of the test's own making.
    pub async fn request(&self, request: RequestBuilder) -> Reply {
        Reply::to(request).await
    }

    /// The client that the other methods use.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Creates an appointment that starts at `starts_at`, in RFC 3339, and returns its id.
    pub async fn book(&self, tenant: &str, starts_at: &str, status: &str) -> i64 {
        let reply = self
            .post(&serde_json::json!({
                "tenantId": tenant, "patientId": 1, "startsAt": starts_at,
                "durationMin": 30, "status": status,
            }))
            .await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        reply.json()["id"].as_i64().unwrap()
    }

    /// Tells the service to stop, as SIGTERM does.
    pub fn begin_stop(&mut self) {
        self.stop.stop();
    }

    /// Whether the service has stopped.
    pub fn has_stopped(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Tells the service to stop, as SIGTERM does, and waits until it has.
    pub fn stop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.stop();
        // If the service panicked, the test has failed already.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
