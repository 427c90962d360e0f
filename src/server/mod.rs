//! The service as a whole. Lives here: wiring, start and drain.
//!
//! | file | what lives there |
//! |---|---|
//! | `addresses` | which addresses the settings allow |
//! | `app` | the routes and the middleware |
//! | `access_log` | a line for each request, and its id |
//! | `measure` | counting requests |
//! | `scrape` | which figures of others are shown among the metrics |
//! | `door` | the listening sockets, and ceasing to listen |
//! | `listen` | what is done with connections that come in |
//! | `connection` | how long a client may take |
//! | `signals` | being told to stop |
//! | `error` | why the service stopped |
//!
//! Not here: what a route does.

mod access_log;
mod addresses;
mod app;
mod connection;
mod door;
mod error;
mod listen;
mod measure;
mod scrape;
mod signals;

use std::{
    future::{self, Future},
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{
    App,
    dev::{Server as Running, Service as _},
    http::{StatusCode, header},
    middleware::{DefaultHeaders, ErrorHandlers},
    web,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    appointments::http::Appointments,
    auth::http::Auth,
    cache::{self, CacheParts},
    clock::{Clock, SystemClock},
    db::{Db, Lock},
    health::http::Health,
    input::http::BodyLimits,
    metrics::{self, Metrics},
    openapi::http::Docs,
    settings::{CacheBackend, Settings, Tzdb},
    stats::{http::Ttl, service::StatsService, warm::keep_warm, zones::Zones},
    tasks::Tasks,
};

pub use self::error::StartError;
use self::{app::Shared, connection::Handling, door::Door, measure::Meter};

/// How long requests that were sent before the service was told to stop may take to be noticed.
const SETTLE: Duration = Duration::from_millis(250);

/// Serves until SIGTERM or SIGINT, then drains; a second one ends the delay before.
pub async fn run(settings: Settings) -> Result<(), StartError> {
    raise_descriptor_limit(settings.server.max_connections, settings.database.pool_size);
    let fresh_to_itself_only = settings.is_fresh_to_itself_only();
    let clock = Arc::new(SystemClock);
    let tasks = Tasks::new(Handle::current());
    let cache = cache::from_settings(&settings.cache, clock.clone(), &tasks)?;
    let (stop, hurry) = signals::stop_and_hurry()?;
    let told = CancellationToken::new();
    tokio::spawn({
        let told = told.clone();
        async move {
            stop.await;
            told.cancel();
        }
    });
    let stop = told.clone().cancelled_owned();
    let server = tokio::select! {
        server = Server::bind(settings, clock, cache, tasks, stop) => server?,
        // Nobody has come in yet. The database undoes a migration whose session ends.
        () = told.cancelled() => return Ok(()),
    };
    if fresh_to_itself_only {
        log::warn!(
            "cache.backend: memory with a PostgreSQL database: instances do not notice each \
             other's writes until cache.ttl_seconds have passed; use redis for more than one"
        );
    }
    server.hurried_by(hurry).serve().await
}

/// Descriptors that are not connections: the database's, the log's and the runtime's.
const OTHER_DESCRIPTORS: usize = 100;

/// Without a descriptor to spare the service could neither accept nor open its database.
fn raise_descriptor_limit(max_connections: usize, pool_size: u32) {
    // A SQLite connection has the file, its log and its index open.
    let wanted = (max_connections + OTHER_DESCRIPTORS) as u64 + 3 * u64::from(pool_size);
    match rlimit::increase_nofile_limit(wanted) {
        Ok(limit) if limit >= wanted => {}
        Ok(limit) => log::warn!(
            "server.max_connections: {max_connections} connections need {wanted} file descriptors, \
             and the machine allows {limit}"
        ),
        Err(error) => log::warn!("server.max_connections: the limit is unknown: {error}"),
    }
}

/// A service that listens.
#[expect(missing_debug_implementations, reason = "the web server has none")]
pub struct Server {
    running: Running,
    addresses: Vec<SocketAddr>,
    admin_address: Option<SocketAddr>,
    tasks: Tasks,
    metrics: Arc<Metrics>,
    /// Ends it. What it computes just then is finished as any other computation.
    warming: CancellationToken,
    /// Whether the service was told to stop: then each answer ends its connection.
    draining: Arc<AtomicBool>,
    door: Door,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    hurry: Pin<Box<dyn Future<Output = ()> + Send>>,
    drain_delay: Duration,
    drain_limit: Duration,
    _lock: Option<Lock>,
}

impl Server {
    /// Opens the database, migrates it and listens. The service stops when `stop` resolves.
    pub async fn bind(
        settings: Settings,
        clock: Arc<dyn Clock>,
        cache: CacheParts,
        tasks: Tasks,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, StartError> {
        let addresses = addresses::of_host(&settings)?;
        let auth = Auth::new(&settings, Arc::clone(&clock))?;
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
        let draining = Arc::new(AtomicBool::new(false));
        let health = Health {
            db: db.clone(),
            draining: Arc::clone(&draining),
        };
        let docs = Docs::new(Arc::clone(&clock));
        let appointments = Appointments {
            db,
            stats: Arc::clone(&stats),
            clock,
        };
        let shared = Shared {
            auth: web::Data::new(auth),
            appointments,
            stats,
            ttl: Ttl(settings.cache.ttl),
            metrics: Arc::clone(&metrics),
            health,
            docs,
        };

        let limits = BodyLimits {
            size: settings.server.max_body_bytes,
            time: settings.server.request_timeout,
        };
        let cors = settings.cors.clone();
        let logs_all = settings.log.requests;
        let (door, listeners, admin_address) = open_door(&settings, &addresses)?;
        let app = move || {
            let (meter, shared) = (Meter::new(Arc::clone(&shared.metrics)), shared.clone());
            let draining = Arc::clone(&shared.health.draining);
            App::new()
                .configure(|config| app::routes(config, shared, limits))
                .wrap(
                    ErrorHandlers::new().handler(StatusCode::METHOD_NOT_ALLOWED, app::explain_405),
                )
                .wrap(DefaultHeaders::new().add((header::CACHE_CONTROL, "no-store")))
                .wrap(app::cross_origin(&cors))
                .wrap_fn(move |request, service| {
                    app::part_if(Arc::clone(&draining), service.call(request))
                })
                .wrap_fn(move |request, service| {
                    let log = access_log::Request::new(&request, logs_all);
                    log.follow(service.call(request))
                })
                // Outermost, so that it sees every answer.
                .wrap_fn(move |request, service| {
                    let handled = request.conn_data::<Handling>().map(Handling::begin);
                    let measured = meter.begin(&request);
                    let answer = service.call(request);
                    async move {
                        let answer = measured.follow(answer).await;
                        drop(handled);
                        answer
                    }
                })
        };
        let open = &metrics.requests.connections;
        let (running, addresses) =
            listen::listen(&settings.server, listeners, admin_address, open, app)
                .map_err(StartError::Serve)?;
        Ok(Self {
            running,
            addresses: announce(addresses, admin_address, &settings),
            admin_address,
            tasks,
            metrics,
            warming,
            draining,
            door,
            stop: Box::pin(stop),
            hurry: Box::pin(future::pending()),
            drain_delay: settings.server.drain_delay,
            drain_limit: settings.server.shutdown_timeout,
            _lock: lock,
        })
    }

    /// The addresses listened on.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The further address listened on, which makes whoever reaches it an administrator.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Ends `server.drain_delay_seconds` when `hurry` resolves.
    #[must_use]
    pub fn hurried_by(self, hurry: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            hurry: Box::pin(hurry),
            ..self
        }
    }

    /// Serves until told to stop, then finishes what was accepted.
    ///
    /// First it says that it is not ready, and every answer ends its connection, but all are served
    /// as before: whoever sends requests has `server.drain_delay_seconds` to send them elsewhere.
    /// Then nothing more is accepted; requests that are on their way in are noticed meanwhile. Then
    /// the web server waits for those under way, and last come writes and computations whose clients
    /// have gone. All of that has one limit.
    pub async fn serve(self) -> Result<(), StartError> {
        let (handle, mut running) = (self.running.handle(), self.running);
        let told = async {
            self.stop.await;
            self.draining.store(true, Ordering::Relaxed);
            tokio::select! {
                () = tokio::time::sleep(self.drain_delay) => {}
                () = self.hurry => {}
            }
        };
        tokio::select! {
            result = &mut running => return result.map_err(StartError::Serve),
            () = told => {}
        }
        let deadline = Instant::now() + self.drain_limit;
        self.warming.cancel();
        let end = async {
            self.door.close(&handle).await;
            tokio::time::sleep(SETTLE).await;
            handle.stop(true).await;
        };
        let ended = async { tokio::join!(&mut running, end).0 };
        let answered = match tokio::time::timeout_at(deadline.into(), ended).await {
            Ok(result) => result.map(|()| true).map_err(StartError::Serve)?,
            // Before the server is dropped, and they with it. What is left beside them are clients who
            // have not taken all of their answer.
            Err(_elapsed) => self.metrics.requests.in_flight.get() == 0,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if self.tasks.drain(left).await && answered {
            log::info!("stopped");
            Ok(())
        } else {
            Err(StartError::Unfinished(self.drain_limit))
        }
    }
}

/// Logs where the service listens; returns the addresses that are not for administrators.
fn announce(
    mut addresses: Vec<SocketAddr>,
    admin_address: Option<SocketAddr>,
    settings: &Settings,
) -> Vec<SocketAddr> {
    addresses.retain(|address| Some(*address) != admin_address);
    let urls: Vec<_> = addresses.iter().map(|at| format!("http://{at}")).collect();
    log::info!(
        "listening on {} (database {}, cache {:?}, {} workers)",
        urls.join(" and "),
        settings.database.url,
        settings.cache.backend,
        settings.server.worker_count(),
    );
    if let Some(address) = admin_address {
        log::info!("administrators are listened to on http://{address}");
    }
    addresses
}

/// Listens where clients come in and, if there is such an address, where administrators do.
fn open_door(
    settings: &Settings,
    addresses: &[SocketAddr],
) -> Result<(Door, Vec<TcpListener>, Option<SocketAddr>), StartError> {
    let mut door =
        Door::open(addresses).map_err(|source| addresses::cannot_listen(settings, source))?;
    let for_admins = settings.auth.admin_listen.map(|address| {
        door.add(address)
            .map_err(|source| StartError::AdminListen { address, source })
    });
    let admin_address = for_admins.transpose()?;
    let listeners = door.listeners().map_err(StartError::Serve)?;
    Ok((door, listeners, admin_address))
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
