//! Writes between fence, commit and release, and the reads meanwhile.

use futures_util::future::join_all;
use harness::{Step, TestServer};
use reqwest::StatusCode;

use super::{ask, book, gated, settle};

const SAO_PAULO: &str = "/mega-stats?tenantId=clinic&tz=America/Sao_Paulo";

/// How many answers were not hits.
async fn misses(server: &TestServer) -> i64 {
    server.get("/cache-metrics").await.json()["cache_stats"]["misses"]
        .as_i64()
        .unwrap()
}

#[tokio::test]
async fn nothing_is_committed_before_the_fence_is_up() {
    let (server, gate) = gated();
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
    gate.hold(Step::Fence);
    let mut writer = book(&server, "clinic");
    gate.reached(Step::Fence, 1).await;
    settle(&server).await;

    let mut rows = server.database();
    // Twice: a commit that does not wait for the fence may be under way.
    for _ in 0..2 {
        assert_eq!(rows.appointments("clinic"), 0);
        assert_eq!(server.get(SAO_PAULO).await.today().1, 0);
        assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 0));
    }
    assert!(!writer.is_answered());

    gate.open(Step::Fence);
    assert_eq!(writer.reply().status, StatusCode::CREATED);
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 1));
}

#[tokio::test]
async fn between_commit_and_release_reads_come_from_the_database() {
    let (server, gate) = gated();
    // One zone is cached from before the write, another is not.
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
    gate.hold(Step::Release);
    let mut writer = book(&server, "clinic");
    gate.reached(Step::Release, 1).await;
    assert_eq!(
        server.database().appointments("clinic"),
        1,
        "it is committed"
    );

    let before = misses(&server).await;
    for _ in 0..3 {
        assert_eq!(server.get(SAO_PAULO).await.today(), ("BYPASS", 1));
        assert_eq!(
            server.mega_stats("clinic").await.today(),
            ("BYPASS", 1),
            "not back in time"
        );
    }
    assert_eq!(misses(&server).await, before + 6);
    assert_eq!(
        gate.arrivals(Step::Store),
        1,
        "nothing was stored meanwhile"
    );
    assert_eq!(server.mega_stats("other").await.today(), ("MISS", 0));
    assert_eq!(server.mega_stats("other").await.today(), ("HIT", 0));
    assert!(!writer.is_answered());

    gate.open(Step::Release);
    assert_eq!(writer.reply().status, StatusCode::CREATED);
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 1));
    assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 1));
}

#[tokio::test]
async fn a_reader_that_began_before_the_fence_stores_nothing_that_is_hit_after_it() {
    let (server, gate) = gated();
    gate.hold_nth(Step::Store, 1);
    gate.hold(Step::Release);
    let mut slow = ask(&server, "clinic");
    gate.reached(Step::Store, 1).await;
    let mut writer = book(&server, "clinic");
    gate.reached(Step::Release, 1).await;
    // It is stored under what the lookup saw before the fence.
    gate.open(Step::Store);
    assert_eq!(slow.reply().today(), ("MISS", 0));
    assert_eq!(server.mega_stats("clinic").await.today(), ("BYPASS", 1));
    gate.open(Step::Release);
    assert_eq!(writer.reply().status, StatusCode::CREATED);
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 1));
}

#[tokio::test]
async fn the_cache_stays_closed_until_the_last_of_several_writers_is_done() {
    let (server, gate) = gated();
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
    gate.hold(Step::Release);
    let mut writers = Vec::new();
    for count in 1..=3 {
        writers.push(book(&server, "clinic"));
        gate.reached(Step::Release, count).await;
    }
    for mut writer in writers {
        assert_eq!(server.mega_stats("clinic").await.today(), ("BYPASS", 3));
        assert!(!writer.is_answered());
        gate.let_one(Step::Release);
        assert_eq!(writer.reply().status, StatusCode::CREATED);
    }
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 3));
    assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 3));
}

#[tokio::test]
async fn a_released_writer_opens_nothing_for_one_that_has_yet_to_commit() {
    let (server, gate) = gated();
    gate.hold(Step::Release);
    let mut first = book(&server, "clinic");
    gate.reached(Step::Release, 1).await;
    let lock = server.lock_database();
    let mut second = book(&server, "clinic");
    gate.reached(Step::Fenced, 2).await;
    gate.let_one(Step::Release);
    assert_eq!(first.reply().status, StatusCode::CREATED);
    assert_eq!(server.mega_stats("clinic").await.today(), ("BYPASS", 1));

    drop(lock);
    gate.reached(Step::Release, 2).await;
    assert_eq!(server.get(SAO_PAULO).await.today(), ("BYPASS", 2));
    assert_eq!(
        server.mega_stats("clinic").await.today(),
        ("BYPASS", 2),
        "not back in time"
    );
    gate.open(Step::Release);
    assert_eq!(second.reply().status, StatusCode::CREATED);
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 2));
}

#[tokio::test]
async fn under_a_fence_a_crowd_shares_computations_and_every_answer_is_right() {
    let (server, gate) = gated();
    gate.hold(Step::Release);
    let mut writer = book(&server, "clinic");
    gate.reached(Step::Release, 1).await;
    let replies = join_all((0..100).map(|_| server.mega_stats("clinic"))).await;
    assert!(replies.iter().all(|reply| reply.today() == ("BYPASS", 1)));
    gate.open(Step::Release);
    assert_eq!(writer.reply().status, StatusCode::CREATED);
}
