//! `GET /mega-stats/events`: the dashboard's counts as a stream of Server-Sent Events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue},
    },
    web::{self, Bytes},
};
use futures_util::{Stream, stream};
use tokio::time::timeout;
use utoipa::OpenApi;

use super::{LiveCounts, Update, Viewer};
use crate::{
    auth::{Caller, http::may_still_touch},
    error::{
        ApiError,
        openapi::{BadQuery, Failed, Guarded},
    },
    http::{SLASH_OR_NOT, read_resource},
    input::http::Query,
    stats::{
        http::{MegaStatsQuery, x_cache},
        polls::Statistic,
        service::StatsService,
    },
    tenant::TenantId,
};

/// How long a stream is silent at most: shorter than proxies wait for an answer to go on. A viewer who
/// has gone and a token that has expired are noticed then.
const MAX_SILENCE: Duration = Duration::from_secs(15);

/// How long clients wait before they connect again, in milliseconds: each another time, so that the
/// viewers of an instance that stops do not all come to the next one at once.
const RETRY_MS: std::ops::RangeInclusive<u32> = 500..=2500;

/// Tells nginx to pass events on at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How OpenAPI describes the route.
#[derive(OpenApi)]
#[openapi(paths(events))]
pub(crate) struct EventsApi;

/// Adds the route, below `prefix`.
pub fn routes(config: &mut web::ServiceConfig, prefix: &str) {
    for slash in SLASH_OR_NOT {
        let path = format!("{prefix}/mega-stats/events{slash}");
        config.service(read_resource(&path, events));
    }
}

/// The dashboard's counts, live
///
/// Server-Sent Events without end. The `data` of each is what `/mega-stats` answers; one is sent at
/// once, and another within a second of each write that changes the counts, whichever instance it went
/// to. The fields `x-cache` and `age` are the headers that the answer would have. An event `problem` has the
/// error that `/mega-stats` would answer. The stream ends when the access token expires, and when the
/// service stops; whoever connects again misses nothing, since each event has all counts.
#[utoipa::path(
    get,
    path = "/mega-stats/events",
    operation_id = "mega_stats_events",
    tag = "Statistics",
    params(MegaStatsQuery),
    responses(
        (
            status = 200,
            description = "The stream.",
            body = String,
            content_type = "text/event-stream",
            example = "x-cache: MISS\nage: 0\ndata: {\"today\":{\"confirmed\":3,\"pending\":1},…}\n\n"
        ),
        BadQuery,
        Guarded, Failed
    )
)]
async fn events(
    caller: Caller,
    request: HttpRequest,
    Query(query): Query<MegaStatsQuery>,
    stats: web::Data<Arc<StatsService>>,
    live: web::Data<Arc<LiveCounts>>,
) -> Result<HttpResponse, ApiError> {
    let poll = query.read(Statistic::MegaStats, &stats)?;
    caller.may_touch(&poll.tenant)?;
    let tenant = poll.tenant.clone();
    let viewer = live.view(poll).await?;
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("text/event-stream")))
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .insert_header((X_ACCEL_BUFFERING, HeaderValue::from_static("no")));
    if request.method() == Method::HEAD {
        return Ok(response.finish());
    }
    Ok(response.streaming(stream_to(viewer, request, tenant)))
}

/// What is sent to `viewer`, who asked by `request` for the counts of `tenant`.
fn stream_to(
    viewer: Viewer,
    request: HttpRequest,
    tenant: TenantId,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let retry = format!("retry: {}\n\n", rand::random_range(RETRY_MS));
    let first = stream::once(async { Ok(Bytes::from(retry)) });
    let events = stream::unfold(Some(viewer), move |viewer| {
        let (request, tenant) = (request.clone(), tenant.clone());
        async move {
            let mut viewer = viewer?;
            let text = match timeout(MAX_SILENCE, viewer.next()).await {
                Ok(update) => event(&update?),
                Err(_elapsed) => ":\n\n".to_owned(),
            };
            Some(match may_still_touch(&request, &tenant) {
                Ok(()) => (Ok(Bytes::from(text)), Some(viewer)),
                Err(refused) => (Ok(Bytes::from(event(&Update::Failed(refused)))), None),
            })
        }
    });
    stream::StreamExt::chain(first, events)
}

/// The text of an event. Neither JSON nor a header has a line break in it.
fn event(update: &Update) -> String {
    match update {
        Update::Counts(answer) => format!(
            "x-cache: {}\nage: {}\ndata: {}\n\n",
            x_cache(answer.outcome),
            answer.age.as_secs(),
            String::from_utf8_lossy(&answer.body),
        ),
        Update::Failed(error) => {
            let problem = serde_json::to_string(error).unwrap_or_default();
            format!("event: problem\ndata: {problem}\n\n")
        }
    }
}
