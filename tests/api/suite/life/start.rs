//! The first start, also of several at once, and the next one.

use harness::{Folder, Process, Raw};
use reqwest::StatusCode;

use super::{appointment, patients};

/// For a process that shares its file with others.
const UNCACHED: (&str, &str) = ("MEGASTATS__CACHE__BACKEND", "none");

#[tokio::test]
async fn a_restart_keeps_what_was_saved() {
    let folder = Folder::new();
    for (round, patient) in ["ana", "bia", "caio"].into_iter().enumerate() {
        let process = Process::start(folder.path(), &[]);
        assert_eq!(patients(process.url()).await.len(), round);
        let mut client = Raw::connect(process.url());
        client.post(&appointment(patient));
        assert_eq!(client.reply().status, StatusCode::CREATED);
        process.signal("TERM");
        assert_eq!(process.wait().0.code(), Some(0));
    }
    let process = Process::start(folder.path(), &[]);
    assert_eq!(patients(process.url()).await, ["ana", "bia", "caio"]);
}

#[tokio::test]
async fn several_without_a_cache_that_start_at_once_on_a_new_database_all_come_up() {
    for _ in 0..3 {
        let folder = Folder::new();
        let processes: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| Process::start(folder.path(), &[UNCACHED])))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });
        for process in &processes {
            let mut client = Raw::connect(process.url());
            client.post(&appointment("ana"));
            assert_eq!(client.reply().status, StatusCode::CREATED);
        }
        for process in &processes {
            assert_eq!(patients(process.url()).await, ["ana"; 3]);
        }
    }
}
