//! Routes that are only read: registering them.

use actix_web::{FromRequest, Handler, Resource, Responder, web};

/// A resource that `handler` answers at `path`, with and without a slash at its end, to GET and to
/// HEAD.
pub fn read_resource<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource([path.to_owned(), format!("{path}/")])
        .get(handler.clone())
        .route(web::head().to(handler))
}
