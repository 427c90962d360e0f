//! Making the cache that the settings ask for.

use std::sync::Arc;

use super::{
    disabled::DisabledCache,
    memory::MemoryCache,
    mirrored::Mirrored,
    pages::ListKeys,
    redis::{ClientSetUpError, RedisCache},
    relay::Relay,
    stats_cache::{Lifetime, StatsCache},
};
use crate::{
    clock::Clock,
    settings::{CacheBackend, CacheSettings},
    tasks::Tasks,
};

/// The cache of a service, and what only some of its backends have.
pub struct CacheParts {
    /// What statistics are read and written through.
    pub cache: Arc<dyn StatsCache>,
    /// Lists the keys of the backend that reads use.
    pub keys: Arc<dyn ListKeys>,
    /// The backend in this process, if reads use it: it has a number of entries to show.
    pub memory: Option<MemoryCache>,
    /// The backend in Redis, if it is told of writes: it has a link to show.
    pub redis: Option<RedisCache>,
    /// What hands invalidations over to other instances, once it was started.
    pub relay: Option<Relay>,
}

/// Makes what the settings ask for: reads use the backend selected, writes invalidate every backend
/// that is configured.
pub fn from_settings(
    settings: &CacheSettings,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> Result<CacheParts, ClientSetUpError> {
    let life = Lifetime::of(settings);
    let mut parts = CacheParts {
        cache: Arc::new(DisabledCache),
        keys: Arc::new(DisabledCache),
        memory: None,
        redis: None,
        relay: None,
    };
    if settings.backend == CacheBackend::Memory {
        let memory = MemoryCache::new(life, settings.max_entries);
        parts.cache = Arc::new(memory.clone());
        parts.keys = Arc::new(memory.clone());
        parts.memory = Some(memory);
    }
    let reads_redis = settings.backend == CacheBackend::Redis;
    if reads_redis || settings.redis.is_set() {
        let redis = RedisCache::new(&settings.redis, life, clock, tasks)?;
        if reads_redis {
            parts.cache = Arc::new(redis.clone());
            parts.keys = Arc::new(redis.clone());
        } else {
            parts.cache = Arc::new(Mirrored::new(parts.cache, Arc::new(redis.clone())));
        }
        parts.redis = Some(redis);
    }
    Ok(parts)
}
