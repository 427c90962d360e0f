//! What is done with connections that come in. Lives here: who answers on them, and their limits. Not
//! here: the sockets (`door`), one connection (`connection`), and what a request passes through
//! (`app`).

use std::{
    future::ready,
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use actix_http::{HttpService, Request, Response, body::MessageBody};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_web::{dev::AppConfig, rt::net::TcpStream};

use super::connection::{Connection, Patience};
use crate::{auth::http::AdminConnection, metrics::Connections, settings::ServerSettings};

/// How long an idle connection is kept: longer than a dashboard's 30 s between polls.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a connection that is closed may take to take its last answer.
const PARTING: Duration = Duration::from_secs(1);

/// Accepts from all `listeners`, and has what `app` makes answer. Who comes in by `admin_address` is
/// an administrator; `open` counts the connections there are. actix's own `HttpServer` does the
/// same, but leaves nobody between itself and the socket.
pub(super) fn listen<A, F, S, B>(
    settings: &ServerSettings,
    listeners: Vec<TcpListener>,
    admin_address: Option<SocketAddr>,
    open: &Connections,
    app: A,
) -> io::Result<(Server, Vec<SocketAddr>)>
where
    A: Fn() -> F + Clone + Send + 'static,
    F: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error, InitError = ()>
        + 'static,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let workers = settings.worker_count();
    let mut server = Server::build()
        .workers(workers)
        .max_concurrent_connections(settings.max_connections.div_ceil(workers))
        // The service stops it, and has a limit for that.
        .shutdown_timeout(u64::MAX)
        .disable_signals();
    let draining = server.graceful_shutdown_signal();
    let request = settings.request_timeout;
    let patience = Patience {
        request,
        // actix closes an idle connection first, and in a better way.
        idle: KEEP_ALIVE + request,
    };
    let mut addresses = Vec::new();
    for listener in listeners {
        let address = listener.local_addr()?;
        let is_for_admins = admin_address == Some(address);
        addresses.push(address);
        let (app, draining, open) = (app.clone(), draining.clone(), open.clone());
        server = server.listen(address.to_string(), listener, move || {
            let app = app().into_factory().map_err(|error| error.error_response());
            let (draining, open) = (draining.clone(), open.clone());
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let draining = draining.clone();
                    async move { draining.notified().await }
                })
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(request)
                .client_disconnect_timeout(PARTING)
                .local_addr(address)
                .on_connect_ext(move |connection: &Connection, data| {
                    data.insert(connection.handling());
                    if is_for_admins {
                        data.insert(AdminConnection);
                    }
                })
                .h1(map_config(app, |()| AppConfig::default()));
            let connect = move |stream: TcpStream| {
                let client = stream.peer_addr().ok();
                // A long answer must not wait for the client to acknowledge its beginning.
                let _ = stream.set_nodelay(true);
                ready(Ok((Connection::new(stream, patience, &open), client)))
            };
            fn_service(connect).and_then(http)
        })?;
    }
    Ok((server.run(), addresses))
}
