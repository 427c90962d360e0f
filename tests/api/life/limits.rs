//! What there is only so much of: room on the disk, connections, and time to end in.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
};

use reqwest::StatusCode;

use super::{appointment, database, patients};
use crate::harness::{Process, Raw, Sqlite, TestServer, command, is_refused, poll};

/// Blocks of 512 bytes: room for the tables, and for some hundred appointments.
const FILE_BLOCKS: &str = "160";

/// `megastats`, which may write no file larger than [`FILE_BLOCKS`]: to it the disk is full.
fn on_a_small_disk(folder: &Path) -> Command {
    let limit = "trap '' XFSZ; ulimit -f \"$0\"; exec \"$1\"";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", limit, FILE_BLOCKS])
        .arg(command(folder).get_program())
        .current_dir(folder)
        .stdin(Stdio::null());
    shell
}

#[tokio::test]
async fn no_write_is_acknowledged_that_a_full_disk_did_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    {
        let process = Process::start_command(on_a_small_disk(folder.path()), &[]);
        let mut client = Raw::connect(process.url());
        let refused = (0..5000).find_map(|n| {
            let patient = format!("patient-{n}");
            client.post(&appointment(&patient));
            let reply = client.reply();
            if reply.status == StatusCode::CREATED {
                acknowledged.insert(patient);
                return None;
            }
            Some(reply)
        });
        let refused = refused.expect("the disk fills up");
        assert!(refused.status.is_server_error(), "{refused:?}");
        let there: BTreeSet<_> = patients(process.url()).await.into_iter().collect();
        assert!(acknowledged.is_subset(&there), "before a restart");
        process.kill();
    }
    assert!(!acknowledged.is_empty());
    let process = Process::start(folder.path(), &[]);
    let there: BTreeSet<_> = patients(process.url()).await.into_iter().collect();
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
}

#[tokio::test]
async fn connections_above_the_limit_wait_until_others_leave() {
    let server = TestServer::builder()
        .settings(|settings| {
            settings.server.workers = 1;
            settings.server.max_connections = 2;
        })
        .start();
    let mut first: Vec<_> = (0..2)
        .map(|_| {
            let mut client = Raw::connect(server.url());
            client.mega_stats("clinic");
            assert_eq!(client.reply().status, StatusCode::OK);
            client
        })
        .collect();
    let mut third = Raw::connect(server.url());
    third.mega_stats("clinic");
    // Those inside are served as before, and the one outside is not.
    for client in &mut first {
        client.mega_stats("clinic");
        assert_eq!(client.reply().status, StatusCode::OK);
    }
    assert!(!third.is_answered());
    first.pop();
    assert_eq!(third.reply().status, StatusCode::OK);
}

#[tokio::test]
async fn requests_sent_before_the_signal_are_answered_on_kept_connections_too() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    let mut clients: Vec<_> = (0..40).map(|_| Raw::connect(process.url())).collect();
    for client in &mut clients {
        client.mega_stats("clinic");
        assert_eq!(client.reply().status, StatusCode::OK);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.post(&appointment(&format!("patient-{n}")));
    }
    process.signal("TERM");
    for client in &mut clients {
        let reply = client.reply();
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        client.closed();
    }
    assert_eq!(process.wait().0.code(), Some(0));
    assert_eq!(
        Sqlite::open(&database(folder.path())).appointments("clinic"),
        40
    );
}

#[tokio::test]
async fn work_that_takes_longer_than_the_limit_is_left_and_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("MEGASTATS__SERVER__SHUTDOWN_TIMEOUT_SECONDS", "1"),
        ("MEGASTATS__DATABASE__BUSY_TIMEOUT_MS", "60000"),
    ];
    let process = Process::start(folder.path(), &environment);
    let lock = Sqlite::lock(&database(folder.path()));
    let mut writer = Raw::connect(process.url());
    writer.post(&appointment("ana"));
    process.signal("TERM");
    poll("new connections are refused", || {
        is_refused(process.url()).then_some(())
    });
    // While the write still waits.
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("unfinished after 1s"), "{log}");
    drop(lock);
}
