//! Building the service: the database, the cache, the routes, the listening sockets.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use actix_web::{dev, web};
use tokio_util::sync::CancellationToken;

use super::{
    app::{self, AppState},
    error::StartError,
    scrape,
    tcp::{self, Listeners},
};
use crate::{
    appointments::http::Appointments,
    auth::http::Auth,
    cache::{CacheParts, Relay},
    clock::Clock,
    db::{Announce, Db, LockMode},
    health::http::HealthChecks,
    input::http::BodyLimits,
    metrics::{self, Metrics},
    openapi::http::Docs,
    settings::{CacheBackend, Settings, Tzdb},
    stats::{events::LiveCounts, service::StatsService, warm::keep_warm, zones::Zones},
    tasks::{Tasks, repeat_while_alive},
};

/// The service, which listens, and answers once it [runs](Application::run).
pub struct Application {
    /// One for everybody, and one for administrators if they have an address.
    pub(super) web_servers: Vec<dev::Server>,
    pub(super) listeners: Listeners,
    pub(super) tasks: Tasks,
    pub(super) stats: Arc<StatsService>,
    pub(super) metrics: Arc<Metrics>,
    /// Ends warming. What it computes at that moment is finished as any other computation.
    pub(super) end_warming: CancellationToken,
    /// Ends the streams of events, which have no end of their own.
    pub(super) end_streams: CancellationToken,
    /// Whether the service was told to stop. Then each answer ends its connection.
    pub(super) is_draining: Arc<AtomicBool>,
    pub(super) drain_delay: Duration,
    pub(super) drain_timeout: Duration,
}

impl Application {
    /// Opens the database, migrates it and listens.
    ///
    /// # Errors
    /// A setting does not fit, the database cannot be used, or an address cannot be listened on.
    pub async fn build(
        settings: Settings,
        clock: Arc<dyn Clock>,
        mut cache: CacheParts,
        tasks: Tasks,
    ) -> Result<Self, StartError> {
        let addresses = tcp::host_addresses(&settings)?;
        let auth = Auth::new(&settings, Arc::clone(&clock), &tasks)?;
        let zones = match settings.stats.tzdb {
            Tzdb::Bundled => Zones::bundled(),
            Tzdb::System => Zones::system()?,
        };
        // Before a database is made: an address that is in use is noticed here.
        let listeners = Listeners::bind(&addresses, &settings)?;
        let db = open_database(&settings).await?;
        let redis = cache.redis.clone();
        cache.relay = Relay::start(&db, &cache.cache, redis, &settings.cache, &tasks).await;
        let metrics = Arc::new(Metrics::new(settings.cache.backend));
        scrape::show(&metrics, &db, &cache, &tasks);
        let tick = async |metrics: Arc<Metrics>| metrics.cache_metrics.tick();
        let owner = Arc::downgrade(&metrics);
        tokio::spawn(repeat_while_alive(owner, metrics::TICK, tick));
        let stats = Arc::new(StatsService::new(
            db.clone(),
            cache,
            &settings.cache,
            Arc::clone(&clock),
            zones,
            Arc::clone(&metrics),
            tasks.clone(),
        ));
        let end_warming = start_warming(&stats, &tasks);
        let end_streams = CancellationToken::new();
        let live = Arc::new(LiveCounts::new(
            Arc::clone(&stats),
            tasks.clone(),
            settings.server.max_streams(),
            end_streams.clone(),
        ));
        scrape::show_polls(&metrics, &stats, &live);
        let is_draining = Arc::new(AtomicBool::new(false));
        let app_state = AppState {
            auth: web::Data::new(auth),
            docs: Docs::new(Arc::clone(&clock)),
            health: HealthChecks {
                db: db.clone(),
                is_draining: Arc::clone(&is_draining),
            },
            appointments: Appointments {
                db,
                stats: Arc::clone(&stats),
                clock,
                allow_past_starts: settings.appointments.allow_past_starts,
            },
            stats: Arc::clone(&stats),
            live,
            metrics: Arc::clone(&metrics),
            body_limits: BodyLimits {
                size: settings.server.max_body_bytes,
                time: settings.server.request_timeout,
            },
            cors: settings.cors.clone(),
            logs_all_requests: settings.log.requests,
        };
        listeners.listen(&settings)?;
        let web_servers = tcp::serve(
            &settings.server,
            &listeners,
            &metrics.requests.connections,
            move || app::app(app_state.clone()),
        )
        .map_err(StartError::Serve)?;
        log_addresses(&listeners, &settings);
        Ok(Self {
            web_servers,
            listeners,
            tasks,
            stats,
            metrics,
            end_warming,
            end_streams,
            is_draining,
            drain_delay: settings.server.drain_delay,
            drain_timeout: settings.server.shutdown_timeout,
        })
    }

    /// The addresses that the service listens on, without that for administrators.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.addresses()
    }

    /// Through it appointments are changed, so that no cached statistics are older.
    pub fn stats(&self) -> &Arc<StatsService> {
        &self.stats
    }

    /// The address that makes whoever connects to it an administrator, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.listeners.admin_address()
    }
}

async fn open_database(settings: &Settings) -> Result<Db, StartError> {
    let database = settings.database.clone();
    let url = database.url.to_string();
    let lock = match settings.cache.backend {
        // A cache in this process would not notice what another process writes.
        CacheBackend::Memory => LockMode::Exclusive,
        CacheBackend::Redis | CacheBackend::None => LockMode::Shared,
    };
    let announce = match settings.cache.backend {
        CacheBackend::Redis | CacheBackend::None if settings.cache.redis.is_set() => {
            Announce::Nothing
        }
        // Another process has no other way to hear of what this one writes.
        _ => Announce::Changes,
    };
    let opened =
        tokio::task::spawn_blocking(move || Db::open(&database, Some(lock), announce)).await;
    opened
        .expect("opening a database does not panic")
        .map_err(|source| StartError::Database { url, source })
}

/// Computes ahead what clients read, until the token is cancelled.
fn start_warming(stats: &Arc<StatsService>, tasks: &Tasks) -> CancellationToken {
    let end_warming = CancellationToken::new();
    let ended = end_warming.clone();
    let stats = Arc::downgrade(stats);
    tasks.background(async move {
        ended.run_until_cancelled(keep_warm(stats)).await;
    });
    end_warming
}

fn log_addresses(listeners: &Listeners, settings: &Settings) {
    let addresses = listeners.addresses();
    let urls: Vec<_> = addresses
        .iter()
        .map(|address| format!("http://{address}"))
        .collect();
    log::info!(
        "listening on {} (database {}, cache {:?}, {} workers): the page is at /, the API's description \
         at /docs/",
        urls.join(" and "),
        settings.database.url,
        settings.cache.backend,
        settings.server.worker_count(),
    );
    if let Some(address) = listeners.admin_address() {
        log::info!("listening for administrators on http://{address}");
    }
}
