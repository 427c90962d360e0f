//! What stops the start, and what the program says of its secret: with the program itself.

use std::{fs, net::TcpListener, path::Path};

use harness::{Folder, PREFIX, Process, Reply, command, run};
use reqwest::StatusCode;

use super::{OURS, tokens::Issuer};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The one line with which the program refuses to start.
fn refusal(folder: &Path, environment: &[(&str, &str)]) -> String {
    let output = run(command(folder).envs(environment.iter().copied()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap();
    last.strip_prefix("megastats: ")
        .unwrap_or_else(|| panic!("{said}"))
        .to_owned()
}

#[test]
fn without_tokens_only_this_machine_is_listened_to() {
    let folder = Folder::new();
    for host in ["0.0.0.0", "::"] {
        let line = refusal(
            folder.path(),
            &[
                ("MEGASTATS__SERVER__HOST", host),
                ("MEGASTATS__SERVER__PORT", "0"),
            ],
        );
        assert!(
            line.starts_with("auth.allow_anonymous: server.host "),
            "{line}"
        );
        assert!(!folder.path().join("data").exists(), "no database was made");
        assert!(
            line.contains(host) && line.contains("auth.mode to \"jwt\""),
            "{line}"
        );
    }
}

#[test]
fn without_tokens_every_machine_is_listened_to_if_ops_say_so() {
    let folder = Folder::new();
    for environment in [
        [
            ("MEGASTATS__SERVER__HOST", "0.0.0.0"),
            ("MEGASTATS__AUTH__ALLOW_ANONYMOUS", "true"),
        ],
        [
            ("MEGASTATS__SERVER__HOST", "localhost"),
            ("MEGASTATS__AUTH__ALLOW_ANONYMOUS", "false"),
        ],
    ] {
        let process = Process::start(folder.path(), &environment);
        process.signal("TERM");
        assert_eq!(process.wait().0.code(), Some(0));
    }
}

#[tokio::test]
async fn with_tokens_every_machine_is_listened_to() {
    let folder = Folder::new();
    let issuer = Issuer::with_secret();
    let process = Process::start(
        folder.path(),
        &[
            ("MEGASTATS__SERVER__HOST", "0.0.0.0"),
            ("MEGASTATS__AUTH__MODE", "jwt"),
            ("MEGASTATS__AUTH__SECRET", issuer.public()),
            ("MEGASTATS__LOG__FILTER", "trace"),
        ],
    );
    let url = process.url().replace("0.0.0.0", "127.0.0.1");
    let url = format!("{url}{PREFIX}/mega-stats?tenantId={OURS}");
    // By the machine's clock, which the tests' tokens are long past.
    let claims = |exp: u32| serde_json::json!({ "exp": exp, "aud": null, "iss": null });
    for (token, status) in [
        (issuer.sign(&claims(u32::MAX)), StatusCode::OK),
        (
            issuer.sign(&claims(1_761_912_900)),
            StatusCode::UNAUTHORIZED,
        ),
    ] {
        let asked = reqwest::Client::new().get(&url).bearer_auth(&token);
        assert_eq!(Reply::to(asked).await.status, status);
    }
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("refused a token: it has expired"), "{log}");
    assert!(
        !log.contains(issuer.public()) && !log.contains("eyJ"),
        "{log}"
    );
}

#[test]
fn a_key_that_is_not_fit_stops_the_start_in_one_line() {
    let folder = Folder::new();
    fs::write(folder.path().join("key"), "hunter2").unwrap();
    for (variable, key) in [
        ("MEGASTATS__AUTH__SECRET_FILE", "auth.secret_file"),
        ("MEGASTATS__AUTH__PUBLIC_KEY_FILE", "auth.public_key_file"),
        ("MEGASTATS__AUTH__JWKS_FILE", "auth.jwks_file"),
    ] {
        for (file, problem) in [("key", "key: "), ("missing", "cannot read missing: ")] {
            let line = refusal(
                folder.path(),
                &[("MEGASTATS__AUTH__MODE", "jwt"), (variable, file)],
            );
            assert!(line.starts_with(&format!("{key}: {problem}")), "{line}");
            assert!(!line.contains("hunter2"), "{line}");
            assert!(!folder.path().join("data").exists(), "no database was made");
        }
    }
    let line = refusal(folder.path(), &[("MEGASTATS__AUTH__MODE", "jwt")]);
    assert!(
        line.starts_with("auth.mode: \"jwt\" needs one of auth.secret, "),
        "{line}"
    );
    let line = refusal(folder.path(), &[("MEGASTATS__AUTH__SECRET", SECRET)]);
    assert!(line.starts_with("auth.secret: it has no meaning"), "{line}");
}

#[test]
fn the_secret_is_not_in_the_effective_settings() {
    let folder = Folder::new();
    let output = run(command(folder.path()).arg("config").envs([
        ("MEGASTATS__AUTH__MODE", "jwt"),
        ("MEGASTATS__AUTH__SECRET", SECRET),
    ]));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("secret = \"***\"") && !shown.contains(SECRET),
        "{shown}"
    );
}

#[test]
fn an_address_for_administrators_that_is_taken_is_named() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = refusal(
        folder.path(),
        &[
            ("MEGASTATS__AUTH__ADMIN_LISTEN", &address),
            ("MEGASTATS__SERVER__PORT", "0"),
        ],
    );
    assert!(
        line.starts_with(&format!("auth.admin_listen: cannot listen on {address}: ")),
        "{line}"
    );
    assert!(!folder.path().join("data").exists(), "a database was made");
}
