//! What `scripts/cluster` leaves behind: nothing.

use crate::cluster::{Cluster, INSTANCES};

#[test]
fn ctrl_c_ends_every_process_and_removes_the_folder() {
    let mut cluster = Cluster::start(&[]);
    // PostgreSQL, Redis, the load balancer and the script.
    assert!(cluster.processes().len() > INSTANCES + 4, "workers as well");
    assert_eq!(cluster.interrupt().code(), Some(130));
    assert!(cluster.processes().is_empty(), "{:?}", cluster.processes());
    assert!(!cluster.folder().exists());
}
