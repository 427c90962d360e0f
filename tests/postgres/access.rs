//! Who may connect, and which servers the service trusts: passwords, and TLS with a private authority.

use std::{path::Path, process::Command};

use megastats::db::Db;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::{
    database::{open, settings, text},
    server::Postgres,
};

const PASSWORD: &str = "p@ss/w:rd? ç";
const ENCODED: &str = "p%40ss%2Fw%3Ard%3F%20%C3%A7";

/// Opens the database by its URL; the refusal must not show the password.
async fn try_open(url: &str) -> Result<Db, String> {
    open(&settings(url)).await.map_err(|error| {
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains(PASSWORD) && !shown.contains(ENCODED),
            "{shown}"
        );
        error.to_string()
    })
}

async fn refusal(url: &str) -> String {
    try_open(url)
        .await
        .err()
        .unwrap_or_else(|| panic!("{url} was opened"))
}

/// The TLS version of the service's own session, or nothing.
async fn tls_version(url: &str) -> String {
    let db = try_open(url).await.unwrap();
    let own = "SELECT coalesce(version, '') AS value FROM pg_stat_ssl \
               WHERE pid = pg_backend_pid()";
    db.read(None, move |conn| text(conn, own)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_wants_the_right_password() {
    let server = Postgres::builder()
        .password(PASSWORD)
        .access("host all all 127.0.0.1/32 scram-sha-256")
        .start();
    let port = server.port();
    let with = |credentials: &str, query: &str| {
        format!("postgresql://{credentials}@127.0.0.1:{port}/postgres{query}")
    };
    let right = format!("postgres:{ENCODED}");
    assert_eq!(tls_version(&with(&right, "")).await, "");
    assert_eq!(tls_version(&with(&right, "?sslmode=disable")).await, "");

    let wrong = refusal(&with("postgres:p%40ss", "")).await;
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    let missing = refusal(&with("postgres", "")).await;
    assert!(missing.contains("password"), "{missing}");
    for mode in ["require", "verify-ca", "verify-full"] {
        let ca = Authority::new("ours");
        let roots = match mode {
            "require" => String::new(),
            _ => format!("&sslrootcert={}", ca.roots()),
        };
        let no_tls = refusal(&with(&right, &format!("?sslmode={mode}{roots}"))).await;
        assert!(no_tls.contains("does not support TLS"), "{no_tls}");
    }
}

/// An authority that nobody knows, and its certificate in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let folder = tempfile::tempdir().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            folder,
        }
    }

    /// The certificate of `host` and its key.
    fn vouch_for(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn roots(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_is_trusted_as_far_as_sslmode_says() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    let (certificate, key) = authority.vouch_for("localhost");
    let server = Postgres::builder()
        .setting("ssl=on")
        .file("server.crt", &certificate)
        .file("server.key", &key)
        .password(PASSWORD)
        .access("hostssl all all 127.0.0.1/32 scram-sha-256")
        .start();
    let port = server.port();
    let url = |host: &str, query: &str| {
        format!("postgres://postgres:{ENCODED}@{host}:{port}/postgres?{query}")
    };
    let verify = |mode: &str, authority: &Authority| {
        format!("sslmode={mode}&sslrootcert={}", authority.roots())
    };

    // The certificate is for localhost, not for 127.0.0.1.
    for (host, query) in [
        ("127.0.0.1", String::new()),
        ("127.0.0.1", "sslmode=prefer".into()),
        ("127.0.0.1", "sslmode=require".into()),
        ("127.0.0.1", verify("verify-ca", &authority)),
        ("localhost", verify("verify-ca", &authority)),
        ("localhost", verify("verify-full", &authority)),
    ] {
        assert_eq!(tls_version(&url(host, &query)).await, "TLSv1.3", "{query}");
    }

    for (host, query, reason) in [
        ("127.0.0.1", "sslmode=disable".into(), "no encryption"),
        (
            "127.0.0.1",
            verify("verify-full", &authority),
            "not valid for",
        ),
        ("localhost", verify("verify-full", &other), "UnknownIssuer"),
        ("localhost", verify("verify-ca", &other), "UnknownIssuer"),
        // The machine does not trust the authority either.
        ("localhost", "sslmode=verify-full".into(), "certificate"),
        ("localhost", "sslmode=verify-ca".into(), "certificate"),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=/nowhere/ca.pem".into(),
            "/nowhere/ca.pem",
        ),
    ] {
        let refusal = refusal(&url(host, &query)).await;
        assert!(refusal.contains(reason), "{host} {query}: {refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_by_the_certificate_that_postgresqls_manual_makes() {
    let folder = tempfile::tempdir().unwrap();
    let made = |host: &str, more: &[&str]| {
        let file = |name: &str| folder.path().join(format!("{host}{}.{name}", more.len()));
        let openssl = Command::new("openssl")
            .args("req -new -x509 -days 365 -nodes -text -newkey rsa:2048".split(' '))
            .args(["-subj", &format!("/CN={host}")])
            .args(more)
            .arg("-out")
            .arg(file("crt"))
            .arg("-keyout")
            .arg(file("key"))
            .output()
            .unwrap();
        assert!(openssl.status.success(), "{openssl:?}");
        (file("crt"), file("key"))
    };
    let (certificate, key) = made("localhost", &[]);
    let (same_name, _key) = made("localhost", &["-sha512"]);
    let read = |file: &Path| std::fs::read_to_string(file).unwrap();
    let server = Postgres::builder()
        .setting("ssl=on")
        .file("server.crt", &read(&certificate))
        .file("server.key", &read(&key))
        .start();
    let url = |host: &str, mode: &str, roots: &Path| {
        let (port, roots) = (server.port(), roots.display());
        format!("postgres://postgres@{host}:{port}/postgres?sslmode={mode}&sslrootcert={roots}")
    };

    for (host, mode) in [
        ("localhost", "verify-ca"),
        ("localhost", "verify-full"),
        ("127.0.0.1", "verify-ca"),
    ] {
        let url = url(host, mode, &certificate);
        assert_eq!(tls_version(&url).await, "TLSv1.3", "{url}");
    }
    let refused = refusal(&url("127.0.0.1", "verify-full", &certificate)).await;
    assert!(refused.contains("only valid for localhost"), "{refused}");
    for mode in ["verify-ca", "verify-full"] {
        let refused = refusal(&url("localhost", mode, &same_name)).await;
        assert!(refused.contains("certificate"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_not_trusted_by_its_own_certificate_once_that_has_expired() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2020, 1, 1);
    let expired = params.self_signed(&key).unwrap().pem();
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), &expired).unwrap();
    let server = Postgres::builder()
        .setting("ssl=on")
        .file("server.crt", &expired)
        .file("server.key", &key.serialize_pem())
        .start();
    let (port, roots) = (server.port(), roots.path().display());
    let url =
        format!("postgres://postgres@localhost:{port}/d?sslmode=verify-ca&sslrootcert={roots}");
    let refused = refusal(&url).await;
    assert!(refused.contains("xpired"), "{refused}");
}
