//! The routes of the statistics.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    body::BoxBody,
    http::{
        StatusCode,
        header::{AGE, CONTENT_TYPE, HeaderName, HeaderValue},
    },
    middleware::from_fn,
    web,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    model::{Days, MegaStats, Summary},
    openapi::{Counted, TimeZone},
    polls::{DatedPoll, Poll, Statistic},
    recent::RecentPolls,
    service::StatsService,
    zones::DEFAULT_ZONE,
};
use crate::{
    auth::{Caller, http::admins_only},
    cache::{Answer, Outcome},
    error::{
        ApiError,
        openapi::{BadQuery, Failed, Guarded},
    },
    http::{SLASH_OR_NOT, read_resource},
    input::{
        FieldReader,
        http::{Query, read_query},
        integer,
        openapi::{Instant, Tenant},
    },
    metrics::CacheFigures,
    tenant::TenantId,
};

/// Keys on a page of `/cache-metrics`, unless `limit` asks for another number.
const DEFAULT_KEYS: usize = 100;
const MAX_KEYS: i64 = 1000;

/// The bytes to reserve for `Cache-Status`: enough for that of a hit.
const USUAL_STATUS_LENGTH: usize = 48;

/// The header that says where an answer came from.
pub(crate) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// How OpenAPI describes the routes.
#[derive(OpenApi)]
#[openapi(
    paths(mega_stats, summary, days, cache_metrics, purge),
    components(schemas(MegaStats, Summary, Days, TimeZone))
)]
pub(crate) struct StatsApi;

/// Adds the routes, below `prefix`.
pub fn routes(config: &mut web::ServiceConfig, prefix: &str) {
    for slash in SLASH_OR_NOT {
        let path = |name: &str| format!("{prefix}/{name}{slash}");
        let cache_metrics = read_resource(&path("cache-metrics"), cache_metrics);
        let cache = web::resource(path("cache")).delete(purge);
        config
            .service(read_resource(&path("mega-stats"), mega_stats))
            .service(read_resource(&path("summary"), summary))
            .service(read_resource(&path("days"), days))
            .service(cache.wrap(from_fn(admins_only)))
            .service(cache_metrics.wrap(from_fn(admins_only)));
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MegaStatsQuery {
    /// The clinic.
    #[serde(rename = "tenantId")]
    #[param(value_type = Tenant)]
    tenant_id: Option<String>,
    /// The time zone at whose midnights a day begins.
    #[param(value_type = Option<TimeZone>)]
    tz: Option<String>,
}

impl MegaStatsQuery {
    /// What the query asks for of `statistic`.
    pub(super) fn read(self, statistic: Statistic, stats: &StatsService) -> Result<Poll, ApiError> {
        let mut fields = FieldReader::default();
        let poll = poll(
            &mut fields,
            statistic,
            self.tenant_id,
            self.tz.as_deref(),
            stats,
        );
        fields.finish(|| poll)
    }
}

/// The dashboard's counts
///
/// Confirmed and pending appointments of today, this week (Sunday to Saturday), this month and the
/// next. Cancelled ones count nowhere.
#[utoipa::path(
    get,
    path = "/mega-stats",
    tag = "Statistics",
    params(MegaStatsQuery),
    responses(Counted<MegaStats>, BadQuery, Guarded, Failed)
)]
async fn mega_stats(
    caller: Caller,
    request: HttpRequest,
    stats: web::Data<Arc<StatsService>>,
) -> Result<HttpResponse, ApiError> {
    answer(Statistic::MegaStats, &caller, &request, &stats).await
}

/// Answers `request`, which has a [`MegaStatsQuery`], for `statistic`.
async fn answer(
    statistic: Statistic,
    caller: &Caller,
    request: &HttpRequest,
    stats: &StatsService,
) -> Result<HttpResponse, ApiError> {
    let recent: &RecentPolls = request.app_data().expect("the server keeps them");
    let target = request.uri().path_and_query();
    let target = target.map_or("", |target| target.as_str());
    let now = stats.now();
    let poll = if let Some(poll) = recent.get(target, now) {
        caller.may_touch(&poll.poll.tenant)?;
        poll
    } else {
        let query: MegaStatsQuery = read_query(request.query_string())?;
        let poll = query.read(statistic, stats)?;
        caller.may_touch(&poll.tenant)?;
        let poll = Rc::new(DatedPoll::new(poll, now));
        recent.keep(target, &poll, now);
        poll
    };
    let answer = stats.answer_dated(&poll, now).await?;
    Ok(respond(answer, stats.ttl()))
}

/// Reads `tenantId` and `tz`, which is [`DEFAULT_ZONE`] if it is missing.
fn poll(
    fields: &mut FieldReader,
    statistic: Statistic,
    tenant_id: Option<String>,
    tz: Option<&str>,
    stats: &StatsService,
) -> Option<Poll> {
    let tenant = fields.tenant(tenant_id);
    let name = tz.unwrap_or(DEFAULT_ZONE);
    let zone = fields.required("tz", Some(name), |name| stats.zone(name));
    Some(Poll {
        statistic,
        tenant: tenant?,
        zone: zone?,
    })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SummaryQuery {
    /// The clinic.
    #[serde(rename = "tenantId")]
    #[param(value_type = Tenant)]
    tenant_id: Option<String>,
    /// Leaves out appointments that start before.
    #[param(value_type = Option<Instant>)]
    from: Option<String>,
    /// Leaves out appointments that start then or later; not before `from`.
    #[param(value_type = Option<Instant>)]
    to: Option<String>,
    /// The time zone at whose midnights a day begins.
    #[param(value_type = Option<TimeZone>)]
    tz: Option<String>,
}

/// Today and tomorrow
///
/// Confirmed and pending appointments and their sum. Cancelled ones count nowhere.
#[utoipa::path(
    get,
    path = "/summary",
    tag = "Statistics",
    params(SummaryQuery),
    responses(Counted<Summary>, BadQuery, Guarded, Failed)
)]
async fn summary(
    caller: Caller,
    Query(query): Query<SummaryQuery>,
    stats: web::Data<Arc<StatsService>>,
) -> Result<HttpResponse, ApiError> {
    let mut fields = FieldReader::default();
    let poll = poll(
        &mut fields,
        Statistic::Summary,
        query.tenant_id,
        query.tz.as_deref(),
        &stats,
    );
    let range = fields.range(query.from, query.to);
    let (poll, range) = fields.finish(|| poll.zip(range))?;
    caller.may_touch(&poll.tenant)?;
    Ok(respond(stats.summary(&poll, range).await?, stats.ttl()))
}

/// The days of this month
///
/// Confirmed and pending appointments of each. Cancelled ones count nowhere.
#[utoipa::path(
    get,
    path = "/days",
    tag = "Statistics",
    params(MegaStatsQuery),
    responses(Counted<Days>, BadQuery, Guarded, Failed)
)]
async fn days(
    caller: Caller,
    request: HttpRequest,
    stats: web::Data<Arc<StatsService>>,
) -> Result<HttpResponse, ApiError> {
    answer(Statistic::Days, &caller, &request, &stats).await
}

/// The header `X-Cache`.
pub(super) fn x_cache(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "HIT",
        Outcome::Stale => "STALE",
        Outcome::Miss => "MISS",
        Outcome::Bypass => "BYPASS",
    }
}

/// The answer with its headers: `X-Cache`, and `Cache-Status` as RFC 9211 defines it, which counts down
/// from `ttl`, the time that an entry lives.
fn respond(answer: Answer, ttl: Duration) -> HttpResponse {
    let mut status = String::with_capacity(USUAL_STATUS_LENGTH);
    match (answer.outcome, answer.collapsed) {
        (Outcome::Hit, false) => {
            let left = ttl.saturating_sub(answer.age).as_secs();
            status.push_str("megastats; hit; ttl=");
            status.push_str(itoa::Buffer::new().format(left));
        }
        (Outcome::Stale, _) => {
            let past = answer.age.saturating_sub(ttl).as_secs();
            status.push_str("megastats; hit; ttl=-");
            status.push_str(itoa::Buffer::new().format(past));
            status.push_str("; detail=database-unavailable");
        }
        (Outcome::Hit, true) | (Outcome::Miss, _) => status.push_str("megastats; fwd=miss"),
        (Outcome::Bypass, _) => status.push_str("megastats; fwd=bypass"),
    }
    if answer.collapsed {
        status.push_str("; collapsed");
    }
    let status = HeaderValue::from_str(&status).expect("all of it is visible ASCII");
    let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(answer.body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CACHE, HeaderValue::from_static(x_cache(answer.outcome)));
    headers.insert(CACHE_STATUS, status);
    if answer.outcome == Outcome::Stale {
        headers.insert(AGE, answer.age.as_secs().into());
    }
    response
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
// A misspelt `tenantId` must not purge all tenants.
#[serde(deny_unknown_fields)]
struct PurgeQuery {
    /// The clinic; without it all clinics are purged.
    #[serde(rename = "tenantId")]
    #[param(value_type = Option<Tenant>)]
    tenant_id: Option<String>,
}

/// Purges the cache
///
/// For one clinic, or for all. It is done when the answer arrives. Unknown query parameters are refused,
/// since a misspelt `tenantId` must not purge all clinics.
#[utoipa::path(
    delete,
    path = "/cache",
    operation_id = "purge_cache",
    tag = "Cache",
    params(PurgeQuery),
    responses((status = 204, description = "The answers were removed from the cache."), BadQuery, Guarded, Failed)
)]
async fn purge(
    Query(query): Query<PurgeQuery>,
    stats: web::Data<Arc<StatsService>>,
) -> Result<HttpResponse, ApiError> {
    let mut fields = FieldReader::default();
    let tenant = fields.optional("tenantId", query.tenant_id, |raw| TenantId::parse(&raw));
    let tenant = fields.finish(|| tenant)?;
    stats.purge(tenant.as_ref()).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CacheMetricsQuery {
    /// Keys on a page, at most.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000, default = 100, example = 100)]
    limit: Option<String>,
    /// The last key of the page before.
    #[param(example = "mega_stats:default-tenant:America/Recife:2025-10-31")]
    after: Option<String>,
}

/// The cache's figures and a page of its keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheMetrics)]
struct CacheMetricsAnswer {
    /// Since the start of this instance.
    cache_stats: Figures,
    /// Of the last minute.
    last_minute: Figures,
    /// Keys that would be hit, of those looked at: all of them with the cache in memory; on Redis about
    /// 10,000 keys on each master, those of other applications included.
    #[schema(example = 1)]
    cache_size: usize,
    /// A page of them, in their order.
    #[schema(example = json!(["mega_stats:default-tenant:America/Recife:2025-10-31"]))]
    cache_keys: Vec<String>,
    /// What to pass as `after` for the next page of keys; null on the last one.
    #[schema(required = true, example = json!(null))]
    next_after: Option<String>,
}

/// What this instance answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CacheFigures)]
struct Figures {
    /// Answers from the cache.
    #[schema(example = 95)]
    hits: u64,
    /// All others.
    #[schema(example = 5)]
    misses: u64,
    /// Both.
    #[schema(example = 100)]
    total_requests: u64,
    /// In percent.
    #[schema(minimum = 0, maximum = 100, example = 95.0)]
    hit_rate: f64,
    /// Average time of a hit, in milliseconds.
    #[schema(minimum = 0, example = 0.25)]
    avg_hit_time_ms: f64,
    /// Average time of all others, in milliseconds.
    #[schema(minimum = 0, example = 8.5)]
    avg_miss_time_ms: f64,
}

impl From<CacheFigures> for Figures {
    fn from(figures: CacheFigures) -> Self {
        Self {
            hits: figures.hits.count,
            misses: figures.misses.count,
            total_requests: figures.total(),
            hit_rate: figures.hit_rate(),
            avg_hit_time_ms: figures.hits.average_ms(),
            avg_miss_time_ms: figures.misses.average_ms(),
        }
    }
}

/// The cache's figures
///
/// Hits, misses and how long they took, and a page of the keys held.
#[utoipa::path(
    get,
    path = "/cache-metrics",
    tag = "Cache",
    params(CacheMetricsQuery),
    responses(
        (status = 200, description = "The figures.", body = CacheMetricsAnswer),
        BadQuery,
        Guarded, Failed
    )
)]
async fn cache_metrics(
    Query(query): Query<CacheMetricsQuery>,
    stats: web::Data<Arc<StatsService>>,
) -> Result<HttpResponse, ApiError> {
    let CacheMetricsQuery { limit, after } = query;
    let mut fields = FieldReader::default();
    let limit = fields.optional("limit", limit, |raw| integer(&raw, 1, MAX_KEYS));
    let limit = fields
        .finish(|| limit)?
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(DEFAULT_KEYS);
    let page = stats.keys(after.as_deref(), limit).await?;
    let metrics = stats.metrics();
    Ok(HttpResponse::Ok().json(CacheMetricsAnswer {
        cache_stats: metrics.since_start().into(),
        last_minute: metrics.last_minute().into(),
        cache_size: page.total,
        next_after: page.keys.last().filter(|_| page.more).cloned(),
        cache_keys: page.keys,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// utoipa's attributes take only literals for these.
    #[test]
    fn the_described_limits_are_those_that_are_checked() {
        let api = serde_json::to_value(StatsApi::openapi()).unwrap();
        let limit = &api["paths"]["/cache-metrics"]["get"]["parameters"][0];
        assert_eq!(limit["name"], "limit");
        assert_eq!(limit["schema"]["maximum"], json!(MAX_KEYS));
        assert_eq!(limit["schema"]["default"], json!(DEFAULT_KEYS));
    }
}
