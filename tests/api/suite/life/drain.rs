//! SIGTERM, SIGINT and SIGHUP: what was accepted is finished, and nothing more is accepted.

use std::{path::Path, process::Command, time::Duration};

use harness::{Database, Folder, Gate, Leave, Process, Raw, Step, TestServer, command, eventually};
use reqwest::StatusCode;

use super::{ROUTE, appointment};

/// A service in which a write that waits for the database's lock takes the only connection, which others
/// soon despair of. It would rather wait for an hour than leave work undone.
const SLOW: [(&str, &str); 5] = [
    ("MEGASTATS__DATABASE__POOL_SIZE", "1"),
    ("MEGASTATS__DATABASE__POOL_WAIT_MS", "250"),
    ("MEGASTATS__DATABASE__BUSY_TIMEOUT_MS", "60000"),
    ("MEGASTATS__DATABASE__STATEMENT_TIMEOUT_MS", "60000"),
    ("MEGASTATS__SERVER__SHUTDOWN_TIMEOUT_SECONDS", "3600"),
];

/// Waits until the write that the service was sent holds its only connection.
async fn write_is_under_way(process: &Process) {
    let url = format!("{}{ROUTE}/1", process.url());
    eventually("the only connection is taken", async || {
        reqwest::get(&url).await.unwrap().status() == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
}

fn appointments(folder: &Path) -> i64 {
    Database::of(folder).appointments("clinic")
}

#[tokio::test]
async fn an_accepted_write_is_answered_and_nothing_new_is_accepted() {
    for signal in ["TERM", "INT", "HUP"] {
        let folder = Folder::new();
        let mut process = Process::start(folder.path(), &SLOW);
        let lock = Database::lock(folder.path());
        let mut writer = Raw::connect(process.url());
        writer.post(&appointment("ana"));
        write_is_under_way(&process).await;

        assert!(process.is_listening());
        process.signal(signal);
        process.stops_listening();
        assert!(process.is_running() && !writer.is_answered());

        drop(lock);
        assert_eq!(writer.reply().status, StatusCode::CREATED);
        let (status, log) = process.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(
            log.contains(&format!("SIG{signal}")) && log.contains("stopped"),
            "{log}"
        );
        assert_eq!(appointments(folder.path()), 1);
    }
}

#[tokio::test]
async fn whoever_starts_it_by_nohup_may_close_the_terminal() {
    let folder = Folder::new();
    let command = command(folder.path());
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\""]);
    nohup.arg(command.get_program()).current_dir(folder.path());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nohup.env(name, value),
            None => nohup.env_remove(name),
        };
    }
    let process = Process::start_command(nohup, &[]);
    process.signal("HUP");
    let mut client = Raw::connect(process.url());
    client.mega_stats("clinic");
    assert_eq!(client.reply().status, StatusCode::OK);
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("SIGHUP"), "{log}");
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &SLOW);
    let silent: Vec<_> = (0..3).map(|_| Raw::connect(process.url())).collect();
    let mut idle: Vec<_> = (0..3).map(|_| Raw::connect(process.url())).collect();
    for client in &mut idle {
        client.mega_stats("clinic");
        assert_eq!(client.reply().status, StatusCode::OK);
    }
    process.signal("TERM");
    assert_eq!(process.wait().0.code(), Some(0));
    for mut client in silent.into_iter().chain(idle) {
        client.closed();
    }
}

#[tokio::test]
async fn a_write_whose_client_has_left_is_finished() {
    for leave in [Leave::Close, Leave::Reset] {
        let folder = Folder::new();
        let mut process = Process::start(folder.path(), &SLOW);
        let lock = Database::lock(folder.path());
        let mut writer = Raw::leaving(process.url(), leave);
        writer.post(&appointment("ana"));
        write_is_under_way(&process).await;
        drop(writer);
        process.signal("TERM");
        process.stops_listening();
        assert!(process.is_running(), "{leave:?}");
        drop(lock);
        assert_eq!(process.wait().0.code(), Some(0), "{leave:?}");
        assert_eq!(appointments(folder.path()), 1, "{leave:?}");
    }
}

#[tokio::test]
async fn a_write_that_had_not_reached_the_database_when_its_client_left_is_finished() {
    let one_worker = TestServer::builder().settings(|settings| settings.server.workers = 1);
    let (service, gate) = Gate::before(one_worker);
    let mut server = service.start();
    gate.hold(Step::Fence);
    let mut writer = Raw::leaving(server.url(), Leave::Reset);
    writer.post(&appointment("ana"));
    gate.reached(Step::Fence, 1).await;
    drop(writer);
    // The only worker has seen it go once it has seen another come and go.
    Raw::connect(server.url()).close();
    server.begin_stop();
    // Nothing tells from outside that the service waits; one that does not is soon gone.
    for _ in 0..100 {
        assert!(!server.has_stopped(), "it left work behind");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gate.open(Step::Fence);
    server.stop();
    assert_eq!(server.database().appointments("clinic"), 1);
}

#[tokio::test]
async fn whoever_is_let_in_while_the_service_stops_is_answered() {
    for _ in 0..5 {
        let folder = Folder::new();
        let process = Process::start(folder.path(), &[]);
        let url = process.url();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                // Until nobody is let in any more.
                scope.spawn(|| {
                    while let Some(mut client) = Raw::try_connect(url) {
                        client.mega_stats("clinic");
                        assert_eq!(client.reply().status, StatusCode::OK);
                    }
                });
            }
            let mut client = Raw::connect(url);
            client.mega_stats("clinic");
            client.reply();
            process.signal("TERM");
        });
        assert_eq!(process.wait().0.code(), Some(0));
    }
}
