//! The appointments themselves.
//!
//! | file | what lives there |
//! |---|---|
//! | [`http`] | routes |
//! | [`store`] | statements |
//! | [`model`] | the types |
//! | [`import`] | bringing in the appointments of an `AlignWork` file |

pub mod http;
pub mod import;
pub mod model;
pub mod store;
