//! Redis that is told of every write, and not read: held to what every backend must do, and to
//! what those expect who read it.

use super::*;
use crate::cache::{MemoryCache, Mirrored};

fn mirrored(told: impl StatsCache) -> Mirrored {
    let memory = MemoryCache::new(conformance::LIFE, 1000);
    Mirrored::new(Arc::new(memory), Arc::new(told))
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
async fn who_reads_redis_is_fenced_by_a_write_of_who_reads_memory_and_finds_nothing_from_before() {
    let server = Server::start();
    let (told, reader) = open_two(&server).await;
    let writer = mirrored(told);
    fill(&reader, "before").await;
    let fence = writer.fence(&tenant()).await.unwrap();
    assert!(is_bypass(&found(&reader, &key()).await));
    writer.release(fence).await.unwrap();
    seen(&reader, &key()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_redis_forgets_everything_when_who_reads_memory_is_told_to() {
    let server = Server::start();
    let (told, reader) = open_two(&server).await;
    let writer = mirrored(told);
    fill(&reader, "before").await;
    writer.forget().await.unwrap();
    seen(&reader, &key()).await;
}
