//! The checker itself, checked: caches that break one rule each, in instances within this process
//! whose every step takes its time. It must find each of them out, and nothing where no rule is
//! broken.

mod broken;
mod slow;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use harness::{MAX_WAIT, TestServer};
use megastats::settings::{CacheBackend, DatabaseUrl, RedisUrl};

use self::{
    broken::{Broken, Kept, Rule},
    slow::{Slow, Slower},
};
use crate::{
    checker::Checker,
    cluster::{Cluster, INSTANCES},
    database,
    proxy::{Proxy, ProxyState},
};

/// The shortest life of a fence that outlasts an instance's writes here, in seconds.
const SHORTEST: u64 = 11;

/// Writes without a wrong answer where no rule is broken.
const WRITES: usize = 150;

/// Writes by which a broken rule must have shown: most do by the twentieth, but later on a
/// busy machine.
const ENOUGH: usize = 10 * WRITES;

/// Instances of the test's own on the database and the Redis of a cluster, in place of the cluster's.
struct Instances {
    running: Vec<TestServer>,
    /// From each to Redis.
    proxies: Vec<Proxy>,
    /// Outlives those who use it.
    cluster: Cluster,
}

impl Instances {
    /// `fence` is in seconds; `wrap` gets each instance's URL of Redis, and its number from 0.
    fn start(fence: u64, wrap: impl Wrap) -> Self {
        // A checker that gets too little of the machine finds nothing out.
        let cluster = Cluster::start_alone();
        for number in 1..=INSTANCES {
            // It would raise the fences of those that break a rule.
            cluster.run(&format!("kill instance-{number}"));
        }
        let mut proxies = Vec::new();
        let mut running = Vec::new();
        for number in 0..INSTANCES {
            let proxy = Proxy::before(cluster.url("redis"));
            let service = TestServer::builder().settings(|settings| {
                settings.database.url = DatabaseUrl::parse(cluster.url("postgres")).unwrap();
                settings.cache.backend = CacheBackend::Redis;
                settings.cache.redis.url = RedisUrl::parse(proxy.url()).unwrap();
                settings.cache.redis.fence_life = Duration::from_secs(fence);
                // As long as the fence outlasts them.
                let (pool, statement) = if fence > SHORTEST {
                    (5_000, 5_000)
                } else {
                    (500, 1_400)
                };
                settings.database.pool_wait = Duration::from_millis(pool);
                settings.database.busy_timeout = Duration::from_millis(1);
                settings.database.statement_timeout = Duration::from_millis(statement);
                settings.server.shutdown_timeout = Duration::from_secs(1);
            });
            let (wrap, url) = (wrap.clone(), proxy.url().to_owned());
            let service =
                service.cache(move |cache| Arc::new(wrap(Slow::around(cache), &url, number)));
            running.push(tokio::task::block_in_place(|| service.start()));
            proxies.push(proxy);
        }
        Self {
            running,
            proxies,
            cluster,
        }
    }

    fn urls(&self) -> Vec<String> {
        let urls = self.running.iter().map(TestServer::url);
        urls.map(ToOwned::to_owned).collect()
    }

    async fn checker(&self) -> Checker {
        Checker::begin_with(&self.cluster, self.urls(), Duration::ZERO).await
    }

    async fn checker_writing_to_last(&self) -> Checker {
        Checker::begin_writing_to_last(&self.cluster, self.urls()).await
    }
}

/// Changes an instance's cache.
trait Wrap: Fn(Slow, &str, usize) -> Slow + Clone + Send + 'static {}

impl<F: Fn(Slow, &str, usize) -> Slow + Clone + Send + 'static> Wrap for F {}

/// Breaks `rule` below the waits.
fn breaking(rule: Rule) -> impl Wrap {
    move |slow, _, _| {
        let rule = rule.clone();
        Slow {
            slower: rule.shows_with(),
            inner: Arc::new(Broken {
                inner: slow.inner,
                rule,
            }),
        }
    }
}

async fn is_found_out(rule: Rule) {
    let instances = Instances::start(30, breaking(rule.clone()));
    let wrong = instances.checker().await.wrong_within(ENOUGH).await;
    assert!(wrong.is_some(), "{rule:?} was not found out");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_rule_is_broken_no_answer_is_wrong() {
    for slower in [Slower::Writes, Slower::Computations] {
        let instances = Instances::start(30, move |slow, _, _| Slow { slower, ..slow });
        let checker = instances.checker().await;
        assert_eq!(checker.wrong_within(WRITES).await, None);
        checker.end(10).await.assert_all_answered();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_a_fence_is_found_out() {
    is_found_out(Rule::NoFence).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_lowered_before_the_commit_is_found_out() {
    is_found_out(Rule::FenceBeforeCommit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_read_after_the_query_is_found_out() {
    is_found_out(Rule::LateGeneration).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_a_generation_is_found_out() {
    is_found_out(Rule::NoGeneration(Kept::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_instead_of_a_new_generation_is_found_out() {
    is_found_out(Rule::Delete(Kept::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_an_old_computation_is_found_out() {
    let first = Arc::new(Mutex::new(HashMap::new()));
    is_found_out(Rule::OldFlight(first)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_ends_before_its_write_is_found_out() {
    let early =
        |slow, url: &str, number| breaking(Rule::ShortFence(url.to_owned()))(slow, url, number);
    let instances = Instances::start(30, early);
    let wrong = instances.checker().await.wrong_within(ENOUGH).await;
    assert!(wrong.is_some());
}

/// An appointment's writer dies, and its tenant is to be answered from the cache again before
/// `patience` is over: whether it is, if fences end after so many seconds.
async fn is_cached_again(fences: u64, patience: Duration) -> bool {
    let dies = Arc::new(OnceLock::new());
    let instances = Instances::start(fences, breaking(Rule::Dies(dies.clone())));
    let checker = instances.checker().await;
    checker.hits(5).await;
    dies.set(checker.quiet().to_owned()).unwrap();
    tokio::task::block_in_place(|| checker.book_and_leave(0));
    checker.writes(6).await;
    let hits = checker.hits(5);
    tokio::time::timeout(patience, hits).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_does_not_end_is_found_out() {
    assert!(is_cached_again(SHORTEST, MAX_WAIT).await);
    assert!(!is_cached_again(600, Duration::from_secs(SHORTEST + 2)).await);
}

/// Whether the checker finds fault once Redis is back, after it was out of everybody's reach, and
/// the instance that was written to died before it could tell it what it had missed. Nobody else can
/// tell it: what the instance left in the database is lost.
async fn is_wrong_once_redis_is_back(wrap: impl Wrap) -> bool {
    let mut instances = Instances::start(30, wrap);
    let checker = instances.checker_writing_to_last().await;
    checker.hits(20).await;
    instances
        .proxies
        .iter()
        .for_each(|proxy| proxy.set(ProxyState::CUT));
    checker.writes(12).await;
    tokio::task::block_in_place(|| instances.running.pop());
    let postgres = instances.cluster.url("postgres");
    database::execute(postgres, "DELETE FROM pending_invalidations").await;
    instances
        .proxies
        .iter()
        .for_each(|proxy| proxy.set(ProxyState::WHOLE));
    checker.wrong_within_reads(100).await.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn trusting_redis_at_once_when_it_is_back_is_found_out() {
    assert!(!is_wrong_once_redis_is_back(|slow, _, _| slow).await);
    let at_once =
        |slow, url: &str, number| breaking(Rule::NoDistrust(url.to_owned()))(slow, url, number);
    assert!(is_wrong_once_redis_is_back(at_once).await);
}

/// The instance that is cut off in the tests below.
const CUT_OFF: usize = INSTANCES - 1;

/// Breaks `rule` in the instances for which `breaks` says so.
fn breaking_in(breaks: fn(usize) -> bool, rule: Rule) -> impl Wrap {
    move |slow, url: &str, number| {
        if breaks(number) {
            breaking(rule.clone())(slow, url, number)
        } else {
            slow
        }
    }
}

/// Has every write take its time before it commits.
const LATE_COMMITS: &str = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
                            'BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END'; \
                            CREATE TRIGGER wait AFTER INSERT OR UPDATE ON appointments \
                            FOR EACH STATEMENT EXECUTE FUNCTION wait()";

/// What the checker finds fault with, within `writes`, while one instance is cut off from Redis, which
/// alone is written to, in a database that `sql` has changed.
async fn wrong_while_cut_off(wrap: impl Wrap, sql: &str, writes: usize) -> Option<String> {
    let instances = Instances::start(30, wrap);
    let postgres = instances.cluster.url("postgres");
    database::execute(postgres, LATE_COMMITS).await;
    database::execute(postgres, sql).await;
    let checker = instances.checker_writing_to_last().await;
    checker.hits(5).await;
    instances.proxies[CUT_OFF].set(ProxyState::CUT);
    checker.wrong_within(writes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_relay_keeps_its_rules_no_answer_is_wrong() {
    let wrong = wrong_while_cut_off(|slow, _, _| slow, "", WRITES / 2).await;
    assert_eq!(wrong, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_leaves_no_row_is_found_out() {
    let wrap = breaking_in(|number| number == CUT_OFF, Rule::NoRow);
    let wrong = wrong_while_cut_off(wrap, "", ENOUGH).await;
    assert!(wrong.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_does_not_wait_for_the_fence_is_found_out() {
    let at_once = "CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS \
                   'BEGIN NEW.is_raised := TRUE; RETURN NEW; END'; \
                   CREATE TRIGGER raise BEFORE INSERT ON pending_invalidations \
                   FOR EACH ROW EXECUTE FUNCTION raise()";
    let wrong = wrong_while_cut_off(|slow, _, _| slow, at_once, ENOUGH).await;
    assert!(wrong.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_trusts_a_dead_session_is_found_out() {
    // Every session that listens sees what it saw before, and goes on.
    let sees_nothing = "ALTER TABLE pending_invalidations RENAME TO all_pending_invalidations; \
                        CREATE VIEW pending_invalidations AS \
                        SELECT * FROM all_pending_invalidations \
                        WHERE NOT EXISTS (SELECT FROM pg_listening_channels())";
    let wrong = wrong_while_cut_off(|slow, _, _| slow, sees_nothing, ENOUGH).await;
    assert!(wrong.is_some_and(|wrong| wrong.contains(" is not in ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_a_fence_is_found_out() {
    let wrap = breaking_in(|number| number != CUT_OFF, Rule::NoFence);
    let wrong = wrong_while_cut_off(wrap, "", ENOUGH).await;
    assert!(wrong.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_releases_its_fence_before_the_commit_is_found_out() {
    let wrap = breaking_in(|number| number != CUT_OFF, Rule::FenceBeforeCommit);
    let wrong = wrong_while_cut_off(wrap, "", ENOUGH).await;
    assert!(wrong.is_some());
}
