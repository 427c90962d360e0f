//! The connection to Redis or to a Redis Cluster: how it is made, how long an answer may take, and when
//! the connection is replaced.

use std::{
    collections::HashMap,
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
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
    io::tcp::TcpSettings,
};
use thiserror::Error;

use crate::settings::RedisSettings;

/// How long a peer may leave bytes unacknowledged before its connection counts as lost. Only Linux has
/// such a timeout; elsewhere the kernel asks the peer after that time whether it is still there.
const USER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a command has no result.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    /// Redis did not answer in time. It may or may not have run the command.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The connection broke, or could not be made.
    #[error("{0}")]
    Disconnected(RedisError),
    /// Redis answered, with an error.
    #[error("{0}")]
    Refused(RedisError),
    /// Redis does not have the mark of the purge any more, so that some instances may have missed it.
    #[error("the mark of the purge is gone")]
    PurgeMarkGone,
}

impl ClientError {
    /// Whether Redis answered.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::PurgeMarkGone)
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
    /// The file of certificates cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// One connection that lasts, and that all requests share.
#[derive(Clone)]
enum SharedConnection {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

/// What connections are made with.
enum Connector {
    Single(Client, ConnectionManagerConfig),
    Cluster(ClusterClient),
}

#[derive(Clone)]
struct Connected {
    connection: SharedConnection,
    since: Instant,
}

/// A connection that is being made, or that has been. The work goes on whether or not a request waits
/// for it, since a request may have less time than a connection takes.
type Connecting = Shared<BoxFuture<'static, Result<Connected, String>>>;

pub(super) struct RedisClient {
    connector: Connector,
    connect_timeout: Duration,
    current: Mutex<Option<Connecting>>,
}

impl RedisClient {
    /// Connects to nothing yet.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, ClientSetUpError> {
        // Fails if another provider was installed before, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let connect_timeout = settings.connect_timeout;
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(USER_TIMEOUT);
        #[cfg(not(target_os = "linux"))]
        let tcp = tcp.set_keepalive(socket2::TcpKeepalive::new().with_time(USER_TIMEOUT));
        let tls = match settings.tls_ca.as_os_str() {
            path if path.is_empty() => None,
            _ => Some(read_certificates(&settings.tls_ca)?),
        };
        let info = settings
            .url
            .connection_info()
            .ok_or(ClientSetUpError::NoUrl)?;
        let info = info.clone();
        // Every command has its own time-out. This one only bounds what a command leaves behind.
        let response_timeout = 2 * settings.invalidation_wait;
        let connector = if settings.cluster {
            let mut builder = ClusterClient::builder([info])
                .tcp_settings(tcp)
                .connection_timeout(connect_timeout)
                .response_timeout(response_timeout)
                // Enough to follow a slot that has moved to another node.
                .retries(3)
                .min_retry_wait(5)
                .max_retry_wait(20);
            if let Some(certificates) = tls {
                builder = builder.certs(certificates);
            }
            Connector::Cluster(builder.build()?)
        } else {
            let client = open(info.set_tcp_settings(tcp), tls)?;
            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(connect_timeout))
                .set_response_timeout(Some(response_timeout))
                .set_number_of_retries(0);
            Connector::Single(client, config)
        };
        Ok(Self {
            connector,
            connect_timeout,
            current: Mutex::new(None),
        })
    }

    /// Sends `command` and waits for its answer for at most `timeout`.
    pub(super) async fn send<T: FromRedisValue>(
        &self,
        command: &Cmd,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let send = async {
            match self.connection().await? {
                SharedConnection::Single(mut one) => command.query_async(&mut one).await,
                SharedConnection::Cluster(mut nodes) => command.query_async(&mut nodes).await,
            }
        };
        within(timeout, send).await
    }

    /// Sends `command` to every master and waits for their answers for at most `timeout`. A Redis that
    /// is no cluster is its only master.
    pub(super) async fn send_to_masters<T: FromRedisValue>(
        &self,
        command: &Cmd,
        timeout: Duration,
    ) -> Result<Vec<T>, ClientError> {
        let send = async {
            match self.connection().await? {
                SharedConnection::Single(mut one) => Ok(vec![command.query_async(&mut one).await?]),
                SharedConnection::Cluster(mut nodes) => {
                    let masters = MultipleNodeRoutingInfo::AllMasters;
                    let routing = RoutingInfo::MultiNode((masters, None));
                    let answers = nodes.route_command(command.clone(), routing).await?;
                    let answers: HashMap<String, T> = redis::from_redis_value(answers)?;
                    Ok(answers.into_values().collect())
                }
            }
        };
        within(timeout, send).await
    }

    /// Lets go of the connection, since a connection does not notice a Redis that vanished without
    /// closing it. A connection that was made a moment ago, or is being made, is kept.
    pub(super) fn reconnect(&self) {
        let mut current = self.lock();
        let made = current.as_ref().and_then(Shared::peek);
        let is_old = |made: &Connected| made.since.elapsed() >= self.connect_timeout;
        if made.is_some_and(|made| made.as_ref().is_ok_and(is_old)) {
            *current = None;
        }
    }

    async fn connection(&self) -> Result<SharedConnection, RedisError> {
        let connecting = self.lock().get_or_insert_with(|| self.connect()).clone();
        let made = connecting.clone().await;
        made.map(|made| made.connection).map_err(|error| {
            let mut current = self.lock();
            if current
                .as_ref()
                .is_some_and(|other| other.ptr_eq(&connecting))
            {
                *current = None;
            }
            io::Error::other(error).into()
        })
    }

    fn connect(&self) -> Connecting {
        match &self.connector {
            // The manager connects when it is first used, and again whenever it has to.
            Connector::Single(client, config) => {
                let made = ConnectionManager::new_lazy_with_config(client.clone(), config.clone());
                let made = made.map(|manager| Connected {
                    connection: SharedConnection::Single(manager),
                    since: Instant::now(),
                });
                future::ready(made.map_err(|error| error.to_string())).boxed()
            }
            Connector::Cluster(client) => {
                let (client, limit) = (client.clone(), 4 * self.connect_timeout);
                let connect = async move {
                    let made = tokio::time::timeout(limit, client.get_async_connection()).await;
                    made.map_err(|_elapsed| format!("no connection within {limit:?}"))?
                        .map(|connection| Connected {
                            connection: SharedConnection::Cluster(connection),
                            since: Instant::now(),
                        })
                        .map_err(|error| error.to_string())
                };
                tokio::spawn(connect)
                    .map(|made| made.unwrap_or_else(|lost| Err(lost.to_string())))
                    .boxed()
            }
        }
        .shared()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connecting>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for `answer` for at most `timeout`, and sorts its error.
async fn within<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_timeout() => Err(ClientError::TimedOut(timeout)),
        Ok(Err(error)) if is_disconnected(&error) => Err(ClientError::Disconnected(error)),
        Ok(Err(error)) => Err(ClientError::Refused(error)),
        Err(_elapsed) => Err(ClientError::TimedOut(timeout)),
    }
}

/// Whether the connection failed, rather than Redis.
fn is_disconnected(error: &RedisError) -> bool {
    // While a slot moves from one node to another, both nodes answer, and each has some of the keys.
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
