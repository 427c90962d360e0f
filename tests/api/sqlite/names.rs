//! Who else may have the file, by whatever name.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use harness::{Folder, Process};
use reqwest::StatusCode;

use super::{UNCACHED, create, database, program, refusal};
use crate::suite::life::patients;

#[test]
fn a_process_with_a_cache_serves_its_file_alone() {
    let folder = Folder::new();
    let another = |environment: &[(&str, &str)]| {
        let mut command = program(folder.path(), &[], "data/megastats.db");
        command.envs(environment.iter().copied());
        let line = refusal(command);
        assert!(line.contains("another process serves this file"), "{line}");
    };
    let cached = Process::start(folder.path(), &[]);
    another(&[]);
    another(&[UNCACHED]);
    cached.kill();
    let uncached = Process::start(folder.path(), &[UNCACHED]);
    another(&[]);
    uncached.kill();
    Process::start(folder.path(), &[]);
}

/// Names of the database in `folder`, all by way of links and detours.
fn other_names(folder: &Folder) -> [PathBuf; 6] {
    let [link, chain, linked_folder] =
        ["link.db", "chain.db", "linked"].map(|name| folder.path().join(name));
    symlink("data/megastats.db", &link).unwrap();
    symlink(&link, &chain).unwrap();
    symlink("data", linked_folder).unwrap();
    [
        "./data/megastats.db".into(),
        "data/../data//megastats.db".into(),
        "linked/megastats.db".into(),
        "link.db".into(),
        chain,
        database(folder.path()),
    ]
}

#[test]
fn a_process_with_a_cache_serves_its_file_alone_whatever_its_name() {
    let folder = Folder::new();
    let names = other_names(&folder);
    let cached = Process::start(folder.path(), &[]);
    for name in &names {
        let line = refusal(program(folder.path(), &[], name));
        assert!(line.contains("another process serves this file"), "{line}");
    }
    // It is served by its link, and asked for by its own name.
    cached.kill();
    let _cached = Process::start_command(program(folder.path(), &[], &names[4]), &[]);
    let line = refusal(program(folder.path(), &[], "data/megastats.db"));
    assert!(line.contains("another process serves this file"), "{line}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_renamed_while_it_is_served_is_not_served_by_its_new_name() {
    let folder = Folder::new();
    let _cached = Process::start(folder.path(), &[]);
    fs::rename(database(folder.path()), folder.path().join("new.db")).unwrap();
    let line = refusal(program(folder.path(), &[], "new.db"));
    assert!(line.contains("another process serves this file"), "{line}");
}

#[tokio::test]
async fn processes_without_a_cache_share_a_file_by_its_links() {
    let folder = Folder::new();
    let names = other_names(&folder);
    let first = Process::start(folder.path(), &[UNCACHED]);
    let others =
        names.map(|name| Process::start_command(program(folder.path(), &[], name), &[UNCACHED]));
    for process in others.iter().chain([&first]) {
        assert_eq!(create(process, "ana"), StatusCode::CREATED);
    }
    assert_eq!(patients(first.url()).await.len(), others.len() + 1);
}

#[test]
fn a_file_with_a_hard_link_is_neither_served_nor_read() {
    let folder = Folder::new();
    let process = Process::start(folder.path(), &[UNCACHED]);
    assert_eq!(create(&process, "ana"), StatusCode::CREATED);
    let file = database(folder.path());
    let second = folder.path().join("second.db");
    fs::hard_link(&file, &second).unwrap();
    for path in [&file, &second] {
        for arguments in [&["serve"][..], &["backup", "backup.db"]] {
            let mut command = program(folder.path(), arguments, path);
            command.envs([UNCACHED]);
            let line = refusal(command);
            assert!(line.contains("has 2 names (hard links)"), "{line}");
        }
    }
    process.kill();
    fs::remove_file(second).unwrap();
    Process::start(folder.path(), &[]);
}
