//! Who may use Redis, and where in it the keys lie.

use std::{path::Path, process::Command};

use harness::redis::free_port;

use super::*;

/// Whether an instance with these settings can use Redis; it tries for a while.
async fn is_let_in(settings: &RedisSettings) -> bool {
    let cache = open(settings);
    let tries = trusts(&cache);
    tokio::time::timeout(Duration::from_secs(2), tries)
        .await
        .is_ok()
}

fn keys(server: &Server, number: &str) -> Vec<String> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/{number}", server.port));
    let mut connection = client.unwrap().get_connection().unwrap();
    redis::cmd("KEYS").arg("*").query(&mut connection).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_redis_and_a_wrong_one_does_not() {
    let server = Server::start_with(&["--requirepass", "s3cret@x"]);
    let url = |user: &str| settings(&format!("redis://{user}127.0.0.1:{}", server.port));
    fill(&open(&url(":s3cret%40x@")), "x").await;
    assert!(!is_let_in(&url(":wrong@")).await);
    assert!(!is_let_in(&url("")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_and_the_newer_protocol_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.sock");
    let path = path.to_str().unwrap();
    let server = Server::start_with(&["--unixsocket", path, "--requirepass", "s3cret@x"]);
    for url in [
        format!("redis+unix://{path}?db=3&pass=s3cret%40x"),
        format!("unix://{path}?db=3&pass=s3cret%40x&protocol=resp3"),
        format!(
            "valkey://:s3cret%40x@127.0.0.1:{}/3?protocol=resp3",
            server.port
        ),
    ] {
        assert!(is_let_in(&settings(&url)).await, "{url}");
    }
}

/// The command of docs/OPERATIONS.md that makes a user, whose password is `PASSWORD`.
pub(super) fn documented_user() -> Vec<&'static str> {
    let docs = include_str!("../../../../docs/OPERATIONS.md");
    let command = docs
        .split("```")
        .find(|block| block.trim().starts_with("ACL SETUSER"));
    command.expect("the command").split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_do_only_what_the_service_does_is_enough() {
    let server = Server::start();
    server.run::<()>(&documented_user());
    let user = settings(&format!(
        "redis://megastats:PASSWORD@127.0.0.1:{}",
        server.port
    ));
    let (a, b) = (open(&user), open(&user));
    trust_each_other(&a, &b).await;
    fill(&a, "before").await;
    assert!(is_hit(&b, "before").await);
    assert_eq!(a.keys(None, 10).await.unwrap().total, 1);
    write(&b).await;
    let seen = seen(&a, &key()).await;
    assert!(seen.claim_lease(&key()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_with_characters_of_a_pattern_lists_its_own_keys_only() {
    let server = Server::start();
    let open_with_prefix = |prefix: &str| {
        let mut settings = settings(&format!("redis://127.0.0.1:{}", server.port));
        settings.key_prefix = prefix.into();
        open(&settings)
    };
    // As a pattern `a*[b]:` would match `axb:`, and not itself.
    let (own, other) = (open_with_prefix("a*[b]:"), open_with_prefix("axb:"));
    fill(&own, "own").await;
    fill(&other, "other").await;
    assert_eq!(own.keys(None, 10).await.unwrap().total, 1);
    write(&own).await;
    assert_eq!(own.keys(None, 10).await.unwrap().total, 0);
    assert_eq!(other.keys(None, 10).await.unwrap().total, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_lie_in_the_database_and_under_the_prefix_that_are_set() {
    let server = Server::start();
    let mut third = settings(&format!("redis://127.0.0.1:{}/3", server.port));
    third.key_prefix = "clinics:".into();
    let mut other = third.clone();
    other.key_prefix = "others:".into();
    let (third, other) = (open(&third), open(&other));
    fill(&third, "third").await;
    seen(&other, &key()).await;
    write(&other).await;
    assert!(
        is_hit(&third, "third").await,
        "another prefix is another cache"
    );
    assert!(keys(&server, "0").is_empty());
    let keys = keys(&server, "3");
    assert!(keys.contains(&"clinics:{clinic}:mega_stats:clinic".to_owned()));
    let is_ours = |key: &String| key.starts_with("clinics:") || key.starts_with("others:");
    assert!(keys.iter().all(is_ours), "{keys:?}");
}

fn openssl(folder: &Path, arguments: &str) {
    let done = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    assert!(done.status.success(), "{done:?}");
}

/// Makes `name.pem`, an authority of its own, with `name.key`.
fn make_authority(folder: &Path, name: &str) {
    let subject = format!("/CN={name}");
    openssl(
        folder,
        &format!(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {name}.key -out {name}.pem \
             -subj {subject} -addext basicConstraints=critical,CA:TRUE"
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_over_tls_if_the_right_authority_vouches_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    make_authority(&path, "ours");
    make_authority(&path, "theirs");
    openssl(
        &path,
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=redis",
    );
    std::fs::write(path.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        &path,
        "x509 -req -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 \
         -extfile names -out server.pem",
    );
    let port = free_port();
    let (port, at) = (port.to_string(), |name: &str| {
        path.join(name).to_str().unwrap().to_owned()
    });
    let _server = Server::start_in(
        folder,
        &[
            "--tls-port",
            &port,
            "--tls-auth-clients",
            "no",
            "--tls-cert-file",
            &at("server.pem"),
            "--tls-key-file",
            &at("server.key"),
            "--tls-ca-cert-file",
            &at("ours.pem"),
        ],
    );
    let with = |authority: &str| {
        let mut settings = settings(&format!("rediss://127.0.0.1:{port}"));
        settings.connect_timeout = Duration::from_secs(2);
        settings.tls_ca = authority.into();
        settings
    };
    fill(&open(&with(&at("ours.pem"))), "x").await;
    assert!(!is_let_in(&with(&at("theirs.pem"))).await);
    assert!(!is_let_in(&with("")).await, "the machine's authorities");

    let tasks = Tasks::new(Handle::current());
    let missing = with(&at("missing.pem"));
    let refused = RedisCache::new(&missing, conformance::LIFE, Arc::new(SystemClock), &tasks);
    let problem = refused.err().expect("a file that is missing").to_string();
    assert!(problem.contains("missing.pem"), "{problem}");
}
