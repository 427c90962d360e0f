//! What every backend must do: one async function per property, which panics if the property does not
//! hold. Whoever writes a backend can run them: they are there with the Cargo feature `conformance`.
//!
//! [`safety!`] makes a test of each property that every backend must have, [`caching!`] of those of
//! backends that keep anything, and [`listing!`] of those of backends that list their keys.
//!
//! ```
//! use megastats::cache::{
//!     MemoryCache,
//!     conformance::{self, Handles, LIFE},
//! };
//!
//! /// A backend to test, as two instances of the service see it.
//! async fn handles() -> Handles<MemoryCache> {
//!     Handles::one(MemoryCache::new(LIFE, 1000))
//! }
//!
//! // In a module of tests: one test per property, on tokio.
//! # #[cfg(test)]
//! mod tests {
//! #   use super::*;
//!     conformance::safety!(handles());
//!     conformance::caching!(handles());
//!     conformance::listing!(handles());
//! }
//!
//! // Or one property by itself.
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! conformance::lookups_bypass_from_fence_to_release(handles().await).await;
//! # }
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a property that does not hold panics"
)]

mod freshness;
mod handles;
mod history;
mod keys;
mod purge;
mod stale;

pub use self::{
    freshness::*,
    handles::{Handles, LIFE, STALE, TTL, is_bypass, undisturbed},
    history::*,
    keys::*,
    purge::*,
    stale::*,
};

/// Makes a test of each property named, over the handles that `$backend`, a future, gives. Where a
/// property needs something to be kept, it is run again if something disturbed the backend.
#[doc(hidden)]
#[macro_export]
macro_rules! cache_conformance_tests {
    ($backend:expr => always $($property:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $property() {
                $crate::cache::conformance::$property($backend.await).await;
            }
        )*
    };
    ($backend:expr => undisturbed $($property:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $property() {
                let property = $crate::cache::conformance::$property;
                $crate::cache::conformance::undisturbed(async || $backend.await, property).await;
            }
        )*
    };
}

/// Makes a test of each property that every backend must have, also one that keeps nothing.
#[doc(hidden)]
#[macro_export]
macro_rules! cache_safety_tests {
    ($backend:expr) => {
        $crate::cache::conformance::property_tests! { $backend => always
            lookups_bypass_from_fence_to_release
            what_was_computed_before_a_write_is_never_hit_after_it
            a_store_while_the_fence_stands_is_never_hit
            the_older_of_two_computations_may_store_last_but_is_not_hit
            no_read_is_older_than_the_last_acknowledged_write
            what_was_computed_before_a_purge_is_never_found_after_it
            fences_stand_while_everything_is_purged
        }
    };
}

/// Makes a test of each property of backends that keep something.
#[doc(hidden)]
#[macro_export]
macro_rules! cache_caching_tests {
    ($backend:expr) => {
        $crate::cache::conformance::property_tests! { $backend => undisturbed
            what_is_stored_is_hit_byte_for_byte
            the_last_of_several_fences_opens_the_cache_again
            a_release_opens_the_cache_under_a_new_generation
            an_older_computation_that_stores_last_displaces_nothing
            tenants_do_not_fence_or_invalidate_each_other
            kinds_and_segments_are_kept_apart
            the_time_to_live_runs_from_the_start_of_the_computation
            a_hit_does_not_extend_the_time_to_live
            the_age_of_a_hit_grows
            an_expired_entry_is_offered_while_its_generation_holds
            an_expired_entry_is_not_offered_from_a_fence_on
            an_entry_is_offered_for_its_lifetime_and_no_longer
            what_has_expired_is_replaced_under_the_same_generation
            everything_is_purged_on_every_instance_and_filled_again
        }
    };
}

/// Makes a test of each property of backends that list their keys.
#[doc(hidden)]
#[macro_export]
macro_rules! cache_listing_tests {
    ($backend:expr) => {
        $crate::cache::conformance::property_tests! { $backend => undisturbed
            keys_are_listed_in_order_page_by_page
            keys_that_would_not_be_hit_are_not_listed
        }
    };
}

#[doc(hidden)]
pub use cache_conformance_tests as property_tests;
#[doc(inline)]
pub use {
    cache_caching_tests as caching, cache_listing_tests as listing, cache_safety_tests as safety,
};
