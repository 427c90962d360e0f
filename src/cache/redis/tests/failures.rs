//! Redis paused, killed and flushed, with instances reading and writing meanwhile.

use harness::redis::free_port;

use super::*;

/// How long a write may take while Redis is gone: it waits for the fence and for the release, and
/// the machine may be busy. What matters is that it ends.
pub(super) const WRITE_BOUND: Duration = Duration::from_secs(15);

async fn write_in_time(cache: &RedisCache) {
    tokio::time::timeout(WRITE_BOUND, write(cache))
        .await
        .expect("a write goes on without Redis");
}

/// Looks `key()` up until Redis is trusted again; it must not be hit before or then.
pub(super) async fn is_not_hit_until_trusted(cache: &RedisCache) {
    let looks = async {
        loop {
            match cache.look_up(&key()).await {
                Ok(Lookup::Hit(_, entry) | Lookup::Expired(_, entry)) => panic!("{entry:?}"),
                Ok(Lookup::Miss(_)) => break,
                Ok(Lookup::Bypass(_)) | Err(_) => tokio::time::sleep(HEARTBEAT_PERIOD / 100).await,
            }
        }
    };
    tokio::time::timeout(FOREVER, looks).await.expect("in time");
}

/// Asserts that `cache` answers with no entry now, whether or not it trusts Redis.
async fn offers_nothing(cache: &RedisCache) {
    let found = cache.look_up(&key()).await;
    assert!(!matches!(found, Ok(Lookup::Hit(..) | Lookup::Expired(..))));
}

/// Has `cache` store an entry, and again whenever an instance has distrusted Redis meanwhile, until
/// `other` hits it.
async fn fill_for(cache: &RedisCache, other: &RedisCache, body: &'static str) {
    until(async || {
        fill(cache, body).await;
        is_hit(other, body).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_past_a_paused_redis_is_not_read_around_when_it_returns() {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    fill(&b, "before").await;
    server.stop();
    write_in_time(&a).await;
    // The write is acknowledged from here on.
    offers_nothing(&b).await;
    server.resume();
    is_not_hit_until_trusted(&b).await;
    until(async || !a.link.pending.must_bypass(&tenant(), Instant::now())).await;
    seen(&a, &key()).await;
    fill_for(&a, &b, "after").await;
}

/// Stores `body`, past its time to live, so that `cache` offers it.
async fn fill_expired(cache: &RedisCache, body: &'static str) {
    let age = conformance::TTL + HEARTBEAT_PERIOD;
    until(async || {
        if let Lookup::Miss(seen) = found(cache, &key()).await {
            let expired = Entry { age, ..entry(body) };
            cache.store(&key(), &seen, expired).await.unwrap();
        }
        matches!(found(cache, &key()).await, Lookup::Expired(..))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_not_offered_after_a_write_that_redis_missed() {
    let mut server = Server::start();
    let (a, b) = open_two(&server).await;
    fill_expired(&b, "before").await;
    server.stop();
    write_in_time(&a).await;
    offers_nothing(&b).await;
    server.resume();
    is_not_hit_until_trusted(&b).await;
    // Nor if it has come back with what it held, and the instance whose write it lacks is gone.
    until(async || !a.link.pending.must_bypass(&tenant(), Instant::now())).await;
    fill_expired(&b, "before").await;
    server.run::<()>(&["SAVE"]);
    server.kill();
    write_in_time(&a).await;
    drop(a);
    tokio::time::sleep(2 * HEARTBEAT_PERIOD).await;
    server.restart();
    is_not_hit_until_trusted(&b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_from_before_the_write_of_a_dead_writer_is_not_hit_by_an_instance_that_starts_later()
 {
    let mut server = Server::start();
    let (a, b) = open_two(&server).await;
    // Its mark stays, and must not vouch for what followed it.
    a.purge().await.unwrap();
    fill(&b, "before").await;
    // It comes back with what it held.
    server.run::<()>(&["SAVE"]);
    server.kill();
    write_in_time(&a).await;
    drop((a, b));
    // Neither tells Redis anything any more.
    tokio::time::sleep(2 * HEARTBEAT_PERIOD).await;
    server.restart();
    let kept: i64 = server.run(&["EXISTS", "megastats:{clinic}:mega_stats:clinic"]);
    assert_eq!(kept, 1);
    is_not_hit_until_trusted(&open(&server.settings())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_lost_an_invalidation_is_noticed_however_short_it_was() {
    let mut server = Server::start();
    let (a, b) = open_two(&server).await;
    a.purge().await.unwrap();
    fill(&b, "before").await;
    server.run::<()>(&["SAVE"]);
    // So that the mark of the first purge, which comes back, is another than the last one seen.
    a.purge().await.unwrap();
    write(&a).await;
    server.kill();
    server.restart();
    is_not_hit_until_trusted(&b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_redis_is_used_again_when_it_is_back_and_what_is_pending_is_delivered() {
    let mut server = Server::start();
    let (a, b) = open_two(&server).await;
    fill(&b, "before").await;
    server.run::<()>(&["SAVE"]);
    server.kill();
    let reader = {
        let b = b.clone();
        tokio::spawn(async move { is_not_hit_until_trusted(&b).await })
    };
    write_in_time(&a).await;
    assert!(a.link.pending.must_bypass(&tenant(), Instant::now()));
    write_in_time(&a).await;
    server.restart();
    reader.await.unwrap();
    until(async || !a.link.pending.must_bypass(&tenant(), Instant::now())).await;
    fill_for(&a, &b, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_redis_missed_is_raised_before_others_trust_it_again() {
    let mut server = Server::start();
    let (a, b) = open_two(&server).await;
    fill(&b, "before").await;
    server.kill();
    let fence = tokio::time::timeout(WRITE_BOUND, a.fence(&tenant()))
        .await
        .expect("a write goes on without Redis")
        .unwrap();
    server.restart();
    trusts(&b).await;
    // The write has not committed yet, so nothing that is computed now may be kept.
    assert!(is_bypass(&b.look_up(&key()).await.unwrap()));
    a.release(fence).await.unwrap();
    seen(&b, &key()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_was_released_is_not_raised_by_a_command_that_comes_late() {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    server.stop();
    let fence = a.fence(&tenant()).await.unwrap();
    let ticket: RedisFence = fence.into_ticket().unwrap();
    assert!(ticket.may_be_raised_late);
    let released = ticket.fence.clone();
    a.release(Fence::new(ticket, None)).await.unwrap();
    server.resume();
    until(async || !a.link.pending.must_bypass(&tenant(), Instant::now())).await;

    let era = a.link.eras.current();
    let life = a.link.fence_life;
    let late = a.link.commands.fence(&released, life, era);
    a.link.send::<i64>(&late, FOREVER).await.unwrap();
    trusts(&b).await;
    seen(&b, &key()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_redis_runs_twice_brings_no_generation_back() {
    let server = Server::start();
    let a = open(&server.settings());
    trusts(&a).await;
    let fence = WriteFence {
        tenant: tenant(),
        id: "1".to_owned(),
    };
    let era = a.link.eras.current();
    for command in [
        a.link.commands.fence(&fence, a.link.fence_life, era),
        a.link.commands.release(&fence, Duration::ZERO, era),
        a.link.commands.replace_generation(&tenant(), b"", era),
    ] {
        let mut generations = Vec::new();
        for _ in 0..2 {
            // As if Redis had evicted it.
            server.run::<i64>(&["DEL", "megastats:{clinic}:generation"]);
            let answer = a.link.send::<redis::Value>(&command, FOREVER).await;
            answer.unwrap();
            generations.push(stored_generation(&server));
        }
        assert_ne!(generations[0], generations[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fences_of_all_writes_past_a_paused_redis_are_released_when_it_returns() {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    server.stop();
    let mut fences = Vec::new();
    for _ in 0..3 {
        fences.push(a.fence(&tenant()).await.unwrap());
    }
    // Redis has read the commands that raise them, and not those that release them.
    let mut raised = Vec::new();
    for fence in fences {
        let ticket: RedisFence = fence.into_ticket().unwrap();
        raised.push(ticket.fence.clone());
        let released = a.release(Fence::new(ticket, None)).await.unwrap();
        assert_eq!(released, Released::Pending);
    }
    assert_eq!(a.link.pending.undelivered(Instant::now()), raised);
    let life = a.link.fence_life;
    let era = a.link.eras.current();
    server.resume();
    for fence in &raised {
        let command = a.link.commands.fence(fence, life, era);
        a.link.send::<i64>(&command, FOREVER).await.unwrap();
    }
    trusts(&b).await;
    seen(&b, &key()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_does_not_wait_for_a_silent_redis() {
    let mut server = Server::start();
    let mut settings = server.settings();
    settings.response_timeout = Duration::from_millis(50);
    let cache = open(&settings);
    for killed in [false, true] {
        trusts(&cache).await;
        if killed {
            server.kill();
        } else {
            server.stop();
        }
        let looks = async {
            // Far more than the breaker lets through.
            for _ in 0..500 {
                offers_nothing(&cache).await;
            }
        };
        let bound = Duration::from_secs(10);
        tokio::time::timeout(bound, looks).await.expect("in time");
        if !killed {
            server.resume();
        }
    }
}

#[test]
fn a_writer_that_was_stalled_does_not_take_its_own_stall_for_redis() {
    let main = tokio::runtime::Runtime::new().unwrap();
    // Nothing of this instance runs but while it is waited for.
    let stalled = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = Server::start();
    let b = main.block_on(async { open(&server.settings()) });
    let a = stalled.block_on(async {
        let a = open(&server.settings());
        trust_each_other(&a, &b).await;
        a
    });
    main.block_on(fill(&b, "before"));
    std::thread::sleep(a.link.invalidation_wait + 3 * HEARTBEAT_PERIOD);
    stalled.block_on(write(&a));
    let answer = main.block_on(b.look_up(&key())).unwrap();
    assert!(
        !matches!(answer, Lookup::Hit(..) | Lookup::Expired(..)),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_starts_without_redis_uses_it_when_it_comes() {
    let mut server = Server::start();
    server.kill();
    let cache = open(&server.settings());
    assert!(!matches!(
        cache.look_up(&key()).await,
        Ok(Lookup::Hit(..) | Lookup::Miss(_))
    ));
    write_in_time(&cache).await;
    server.restart();
    fill(&cache, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_from_before_flushall_is_hit_and_the_cache_goes_on() {
    let server = Server::start();
    let (a, b) = open_two(&server).await;
    fill(&a, "before").await;
    let before = Permit::new(stored_generation(&server));
    let fence = a.fence(&tenant()).await.unwrap();
    server.run::<()>(&["FLUSHALL"]);
    // The fence is gone, and with it every generation from before: a store of then is not hit.
    let late = entry("late");
    b.store(&key(), &before, late).await.unwrap();
    assert!(matches!(found(&b, &key()).await, Lookup::Miss(_)));
    fill(&b, "between").await;
    a.release(fence).await.unwrap();
    seen(&b, &key()).await;
    fill_for(&b, &a, "after").await;
}

/// The generation there is, past the cache.
fn stored_generation(server: &Server) -> Generation {
    let kept: Vec<u8> = server.run(&["GET", "megastats:{clinic}:generation"]);
    parse_generation(&kept).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_without_redis_forgets_what_is_pending_once_every_entry_has_expired() {
    let settings = settings(&format!("redis://127.0.0.1:{}", free_port()));
    let tasks = Tasks::new(Handle::current());
    let life = Lifetime {
        fresh: Duration::from_millis(500),
        stale: Duration::from_millis(500),
    };
    let cache = RedisCache::new(&settings, life, Arc::new(SystemClock), &tasks).unwrap();
    write_in_time(&cache).await;
    let must_bypass = |after| {
        let then = Instant::now() + after;
        cache.link.pending.must_bypass(&tenant(), then)
    };
    assert!(!must_bypass(life.whole()));
    until(async || !must_bypass(Duration::ZERO)).await;
}
