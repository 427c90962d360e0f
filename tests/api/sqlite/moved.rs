//! A file that is removed or replaced while it is served.

use std::{fs, os::unix::fs::symlink, path::Path};

use harness::{Folder, Process, Reply, eventually};
use reqwest::StatusCode;

use super::{create, database, program};
use crate::suite::life::patients;

async fn readiness(process: &Process) -> StatusCode {
    let url = format!("{}/readyz", process.url());
    Reply::to(reqwest::Client::new().get(url)).await.status
}

/// `/readyz` answers from what was found within the last second.
async fn is_eventually(process: &Process, status: StatusCode) {
    eventually("the file is looked at", async || {
        readiness(process).await == status
    })
    .await;
}

/// Takes the file away from `process` and puts it back; it must say `reason` meanwhile, once.
async fn assert_noticed(process: Process, reason: &str, take: impl Fn(), put_back: impl Fn()) {
    assert_eq!(create(&process, "ana"), StatusCode::CREATED);
    is_eventually(&process, StatusCode::OK).await;
    take();
    for _ in 0..3 {
        assert_eq!(
            create(&process, "lost"),
            StatusCode::SERVICE_UNAVAILABLE,
            "{reason}"
        );
    }
    is_eventually(&process, StatusCode::SERVICE_UNAVAILABLE).await;
    put_back();
    is_eventually(&process, StatusCode::OK).await;
    assert_eq!(create(&process, "bia"), StatusCode::CREATED, "{reason}");
    assert_eq!(patients(process.url()).await, ["ana", "bia"], "{reason}");
    process.signal("TERM");
    let (status, log) = process.wait();
    assert!(status.success(), "{log}");
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains(" database: "))
        .collect();
    let changes = &lines[lines.len() - 2..];
    assert!(changes[0].contains(reason), "{log}");
    assert!(
        changes[1].contains("the file that was opened is back"),
        "{log}"
    );
    assert_eq!(log.matches("nothing is written until").count(), 1, "{log}");
}

#[tokio::test]
async fn a_file_that_is_removed_is_noticed_and_its_return_too() {
    for file in [
        "data/megastats.db",
        "data/megastats.db-wal",
        "data/megastats.db-shm",
        "data",
    ] {
        let folder = Folder::new();
        let process = Process::start(folder.path(), &[]);
        let [file, away] = [file, "away"].map(|name| folder.path().join(name));
        let rename = |from: &Path, to: &Path| fs::rename(from, to).unwrap();
        assert_noticed(
            process,
            "was removed",
            || rename(&file, &away),
            || rename(&away, &file),
        )
        .await;
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_is_noticed_and_its_return_too() {
    let another = Folder::new();
    Process::start(another.path(), &[]).kill();
    for suffix in ["", "-wal"] {
        let folder = Folder::new();
        let process = Process::start(folder.path(), &[]);
        let [file, other] = [folder.path(), another.path()]
            .map(|folder| format!("{}{suffix}", database(folder).display()));
        let away = folder.path().join("away");
        let replace = || {
            fs::rename(&file, &away).unwrap();
            fs::copy(&other, &file).unwrap();
        };
        let put_back = || fs::rename(&away, &file).unwrap();
        assert_noticed(process, "was replaced by another file", replace, put_back).await;
    }
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_noticed_and_its_return_too() {
    let folder = Folder::new();
    let link = folder.path().join("link.db");
    for name in ["one.db", "two.db"] {
        Process::start_command(program(folder.path(), &[], name), &[]).kill();
    }
    let lead_to = |name: &str| {
        let _ = fs::remove_file(&link);
        symlink(name, &link).unwrap();
    };
    lead_to("one.db");
    let process = Process::start_command(program(folder.path(), &[], &link), &[]);
    assert_noticed(
        process,
        "was replaced by another file",
        || lead_to("two.db"),
        || lead_to("one.db"),
    )
    .await;
}

#[tokio::test]
async fn what_was_acknowledged_before_the_latest_changes_were_removed_survives_kill_9() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &[]);
    for patient in ["ana", "bia"] {
        assert_eq!(create(&process, patient), StatusCode::CREATED);
    }
    fs::remove_file(folder.path().join("data/megastats.db-wal")).unwrap();
    assert_eq!(create(&process, "lost"), StatusCode::SERVICE_UNAVAILABLE);
    process.kill();
    let process = Process::start(folder.path(), &[]);
    assert_eq!(patients(process.url()).await, ["ana", "bia"]);
}
