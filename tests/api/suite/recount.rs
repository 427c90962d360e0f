//! `megastats recount`, with the program itself.

use harness::{Database, Folder, command, run};

const WRONG: &str = "INSERT INTO appointment_counts VALUES ('clinic', 1440, \
                     '2025-10-31 00:00:00.000000', '2025-10-31 00:00:00.000000', 2, 0, 0)";

#[test]
fn wrong_counts_are_named_and_then_corrected() {
    let folder = Folder::new();
    let recount = |arguments: &[&str]| {
        let output = run(command(folder.path()).arg("recount").args(arguments));
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said)
    };
    let right = (Some(0), "all counts are right\n".to_owned());
    let nothing = (Some(1), String::new());
    assert_eq!(recount(&["--check"]), nothing, "and no database is made");
    assert_eq!(recount(&[]), (Some(0), "counts corrected: 0\n".to_owned()));
    assert_eq!(recount(&["--check"]), right);
    Database::of(folder.path()).execute(WRONG);
    let named = "tenant clinic, the day from 2025-10-31T00:00:00Z: to be added are -2 confirmed, \
                 0 pending, 0 cancelled\ncounts that are wrong: 1; run megastats recount\n";
    assert_eq!(recount(&["--check"]), (Some(1), named.to_owned()));
    assert_eq!(recount(&[]), (Some(0), "counts corrected: 1\n".to_owned()));
    assert_eq!(recount(&["--check"]), right);
}
