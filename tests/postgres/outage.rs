//! A server that stops, comes back, hangs or is busy: what the service answers then, and that it
//! recovers by itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use diesel::{connection::SimpleConnection, result::Error as DieselError};
use harness::{TODAY, TestServer, eventually, within};
use megastats::{
    db::{AnyConn, DbError},
    settings::DatabaseUrl,
};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::sync::{RwLock, mpsc};

use crate::{
    database::{open, pg, settings, sleep, text},
    server::Postgres,
};

/// A session's number on the server.
const SESSION: &str = "SELECT pg_backend_pid()::text AS value";

fn service(server: &Postgres) -> TestServer {
    let url = DatabaseUrl::parse(&server.database()).unwrap();
    TestServer::builder()
        .settings(|settings| {
            settings.database.url = url;
            settings.database.pool_wait = Duration::from_secs(1);
        })
        .start()
}

/// A `PATCH` that is repeated until the database answers.
async fn confirm(service: &TestServer, id: i64) {
    eventually("the database is used again", async || {
        let reply = service.patch(id, &json!({"status": "confirmed"})).await;
        reply.status == StatusCode::OK
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_might_end_after_its_fence_is_not_begun() {
    let server = Postgres::builder().start();
    let settings = settings(&server.database());
    let db = open(&settings).await.unwrap();
    let write = async |until| {
        let make = |conn: &mut AnyConn| pg(conn).batch_execute("CREATE TABLE made ()");
        db.write(db.write_turn(None).await.unwrap(), Some(until), make)
            .await
    };
    let enough = Instant::now() + settings.longest_transaction();
    assert!(matches!(write(enough).await, Err(DbError::TooLate)));
    write(enough + Duration::from_secs(60)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_next_requests_are_answered() {
    let server = Postgres::builder().start();
    let service = service(&server);
    for round in 1..=3 {
        service.book("clinic", TODAY, "confirmed").await;
        // So that every connection of the pool is there, and dies.
        let requests = (0..16).map(|_| service.get("/?tenantId=clinic"));
        for reply in futures_util::future::join_all(requests).await {
            assert_eq!(reply.status, StatusCode::OK);
        }
        server.stop();
        server.start();
        let requests = (0..16).map(|_| service.get("/?tenantId=clinic"));
        for reply in futures_util::future::join_all(requests).await {
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
            assert_eq!(reply.json()["total"], round);
        }
        assert_eq!(service.mega_stats("clinic").await.status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_the_answer_is_503() {
    let server = Postgres::builder().start();
    let service = service(&server);
    let id = service.book("clinic", TODAY, "pending").await;
    server.stop();
    let body = json!({
        "tenantId": "clinic", "patientId": 1, "startsAt": TODAY, "durationMin": 30,
    });
    for reply in [
        service.get("/?tenantId=clinic").await,
        service.mega_stats("clinic").await,
        service.post(&body).await,
        service.patch(id, &json!({"status": "confirmed"})).await,
    ] {
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
        assert_eq!(reply.header("Retry-After"), "1");
        assert!(!reply.body.contains("127.0.0.1"), "{reply:?}");
    }
    server.start();
    confirm(&service, id).await;
    assert_eq!(service.get("/?tenantId=clinic").await.json()["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_costs_a_read_nothing_and_a_write_is_not_run_twice() {
    let server = Postgres::shared();
    let db = open(&settings(&server.database())).await.unwrap();

    // The session ends under the statement that runs on it.
    let end_own = "SELECT pg_terminate_backend(pg_backend_pid())::text || pg_sleep(5)::text \
                   AS value";
    let mut runs = 0;
    let read = db.read(None, move |conn| {
        runs += 1;
        if runs == 1 {
            return text(conn, end_own);
        }
        text(conn, "SELECT 'alive' AS value")
    });
    assert_eq!(read.await.unwrap(), "alive");

    let always = db.read(None, move |conn| text(conn, end_own)).await;
    assert!(
        matches!(always, Err(DbError::ConnectionLost(_))),
        "{always:?}"
    );
    let write = db
        .write(db.write_turn(None).await.unwrap(), None, move |conn| {
            text(conn, end_own)
        })
        .await;
    assert!(
        matches!(write, Err(DbError::ConnectionLost(_))),
        "{write:?}"
    );

    // Also inside a transaction, where the rollback fails, too.
    let write = db
        .write(db.write_turn(None).await.unwrap(), None, move |conn| {
            diesel::Connection::transaction(pg(conn), |c| {
                c.batch_execute("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(5)")
            })
        })
        .await;
    assert!(
        matches!(write, Err(DbError::ConnectionLost(_))),
        "{write:?}"
    );

    // The session ends while nobody looks.
    let session = db.read(None, |conn| text(conn, SESSION)).await.unwrap();
    server.query(
        "postgres",
        &format!("SELECT pg_terminate_backend({session}, 5000)"),
    );
    let write = db
        .write(db.write_turn(None).await.unwrap(), None, |conn| {
            text(conn, SESSION)
        })
        .await;
    assert_ne!(write.unwrap(), session);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_given_up_and_its_connection_goes_on() {
    let server = Postgres::shared();
    let mut settings = settings(&server.database());
    settings.pool_size = 1;
    let db = open(&settings).await.unwrap();
    let session = db.read(None, |conn| text(conn, SESSION)).await.unwrap();
    let began = Instant::now();
    let slow = db
        .read(None, |conn| sleep(conn, Duration::from_secs(30)))
        .await;
    assert!(matches!(slow, Err(DbError::Aborted(_))), "{slow:?}");
    assert!(began.elapsed() >= Duration::from_millis(500));
    assert_eq!(
        db.read(None, |conn| text(conn, SESSION)).await.unwrap(),
        session
    );

    // Whoever stops within a transaction loses it.
    let idle = db.write(db.write_turn(None).await.unwrap(), None, |conn| {
        diesel::Connection::transaction(pg(conn), |c| {
            c.batch_execute("SELECT 1")?;
            std::thread::sleep(Duration::from_millis(800));
            c.batch_execute("SELECT 1")
        })
    });
    let idle = idle.await;
    assert!(matches!(idle, Err(DbError::ConnectionLost(_))), "{idle:?}");
    assert_ne!(
        db.read(None, |conn| text(conn, SESSION)).await.unwrap(),
        session
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_a_statement_is_neither_retried_nor_taken_for_an_outage() {
    let server = Postgres::shared();
    let db = open(&settings(&server.database())).await.unwrap();
    let session = db.read(None, |conn| text(conn, SESSION)).await.unwrap();
    for sql in [
        "SELECT nothing AS value",
        "INSERT INTO appointments (tenant_id) VALUES ('a') RETURNING tenant_id AS value",
        "SELECT (1 / 0)::text AS value",
    ] {
        let error = db.read(None, move |conn| text(conn, sql)).await;
        assert!(matches!(error, Err(DbError::Statement(_))), "{error:?}");
    }
    assert_eq!(
        db.read(None, |conn| text(conn, SESSION)).await.unwrap(),
        session
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_given_up_and_used_again_when_it_goes_on() {
    let server = Postgres::builder().start();
    let mut settings = settings(&server.database());
    settings.connect_timeout = Duration::from_millis(500);
    settings.pool_wait = Duration::from_secs(1);
    settings.pool_size = 1;
    let db = open(&settings).await.unwrap();

    let frozen = server.freeze();
    let hung = db.read(None, |conn| text(conn, SESSION)).await;
    assert!(matches!(hung, Err(DbError::ConnectionLost(_))), "{hung:?}");
    let hung = db.read(None, |conn| text(conn, SESSION)).await;
    assert!(matches!(hung, Err(DbError::Unavailable(_))), "{hung:?}");

    drop(frozen);
    eventually("the server is used again", async || {
        db.read(None, |conn| text(conn, SESSION)).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_are_made_than_configured_and_writers_share_them() {
    let server = Postgres::shared();
    let url = server.database();
    let mut settings = settings(&url);
    settings.pool_size = 2;
    // Writers stand still for as long as the third one waits.
    settings.statement_timeout = Duration::from_secs(60);
    let db = open(&settings).await.unwrap();

    // Both write at once, and neither goes on before the gate opens, or the test has failed.
    let gate = Arc::new(RwLock::new(()));
    let closed = Arc::clone(&gate).write_owned().await;
    let (arrive, mut arrived) = mpsc::unbounded_channel();
    let writers = [(); 2].map(|()| {
        let (db, gate, arrive) = (db.clone(), Arc::clone(&gate), arrive.clone());
        tokio::spawn(async move {
            db.write(db.write_turn(None).await.unwrap(), None, move |conn| {
                arrive.send(text(conn, SESSION)?).unwrap();
                drop(gate.blocking_read());
                Ok(())
            })
            .await
        })
    });
    let both = within("both write", async {
        [arrived.recv().await, arrived.recv().await]
    });
    let [one, another] = both.await.map(Option::unwrap);
    assert_ne!(one, another);
    let third = db.read(None, |conn| text(conn, SESSION)).await;
    assert!(matches!(third, Err(DbError::Busy)), "{third:?}");
    let name = url.rsplit('/').next().unwrap();
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
    assert_eq!(server.query("postgres", &sessions), "2");
    drop(closed);
    for writer in writers {
        within("a write", writer).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_only_be_read_from_now_on_is_left() {
    let server = Postgres::shared();
    let url = server.database();
    let db = open(&settings(&url)).await.unwrap();
    let read_only = |on: &str| {
        let name = url.rsplit('/').next().unwrap();
        let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = {on}");
        server.query("postgres", &sql);
    };

    // As a session sees it whose server was demoted.
    read_only("on");
    let demoted = db.write(db.write_turn(None).await.unwrap(), None, |conn| {
        pg(conn).batch_execute("SET default_transaction_read_only = on")?;
        pg(conn).batch_execute("DELETE FROM appointments")
    });
    let demoted = demoted.await;
    assert!(
        matches!(
            &demoted,
            Err(DbError::ConnectionLost(DieselError::DatabaseError(_, info)))
                if info.message().contains("read-only")
        ),
        "{demoted:?}"
    );
    let read = || db.read(None, |conn| text(conn, SESSION));
    let (one, another) = tokio::join!(read(), read());
    for refused in [one, another] {
        assert!(
            matches!(&refused, Err(DbError::Unavailable(why)) if why.contains("writes")),
            "{refused:?}"
        );
    }

    read_only("off");
    let write = db.write(db.write_turn(None).await.unwrap(), None, |conn| {
        pg(conn).batch_execute("DELETE FROM appointments")
    });
    write.await.unwrap();
}

/// What `/readyz` and `/healthz` say.
async fn health(service: &TestServer) -> [StatusCode; 2] {
    let ready = service.send(Method::GET, "/readyz").await;
    if ready.status != StatusCode::OK {
        assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE, "{ready:?}");
        let detail = ready.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("database") && !detail.contains("127.0.0.1"),
            "{detail}"
        );
    }
    [
        ready.status,
        service.send(Method::GET, "/healthz").await.status,
    ]
}

async fn until_health_is(service: &TestServer, ready: StatusCode) {
    eventually("readiness follows the server", async || {
        let [is, alive] = health(service).await;
        assert_eq!(alive, StatusCode::OK);
        is == ready
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_a_server_that_goes_and_comes_back_or_hangs() {
    let server = Postgres::builder().start();
    let service = service(&server);
    for _ in 0..2 {
        until_health_is(&service, StatusCode::OK).await;
        server.stop();
        until_health_is(&service, StatusCode::SERVICE_UNAVAILABLE).await;
        server.start();
    }
    until_health_is(&service, StatusCode::OK).await;
    let frozen = server.freeze();
    until_health_is(&service, StatusCode::SERVICE_UNAVAILABLE).await;
    drop(frozen);
    until_health_is(&service, StatusCode::OK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_probes_are_one_check_on_one_session_besides_the_pool() {
    let server = Postgres::builder().setting("log_statement=all").start();
    let url = server.database();
    let mut settings = settings(&url);
    settings.pool_size = 1;
    // More than the statement that keeps the pool busy takes, on any machine.
    settings.statement_timeout = Duration::from_secs(5);
    let db = open(&settings).await.unwrap();
    db.ready().await.unwrap();
    let checks = || server.log().matches("__diesel_schema_migrations").count();
    let before = checks();

    // All of the pool is taken meanwhile.
    let busy = db.read(None, |conn| sleep(conn, Duration::from_millis(400)));
    let probes = async {
        let began = Instant::now();
        let probes = (0..500).map(|_| db.ready());
        for ready in futures_util::future::join_all(probes).await {
            ready.unwrap();
        }
        // What a check lives, and two that begin and end with it.
        usize::try_from(began.elapsed().as_secs()).unwrap() + 2
    };
    let (busy, most) = tokio::join!(busy, probes);
    busy.unwrap();
    assert!(checks() - before <= most, "{} checks", checks() - before);
    let name = url.rsplit('/').next().unwrap();
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
    assert_eq!(server.query("postgres", &sessions), "2");
}
