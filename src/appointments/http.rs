//! The routes of the appointments.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{self, ContentType},
    web,
};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::{
    PREFIX,
    body::{CreateBody, UpdateBody},
    idempotency::{
        self,
        openapi::{IdempotencyKeyHeader, ReplayedHeader},
        store::CreateOutcome,
    },
    model::{Appointment, ListFilter, MAX_ID, Page},
    openapi::{Id, LocationHeader},
    store,
};
use crate::{
    auth::Caller,
    clock::Clock,
    db::{AnyConn, Db, UtcTime},
    error::{
        ApiError,
        openapi::{BadBody, BadId, BadQuery, Failed, Guarded},
    },
    http::{SLASH_OR_NOT, forwarded_prefix, read_resource},
    input::{
        FieldReader,
        http::{Body, Query},
        integer,
        openapi::{Instant, Tenant},
    },
    stats::service::StatsService,
    tenant::TenantId,
};

const DEFAULT_PAGE_SIZE: i64 = 50;
const MAX_PAGE_SIZE: i64 = 100;

/// How OpenAPI describes the routes.
#[derive(OpenApi)]
#[openapi(paths(list, create, get, update))]
pub(crate) struct AppointmentsApi;

/// What the routes work with.
#[derive(Clone)]
pub struct Appointments {
    /// Where the appointments are.
    pub db: Db,
    /// Through it they are changed, so that no cached statistics are older.
    pub stats: Arc<StatsService>,
    /// The time at which they are made and changed.
    pub clock: Arc<dyn Clock>,
    /// Whether they may be made, or moved, to start before that time.
    pub allow_past_starts: bool,
}

impl Appointments {
    /// When an appointment that is made or moved `now` may start at the earliest.
    fn earliest_start(&self, now: UtcTime) -> UtcTime {
        if self.allow_past_starts {
            Timestamp::MIN.into()
        } else {
            now
        }
    }
}

/// Adds the routes, below `prefix`. They come after all other routes there:
/// `/{id}` takes every name.
pub fn routes(config: &mut web::ServiceConfig, prefix: &str) {
    for slash in SLASH_OR_NOT {
        let path = format!("{prefix}{slash}");
        config.service(read_resource(&path, list).route(web::post().to(create)));
    }
    for slash in SLASH_OR_NOT {
        let path = format!("{prefix}/{{id}}{slash}");
        config.service(read_resource(&path, get).route(web::patch().to(update)));
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
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
    /// The number of the page: from 1 to the last one.
    #[param(value_type = Option<i64>, minimum = 1, default = 1, example = 1)]
    page: Option<String>,
    /// How many appointments a page has.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100, default = 50, example = 50)]
    page_size: Option<String>,
}

/// A page of a clinic's appointments
///
/// In the order of their starts, and then of their ids.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "list_appointments",
    tag = "Appointments",
    params(ListQuery),
    responses((status = 200, description = "The page.", body = Page), BadQuery, Guarded, Failed)
)]
async fn list(
    caller: Caller,
    Query(query): Query<ListQuery>,
    appointments: web::Data<Appointments>,
) -> Result<HttpResponse, ApiError> {
    let mut fields = FieldReader::default();
    let tenant = fields.tenant(query.tenant_id);
    let range = fields.range(query.from, query.to);
    let page = fields.optional("page", query.page, |raw| integer(&raw, 1, MAX_ID));
    let page_size = fields.optional("page_size", query.page_size, |raw| {
        integer(&raw, 1, MAX_PAGE_SIZE)
    });
    let filter = fields.finish(|| {
        Some(ListFilter {
            tenant: tenant?,
            range: range?,
            page: page?.unwrap_or(1),
            page_size: page_size?.unwrap_or(DEFAULT_PAGE_SIZE),
        })
    })?;
    caller.may_touch(&filter.tenant)?;
    let tenant = filter.tenant.clone();
    let page = appointments
        .db
        .read(Some(&tenant), move |conn| store::list(conn, &filter))
        .await?;
    // An empty list has a first page.
    if page.page > page.total_pages.max(1) {
        let message = format!("must be at most {}, the last page", page.total_pages.max(1));
        return Err(ApiError::invalid_field("page", message));
    }
    Ok(HttpResponse::Ok().json(page))
}

/// An appointment
#[utoipa::path(
    get,
    path = "/{id}",
    operation_id = "get_appointment",
    tag = "Appointments",
    params(("id" = Id, Path, example = json!(MAX_ID), description = "The identifier of the appointment.")),
    responses((status = 200, description = "The appointment.", body = Appointment), BadId, Guarded, Failed)
)]
async fn get(
    caller: Caller,
    id: web::Path<String>,
    appointments: web::Data<Appointments>,
) -> Result<HttpResponse, ApiError> {
    let id = parse_id(&id)?;
    Ok(HttpResponse::Ok().json(find(&appointments, &caller, id).await?))
}

/// Makes an appointment
///
/// Statistics that are asked for after the answer count it.
///
/// With an `Idempotency-Key` the request may be sent again within 24 hours, whatever went wrong: the
/// appointment is made once, and the first answer is given again. The answer is 422 if the key was used
/// for another appointment of the clinic. A request that was refused has not used its key.
#[utoipa::path(
    post,
    path = "/",
    operation_id = "create_appointment",
    tag = "Appointments",
    params(IdempotencyKeyHeader),
    request_body = CreateBody,
    responses(
        (
            status = 201,
            description = "The appointment.",
            body = Appointment,
            headers(
                ("Location" = inline(LocationHeader), description = "The path of the appointment."),
                ("Idempotency-Replayed" = inline(ReplayedHeader), description = "Sent only if the appointment was made by an earlier request with this key.")
            ),
            links(
                ("get" = (
                    operation_id = "get_appointment",
                    parameters(("id" = "$response.body#/id"))
                )),
                ("update" = (
                    operation_id = "update_appointment",
                    parameters(("id" = "$response.body#/id"))
                ))
            )
        ),
        BadBody,
        Guarded, Failed
    )
)]
async fn create(
    caller: Caller,
    request: HttpRequest,
    Body(body): Body<CreateBody>,
    appointments: web::Data<Appointments>,
) -> Result<HttpResponse, ApiError> {
    let key = idempotency::http::key(&request)?;
    let new = body.read()?;
    caller.may_touch(&new.tenant)?;
    let tenant = new.tenant.clone();
    let now = appointments.clock.now().into();
    let earliest_start = appointments.earliest_start(now);
    let Some(key) = key else {
        if new.starts_at < earliest_start {
            return Err(starts_in_the_past());
        }
        let write = move |conn: &mut AnyConn| store::create(conn, &new, now);
        let made = appointments.stats.write(&tenant, write).await?;
        return Ok(created(&request, made.id).json(made));
    };
    // A replayed create invalidates the cache as well: the instance that made the appointment may have
    // died before it did so, or may not have done it yet.
    let write =
        move |conn: &mut AnyConn| idempotency::store::create(conn, &new, &key, earliest_start, now);
    let (answer, is_replayed) = match appointments.stats.write(&tenant, write).await? {
        CreateOutcome::Created(answer) => (answer, false),
        CreateOutcome::Replayed(answer) => (answer, true),
        CreateOutcome::KeyReused => {
            return Err(ApiError::invalid_field(
                idempotency::http::KEY,
                "was used before for another appointment; a new one needs a new key",
            ));
        }
        CreateOutcome::StartsTooEarly => return Err(starts_in_the_past()),
    };
    let mut response = created(&request, answer.id);
    if is_replayed {
        response.insert_header((idempotency::http::REPLAYED, "true"));
    }
    Ok(response.content_type(ContentType::json()).body(answer.body))
}

/// 422. `AlignWork`'s front end looks for these words.
fn starts_in_the_past() -> ApiError {
    ApiError::invalid_field("startsAt", "an appointment cannot be scheduled in the past")
}

fn created(request: &HttpRequest, id: i64) -> HttpResponseBuilder {
    let outer = forwarded_prefix(request);
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("{outer}{PREFIX}/{id}")));
    response
}

/// Changes an appointment
///
/// Statistics that are asked for after the answer count it as it is now.
#[utoipa::path(
    patch,
    path = "/{id}",
    operation_id = "update_appointment",
    tag = "Appointments",
    params(("id" = Id, Path, example = json!(MAX_ID), description = "The identifier of the appointment.")),
    request_body = UpdateBody,
    responses(
        (status = 200, description = "The appointment as it is now.", body = Appointment),
        BadId,
        BadBody,
        Guarded, Failed
    )
)]
async fn update(
    caller: Caller,
    id: web::Path<String>,
    Body(body): Body<UpdateBody>,
    appointments: web::Data<Appointments>,
) -> Result<HttpResponse, ApiError> {
    let id = parse_id(&id)?;
    let changes = body.read()?;
    // An appointment never changes its tenant, so the fence is on the right one.
    let stored = find(&appointments, &caller, id).await?;
    let tenant = TenantId::parse(&stored.tenant_id).map_err(|_invalid| unknown(id))?;
    let owner = tenant.clone();
    let now = appointments.clock.now().into();
    let earliest_start = appointments.earliest_start(now);
    // A request may repeat the start that is stored.
    let is_too_early = |start| start != stored.starts_at && start < earliest_start;
    if changes.starts_at.is_some_and(is_too_early) {
        return Err(starts_in_the_past());
    }
    let write = move |conn: &mut AnyConn| store::update(conn, &owner, id, changes, now);
    let updated = appointments.stats.write(&tenant, write).await?;
    Ok(HttpResponse::Ok().json(updated.ok_or_else(|| unknown(id))?))
}

/// The appointment with that id, unless it is one that the caller may not touch.
async fn find(
    appointments: &Appointments,
    caller: &Caller,
    id: i64,
) -> Result<Appointment, ApiError> {
    let scope = caller.scope().clone();
    let found = appointments
        .db
        .read(caller.tenant(), move |conn| store::get(conn, &scope, id))
        .await?;
    found.ok_or_else(|| unknown(id))
}

fn unknown(id: i64) -> ApiError {
    ApiError::not_found(format!("There is no appointment {id}."))
}

fn parse_id(raw: &str) -> Result<i64, ApiError> {
    integer(raw, 1, MAX_ID).map_err(|message| ApiError::invalid_field("id", message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::appointments::model::{MAX_DURATION_MIN, MIN_DURATION_MIN};

    /// utoipa's attributes take only literals for these.
    #[test]
    fn the_described_limits_are_those_that_are_checked() {
        let api = serde_json::to_value(AppointmentsApi::openapi()).unwrap();
        let parameters = api["paths"]["/"]["get"]["parameters"].as_array().unwrap();
        let named = |name: &str| {
            parameters
                .iter()
                .find(|parameter| parameter["name"] == name)
        };
        let page_size = &named("page_size").unwrap()["schema"];
        assert_eq!(page_size["maximum"], json!(MAX_PAGE_SIZE));
        assert_eq!(page_size["default"], json!(DEFAULT_PAGE_SIZE));

        let schemas = &api["components"]["schemas"];
        let page = &schemas["AppointmentPage"]["properties"]["page_size"];
        assert_eq!(page["maximum"], json!(MAX_PAGE_SIZE));
        for body in ["NewAppointment", "AppointmentChanges"] {
            let duration: &Value = &schemas[body]["properties"]["durationMin"];
            assert_eq!(duration["minimum"], json!(MIN_DURATION_MIN), "{body}");
            assert_eq!(duration["maximum"], json!(MAX_DURATION_MIN), "{body}");
        }
    }
}
