//! What several routes share: registering those that are only read, and below which path of a proxy's
//! they are reached.

use actix_web::{FromRequest, Handler, HttpRequest, Resource, Responder, web};

/// A proxy that serves the service below a path of its own says in it which.
const FORWARDED_PREFIX: &str = "x-forwarded-prefix";

/// What a path may end in. The same route is one resource for each, since actix needs regular
/// expressions to find a resource that has two paths.
pub const SLASH_OR_NOT: [&str; 2] = ["", "/"];

/// A resource that `handler` answers at `path` to GET and to HEAD.
pub fn read_resource<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .get(handler.clone())
        .route(web::head().to(handler))
}

/// The path below which a proxy serves the service, such as `/stats`, without a slash at its end; empty
/// if the request does not say, or what it says is not such a path.
///
/// Anybody can send the header. It changes nothing but the `Location` of the answer to the request
/// that has it, and cannot make that lead to another host.
#[must_use]
pub fn forwarded_prefix(request: &HttpRequest) -> &str {
    let header = request.headers().get(FORWARDED_PREFIX);
    let prefix = header.and_then(|value| value.to_str().ok());
    let prefix = prefix.map(|prefix| prefix.strip_suffix('/').unwrap_or(prefix));
    prefix.filter(|prefix| is_path(prefix)).unwrap_or_default()
}

/// Whether `raw` is one or more segments of unreserved characters (RFC 3986), each after a slash.
fn is_path(raw: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_segment = |segment: &str| !segment.is_empty() && segment.bytes().all(unreserved);
    raw.strip_prefix('/')
        .is_some_and(|segments| segments.split('/').all(is_segment))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn prefix(header: &'static str) -> String {
        let request = TestRequest::default().insert_header((FORWARDED_PREFIX, header));
        forwarded_prefix(&request.to_http_request()).to_owned()
    }

    #[test]
    fn a_prefix_is_a_path_without_a_slash_at_its_end() {
        for (header, expected) in [
            ("/stats", "/stats"),
            ("/stats/", "/stats"),
            ("/clinic-1/stats_v2", "/clinic-1/stats_v2"),
        ] {
            assert_eq!(prefix(header), expected);
        }
    }

    #[test]
    fn what_is_not_a_path_or_would_lead_to_another_host_is_ignored() {
        for header in [
            "",
            "/",
            "//",
            "stats",
            "//evil.example",
            "/a//b",
            "/\\evil.example",
            "https://a.example",
            "/a?b",
            "/a#b",
            "/a b",
            "/a,/b",
            "/%2e",
        ] {
            assert_eq!(prefix(header), "", "{header}");
        }
    }
}
