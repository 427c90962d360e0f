//! Instances that read from memory and invalidate in Redis: held to what every backend must do, and to
//! what instances expect that read from Redis.

use super::*;
use crate::cache::{MemoryCache, Mirrored};

fn mirrored(mirror: impl StatsCache) -> Mirrored {
    let memory = MemoryCache::new(conformance::LIFE, 1000);
    Mirrored::new(Arc::new(memory), Arc::new(mirror))
}

async fn handles() -> Handles<Mirrored> {
    let server = Server::start();
    let cache = open(&server.settings());
    trusts(&cache).await;
    Handles::one(mirrored(Instance {
        cache,
        _server: Arc::new(server),
    }))
}

conformance::safety!(handles());
conformance::caching!(handles());

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_reads_redis_is_fenced_by_a_write_of_one_that_reads_memory() {
    let server = Server::start();
    let (mirror, reader) = open_two(&server).await;
    let writer = mirrored(mirror);
    fill(&reader, "before").await;
    let fence = writer.fence(&tenant()).await.unwrap();
    assert!(is_bypass(&found(&reader, &key()).await));
    writer.release(fence).await.unwrap();
    seen(&reader, &key()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_reads_redis_forgets_everything_when_one_that_reads_memory_purges() {
    let server = Server::start();
    let (mirror, reader) = open_two(&server).await;
    let writer = mirrored(mirror);
    fill(&reader, "before").await;
    writer.purge().await.unwrap();
    seen(&reader, &key()).await;
}
