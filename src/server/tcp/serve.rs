//! Accepting connections, and answering requests on them.

use std::{future::ready, io, time::Duration};

use actix_http::{HttpService, KeepAlive, Request, Response, body::MessageBody};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_web::{dev::AppConfig, rt::net::TcpStream};

use super::{
    connection::Connection,
    listeners::{Listener, Listeners},
    timeouts::ClientTimeouts,
};
use crate::{
    auth::http::AdminConnection, metrics::ConnectionGauge, server::pieces::PIECE,
    settings::ServerSettings,
};

/// How long an idle connection is kept: longer than a dashboard's 30 s between polls.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long actix goes on reading from a client that was answered before its body was read. Were the
/// connection closed at once, the client might lose the answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How many connections there may be to `auth.admin_listen`. They are not counted among
/// `server.max_connections`, so that probes and administrators are answered when those are all taken.
pub(in crate::server) const ADMIN_CONNECTIONS: usize = 100;

/// What serves some of the listeners: a number of threads, and of connections that there may be.
struct Share {
    listeners: Vec<Listener>,
    workers: usize,
    max_connections: usize,
}

/// Accepts connections from all `listeners`, and has what `app` makes answer their requests; `open`
/// counts the connections. actix's own `HttpServer` does the same, but gives no access to the socket
/// of a connection.
pub(in crate::server) fn serve<A, F, S, B>(
    settings: &ServerSettings,
    listeners: &Listeners,
    open: &ConnectionGauge,
    app: A,
) -> io::Result<Vec<Server>>
where
    A: Fn() -> F + Clone + Send + 'static,
    F: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error, InitError = ()>
        + 'static,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let copies = listeners.copies()?.into_iter();
    let (for_admins, for_everybody) = copies.partition(|listener| listener.is_for_admins);
    let shares = [
        Share {
            listeners: for_everybody,
            workers: settings.worker_count(),
            max_connections: settings.max_connections,
        },
        Share {
            listeners: for_admins,
            workers: 1,
            max_connections: ADMIN_CONNECTIONS,
        },
    ];
    let request = settings.request_timeout;
    let timeouts = ClientTimeouts {
        request,
        idle: IDLE_TIMEOUT,
    };
    let mut servers = Vec::new();
    for share in shares {
        if share.listeners.is_empty() {
            continue;
        }
        let mut server = Server::build()
            .workers(share.workers)
            .max_concurrent_connections(share.max_connections.div_ceil(share.workers))
            // `drain` has a limit of its own.
            .shutdown_timeout(u64::MAX)
            .disable_signals();
        let draining = server.graceful_shutdown_signal();
        for listener in share.listeners {
            let (app, draining, open) = (app.clone(), draining.clone(), open.clone());
            let name = listener.address.to_string();
            server = server.listen(name, listener.socket.into(), move || {
                let app = app().into_factory().map_err(|error| error.error_response());
                let (draining, open) = (draining.clone(), open.clone());
                let http = HttpService::build()
                    .graceful_shutdown_signal(move || {
                        let draining = draining.clone();
                        async move { draining.notified().await }
                    })
                    // The connection itself ends when it is idle: actix would set a timer for each answer.
                    .keep_alive(KeepAlive::Os)
                    .client_request_timeout(request)
                    .client_disconnect_timeout(CLOSE_TIMEOUT)
                    .h1_write_buffer_size(PIECE)
                    .local_addr(listener.address)
                    .on_connect_ext(move |connection: &Connection, data| {
                        data.insert(connection.current());
                        if listener.is_for_admins {
                            data.insert(AdminConnection);
                        }
                    })
                    .h1(map_config(app, |()| AppConfig::default()));
                let connect = move |stream: TcpStream| {
                    let client = stream.peer_addr().ok();
                    // A long answer must not wait for the client to acknowledge its beginning.
                    let _ = stream.set_nodelay(true);
                    ready(Ok((Connection::new(stream, timeouts, &open), client)))
                };
                fn_service(connect).and_then(http)
            })?;
        }
        servers.push(server.run());
    }
    Ok(servers)
}
