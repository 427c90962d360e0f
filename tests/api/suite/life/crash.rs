//! kill -9.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use futures_util::future::join_all;
use harness::{Folder, Process, command, eventually, run};
use reqwest::StatusCode;

use super::{ROUTE, appointment, patients};

const WRITERS: usize = 4;

/// Acknowledged writes of a round before the process is killed in the middle of more.
const ENOUGH: usize = 40;

#[derive(Debug, Default)]
struct Ledger {
    attempted: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

/// Books one appointment after the other until the service is gone.
async fn write_on(url: String, name: String, ledger: Arc<Mutex<Ledger>>) {
    let client = reqwest::Client::new();
    for n in 0.. {
        let patient = format!("{name}-{n}");
        ledger.lock().unwrap().attempted.insert(patient.clone());
        let request = client
            .post(format!("{url}{ROUTE}"))
            .json(&appointment(&patient));
        let Ok(response) = request.send().await else {
            return;
        };
        assert_eq!(response.status(), StatusCode::CREATED);
        ledger.lock().unwrap().acknowledged.insert(patient);
    }
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_or_doubled_by_kill_9() {
    let folder = Folder::new();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    for round in 1..=3 {
        let process = Process::start(folder.path(), &[]);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let name = format!("{round}-{writer}");
                tokio::spawn(write_on(
                    process.url().to_owned(),
                    name,
                    Arc::clone(&ledger),
                ))
            })
            .collect();
        eventually("enough is acknowledged", async || {
            ledger.lock().unwrap().acknowledged.len() >= round * ENOUGH
        })
        .await;
        process.kill();
        let check = run(command(folder.path()).args(["recount", "--check"]));
        assert!(check.status.success(), "round {round}: {check:?}");
        for writer in join_all(writers).await {
            writer.unwrap();
        }

        let process = Process::start(folder.path(), &[]);
        let listed = patients(process.url()).await;
        let unique: BTreeSet<_> = listed.iter().cloned().collect();
        assert_eq!(unique.len(), listed.len(), "nothing is there twice");
        let ledger = ledger.lock().unwrap();
        let lost: Vec<_> = ledger.acknowledged.difference(&unique).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        assert!(unique.is_subset(&ledger.attempted));
    }
}
