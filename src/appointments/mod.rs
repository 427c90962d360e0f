//! The appointments themselves.
//!
//! | file | what lives there |
//! |---|---|
//! | [`http`] | routes |
//! | [`store`] | statements |
//! | [`model`] | the types |
//! | [`idempotency`] | creates that are sent again |
//! | [`import`] | bringing in the appointments of an `AlignWork` file |

pub mod http;
pub mod idempotency;
pub mod import;
pub mod model;
pub mod store;
