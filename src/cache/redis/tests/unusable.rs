//! A Redis that cannot be used from the start: the reason is known, and writes go on.

use std::io::Write as _;

use harness::redis::free_port;

use super::{failures::WRITE_BOUND, *};

/// Answers whoever connects with `answer`, and nothing else.
fn answers_always(answer: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else {
                return;
            };
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = std::io::Read::read(&mut connection, &mut bytes) {
                    let commands = bytes[..read].windows(3).filter(|bytes| bytes == b"\r\n*");
                    let answers = answer.repeat(1 + commands.count());
                    if connection.write_all(&answers).is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("redis://{address}")
}

/// What Redis 6.2 says to a script of ours, and a TLS server to whoever does not speak TLS.
const TOO_OLD: &[u8] =
    b"-ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'\r\n";
const TLS_ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x46";

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_is_known_and_writes_go_on() {
    let server = Server::start_with(&["--requirepass", "s3cret"]);
    let port = server.port;
    for (url, reason) in [
        (
            format!("redis://:wrong@127.0.0.1:{port}"),
            "authentication failed",
        ),
        (format!("redis://127.0.0.1:{port}"), "NOAUTH"),
        (
            format!("redis://:s3cret@127.0.0.1:{port}/16"),
            "out of range",
        ),
        (format!("rediss://:s3cret@127.0.0.1:{port}"), "without TLS"),
        (answers_always(TLS_ALERT), "needs rediss://"),
        ("redis://nowhere.invalid".into(), "lookup address"),
        (format!("redis://127.0.0.1:{}", free_port()), "refused"),
        (answers_always(TOO_OLD), "older than Redis 7.0"),
        (answers_always(b"-LOADING dataset in memory\r\n"), "LOADING"),
        (answers_always(b""), "does not answer"),
    ] {
        let cache = open(&settings(&url));
        let write = async { cache.release(cache.fence(&tenant()).await?).await };
        let written = tokio::time::timeout(WRITE_BOUND, write).await;
        assert_eq!(written.expect(&url).expect(&url), Released::Pending);
        let is_said = async {
            loop {
                let state = cache.link_state();
                assert!(
                    state.is_breaker_open && state.breaker_opened == 1 && state.breaker_closed == 0
                );
                let problem = state.problem.expect(&url).to_string();
                if problem.contains(reason) {
                    return;
                }
                tokio::time::sleep(HEARTBEAT_PERIOD).await;
            }
        };
        let is_said = tokio::time::timeout(FOREVER, is_said).await;
        assert!(is_said.is_ok(), "{url}: {:?}", cache.link_state().problem);
    }
}
