//! The command line and the settings, as ops use them: with the program itself.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
};

use harness::{Process, Raw, command, poll, run, signal};
use megastats::settings::Settings;

/// What the program said before it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the program in `folder` to its end.
fn megastats(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let output = run(command(folder)
        .args(arguments)
        .envs(environment.iter().copied()));
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Said {
        code: output.status.code(),
        stdout,
        stderr,
    }
}

/// The one line with which the program refuses to run.
fn refusal(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let said = megastats(folder, arguments, environment);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.stdout, "");
    assert!(!said.stderr.contains("panicked"), "{said:?}");
    let line = said
        .stderr
        .strip_prefix("megastats: ")
        .unwrap_or_else(|| panic!("{said:?}"));
    assert!(
        line.ends_with('\n') && line.lines().count() == 1,
        "{said:?}"
    );
    line.to_owned()
}

/// The settings that `megastats config` prints.
fn effective(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> toml::Table {
    let said = megastats(folder, arguments, environment);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    said.stdout.parse().unwrap()
}

#[test]
fn help_and_version_are_told_without_settings() {
    let folder = tempfile::tempdir().unwrap();
    let broken = [("MEGASTATS__SERVER__PORT", "none")];
    let help = megastats(folder.path(), &["--help"], &broken);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for word in [
        "serve",
        "import",
        "config",
        "--config",
        "MEGASTATS__SECTION__KEY",
    ] {
        assert!(
            help.stdout.contains(word),
            "{word} is not in {}",
            help.stdout
        );
    }
    let version = megastats(folder.path(), &["--version"], &broken);
    assert_eq!(version.code, Some(0));
    assert_eq!(
        version.stdout,
        format!("megastats {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

#[test]
fn the_environment_overrides_the_file_and_the_file_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[server]\nport = 8001\nworkers = 3\n\n[cache]\nttl_seconds = 7\n";
    fs::write(folder.path().join("ops.toml"), file).unwrap();

    let defaults = effective(folder.path(), &["config"], &[]);
    assert_eq!(defaults, Settings::default().to_toml().parse().unwrap());

    let mut expected = defaults;
    expected["server"]["port"] = 8001.into();
    expected["server"]["workers"] = 3.into();
    expected["cache"]["ttl_seconds"] = 7.into();
    for arguments in [
        ["--config", "ops.toml", "config"],
        ["config", "--config", "ops.toml"],
    ] {
        assert_eq!(effective(folder.path(), &arguments, &[]), expected);
    }

    let environment = [
        ("MEGASTATS__SERVER__PORT", "8002"),
        ("MEGASTATS__CACHE__BACKEND", "none"),
        (
            "MEGASTATS__CORS__ALLOWED_ORIGINS",
            "https://a.example,https://b.example",
        ),
    ];
    expected["server"]["port"] = 8002.into();
    expected["cache"]["backend"] = "none".into();
    expected["cors"]["allowed_origins"] = vec!["https://a.example", "https://b.example"].into();
    let arguments = ["--config", "ops.toml", "config"];
    assert_eq!(effective(folder.path(), &arguments, &environment), expected);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing was made"
    );
}

#[test]
fn what_config_prints_is_a_config_file() {
    let folder = tempfile::tempdir().unwrap();
    let said = megastats(
        folder.path(),
        &["config"],
        &[("MEGASTATS__CACHE__TTL_SECONDS", "7")],
    );
    fs::write(folder.path().join("printed.toml"), &said.stdout).unwrap();
    let again = megastats(folder.path(), &["--config", "printed.toml", "config"], &[]);
    assert_eq!(again.stdout, said.stdout);
}

#[test]
fn a_wrong_key_or_value_is_named_with_the_place_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    // Each with what the line must tell.
    let files = [
        ("[server]\nprot = 1\n", ["server.prot", "ops.toml"]),
        (
            "[cache.redis]\nurl = \"x\"\n",
            ["cache.redis.url", "ops.toml"],
        ),
        (
            "[cache]\nttl_seconds = 0\n",
            ["cache.ttl_seconds", "1 to 3600"],
        ),
        (
            "[cache]\nbackend = \"memcached\"\n",
            ["cache.backend", "\"memory\" or \"redis\" or \"none\""],
        ),
        ("[log]\nfilter = \"loud\"\n", ["log.filter", "ops.toml"]),
        ("[server]\nport = \n", ["ops.toml, line 2", "column"]),
    ];
    for command in ["serve", "config"] {
        for (file, told) in files {
            fs::write(folder.path().join("ops.toml"), file).unwrap();
            let line = refusal(folder.path(), &["--config", "ops.toml", command], &[]);
            assert!(told.iter().all(|part| line.contains(part)), "{line}");
        }
        for (name, value, told) in [
            ("MEGASTATS__SERVER__PROT", "1", "MEGASTATS__SERVER__PORT"),
            ("MEGASTATS_SERVER__PORT", "1", "MEGASTATS__SERVER__PORT"),
            ("MEGASTATS_PORT", "1", "MEGASTATS__SERVER__PORT"),
            ("MEGASTATS_TTL", "1", "MEGASTATS__CACHE__TTL_SECONDS"),
            ("MEGASTATS__SERVER__PORT", "70000", "server.port"),
            (
                "MEGASTATS__DATABASE__URL",
                "sqlite://:memory:",
                "database.url",
            ),
        ] {
            let line = refusal(folder.path(), &[command], &[(name, value)]);
            assert!(line.contains(name) && line.contains(told), "{line}");
        }
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no database was made"
    );
}

#[test]
fn a_config_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let line = refusal(folder.path(), &["--config", "missing.toml"], &[]);
    assert!(line.contains("missing.toml"), "{line}");
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for argument in ["sevre", "--prot"] {
        let said = megastats(folder.path(), &[argument], &[]);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
        let first = said.stderr.lines().next().unwrap();
        assert!(
            first.starts_with("error: ") && first.contains(argument),
            "{said:?}"
        );
        assert!(!said.stderr.contains("panicked"), "{said:?}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let environment = [
        ("MEGASTATS__SERVER__PORT", port.as_str()),
        ("MEGASTATS__LOG__FILTER", "off"),
    ];
    for arguments in [&[][..], &["serve"]] {
        let line = refusal(folder.path(), arguments, &environment);
        assert!(line.starts_with("server.host, server.port: "), "{line}");
        assert!(line.contains(&format!("127.0.0.1:{port}")), "{line}");
        assert!(!folder.path().join("data").exists(), "a database was made");
    }
}

#[test]
fn without_a_log_it_serves_until_it_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut service = command(folder.path())
        .env("MEGASTATS__LOG__FILTER", "off")
        .env("MEGASTATS__SERVER__PORT", address.port().to_string())
        .spawn()
        .unwrap();
    let url = format!("http://{address}");
    poll("it listens", || {
        assert_eq!(service.try_wait().unwrap(), None, "it stopped by itself");
        TcpStream::connect(address).ok()
    });
    for _ in 0..5 {
        Raw::connect(&url).close();
    }
    signal(service.id(), "TERM");
    let ended = poll("it ends", || service.try_wait().unwrap());
    assert!(ended.success(), "{ended:?}");
}

#[test]
fn without_a_command_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["serve"]] {
        let process = Process::start_with(folder.path(), arguments, &[]);
        process.signal("TERM");
        let (status, log) = process.wait();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[test]
fn secrets_are_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let url = "postgres://ana:hunter2@db.example/clinic?sslkey=hunter2";
    for name in [
        "MEGASTATS__DATABASE__URL",
        "MEGASTATS_DATABASE_URL",
        "MEGASTATS__DATABASE__URI",
        "MEGASTATS__DATABASE__POOL_SIZE",
        "MEGASTATS__LOG__FILTER",
        "MEGASTATS__SERVER__HOST",
        "MEGASTATS__CORS__ALLOWED_ORIGINS",
    ] {
        for command in ["serve", "config"] {
            let line = refusal(folder.path(), &[command], &[(name, url)]);
            assert!(!line.contains("hunter2"), "{line}");
        }
    }
    for file in [
        format!("[database]\nurl = \"{url}\"\n"),
        format!("[database]\nuri = \"{url}\"\n"),
        format!("[database]\nurl = \"{url}\n"),
        format!("[database]\nurl = {url}\n"),
    ] {
        fs::write(folder.path().join("ops.toml"), &file).unwrap();
        let line = refusal(folder.path(), &["--config", "ops.toml", "config"], &[]);
        assert!(!line.contains("hunter2"), "{file}{line}");
    }
}
