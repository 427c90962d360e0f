//! The connection to Redis or to a Redis Cluster: how it is made, how long an answer may take, and when
//! the connection is replaced.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt as _,
    future::{self, BoxFuture, Shared},
};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind,
    TlsCertificates, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
    cmd,
    io::tcp::TcpSettings,
};
use thiserror::Error;

use super::{breaker::LinkProblem, scripts::TOO_OLD_FOR_SCRIPTS};
use crate::settings::RedisSettings;

/// How long a peer may leave bytes unacknowledged before its connection counts as lost. Only Linux has
/// such a timeout; elsewhere the kernel asks the peer after that time whether it is still there.
const USER_TIMEOUT: Duration = Duration::from_secs(2);

/// The time from one attempt to connect to the next. An attempt whose first packet was lost would notice
/// only after a second that Redis can be reached, and one over a slow network takes long by itself: so
/// several go on at once.
const ATTEMPT_PERIOD: Duration = Duration::from_millis(200);

/// Why a command has no result.
#[derive(Debug, Clone, Error)]
pub(super) enum ClientError {
    /// Redis did not answer in time. It may or may not have run the command.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The connection broke, or could not be made.
    #[error("{0}")]
    Disconnected(String),
    /// Redis answered, with an error.
    #[error("{0}")]
    Refused(String),
    /// Redis does not have the mark of the purge any more, so that some instances may have missed it.
    #[error("the mark of the purge is gone")]
    PurgeMarkGone,
}

impl ClientError {
    /// What it means for the link.
    pub(super) fn problem(self) -> LinkProblem {
        match self {
            Self::TimedOut(_) => LinkProblem::NoAnswer,
            Self::Disconnected(error) => LinkProblem::Unreachable(error),
            refusal @ (Self::Refused(_) | Self::PurgeMarkGone) => {
                LinkProblem::Refused(refusal.to_string())
            }
        }
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

/// A connection that all requests share.
#[derive(Clone)]
enum SharedConnection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What connections are made with.
#[derive(Clone)]
enum Connector {
    Single(Client, AsyncConnectionConfig),
    Cluster(ClusterClient),
}

#[derive(Clone)]
struct Connected {
    /// The number of the attempt that made it.
    number: u64,
    connection: SharedConnection,
}

/// An attempt to connect. It goes on whether or not a request waits for it, since a request may have
/// less time than a connection takes.
#[derive(Clone)]
struct Attempt {
    number: u64,
    began: Instant,
    connected: Shared<BoxFuture<'static, Result<Connected, ClientError>>>,
}

#[derive(Default)]
struct Connections {
    current: Option<Connected>,
    /// Those that go on, oldest first.
    attempts: Vec<Attempt>,
    /// Why the last attempt failed, while there is no connection.
    last_error: Option<ClientError>,
    last_number: u64,
}

pub(super) struct RedisClient {
    connector: Connector,
    connect_timeout: Duration,
    connections: Arc<Mutex<Connections>>,
    /// The masters of the cluster when all of them were last known to answer.
    masters: AtomicUsize,
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
        let has_ca = !settings.tls_ca.as_os_str().is_empty();
        let tls = has_ca.then(|| read_certificates(&settings.tls_ca));
        let tls = tls.transpose()?;
        let info = settings.url.info.clone().ok_or(ClientSetUpError::NoUrl)?;
        // Every command has its own time-out. This one only bounds what a command leaves behind.
        let response_timeout = 2 * settings.invalidation_wait;
        let connector = if settings.cluster {
            let mut builder = ClusterClient::builder([info])
                .tcp_settings(tcp)
                .connection_timeout(connect_timeout)
                .response_timeout(response_timeout)
                // These are enough to follow a slot that has moved to another node.
                .retries(3)
                .min_retry_wait(5)
                .max_retry_wait(20);
            if let Some(certificates) = tls {
                builder = builder.certs(certificates);
            }
            Connector::Cluster(builder.build()?)
        } else {
            let info = info.set_tcp_settings(tcp);
            let client = match tls {
                Some(certificates) => Client::build_with_tls(info, certificates)?,
                None => Client::open(info)?,
            };
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(connect_timeout))
                .set_response_timeout(Some(response_timeout));
            Connector::Single(client, config)
        };
        Ok(Self {
            connector,
            connect_timeout,
            connections: Arc::default(),
            masters: AtomicUsize::new(0),
        })
    }

    /// Sends `command` and waits for its answer for at most `timeout`.
    pub(super) async fn send<T: FromRedisValue>(
        &self,
        command: &Cmd,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let send = async |connection| match connection {
            SharedConnection::Single(mut one) => command.query_async(&mut one).await,
            SharedConnection::Cluster(mut nodes) => command.query_async(&mut nodes).await,
        };
        self.ask(timeout, send).await
    }

    /// Sends `command` to every master and waits for their answers for at most `timeout`. A Redis that
    /// is no cluster is its only master.
    pub(super) async fn send_to_masters<T: FromRedisValue>(
        &self,
        command: &Cmd,
        timeout: Duration,
    ) -> Result<Vec<T>, ClientError> {
        let send = async |connection| match connection {
            SharedConnection::Single(mut one) => Ok(vec![command.query_async(&mut one).await?]),
            SharedConnection::Cluster(mut nodes) => {
                let masters = MultipleNodeRoutingInfo::AllMasters;
                let routing = RoutingInfo::MultiNode((masters, None));
                let answers = nodes.route_command(command.clone(), routing).await?;
                let answers: HashMap<String, T> = redis::from_redis_value(answers)?;
                Ok(answers.into_values().collect())
            }
        };
        self.ask(timeout, send).await
    }

    /// Fails if the cluster has more masters than `answered`: the client leaves out those to which it
    /// has no connection.
    pub(super) async fn check_masters(
        &self,
        answered: usize,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        let Connector::Cluster(_) = self.connector else {
            return Ok(());
        };
        if self.masters.load(Ordering::Relaxed) == answered {
            return Ok(());
        }
        let mut command = cmd("CLUSTER");
        command.arg("SLOTS");
        let slots: Vec<Vec<Value>> = self.send(&command, timeout).await?;
        // A range of slots is its first, its last, its master and the replicas; a node is its address, its
        // port and its id.
        let id_of_master =
            |range: &Vec<Value>| Some(range.get(2)?.as_sequence()?.get(2)?.to_owned());
        let ids = slots.iter().filter_map(id_of_master);
        let ids: HashSet<String> = ids
            .filter_map(|id| redis::from_redis_value(id).ok())
            .collect();
        if ids.len() > answered {
            let missing = format!("{answered} of {} masters of the cluster answer", ids.len());
            return Err(ClientError::Disconnected(missing));
        }
        self.masters.store(answered, Ordering::Relaxed);
        Ok(())
    }

    /// Waits for a connection and for the answer to what `send` sends on it, for at most `timeout`.
    async fn ask<T>(
        &self,
        timeout: Duration,
        send: impl AsyncFnOnce(SharedConnection) -> Result<T, RedisError>,
    ) -> Result<T, ClientError> {
        let ask = async {
            let Connected { number, connection } = self.connection().await?;
            // A connection to a cluster restores its connections to the nodes by itself.
            let is_single = matches!(connection, SharedConnection::Single(_));
            let answer = send(connection)
                .await
                .map_err(|error| classify(&error, timeout));
            if is_single && matches!(answer, Err(ClientError::Disconnected(_))) {
                let current = &mut self.connections.lock().current;
                current.take_if(|current| current.number == number);
            }
            answer
        };
        tokio::time::timeout(timeout, ask)
            .await
            .unwrap_or_else(|_elapsed| Err(self.timed_out(timeout)))
    }

    /// Why there was no answer within `timeout`: there may be no connection.
    pub(super) fn timed_out(&self, timeout: Duration) -> ClientError {
        let connections = self.connections.lock();
        let without_connection = connections.last_error.clone();
        without_connection.unwrap_or(ClientError::TimedOut(timeout))
    }

    /// Begins to replace the connection, since a connection does not notice a Redis that vanished without
    /// closing it. Whoever waits for an answer on the old one goes on to. One to a cluster is kept: it
    /// restores its connections to the nodes, and a new one would do without those that are down.
    pub(super) fn reconnect(&self) {
        if let Connector::Single(..) = self.connector {
            self.attempt_to_connect(&mut self.connections.lock());
        }
    }

    /// The connection, or the first of several attempts that succeeds.
    async fn connection(&self) -> Result<Connected, ClientError> {
        let attempts = {
            let mut connections = self.connections.lock();
            if let Some(current) = &connections.current {
                return Ok(current.clone());
            }
            self.attempt_to_connect(&mut connections);
            connections.attempts.clone()
        };
        let attempts = attempts.into_iter().map(|attempt| attempt.connected);
        let (first, _others) = future::select_ok(attempts).await?;
        Ok(first)
    }

    /// Begins another attempt, unless one began a moment ago and still goes on.
    fn attempt_to_connect(&self, connections: &mut Connections) {
        let newest = connections.attempts.last();
        if newest.is_some_and(|newest| newest.began.elapsed() < ATTEMPT_PERIOD) {
            return;
        }
        connections.last_number += 1;
        let number = connections.last_number;
        let connect = connect(self.connector.clone(), self.connect_timeout);
        let all = Arc::clone(&self.connections);
        let attempt = tokio::spawn(async move {
            let made = connect.await;
            let connected = made.map(|connection| Connected { number, connection });
            let mut all = all.lock();
            all.attempts.retain(|attempt| attempt.number != number);
            match &connected {
                Ok(connected) => {
                    all.current = Some(connected.clone());
                    all.last_error = None;
                }
                Err(error) if all.current.is_none() => all.last_error = Some(error.clone()),
                Err(_) => {}
            }
            connected
        });
        let connected = attempt.map(|ended| {
            ended.unwrap_or_else(|lost| Err(ClientError::Disconnected(lost.to_string())))
        });
        connections.attempts.push(Attempt {
            number,
            began: Instant::now(),
            connected: connected.boxed().shared(),
        });
    }
}

/// Connects, and gives up after `limit`.
async fn connect(connector: Connector, limit: Duration) -> Result<SharedConnection, ClientError> {
    let connect = async {
        Ok(match connector {
            Connector::Single(client, config) => SharedConnection::Single(
                client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?,
            ),
            Connector::Cluster(client) => {
                SharedConnection::Cluster(client.get_async_connection().await?)
            }
        })
    };
    let made = tokio::time::timeout(limit, connect).await;
    match made.map(|made| made.map_err(|error| classify(&error, limit))) {
        Ok(Err(ClientError::TimedOut(_))) | Err(_) => Err(ClientError::Disconnected(format!(
            "no connection within {limit:?}; a server without TLS does not answer rediss://"
        ))),
        Ok(made) => made,
    }
}

/// Which kind of failure `error` is, of a command that had `timeout`.
fn classify(error: &RedisError, timeout: Duration) -> ClientError {
    if error.is_timeout() {
        ClientError::TimedOut(timeout)
    } else if is_disconnected(error) {
        ClientError::Disconnected(explained(error))
    } else {
        ClientError::Refused(explained(error))
    }
}

/// Whether the connection failed, rather than Redis.
fn is_disconnected(error: &RedisError) -> bool {
    match error.kind() {
        // While a slot moves from one node to another, both nodes answer, and each has some of the keys.
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::TryAgain) => false,
        ErrorKind::Server(_) => error.is_cluster_error(),
        _ => {
            error.is_io_error()
                || error.is_connection_dropped()
                || error.is_connection_refusal()
                || error.is_unrecoverable_error()
        }
    }
}

/// What an operator needs to know of an error.
fn explained(error: &RedisError) -> String {
    let reported = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    if reported.contains(TOO_OLD_FOR_SCRIPTS) {
        "it is older than Redis 7.0, the lowest version that is used".to_owned()
    } else if error.kind() == ErrorKind::Parse {
        format!("{reported}; a server with TLS needs rediss://")
    } else {
        reported
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
