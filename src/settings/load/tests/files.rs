//! Files that cannot be read, or are not TOML.

use super::*;

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Settings::load_from(Some(Path::new("/nowhere/a\nb.toml")), []).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "cannot read the config file /nowhere/a b.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_the_position() {
    for (file, expected) in [
        ("[server]\nport = \n", "ops.toml, line 2, column "),
        (
            "[server]\nport = 99999999999999999999\n",
            "ops.toml, line 2, column 8: ",
        ),
        (
            "[server]\nhost = \"é\" x\n",
            "ops.toml, line 2, column 12: ",
        ),
        (
            "[server]\nport = 1\nport = 2\n",
            "ops.toml, line 3, column 1: duplicate key",
        ),
        ("[server", "ops.toml, line 1, column 8: "),
    ] {
        let message = refusal(Some(file), &[]);
        assert!(message.starts_with(expected), "{message}");
    }
}
