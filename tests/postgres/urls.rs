//! That URLs as providers give them to paste lead to the server: several hosts, a Unix socket, and
//! the parameters of libpq.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

use crate::{
    database::{open, settings, text},
    server::Postgres,
};

/// What `sql` answers on the database of that URL.
async fn ask(url: &str, sql: &'static str) -> String {
    let db = open(&settings(url)).await.unwrap();
    db.read(None, move |conn| text(conn, sql)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_hosts_the_one_that_accepts_writes_is_used() {
    let standby = Postgres::builder()
        .setting("default_transaction_read_only=on")
        .start();
    let primary = Postgres::builder().start();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone_port = gone.local_addr().unwrap().port();
    drop(gone);
    let (first, second) = (standby.port(), primary.port());
    let url = format!(
        "postgresql://postgres@127.0.0.1:{gone_port},127.0.0.1:{first},127.0.0.1:{second}/postgres?\
         application_name=dash&connect_timeout=10&keepalives=1&options=-c%20geqo%3Doff&\
         target_session_attrs=any&sslmode=allow&channel_binding=prefer"
    );
    let sql = "SELECT concat_ws(' ', inet_server_port(), current_setting('application_name'), \
               current_setting('geqo'), current_setting('statement_timeout')) AS value";
    assert_eq!(ask(&url, sql).await, format!("{second} dash off 500ms"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_connected_to() {
    let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
    // The server may run as another user.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = folder.path().to_str().unwrap();
    let server = Postgres::builder()
        .setting(&format!("unix_socket_directories={path}"))
        .start();
    let (port, encoded) = (server.port(), path.replace('/', "%2F"));
    let sql = "SELECT coalesce(inet_server_addr()::text, 'socket') AS value";
    for url in [
        format!("postgres://postgres@{encoded}:{port}/postgres?sslmode=require"),
        format!("postgresql:///postgres?host={path}&port={port}&user=postgres"),
    ] {
        assert_eq!(ask(&url, sql).await, "socket", "{url}");
    }
}
