//! The page at `/` in a real browser: Chromium, which reaches nobody but the service.
//!
//! | file | what lives there |
//! |---|---|
//! | `browser` | Chromium, and what a person sees and does in it |
//! | `counts` | the figures, which follow every write |
//! | `agenda` | making, confirming, moving and cancelling appointments |
//! | `places` | clinics, zones, languages and sizes |
//! | `states` | outages, tokens, midnight |
//! | `pictures` | the README's pictures |
//! | `files` | what is served, without a browser |

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops where it stands"
)]
#![expect(unreachable_pub, reason = "what a module offers to the others")]

mod agenda;
mod browser;
mod counts;
mod files;
mod pictures;
mod places;
mod states;
