//! What several routes share: registering those that are only read, answering files, and below which
//! path of a proxy's they are reached.

use std::{
    io::{self, Read},
    iter,
};

use actix_web::{
    FromRequest, Handler, HttpMessage, HttpRequest, HttpResponse, Resource, Responder, guard,
    http::{
        Method,
        header::{
            AcceptEncoding, CACHE_CONTROL, ContentEncoding, ETag, Encoding, EntityTag, IfNoneMatch,
            VARY,
        },
    },
    web::{self, Bytes},
};
use bytes::Buf;
use flate2::bufread::GzDecoder;
use futures_util::{Stream, stream};

/// A proxy that serves the service below a path of its own says in it which.
const FORWARDED_PREFIX: &str = "x-forwarded-prefix";

/// How much of a file is unpacked at once, in bytes.
const UNPACKED_AT_ONCE: usize = 8 * 1024;

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
    // actix's own guards note each method that they compare, so that a refusal can name the allowed ones.
    // This guard notes nothing, which is cheaper. No GET reaches the second route: it is there to be named.
    let is_get = guard::fn_guard(|request| request.head().method == Method::GET);
    web::resource(path)
        .route(web::route().guard(is_get).to(handler.clone()))
        .get(handler.clone())
        .route(web::head().to(handler))
}

/// The path below which a proxy serves the service, such as `/stats`, without a slash at its end; empty
/// if the request does not say, or what it says is not such a path.
///
/// Anybody can send the header. It changes nothing but the `Location` of the answer to the request
/// that has it, and cannot make that lead to another host.
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

/// A file that is the same for everybody.
#[derive(Debug)]
pub struct StaticFile<'a> {
    /// The header `Content-Type`.
    pub content_type: &'a str,
    /// The file.
    pub bytes: Bytes,
    /// Whether `bytes` are compressed by gzip.
    pub is_gzipped: bool,
}

impl StaticFile<'_> {
    /// The answer to `request`, without a copy of the file for each client.
    ///
    /// The next version may have another file under this name, so browsers keep it and ask each time
    /// whether theirs is still the right one.
    pub fn answer(self, request: &HttpRequest) -> HttpResponse {
        // The tag is weak, since it is the same file with gzip and without it.
        let tag = EntityTag::new_weak(format!("{:08x}", crc32fast::hash(&self.bytes)));
        let is_known = match request.get_header() {
            Some(IfNoneMatch::Any) => true,
            Some(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(&tag)),
            None => false,
        };
        let mut answer = if is_known {
            HttpResponse::NotModified()
        } else {
            HttpResponse::Ok()
        };
        answer
            .insert_header(ETag(tag))
            .insert_header((CACHE_CONTROL, "no-cache"))
            .insert_header((VARY, "Accept-Encoding"));
        if is_known {
            return answer.finish();
        }
        answer.content_type(self.content_type);
        if !self.is_gzipped {
            answer.body(self.bytes)
        } else if accepts_gzip(request) {
            answer.insert_header(ContentEncoding::Gzip).body(self.bytes)
        } else {
            answer.streaming(unpacked(self.bytes))
        }
    }
}

fn accepts_gzip(request: &HttpRequest) -> bool {
    let offered = [Encoding::gzip(), Encoding::identity()];
    let accepted: Option<AcceptEncoding> = request.get_header();
    accepted
        .is_some_and(|accepted| accepted.negotiate(offered.iter()).as_ref() == Some(&offered[0]))
}

/// Unpacks a file as fast as the client reads it.
fn unpacked(gzipped: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
    let mut file = GzDecoder::new(gzipped.reader());
    stream::iter(iter::from_fn(move || {
        let mut piece = vec![0; UNPACKED_AT_ONCE];
        let read = file.read(&mut piece).map(|length| {
            piece.truncate(length);
            Bytes::from(piece)
        });
        match read {
            Ok(end) if end.is_empty() => None,
            read => Some(read),
        }
    }))
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
