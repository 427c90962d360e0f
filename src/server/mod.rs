//! The service as a whole. Lives here: wiring, start and drain; `app` has the routes and the
//! middleware, `measure` counts requests, `scrape` shows what others count. Not here: what a route
//! does.

mod app;
mod error;
mod measure;
mod scrape;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{
    App, HttpServer,
    dev::{Server as Running, Service as _},
    http::{ConnectionType, StatusCode, header},
    middleware::{DefaultHeaders, ErrorHandlers},
};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    appointments::http::Appointments,
    cache::{self, StatsCache},
    clock::{Clock, SystemClock},
    db::{Db, Lock},
    input::http::BodyLimits,
    metrics::{self, Metrics},
    settings::{CacheBackend, ServerSettings, Settings, Tzdb},
    stats::{http::Ttl, service::StatsService, warm::keep_warm, zones::Zones},
    tasks::Tasks,
};

pub use self::error::StartError;
use self::{app::Shared, measure::Meter};

/// How long requests that were sent before the service was told to stop may take to be noticed.
const SETTLE: Duration = Duration::from_millis(250);

/// How long an idle connection is kept: longer than a dashboard's 30 s between polls.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn run(settings: Settings) -> Result<(), StartError> {
    raise_descriptor_limit(settings.server.max_connections);
    let fresh_to_itself_only = settings.is_fresh_to_itself_only();
    let clock = Arc::new(SystemClock);
    let tasks = Tasks::new(Handle::current());
    let cache = cache::from_settings(&settings.cache, clock.clone(), &tasks)?;
    let server = Server::bind(settings, clock, cache, tasks, stop_signal()?).await?;
    if fresh_to_itself_only {
        log::warn!(
            "cache.backend: memory with a PostgreSQL database: instances do not notice each \
             other's writes until cache.ttl_seconds have passed; use redis for more than one"
        );
    }
    server.serve().await
}

/// Descriptors that are not connections: the database's, the log's and the runtime's.
const OTHER_DESCRIPTORS: usize = 100;

/// Without a descriptor to spare the service could neither accept nor open its database.
fn raise_descriptor_limit(max_connections: usize) {
    let wanted = (max_connections + OTHER_DESCRIPTORS) as u64;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(limit) if limit >= wanted => {}
        Ok(limit) => log::warn!(
            "server.max_connections: {max_connections} connections need {wanted} file descriptors, \
             and the machine allows {limit}"
        ),
        Err(error) => log::warn!("server.max_connections: the limit is unknown: {error}"),
    }
}

/// Resolves at the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => log::info!("SIGTERM: finishing what was accepted"),
            _ = interrupt.recv() => log::info!("SIGINT: finishing what was accepted"),
        }
    })
}

/// A service that listens.
#[expect(missing_debug_implementations, reason = "the web server has none")]
pub struct Server {
    running: Running,
    addresses: Vec<SocketAddr>,
    tasks: Tasks,
    /// Ends it. What it computes just then is finished as any other computation.
    warming: CancellationToken,
    /// Whether the service was told to stop: then each answer ends its connection.
    draining: Arc<AtomicBool>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    drain_limit: Duration,
    _lock: Option<Lock>,
}

impl Server {
    /// Opens the database, migrates it and listens. The service stops when `stop` resolves.
    pub async fn bind(
        settings: Settings,
        clock: Arc<dyn Clock>,
        cache: Arc<dyn StatsCache>,
        tasks: Tasks,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, StartError> {
        let zones = match settings.stats.tzdb {
            Tzdb::Bundled => Zones::bundled(),
            Tzdb::System => Zones::system()?,
        };
        let (db, lock) = open_database(&settings).await?;
        let metrics = Arc::new(Metrics::new(settings.cache.backend));
        scrape::show(&metrics, &db, &cache, &tasks);
        tokio::spawn(keep_window(Arc::downgrade(&metrics)));
        let stats = Arc::new(StatsService::new(
            db.clone(),
            cache,
            &settings.cache,
            Arc::clone(&clock),
            zones,
            Arc::clone(&metrics),
            tasks.clone(),
        ));
        scrape::show_warming(&metrics, &stats);
        let warming = start_warming(&stats, &tasks);
        let appointments = Appointments {
            db,
            stats: Arc::clone(&stats),
            clock,
        };
        let shared = Shared {
            appointments,
            stats,
            ttl: Ttl(settings.cache.ttl()),
            metrics: Arc::clone(&metrics),
        };

        let ServerSettings { host, port, .. } = settings.server.clone();
        let workers = settings.server.worker_count();
        let limits = BodyLimits {
            size: settings.server.max_body_bytes,
            time: settings.server.request_timeout(),
        };
        let cors = settings.cors.clone();
        let draining = Arc::new(AtomicBool::new(false));
        let drains = Arc::clone(&draining);
        let server = HttpServer::new(move || {
            let shared = shared.clone();
            App::new()
                .configure(|config| app::routes(config, shared, limits))
                .wrap(
                    ErrorHandlers::new().handler(StatusCode::METHOD_NOT_ALLOWED, app::explain_405),
                )
                .wrap(DefaultHeaders::new().add((header::CACHE_CONTROL, "no-store")))
                .wrap(app::cross_origin(&cors))
                .wrap_fn({
                    let draining = Arc::clone(&drains);
                    move |request, service| {
                        let (answer, draining) = (service.call(request), Arc::clone(&draining));
                        async move {
                            let mut answer = answer.await?;
                            if draining.load(Ordering::Relaxed) {
                                let head = answer.response_mut().head_mut();
                                head.set_connection_type(ConnectionType::Close);
                            }
                            Ok(answer)
                        }
                    }
                })
                // Outermost, so that it sees every answer.
                .wrap_fn({
                    let meter = Meter::new(Arc::clone(&metrics));
                    move |request, service| {
                        let measured = meter.begin(&request);
                        let answer = service.call(request);
                        async move {
                            let answer = answer.await;
                            measured.end(&answer);
                            answer
                        }
                    }
                })
        })
        .workers(workers)
        .max_connections(settings.server.max_connections.div_ceil(workers))
        // A long answer must not wait for the client to acknowledge its beginning.
        .tcp_nodelay(true)
        .client_request_timeout(settings.server.request_timeout())
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(settings.server.shutdown_timeout_seconds)
        // `serve` stops it.
        .disable_signals()
        .bind((host.as_str(), port))
        .map_err(|source| StartError::Listen { host, port, source })?;
        let addresses = server.addrs();
        announce(&addresses, &settings);
        Ok(Self {
            running: server.run(),
            addresses,
            tasks,
            warming,
            draining,
            stop: Box::pin(stop),
            drain_limit: settings.server.shutdown_timeout(),
            _lock: lock,
        })
    }

    /// The addresses listened on.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until told to stop, then finishes what was accepted.
    ///
    /// First nothing more is accepted, and every answer ends its connection; requests that are on
    /// their way in are noticed meanwhile. Then the web server waits for those under way, and last
    /// come writes and computations whose clients have gone. All of it has one limit.
    pub async fn serve(self) -> Result<(), StartError> {
        let (handle, over) = (self.running.handle(), CancellationToken::new());
        let running = async {
            let result = self.running.await;
            over.cancel();
            result
        };
        let drain = async {
            tokio::select! {
                () = self.stop => {}
                () = over.cancelled() => return None,
            }
            let deadline = Instant::now() + self.drain_limit;
            self.warming.cancel();
            self.draining.store(true, Ordering::Relaxed);
            handle.pause().await;
            tokio::time::sleep(SETTLE).await;
            handle.stop(true).await;
            Some(deadline)
        };
        let (result, deadline) = tokio::join!(running, drain);
        result.map_err(StartError::Serve)?;
        let Some(deadline) = deadline else {
            return Ok(());
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if self.tasks.drain(left).await {
            log::info!("stopped");
            Ok(())
        } else {
            Err(StartError::Unfinished(self.drain_limit))
        }
    }
}

fn announce(addresses: &[SocketAddr], settings: &Settings) {
    for address in addresses {
        log::info!(
            "listening on http://{address} (database {}, cache {:?}, {} workers)",
            settings.database.url,
            settings.cache.backend,
            settings.server.worker_count(),
        );
    }
}

async fn open_database(settings: &Settings) -> Result<(Db, Option<Lock>), StartError> {
    let database = settings.database.clone();
    let url = database.url.to_string();
    // What another process writes, a cache in this one would not notice.
    let alone = settings.cache.backend == CacheBackend::Memory;
    let open = move || {
        // First, since opening migrates: not below a process that still serves the file.
        let lock = Lock::take(&database.url, alone)?;
        Ok((Db::open(&database)?, lock))
    };
    let opened = tokio::task::spawn_blocking(open).await;
    opened
        .expect("opening a database does not panic")
        .map_err(|source| StartError::Database { url, source })
}

/// Keeps warm what clients read, until the token is cancelled.
fn start_warming(stats: &Arc<StatsService>, tasks: &Tasks) -> CancellationToken {
    let (warming, stats) = (CancellationToken::new(), Arc::downgrade(stats));
    let over = warming.clone();
    tasks.background(async move {
        over.run_until_cancelled(keep_warm(stats)).await;
    });
    warming
}

/// Moves the window of `/cache-metrics` on, for as long as there are metrics.
async fn keep_window(metrics: std::sync::Weak<Metrics>) {
    let mut ticks = tokio::time::interval(metrics::TICK);
    loop {
        ticks.tick().await;
        let Some(metrics) = metrics.upgrade() else {
            return;
        };
        metrics.cache_metrics.tick();
    }
}
