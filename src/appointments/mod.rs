//! The appointments themselves.
//!
//! | file | what lives there |
//! |---|---|
//! | [`http`], `body`, `openapi` | routes; the bodies they take; what describes them beside their types |
//! | [`store`] | statements |
//! | [`model`] | the types |
//! | [`idempotency`] | creates that are sent again |
//! | [`import`] | bringing in the appointments of an `AlignWork` file |

mod body;
pub mod http;
pub mod idempotency;
pub mod import;
pub mod model;
mod openapi;
pub mod store;

/// The path of every route of the appointments and their statistics begins with this.
pub const PREFIX: &str = "/api/v1/appointments";
