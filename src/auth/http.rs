//! Who sends a request: finding its token, guarding the routes, and the rules for writing with a cookie.
//!
//! The header `Authorization: Bearer …` goes before the cookie: a browser sends its cookie with every
//! request, while nobody sends this header by accident.

use std::{
    future::{Ready, ready},
    net::IpAddr,
    sync::Arc,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, ORIGIN},
    },
    middleware::Next,
    web,
};

use super::{Caller, keys::KeysError, rotation, token::Verifier};
use crate::{
    clock::Clock,
    error::{ApiError, Challenge},
    input::http::close_after_answer,
    settings::{AuthMode, Settings},
    tasks::Tasks,
    tenant::TenantId,
};

/// The cookie that `AlignWork` sets.
const COOKIE_NAME: &str = "access_token";

/// How callers are authenticated.
pub struct Auth {
    /// Checks their tokens. Without it nobody needs a token.
    verifier: Option<Arc<Verifier>>,
    /// The origins whose pages may write with the cookie.
    origins: Vec<String>,
}

/// Marks a connection that came in by the listener for administrators.
#[derive(Debug, Clone, Copy)]
pub struct AdminConnection;

/// Where a token was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenSource {
    Header,
    Cookie,
}

impl Auth {
    /// Authenticates as `settings` say; `clock` tells whether a token is still valid. A file of keys is
    /// looked at as one of `tasks`.
    pub fn new(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self, KeysError> {
        let Settings { auth, cors, .. } = settings;
        let verifier = match auth.mode {
            AuthMode::None => None,
            AuthMode::Jwt => Some(rotation::start(auth, clock, tasks)?),
        };
        Ok(Self {
            verifier,
            origins: cors.allowed_origins.clone(),
        })
    }

    /// Whether callers need a token.
    pub fn is_required(&self) -> bool {
        self.verifier.is_some()
    }

    fn caller(&self, request: &HttpRequest) -> Result<Caller, ApiError> {
        let Some(verifier) = &self.verifier else {
            return Ok(Caller::anyone());
        };
        let local = self.is_from_admin_listener(request);
        match find_token(request.headers())? {
            None if local => Ok(Caller::of(Vec::new(), true)),
            None => Err(no_token()),
            Some((token, source)) => {
                let caller = verifier.verify(token)?;
                if source == TokenSource::Cookie && !self.may_use_cookie(request) {
                    return Err(ApiError::forbidden(
                        "With the cookie only pages of an allowed origin may write. Other clients \
                         send the access token as Authorization: Bearer.",
                    ));
                }
                Ok(if local {
                    caller.administrator()
                } else {
                    caller
                })
            }
        }
    }

    /// A browser sends the cookie with the requests of any page. With every method but GET and HEAD its
    /// header `Origin` says which page sent the request.
    fn may_use_cookie(&self, request: &HttpRequest) -> bool {
        is_safe(request.method()) || self.is_from_allowed_page(request)
    }

    fn is_from_allowed_page(&self, request: &HttpRequest) -> bool {
        let mut origins = request.headers().get_all(ORIGIN);
        let (Some(origin), None) = (origins.next(), origins.next()) else {
            return false;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        self.origins.iter().any(|allowed| allowed == origin) || is_own(origin, host(request))
    }

    /// Whether the request came in by the listener for administrators and was not sent by a foreign page.
    /// A page of another origin is known by its `Origin`, and one whose domain name was made to lead to
    /// this machine by its `Host`.
    fn is_from_admin_listener(&self, request: &HttpRequest) -> bool {
        request.conn_data::<AdminConnection>().is_some()
            && host(request).is_some_and(is_loopback)
            && (is_safe(request.method())
                || !request.headers().contains_key(ORIGIN)
                || self.is_from_allowed_page(request))
    }
}

fn no_token() -> ApiError {
    ApiError::unauthorized(
        Challenge::NoToken,
        "An access token is needed, as Authorization: Bearer or in the cookie access_token.",
    )
}

fn is_safe(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn host(request: &HttpRequest) -> Option<&str> {
    request.headers().get(HOST)?.to_str().ok()
}

/// Whether `origin` is the service itself. The scheme is not compared, since a proxy that ends TLS hides
/// it.
fn is_own(origin: &str, host: Option<&str>) -> bool {
    ["https://", "http://"]
        .iter()
        .find_map(|scheme| origin.strip_prefix(scheme))
        .is_some_and(|authority| host == Some(authority))
}

/// Whether `host` is a name or address of this machine that no foreign name server can claim.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The token of a request, if it has one.
fn find_token(headers: &HeaderMap) -> Result<Option<(&str, TokenSource)>, ApiError> {
    let in_headers = headers
        .get_all(AUTHORIZATION)
        .filter_map(|value| bearer(value.to_str().ok()?));
    if let Some(token) = the_only(in_headers)? {
        return Ok(Some((token, TokenSource::Header)));
    }
    let in_cookies = headers
        .get_all(COOKIE)
        // Other cookies may hold bytes that are not ASCII.
        .flat_map(|cookies| cookies.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|cookie| std::str::from_utf8(cookie).ok()?.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, token)| token);
    Ok(the_only(in_cookies)?.map(|token| (token, TokenSource::Cookie)))
}

/// The token among `tokens`, if there is one. Two are an error, since either could be meant.
fn the_only<'a>(mut tokens: impl Iterator<Item = &'a str>) -> Result<Option<&'a str>, ApiError> {
    let first = tokens.next();
    match tokens.next() {
        None => Ok(first),
        Some(_) => Err(ApiError::unauthorized(
            Challenge::InvalidRequest,
            "The request has several access tokens.",
        )),
    }
}

/// The token after the scheme `Bearer`. Other schemes are meant for proxies on the way.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether whoever sent `request`, a while ago, may still touch `tenant`: their token may have expired.
pub fn may_still_touch(request: &HttpRequest, tenant: &TenantId) -> Result<(), ApiError> {
    auth_of(request).caller(request)?.may_touch(tenant)
}

/// Who sends `request`. The token is checked once per request.
fn caller_of(request: &HttpRequest) -> Result<Caller, ApiError> {
    if let Some(known) = request.extensions().get::<Caller>() {
        return Ok(known.clone());
    }
    let auth = auth_of(request);
    let caller = auth.caller(request)?;
    if auth.is_required() {
        request.extensions_mut().insert(caller.clone());
    }
    Ok(caller)
}

fn auth_of(request: &HttpRequest) -> &Auth {
    let auth = request.app_data::<web::Data<Auth>>();
    auth.expect("the server sets how callers are authenticated")
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _body: &mut Payload) -> Self::Future {
        ready(caller_of(request))
    }
}

/// A middleware that lets only callers with a valid token pass, before anything else is read.
pub async fn callers_only<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> actix_web::Result<ServiceResponse<BoxBody>> {
    pass(request, next, |_caller| Ok(())).await
}

/// A middleware that lets only administrators pass.
pub async fn admins_only<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> actix_web::Result<ServiceResponse<BoxBody>> {
    pass(request, next, Caller::may_administer).await
}

async fn pass<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
    may: impl FnOnce(&Caller) -> Result<(), ApiError>,
) -> actix_web::Result<ServiceResponse<BoxBody>> {
    match caller_of(request.request()).and_then(|caller| may(&caller)) {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(refused) => {
            match request.take_payload() {
                Payload::None => {}
                unread => close_after_answer(unread),
            }
            // The refusal is a response, because other middleware does not handle errors.
            Ok(request.into_response(refused.error_response()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_service_itself_is_known_by_its_host() {
        for (origin, host, own) in [
            ("https://clinic.example", "clinic.example", true),
            ("http://clinic.example:8000", "clinic.example:8000", true),
            ("https://clinic.example", "clinic.example:8000", false),
            ("https://evil.example", "clinic.example", false),
            (
                "https://clinic.example.evil.example",
                "clinic.example",
                false,
            ),
            ("ftp://clinic.example", "clinic.example", false),
            ("null", "null", false),
            ("", "", false),
        ] {
            assert_eq!(is_own(origin, Some(host)), own, "{origin} {host}");
        }
        assert!(!is_own("https://clinic.example", None));
    }

    #[test]
    fn only_this_machine_is_a_loopback_host() {
        for host in [
            "localhost",
            "localhost:9000",
            "127.0.0.1:9000",
            "[::1]:9000",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example:9000",
            "10.0.0.1",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
