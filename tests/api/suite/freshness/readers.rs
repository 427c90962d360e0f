//! Slow reads, and the writes that overtake them.

use harness::{Step, TODAY, within};
use serde_json::json;

use super::{ask, gated, service, settle};

#[tokio::test]
async fn a_write_outdates_every_zone_and_route_of_its_tenant_and_no_other() {
    let server = service().start();
    let paths = [
        "/mega-stats?tenantId=clinic",
        "/mega-stats?tenantId=clinic&tz=America/Sao_Paulo",
        "/summary?tenantId=clinic",
        "/mega-stats?tenantId=other",
    ];
    for outcome in ["MISS", "HIT"] {
        for path in paths {
            assert_eq!(server.get(path).await.today(), (outcome, 0), "{path}");
        }
    }
    server.book("clinic", TODAY, "pending").await;
    for path in &paths[..3] {
        assert_eq!(server.get(path).await.today(), ("MISS", 1), "{path}");
    }
    assert_eq!(server.get(paths[3]).await.today(), ("HIT", 0));
}

#[tokio::test]
async fn a_change_of_status_or_start_is_seen_at_once() {
    let server = service().start();
    let id = server.book("clinic", TODAY, "pending").await;
    // Each with today's confirmed and pending, and next month's.
    let changes = [
        (json!({ "status": "confirmed" }), [1, 0], 0),
        (json!({ "status": "pending" }), [0, 1], 0),
        (json!({ "status": "cancelled" }), [0, 0], 0),
        (
            json!({ "startsAt": "2025-11-20T09:00:00-03:00", "status": "confirmed" }),
            [0, 0],
            1,
        ),
        (json!({ "startsAt": TODAY }), [1, 0], 0),
    ];
    for (change, [confirmed, pending], next_month) in changes {
        server.mega_stats("clinic").await;
        assert_eq!(server.mega_stats("clinic").await.header("x-cache"), "HIT");
        assert_eq!(server.patch(id, &change).await.status, 200, "{change}");
        let reply = server.mega_stats("clinic").await;
        assert_eq!(reply.header("x-cache"), "MISS", "{change}");
        let stats = reply.json();
        assert_eq!(
            stats["today"],
            json!({ "confirmed": confirmed, "pending": pending })
        );
        assert_eq!(
            stats["nextMonth"],
            json!({ "confirmed": next_month, "pending": 0 })
        );
    }
}

#[tokio::test]
async fn what_a_slow_reader_stores_after_a_write_is_never_hit() {
    let (server, gate) = gated();
    gate.hold_nth(Step::Store, 1);
    let mut slow = ask(&server, "clinic");
    gate.reached(Step::Store, 1).await;
    server.book("clinic", TODAY, "pending").await;
    gate.open(Step::Store);
    assert_eq!(
        slow.reply().today(),
        ("MISS", 0),
        "it was asked before the write"
    );
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 1));
    assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 1));
}

#[tokio::test]
async fn a_request_after_a_write_joins_no_computation_from_before_it() {
    let (server, gate) = gated();
    gate.hold_nth(Step::Store, 1);
    let mut slow = ask(&server, "clinic");
    gate.reached(Step::Store, 1).await;
    server.book("clinic", TODAY, "pending").await;
    let after = within("an answer of its own", server.mega_stats("clinic")).await;
    assert_eq!(after.today(), ("MISS", 1));
    gate.open(Step::Store);
    assert_eq!(
        slow.reply().today(),
        ("MISS", 0),
        "it was asked before the write"
    );
}

#[tokio::test]
async fn of_two_computations_the_newer_is_kept_even_if_the_older_stores_last() {
    let (server, gate) = gated();
    gate.hold_nth(Step::Store, 1);
    let mut older = ask(&server, "clinic");
    gate.reached(Step::Store, 1).await;
    server.book("clinic", TODAY, "pending").await;
    let newer = within("an answer of its own", server.mega_stats("clinic")).await;
    assert_eq!(newer.today(), ("MISS", 1));
    assert_eq!(
        server.mega_stats("clinic").await.today(),
        ("HIT", 1),
        "it was stored"
    );
    gate.open(Step::Store);
    assert_eq!(
        older.reply().today(),
        ("MISS", 0),
        "it was asked before the write"
    );
    assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 1));
}

#[tokio::test]
async fn a_reader_that_was_slow_after_its_lookup_computes_nothing_again() {
    let (server, gate) = gated();
    gate.hold_nth(Step::LookedUp, 1);
    let mut slow = ask(&server, "clinic");
    gate.reached(Step::LookedUp, 1).await;
    assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
    gate.open(Step::LookedUp);
    assert_eq!(slow.reply().today(), ("HIT", 0));
    assert_eq!(gate.arrivals(Step::Store), 1, "one computation");
}

#[tokio::test]
async fn a_reader_that_was_slow_after_its_lookup_caches_what_it_counts_after_a_write() {
    let (server, gate) = gated();
    gate.hold_nth(Step::LookedUp, 1);
    let mut slow = ask(&server, "clinic");
    gate.reached(Step::LookedUp, 1).await;
    server.book("clinic", TODAY, "pending").await;
    gate.open(Step::LookedUp);
    assert_eq!(slow.reply().today(), ("MISS", 1));
    assert_eq!(server.mega_stats("clinic").await.today(), ("HIT", 1));
}

#[tokio::test]
async fn a_request_that_arrives_during_a_computation_shares_it() {
    let (server, gate) = gated();
    gate.hold_nth(Step::Store, 1);
    let mut first = ask(&server, "clinic");
    gate.reached(Step::Store, 1).await;
    let mut second = ask(&server, "clinic");
    // Two lookups are the first's.
    gate.reached(Step::LookUp, 3).await;
    settle(&server).await;
    gate.open(Step::Store);
    let (first, second) = (first.reply(), second.reply());
    assert_eq!((first.today(), second.today()), (("MISS", 0), ("HIT", 0)));
    assert!(
        second.header("cache-status").contains("collapsed"),
        "{second:?}"
    );
}
