//! Clients that go away before they are answered.

use harness::{Leave, Raw, Step, TestServer, eventually};

use super::{appointment, ask, book, gated, service, settle};

const WAYS: [Leave; 2] = [Leave::Close, Leave::Reset];

/// Waits until `tenant`'s one appointment is counted, and then that it is so from the cache.
async fn assert_counted_and_cached(server: &TestServer, tenant: &str) {
    eventually("the appointment is counted", async || {
        server.mega_stats(tenant).await.today().1 == 1
    })
    .await;
    eventually("it is cached again", async || {
        server.mega_stats(tenant).await.today() == ("HIT", 1)
    })
    .await;
}

#[tokio::test]
async fn a_writer_that_leaves_between_commit_and_release_invalidates_all_the_same() {
    for leave in WAYS {
        let (server, gate) = gated();
        assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
        gate.hold(Step::Release);
        let mut writer = Raw::leaving(server.url(), leave);
        writer.post(&appointment("clinic"));
        gate.reached(Step::Release, 1).await;
        drop(writer);
        settle(&server).await;
        assert_eq!(
            server.mega_stats("clinic").await.today(),
            ("BYPASS", 1),
            "{leave:?}"
        );
        gate.open(Step::Release);
        assert_counted_and_cached(&server, "clinic").await;
    }
}

#[tokio::test]
async fn a_writer_that_leaves_before_the_fence_is_up_has_its_write_carried_out() {
    for leave in WAYS {
        let (server, gate) = gated();
        assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
        gate.hold(Step::Fence);
        let mut writer = Raw::leaving(server.url(), leave);
        writer.post(&appointment("clinic"));
        gate.reached(Step::Fence, 1).await;
        drop(writer);
        settle(&server).await;
        assert_eq!(server.database().appointments("clinic"), 0, "{leave:?}");
        gate.open(Step::Fence);
        assert_counted_and_cached(&server, "clinic").await;
    }
}

#[tokio::test]
async fn a_writer_that_leaves_while_it_waits_for_the_database_has_its_write_carried_out() {
    for leave in WAYS {
        let (server, gate) = gated();
        assert_eq!(server.mega_stats("clinic").await.today(), ("MISS", 0));
        let lock = server.lock_database();
        let mut writer = Raw::leaving(server.url(), leave);
        writer.post(&appointment("clinic"));
        gate.reached(Step::Fenced, 1).await;
        drop(writer);
        settle(&server).await;
        assert_eq!(
            server.mega_stats("clinic").await.today(),
            ("BYPASS", 0),
            "{leave:?}"
        );
        drop(lock);
        assert_counted_and_cached(&server, "clinic").await;
    }
}

#[tokio::test]
async fn a_reader_that_leaves_takes_its_computation_from_nobody() {
    const OTHERS: usize = 5;
    for leave in WAYS {
        let (server, gate) = gated();
        gate.hold_nth(Step::Store, 1);
        let mut first = Raw::leaving(server.url(), leave);
        first.mega_stats("clinic");
        gate.reached(Step::Store, 1).await;
        let mut others: Vec<_> = (0..OTHERS).map(|_| ask(&server, "clinic")).collect();
        // Two lookups are the first's.
        gate.reached(Step::LookUp, 2 + OTHERS).await;
        settle(&server).await;
        drop(first);
        settle(&server).await;
        gate.open(Step::Store);
        for other in &mut others {
            assert_eq!(other.reply().today(), ("HIT", 0), "{leave:?}");
        }
        assert_eq!(gate.arrivals(Step::Store), 1, "one computation");
    }
}

#[tokio::test]
async fn readers_that_leave_under_a_fence_take_their_turn_from_nobody() {
    for leave in WAYS {
        let (server, gate) = gated();
        gate.hold(Step::Release);
        let mut writer = book(&server, "clinic");
        gate.reached(Step::Release, 1).await;
        let leavers: Vec<_> = (0..20)
            .map(|_| {
                let mut reader = Raw::leaving(server.url(), leave);
                reader.mega_stats("clinic");
                reader
            })
            .collect();
        let mut others: Vec<_> = (0..5).map(|_| ask(&server, "clinic")).collect();
        drop(leavers);
        for other in &mut others {
            assert_eq!(other.reply().today(), ("BYPASS", 1), "{leave:?}");
        }
        gate.open(Step::Release);
        assert_eq!(writer.reply().status, 201);
    }
}

#[tokio::test]
async fn a_crowd_that_leaves_does_the_service_no_harm() {
    let server = service().start();
    for round in 0..20 {
        let leave = WAYS[round % 2];
        let mut reader = Raw::leaving(server.url(), leave);
        reader.mega_stats("clinic");
        let mut writer = Raw::leaving(server.url(), leave);
        writer.post(&appointment("clinic"));
        // Gone at any moment of their work.
        drop((reader, writer));
    }
    let mut rows = server.database();
    eventually("statistics agree with the database", async || {
        let counted = server.mega_stats("clinic").await;
        counted.today() == ("HIT", rows.appointments("clinic"))
    })
    .await;
}
