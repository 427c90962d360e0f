//! The routes of the appointments.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{self, ContentType},
    web,
};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use super::{
    PREFIX,
    body::{CreateBody, UpdateBody},
    idempotency::{
        self,
        openapi::{Key, Replayed},
        store::Once,
    },
    model::{Appointment, ListFilter, MAX_ID, Page},
    openapi::{Id, Place, SomeChange},
    store,
};
use crate::{
    auth::Caller,
    clock::Clock,
    db::{AnyConn, Db},
    error::{
        ApiError,
        openapi::{BadBody, BadId, BadQuery, Failed, Guarded},
    },
    input::{
        Fields,
        http::{Body, Query},
        integer,
        openapi::{Instant, Tenant},
    },
    stats::service::StatsService,
    tenant::TenantId,
};

const DEFAULT_PAGE_SIZE: i64 = 50;
const MAX_PAGE_SIZE: i64 = 100;

/// The routes as they are described.
#[derive(OpenApi)]
#[openapi(paths(list, create, get, update), components(schemas(UpdateBody)))]
pub(crate) struct Api;

/// What the routes work with.
#[derive(Debug, Clone)]
pub struct Appointments {
    /// Where the appointments are.
    pub db: Db,
    /// What must know when they change.
    pub stats: Arc<StatsService>,
    /// Tells when.
    pub clock: Arc<dyn Clock>,
}

/// Adds the routes, below the prefix of the appointments. They come after all other routes there:
/// `/{id}` takes every name.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource(["", "/"])
                .get(list)
                .route(web::head().to(list))
                .route(web::post().to(create)),
        )
        .service(
            web::resource(["/{id}", "/{id}/"])
                .get(get)
                .route(web::head().to(get))
                .route(web::patch().to(update)),
        );
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The clinic.
    #[serde(rename = "tenantId")]
    #[param(value_type = Tenant)]
    tenant_id: Option<String>,
    /// The first start wanted.
    #[param(value_type = Option<Instant>)]
    from: Option<String>,
    /// The first start no longer wanted; not before `from`.
    #[param(value_type = Option<Instant>)]
    to: Option<String>,
    /// The page, up to the last one.
    #[param(value_type = Option<i64>, minimum = 1, default = 1, example = 1)]
    page: Option<String>,
    /// Appointments on a page.
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
    let mut fields = Fields::default();
    let tenant = fields.tenant(query.tenant_id);
    let range = fields.range(query.from, query.to);
    let page = fields.optional("page", query.page, |raw| integer(&raw, 1, MAX_ID));
    let page_size = fields.optional("page_size", query.page_size, |raw| {
        integer(&raw, 1, MAX_PAGE_SIZE)
    });
    let (Some(tenant), Some((from, to)), Some(page), Some(page_size)) =
        (tenant, range, page, page_size)
    else {
        return Err(fields.error());
    };
    caller.may_touch(&tenant)?;
    let filter = ListFilter {
        tenant,
        from,
        to,
        page: page.unwrap_or(1),
        page_size: page_size.unwrap_or(DEFAULT_PAGE_SIZE),
    };
    let page = appointments
        .db
        .read(move |conn| store::list(conn, &filter))
        .await?;
    // An empty list has a first page.
    if page.page > page.total_pages.max(1) {
        fields.refuse(
            "page",
            format!("must be at most {}, the last page", page.total_pages.max(1)),
        );
        return Err(fields.error());
    }
    Ok(HttpResponse::Ok().json(page))
}

/// An appointment
#[utoipa::path(
    get,
    path = "/{id}",
    operation_id = "get_appointment",
    tag = "Appointments",
    params(("id" = Id, Path, description = "Which one.")),
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
/// Whoever reads statistics after the answer finds it counted.
///
/// With an `Idempotency-Key` it may be sent again, after whatever went wrong, for 24 hours: nothing
/// is made twice, and the first answer is given again. 422 if the key was used for another
/// appointment of the clinic; a request that was refused has not used its key.
#[utoipa::path(
    post,
    path = "/",
    operation_id = "create_appointment",
    tag = "Appointments",
    params(Key),
    request_body = CreateBody,
    responses(
        (
            status = 201,
            description = "The appointment.",
            body = Appointment,
            headers(
                ("Location" = inline(Place), description = "Where it is."),
                ("Idempotency-Replayed" = inline(Replayed), description = "There if it was made before.")
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
    let (tenant, now) = (new.tenant.clone(), appointments.clock.now().into());
    let Some(key) = key else {
        let write = move |conn: &mut AnyConn| store::create(conn, &new, now);
        let made = appointments.stats.tenant_changed(&tenant, write).await?;
        return Ok(created(made.id).json(made));
    };
    // What took place before is a change to whoever is told of it only now: the first one's writer
    // may have died before the cache was told, or may not have come to it yet.
    let write = move |conn: &mut AnyConn| idempotency::store::create(conn, &new, &key, now);
    match appointments.stats.tenant_changed(&tenant, write).await? {
        Once::Made(answer) => Ok(created(answer.id)
            .content_type(ContentType::json())
            .body(answer.body)),
        Once::Again(answer) => Ok(created(answer.id)
            .insert_header((idempotency::http::REPLAYED, "true"))
            .content_type(ContentType::json())
            .body(answer.body)),
        Once::Taken => {
            let mut fields = Fields::default();
            fields.refuse(
                idempotency::http::KEY,
                "was used before for another appointment; a new one needs a new key",
            );
            Err(fields.error())
        }
    }
}

fn created(id: i64) -> HttpResponseBuilder {
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("{PREFIX}/{id}")));
    response
}

/// Changes an appointment
///
/// Whoever reads statistics after the answer finds it counted as it is now.
#[utoipa::path(
    patch,
    path = "/{id}",
    operation_id = "update_appointment",
    tag = "Appointments",
    params(("id" = Id, Path, description = "Which one.")),
    request_body = inline(SomeChange),
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
    let (owner, now) = (tenant.clone(), appointments.clock.now().into());
    let write = move |conn: &mut AnyConn| store::update(conn, &owner, id, changes, now);
    let updated = appointments.stats.tenant_changed(&tenant, write).await?;
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
        .read(move |conn| store::get(conn, &scope, id))
        .await?;
    found.ok_or_else(|| unknown(id))
}

fn unknown(id: i64) -> ApiError {
    ApiError::not_found(format!("There is no appointment {id}."))
}

fn parse_id(raw: &str) -> Result<i64, ApiError> {
    let mut fields = Fields::default();
    fields
        .required("id", Some(raw), |raw| integer(raw, 1, MAX_ID))
        .ok_or_else(|| fields.error())
}
