//! The routes of the statistics.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue},
    web,
};
use serde::{Deserialize, Serialize};

use super::{
    service::{Cut, StatsService},
    zones::DEFAULT_ZONE,
};
use crate::{
    cache::{Answer, Outcome},
    error::ApiError,
    input::{Fields, http::Query, integer},
    metrics::CacheFigures,
    tenant::TenantId,
};

/// Keys on a page of `/cache-metrics`, unless `limit` asks for another number.
const DEFAULT_KEYS: usize = 100;
const MAX_KEYS: i64 = 1000;

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// How long an entry lives: what `Cache-Status` counts down from.
#[derive(Debug, Clone, Copy)]
pub struct Ttl(pub Duration);

/// Adds the routes, below the prefix of the appointments.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource(["/mega-stats", "/mega-stats/"])
                .get(mega_stats)
                .route(web::head().to(mega_stats)),
        )
        .service(
            web::resource(["/summary", "/summary/"])
                .get(summary)
                .route(web::head().to(summary)),
        )
        .service(web::resource(["/cache", "/cache/"]).delete(purge))
        .service(
            web::resource(["/cache-metrics", "/cache-metrics/"])
                .get(cache_metrics)
                .route(web::head().to(cache_metrics)),
        );
}

#[derive(Debug, Deserialize)]
struct MegaStatsQuery {
    #[serde(rename = "tenantId")]
    tenant_id: Option<String>,
    tz: Option<String>,
}

async fn mega_stats(
    Query(query): Query<MegaStatsQuery>,
    stats: web::Data<Arc<StatsService>>,
    ttl: web::Data<Ttl>,
) -> Result<HttpResponse, ApiError> {
    let MegaStatsQuery { tenant_id, tz } = query;
    let mut fields = Fields::default();
    let tenant = fields.required("tenantId", tenant_id, |raw| TenantId::parse(&raw));
    let zone = tz.as_deref().unwrap_or(DEFAULT_ZONE);
    let zone = fields.required("tz", Some(zone), |name| stats.zone(name));
    let (Some(tenant), Some(zone)) = (tenant, zone) else {
        return Err(fields.error());
    };
    Ok(respond(
        stats.mega_stats(&tenant, &zone).await?,
        *ttl.into_inner(),
    ))
}

#[derive(Debug, Deserialize)]
struct SummaryQuery {
    #[serde(rename = "tenantId")]
    tenant_id: Option<String>,
    from: Option<String>,
    to: Option<String>,
    tz: Option<String>,
}

async fn summary(
    Query(query): Query<SummaryQuery>,
    stats: web::Data<Arc<StatsService>>,
    ttl: web::Data<Ttl>,
) -> Result<HttpResponse, ApiError> {
    let SummaryQuery {
        tenant_id,
        from,
        to,
        tz,
    } = query;
    let mut fields = Fields::default();
    let tenant = fields.required("tenantId", tenant_id, |raw| TenantId::parse(&raw));
    let zone = tz.as_deref().unwrap_or(DEFAULT_ZONE);
    let zone = fields.required("tz", Some(zone), |name| stats.zone(name));
    let range = fields.range(from, to);
    let (Some(tenant), Some(zone), Some((from, to))) = (tenant, zone, range) else {
        return Err(fields.error());
    };
    Ok(respond(
        stats.summary(&tenant, &zone, Cut { from, to }).await?,
        *ttl.into_inner(),
    ))
}

/// RFC 9211 for `Cache-Status`; `X-Cache` as in the seed.
fn respond(answer: Answer, Ttl(ttl): Ttl) -> HttpResponse {
    let (x_cache, mut status) = match (answer.outcome, answer.collapsed) {
        (Outcome::Hit, false) => {
            let left = ttl.saturating_sub(answer.age).as_secs();
            ("HIT", format!("megastats; hit; ttl={left}"))
        }
        (Outcome::Hit, true) => ("HIT", "megastats; fwd=miss".to_owned()),
        (Outcome::Stale, _) => {
            let past = answer.age.saturating_sub(ttl).as_secs();
            let detail = "detail=database-unavailable";
            ("STALE", format!("megastats; hit; ttl=-{past}; {detail}"))
        }
        (Outcome::Miss, _) => ("MISS", "megastats; fwd=miss".to_owned()),
        (Outcome::Bypass, _) => ("BYPASS", "megastats; fwd=bypass".to_owned()),
    };
    if answer.collapsed {
        status.push_str("; collapsed");
    }
    let mut response = HttpResponse::Ok();
    if answer.outcome == Outcome::Stale {
        response.insert_header((AGE, answer.age.as_secs()));
    }
    response
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .insert_header((X_CACHE, HeaderValue::from_static(x_cache)))
        .insert_header((CACHE_STATUS, status))
        .body(answer.body)
}

#[derive(Debug, Deserialize)]
// A misspelt tenant must not stand for all of them.
#[serde(deny_unknown_fields)]
struct PurgeQuery {
    #[serde(rename = "tenantId")]
    tenant_id: Option<String>,
}

/// Forgets what is cached for one tenant, or for all; answers once it holds.
async fn purge(
    Query(query): Query<PurgeQuery>,
    stats: web::Data<Arc<StatsService>>,
) -> Result<HttpResponse, ApiError> {
    let mut fields = Fields::default();
    let tenant = fields.optional("tenantId", query.tenant_id, |raw| TenantId::parse(&raw));
    let Some(tenant) = tenant else {
        return Err(fields.error());
    };
    stats.forget(tenant.as_ref()).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Debug, Deserialize)]
struct CacheMetricsQuery {
    limit: Option<String>,
    after: Option<String>,
}

#[derive(Debug, Serialize)]
struct CacheMetricsAnswer {
    cache_stats: Figures,
    last_minute: Figures,
    cache_size: usize,
    cache_keys: Vec<String>,
    /// What to pass as `after` for the next page of keys; null on the last one.
    next_after: Option<String>,
}

#[derive(Debug, Serialize)]
struct Figures {
    hits: u64,
    misses: u64,
    total_requests: u64,
    /// In percent.
    hit_rate: f64,
    avg_hit_time_ms: f64,
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

async fn cache_metrics(
    Query(query): Query<CacheMetricsQuery>,
    stats: web::Data<Arc<StatsService>>,
) -> Result<HttpResponse, ApiError> {
    let CacheMetricsQuery { limit, after } = query;
    let mut fields = Fields::default();
    let limit = fields.optional("limit", limit, |raw| integer(&raw, 1, MAX_KEYS));
    let Some(limit) = limit else {
        return Err(fields.error());
    };
    let limit = limit
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
