//! The cache: bytes under a key for a tenant, and the promise that no lookup hits what an
//! acknowledged write has outdated. What the bytes mean is not known here.
//!
//! | file | what lives there |
//! |---|---|
//! | `stats_cache` | the trait that every backend implements, and its types |
//! | `pages` | the keys that a backend holds, page by page |
//! | `key` | what an entry is kept under |
//! | `memory`, `redis`, `disabled` | the backends |
//! | `mirrored` | one backend that answers, and another that is told of every write |
//! | `relay` | having other instances raise the fences of one that does not reach Redis |
//! | `parts` | making the cache that the settings ask for |
//! | `conformance` | what every backend must do, one test per property; with the feature of that name |
//! | `read` | reading: look up, and compute what is missing |
//! | `fill` | one computation: waiting for its lease, computing, storing |
//! | `flights` | single flight: who shares a computation |
//! | `answer` | what a read gives |
//! | `write` | writing: fence, commit, release |
//! | `warming` | which entries are being read, and when each is due |
//!
//! # How a cached answer stays fresh
//! Every tenant has a *generation*, a mark that can only be compared for equality. A lookup
//! hands out a *permit* for the generation it saw, the later store needs it, and an entry hits only
//! while its generation is still the tenant's. A write raises a *fence* before it commits and
//! releases it afterwards, which replaces the generation; while any fence is raised, lookups say
//! [`Lookup::Bypass`]. What was computed before a write may thus be stored late, but is never hit.

mod answer;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod disabled;
mod fill;
mod flights;
mod key;
mod memory;
mod mirrored;
mod pages;
mod parts;
mod read;
mod redis;
mod relay;
mod stats_cache;
#[cfg(test)]
mod tests;
mod warming;
mod write;

pub use answer::{Answer, Outcome, ReadError, Refreshed};
pub use disabled::DisabledCache;
pub use fill::Computation;
pub use flights::NoResult;
pub use key::StatsKey;
pub use memory::MemoryCache;
pub use mirrored::Mirrored;
pub use pages::{KeyPage, ListKeys};
pub use parts::{CacheParts, from_settings};
pub use read::Reader;
pub use redis::{ClientSetUpError, LinkProblem, LinkState, RedisCache};
pub use relay::{Relay, RelayCounts};
pub use stats_cache::{
    BypassReason, CacheError, Entry, Fence, Generation, Leases, Lifetime, Lookup, Permit, Released,
    StatsCache,
};
pub use warming::Warming;
pub use write::{WriteError, Writer};
