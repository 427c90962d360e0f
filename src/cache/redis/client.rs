//! Talking to Redis, or to a Redis Cluster. Lives here: connections, their time-outs and how they
//! are replaced. Not here: what is said.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt as _,
    future::{self, BoxFuture, Shared},
};
use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, RedisError, ServerErrorKind,
    TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
};
use thiserror::Error;

use crate::settings::RedisSettings;

/// How long a peer may leave bytes unacknowledged before its connection counts as lost.
const USER_TIMEOUT: Duration = Duration::from_secs(2);

/// Redis was given up on, or refused a command.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    /// No answer: it may or may not have run the command.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The connection is lost or could not be made.
    #[error("{0}")]
    Lost(RedisError),
    /// Redis answered, with an error.
    #[error("{0}")]
    Refused(RedisError),
    /// Redis no longer has what it was told a moment ago.
    #[error("what was set is gone")]
    Forgotten,
}

impl ClientError {
    /// Whether Redis said anything at all.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Forgotten)
    }
}

/// The settings cannot be turned into a client.
#[derive(Debug, Error)]
pub enum ClientSetUpError {
    /// There is no Redis.
    #[error("cache.redis.url is empty")]
    NoUrl,
    /// The URL or the TLS settings do not fit.
    #[error("{0}")]
    Url(#[from] RedisError),
    /// A file of certificates cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// One lasting connection, shared by all requests.
#[derive(Clone)]
enum Connection {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

enum Target {
    Single(Client, ConnectionManagerConfig),
    Cluster(ClusterClient),
}

/// A connection and since when there is one, or why there is none. It is made whether or not anybody
/// waits for it: who asks may have less time than that takes.
type Making = Shared<BoxFuture<'static, Result<(Connection, Instant), String>>>;

pub(super) struct RedisClient {
    target: Target,
    connect_timeout: Duration,
    current: Mutex<Option<Making>>,
}

impl RedisClient {
    /// Connects to nothing yet.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, ClientSetUpError> {
        // Fails where another has been chosen before: that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let connect_timeout = settings.connect_timeout();
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_user_timeout(USER_TIMEOUT);
        let tls = match settings.tls_ca.as_os_str() {
            path if path.is_empty() => None,
            _ => Some(read_certificates(&settings.tls_ca)?),
        };
        let info = settings
            .url
            .connection_info()
            .ok_or(ClientSetUpError::NoUrl)?;
        let info = info.clone();
        // Every call here has a time-out of its own; the client's only bounds what is left behind.
        let response_timeout = 2 * settings.invalidation_wait();
        let target = if settings.cluster {
            let mut builder = ClusterClient::builder([info])
                .tcp_settings(tcp)
                .connection_timeout(connect_timeout)
                .response_timeout(response_timeout)
                // Enough to follow a slot that has moved.
                .retries(3)
                .min_retry_wait(5)
                .max_retry_wait(20);
            if let Some(certificates) = tls {
                builder = builder.certs(certificates);
            }
            Target::Cluster(builder.build()?)
        } else {
            let client = open(info.set_tcp_settings(tcp), tls)?;
            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(connect_timeout))
                .set_response_timeout(Some(response_timeout))
                .set_number_of_retries(0);
            Target::Single(client, config)
        };
        Ok(Self {
            target,
            connect_timeout,
            current: Mutex::new(None),
        })
    }

    /// Sends `command` and waits for its answer, no longer than `within`.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        command: &Cmd,
        within: Duration,
    ) -> Result<T, ClientError> {
        let ask = async {
            match self.connection().await? {
                Connection::Single(mut connection) => command.query_async(&mut connection).await,
                Connection::Cluster(mut connection) => command.query_async(&mut connection).await,
            }
        };
        match tokio::time::timeout(within, ask).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_timeout() => Err(ClientError::Silent(within)),
            Ok(Err(error)) if is_lost(&error) => Err(ClientError::Lost(error)),
            Ok(Err(error)) => Err(ClientError::Refused(error)),
            Err(_elapsed) => Err(ClientError::Silent(within)),
        }
    }

    /// Lets go of the connection: a peer that vanished without a word is never noticed by it. One
    /// that may still be in the making is left alone.
    pub(super) fn reconnect(&self) {
        let mut current = self.lock();
        let made = current.as_ref().and_then(Shared::peek);
        let is_old = |(_, since): &(_, Instant)| since.elapsed() >= self.connect_timeout;
        if made.is_some_and(|made| made.as_ref().is_ok_and(is_old)) {
            *current = None;
        }
    }

    async fn connection(&self) -> Result<Connection, RedisError> {
        let making = self.lock().get_or_insert_with(|| self.make()).clone();
        let made = making.clone().await;
        made.map(|(connection, _)| connection).map_err(|error| {
            let mut current = self.lock();
            if current.as_ref().is_some_and(|other| other.ptr_eq(&making)) {
                *current = None;
            }
            io::Error::other(error).into()
        })
    }

    fn make(&self) -> Making {
        match &self.target {
            // It connects when it is first used, and again whenever it has to.
            Target::Single(client, config) => {
                let made = ConnectionManager::new_lazy_with_config(client.clone(), config.clone());
                let made = made.map(|manager| (Connection::Single(manager), Instant::now()));
                future::ready(made.map_err(|error| error.to_string())).boxed()
            }
            Target::Cluster(client) => {
                let (client, limit) = (client.clone(), 4 * self.connect_timeout);
                let connect = async move {
                    let made = tokio::time::timeout(limit, client.get_async_connection()).await;
                    made.map_err(|_elapsed| format!("no connection within {limit:?}"))?
                        .map(|connection| (Connection::Cluster(connection), Instant::now()))
                        .map_err(|error| error.to_string())
                };
                tokio::spawn(connect)
                    .map(|made| made.unwrap_or_else(|lost| Err(lost.to_string())))
                    .boxed()
            }
        }
        .shared()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Making>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the connection, rather than Redis, is what failed.
fn is_lost(error: &RedisError) -> bool {
    // Of a slot that is being moved, one node has some of the keys: it is there, and so is the rest.
    if error.kind() == ErrorKind::Server(ServerErrorKind::TryAgain) {
        return false;
    }
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_connection_refusal()
        || error.is_unrecoverable_error()
        || error.is_cluster_error()
}

fn open(info: ConnectionInfo, tls: Option<TlsCertificates>) -> Result<Client, RedisError> {
    match tls {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
}

fn read_certificates(path: &PathBuf) -> Result<TlsCertificates, ClientSetUpError> {
    let root_cert = fs::read(path).map_err(|source| ClientSetUpError::Certificates {
        path: path.clone(),
        source,
    })?;
    Ok(TlsCertificates {
        client_tls: None,
        root_cert: Some(root_cert),
    })
}
