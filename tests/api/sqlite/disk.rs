//! A full disk.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
};

use harness::{Folder, Process, Raw, command};
use reqwest::StatusCode;

use crate::suite::life::{appointment, patients};

/// Blocks of 512 bytes: room for the tables, and for some hundred appointments.
const FILE_BLOCKS: &str = "160";

/// `megastats`, which may write no file larger than [`FILE_BLOCKS`]: to it the disk is full.
pub(super) fn on_a_small_disk(folder: &Path) -> Command {
    let limit = "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"";
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
    let folder = Folder::new();
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
