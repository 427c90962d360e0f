//! How often Redis is asked, as it counts itself.

use std::collections::BTreeMap;

use super::*;

/// Reads that are hit, so many that one word more for each would show among the heartbeats.
const HITS: usize = 100;

/// What heartbeats ask for, twice at most for each `ping`, and an operator who counts.
const HEARTBEATS: [&str; 5] = ["ping", "get", "del", "info", "config|resetstat"];

pub(super) type Counts = BTreeMap<String, usize>;

/// What Redis was asked for while `work` went on, and how often. Again, with what comes `before` it,
/// if `cache` did not trust Redis all that time: it does without what it does not trust.
async fn asked(
    server: &Server,
    cache: &RedisCache,
    before: impl AsyncFn(),
    work: impl AsyncFn(),
) -> Counts {
    loop {
        before().await;
        let epoch = trusted(cache);
        server.run::<()>(&["CONFIG", "RESETSTAT"]);
        work().await;
        let counts = counts(server);
        if epoch.is_some() && trusted(cache) == epoch {
            return counts;
        }
    }
}

/// Every command that was run since the counts were reset, and how often.
pub(super) fn counts(server: &Server) -> Counts {
    let told: String = server.run(&["INFO", "commandstats"]);
    told.lines().filter_map(count).collect()
}

/// `cmdstat_NAME:calls=NUMBER,…`, but for what whoever connects says of itself.
fn count(line: &str) -> Option<(String, usize)> {
    let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
    let calls = rest.split(',').next()?.parse().ok()?;
    (name != "client|setinfo").then(|| (name.to_owned(), calls))
}

/// Asserts that nobody but heartbeats, and `scripts` once each, has used their commands.
fn assert_heartbeats(counts: &Counts, scripts: usize) {
    let of = |name: &str| counts.get(name).copied().unwrap_or_default();
    let heartbeats = of("ping") + 1;
    assert!(of("get") <= 2 * heartbeats + scripts, "{counts:?}");
    assert!(of("del") <= heartbeats + scripts, "{counts:?}");
}

fn without(mut counts: Counts, names: &[&str]) -> Counts {
    counts.retain(|name, _| !names.contains(&name.as_str()));
    counts
}

fn only(command: &str, times: usize) -> Counts {
    BTreeMap::from([(command.to_owned(), times)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_is_one_word_to_redis() {
    let server = Server::start();
    let cache = open(&server.settings());
    let fill = async || fill(&cache, "kept").await;
    let cached = reader(Arc::new(cache.clone()));
    let hits = async || {
        for _ in 0..HITS {
            let compute = || async { Ok("computed".into()) }.boxed();
            cached.read(&key(), compute).await.unwrap();
        }
    };
    let counts = asked(&server, &cache, fill, hits).await;
    assert_heartbeats(&counts, 0);
    assert_eq!(without(counts, &HEARTBEATS), only("mget", HITS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_raised_with_one_word_to_redis_and_released_with_one() {
    let server = Server::start();
    let cache = open(&server.settings());
    let trust = async || trusts(&cache).await;
    let raise = async || drop(cache.fence(&tenant()).await.unwrap());
    let both = async || write(&cache).await;
    let raised = asked(&server, &cache, trust, raise).await;
    let moved = asked(&server, &cache, trust, both).await;
    // What the script does in Redis itself counts as well. Each time it sets the generation and the
    // fences, of which the first stands to the end, and a fence that is raised may be barred.
    for (counts, words, [sets, looks]) in [(raised, 1, [2, 1]), (moved, 2, [4, 1])] {
        assert_heartbeats(&counts, words);
        let script = [("set", sets), ("exists", looks), ("time", words)];
        let mut expected = only("eval", words);
        expected.extend(script.map(|(name, times)| (name.to_owned(), times)));
        assert_eq!(without(counts, &HEARTBEATS), expected);
    }
}
