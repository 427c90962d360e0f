//! The appointments themselves.
//!
//! | file | what lives there |
//! |---|---|
//! | [`http`] | routes |
//! | [`store`] | statements |
//! | [`model`] | the types |

pub mod http;
pub mod model;
pub mod store;
