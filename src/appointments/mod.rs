//! The appointments themselves.
//!
//! | file | what lives there |
//! |---|---|
//! | [`http`], `openapi` | routes; what describes them beside their types |
//! | [`store`] | statements |
//! | [`model`] | the types |
//! | [`idempotency`] | creates that are sent again |
//! | [`import`] | bringing in the appointments of an `AlignWork` file |

pub mod http;
pub mod idempotency;
pub mod import;
pub mod model;
mod openapi;
pub mod store;
