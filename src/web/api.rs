//! The services as JSON: each route reads a message, calls the service that
//! gRPC serves, and writes its answer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use prost::Name;
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    Backend,
    admit::{Guard, admit},
    call::{Call, Context},
    ratelimit,
    status::{self, refuse},
};
use crate::{
    json,
    proto::{
        admin::v1::{
            DeleteExecutionUserRequest, DeleteOrgRequest, DeleteWorkspaceRequest,
            GetCatalogueRequest, GetClusterRequest, GetOrgRequest, ListChangesRequest,
            ListOrgsRequest, PutExecutionUserRequest, PutOrgRequest, PutWorkspaceRequest,
            ReplayDemandRequest, admin_service_server::AdminService,
        },
        v1::{
            AcquireRequest, AcquireResponse, GetDemandRequest, GetUsageRequest, ListUsageRequest,
            ReleaseRequest, ReportRequest, UsageOrder, acquire_response::Outcome,
            quota_service_server::QuotaService,
        },
    },
};

type Shared<Q, A> = State<Arc<Backend<Q, A>>>;
type Answer = Result<Response, Failure>;

/// A status on its way out.
struct Failure(Status);

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        with_owner(self.0.metadata(), status::response(&self.0))
    }
}

/// The routes under `/api/v1`.
pub fn router<Q: QuotaService, A: AdminService>(
    backend: Arc<Backend<Q, A>>,
    guard: Arc<Guard>,
) -> Router {
    Router::new()
        .route("/api/v1/orgs", get(list_orgs::<Q, A>))
        .route(
            // A custom method is a suffix of the last segment: `{org}:acquire`.
            "/api/v1/orgs/{org}",
            get(get_org::<Q, A>)
                .put(put_org::<Q, A>)
                .delete(delete_org::<Q, A>)
                .post(acquire::<Q, A>),
        )
        .route("/api/v1/orgs/{org}/usage", get(usage::<Q, A>))
        .route("/api/v1/orgs/{org}/demand", get(demand::<Q, A>))
        .route(
            "/api/v1/orgs/{org}/workspaces/{workspace}",
            put(put_workspace::<Q, A>).delete(delete_workspace::<Q, A>),
        )
        .route("/api/v1/orgs/{org}/users/{user}", put(put_user::<Q, A>).delete(delete_user::<Q, A>))
        .route("/api/v1/permits/{permit}", post(settle::<Q, A>))
        // Not `{org}:replay`: POST there is a right of writers, and this changes
        // nothing.
        .route("/api/v1/orgs/{org}/replay", post(replay::<Q, A>))
        .route("/api/v1/usage", get(list_usage::<Q, A>))
        .route("/api/v1/cluster", get(cluster::<Q, A>))
        .route("/api/v1/changes", get(list_changes::<Q, A>))
        .route("/api/v1/catalogue", get(catalogue::<Q, A>))
        .route_layer(middleware::from_fn_with_state(guard, admit))
        .with_state(backend)
}

async fn acquire<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path(segment): Path<String>,
    Call { context, body }: Call,
) -> Answer {
    let (org, verb) = custom_method(&segment)?;
    if verb != "acquire" {
        return Err(no_such_method(verb).into());
    }
    let mut message: AcquireRequest = read(&body)?;
    agree("org", &mut message.org, org)?;
    Ok(decision(api.quota.acquire(context.request(message)).await?))
}

async fn settle<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path(segment): Path<String>,
    Call { context, body }: Call,
) -> Answer {
    let (permit, verb) = custom_method(&segment)?;
    match verb {
        "release" => {
            let mut message: ReleaseRequest = read(&body)?;
            agree("permit_id", &mut message.permit_id, permit)?;
            Ok(reply(api.quota.release(context.request(message)).await?))
        }
        "report" => {
            let mut message: ReportRequest = read(&body)?;
            agree("permit_id", &mut message.permit_id, permit)?;
            Ok(reply(api.quota.report(context.request(message)).await?))
        }
        _ => Err(no_such_method(verb).into()),
    }
}

async fn usage<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path(org): Path<String>,
    context: Context,
) -> Answer {
    Ok(reply(api.quota.get_usage(context.request(GetUsageRequest { org })).await?))
}

async fn demand<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path(org): Path<String>,
    Query(mut query): Query<HashMap<String, String>>,
    context: Context,
) -> Answer {
    let since = query.remove("since").map(|text| text.parse()).transpose();
    let since = since.map_err(|_| bad("since", "is not a time such as 2026-01-31T12:00:00Z"))?;
    let message = GetDemandRequest { org, workspace: query.remove("workspace"), since };
    Ok(reply(api.quota.get_demand(context.request(message)).await?))
}

async fn list_usage<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Query(mut query): Query<HashMap<String, String>>,
    context: Context,
) -> Answer {
    let order = match query.remove("order") {
        None => UsageOrder::Unspecified,
        Some(text) => order(&text)?,
    };
    let message = ListUsageRequest {
        page_size: page_size(&mut query)?,
        page_token: query.remove("page_token").unwrap_or_default(),
        order: order.into(),
        search: query.remove("search").unwrap_or_default(),
    };
    Ok(reply(api.quota.list_usage(context.request(message)).await?))
}

async fn replay<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path(org): Path<String>,
    Call { context, body }: Call,
) -> Answer {
    let mut message: ReplayDemandRequest = read(&body)?;
    agree("org.id", &mut message.org.get_or_insert_default().id, &org)?;
    Ok(reply(api.admin.replay_demand(context.request(message)).await?))
}

async fn list_orgs<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Query(mut query): Query<HashMap<String, String>>,
    context: Context,
) -> Answer {
    let page_size = page_size(&mut query)?;
    let page_token = query.remove("page_token").unwrap_or_default();
    let prefix = query.remove("prefix").unwrap_or_default();
    let message = ListOrgsRequest { page_size, page_token, prefix };
    Ok(reply(api.admin.list_orgs(context.request(message)).await?))
}

async fn get_org<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path(org): Path<String>,
    context: Context,
) -> Answer {
    Ok(reply(api.admin.get_org(context.request(GetOrgRequest { org })).await?))
}

async fn put_org<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path(org): Path<String>,
    Call { context, body }: Call,
) -> Answer {
    let mut message: PutOrgRequest = read(&body)?;
    agree("org.id", &mut message.org.get_or_insert_default().id, &org)?;
    Ok(reply(api.admin.put_org(context.request(message)).await?))
}

async fn delete_org<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path(org): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    context: Context,
) -> Answer {
    let (etag, validate_only) = conditions(query)?;
    let message = DeleteOrgRequest { org, etag, validate_only };
    Ok(reply(api.admin.delete_org(context.request(message)).await?))
}

async fn put_workspace<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path((org, workspace)): Path<(String, String)>,
    Call { context, body }: Call,
) -> Answer {
    let mut message: PutWorkspaceRequest = read(&body)?;
    agree("org", &mut message.org, &org)?;
    agree("workspace.id", &mut message.workspace.get_or_insert_default().id, &workspace)?;
    Ok(reply(api.admin.put_workspace(context.request(message)).await?))
}

async fn delete_workspace<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path((org, workspace)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    context: Context,
) -> Answer {
    let (etag, validate_only) = conditions(query)?;
    let message = DeleteWorkspaceRequest { org, workspace, etag, validate_only };
    Ok(reply(api.admin.delete_workspace(context.request(message)).await?))
}

async fn put_user<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path((org, user)): Path<(String, String)>,
    Call { context, body }: Call,
) -> Answer {
    let mut message: PutExecutionUserRequest = read(&body)?;
    agree("org", &mut message.org, &org)?;
    agree("execution_user", &mut message.execution_user, &user)?;
    Ok(reply(api.admin.put_execution_user(context.request(message)).await?))
}

async fn delete_user<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Path((org, execution_user)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    context: Context,
) -> Answer {
    let (etag, validate_only) = conditions(query)?;
    let message = DeleteExecutionUserRequest { org, execution_user, etag, validate_only };
    Ok(reply(api.admin.delete_execution_user(context.request(message)).await?))
}

async fn cluster<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    context: Context,
) -> Answer {
    Ok(reply(api.admin.get_cluster(context.request(GetClusterRequest {})).await?))
}

async fn list_changes<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    Query(query): Query<HashMap<String, String>>,
    context: Context,
) -> Answer {
    let page_size = match query.get("page_size") {
        None => 0,
        Some(text) => text.parse().map_err(|_| bad("page_size", "is not a number of changes"))?,
    };
    Ok(reply(api.admin.list_changes(context.request(ListChangesRequest { page_size })).await?))
}

async fn catalogue<Q: QuotaService, A: AdminService>(
    State(api): Shared<Q, A>,
    context: Context,
) -> Answer {
    Ok(reply(api.admin.get_catalogue(context.request(GetCatalogueRequest {})).await?))
}

fn read<M: Name + Default>(body: &[u8]) -> Result<M, Status> {
    json::from_slice(body)
        .map_err(|error| refuse(Code::InvalidArgument, "BAD_JSON", format!("the body is {error}")))
}

/// Splits `{name}:{method}`. The name may contain a colon, the method does not.
fn custom_method(segment: &str) -> Result<(&str, &str), Status> {
    segment.rsplit_once(':').ok_or_else(|| {
        refuse(Code::NotFound, "NO_SUCH_PATH", "POST needs a method: /{name}:{method}")
    })
}

fn no_such_method(verb: &str) -> Status {
    refuse(Code::NotFound, "NO_SUCH_PATH", format!("there is no method {verb:?} here"))
}

/// The path names it; the body may repeat it, but not contradict it.
fn agree(field: &str, value: &mut String, path: &str) -> Result<(), Status> {
    if value.is_empty() {
        path.clone_into(value);
    }
    if value == path {
        Ok(())
    } else {
        Err(bad(field, &format!("is {value:?} in the body and {path:?} in the path")))
    }
}

fn page_size(query: &mut HashMap<String, String>) -> Result<u32, Status> {
    let text = query.remove("page_size").unwrap_or_else(|| "0".to_owned());
    text.parse().map_err(|_| bad("page_size", "is not a number of orgs"))
}

/// By its name, as a whole or in short: `USAGE_ORDER_USED` or `used`.
fn order(text: &str) -> Result<UsageOrder, Status> {
    let name = text.to_ascii_uppercase();
    UsageOrder::from_str_name(&name)
        .or_else(|| UsageOrder::from_str_name(&format!("USAGE_ORDER_{name}")))
        .ok_or_else(|| bad("order", "is none of trouble, used, exhausted and name"))
}

/// What makes a deletion conditional: `etag` and `validate_only`.
fn conditions(mut query: HashMap<String, String>) -> Result<(String, bool), Status> {
    let validate_only = match query.get("validate_only").map(String::as_str) {
        None | Some("false") => false,
        Some("" | "true") => true,
        Some(_) => return Err(bad("validate_only", "is neither true nor false")),
    };
    Ok((query.remove("etag").unwrap_or_default(), validate_only))
}

fn bad(field: &str, description: &str) -> Status {
    let mut details = ErrorDetails::with_bad_request_violation(field, description);
    details.set_error_info("BAD_FIELD", "quotagate", []);
    Status::with_error_details(Code::InvalidArgument, format!("{field} {description}"), details)
}

/// A decision: 200 with the permit, or 429 with the denial, and `Retry-After`
/// where it is known; with what is left of each limit.
fn decision(answer: tonic::Response<AcquireResponse>) -> Response {
    let mut headers = HeaderMap::new();
    ratelimit::describe(answer.get_ref(), &mut headers);
    let mut code = StatusCode::OK;
    if let Some(Outcome::Denial(denial)) = &answer.get_ref().outcome {
        code = StatusCode::TOO_MANY_REQUESTS;
        let wait = denial.retry_after.and_then(|wait| Duration::try_from(wait).ok());
        if let Some(value) = wait.and_then(status::seconds_up) {
            headers.insert(header::RETRY_AFTER, value);
        }
    }
    let mut response = reply(answer);
    *response.status_mut() = code;
    response.headers_mut().extend(headers);
    response
}

fn reply<M: Name>(answer: tonic::Response<M>) -> Response {
    let (metadata, message, _) = answer.into_parts();
    let kind = [(header::CONTENT_TYPE, "application/json")];
    with_owner(&metadata, (kind, json::to_line(&message)).into_response())
}

/// Keeps the metadata that clients rely on: which node decided.
fn with_owner(metadata: &MetadataMap, mut response: Response) -> Response {
    const OWNER: HeaderName = HeaderName::from_static("quotagate-owner");
    if let Some(owner) = metadata.get(OWNER.as_str())
        && let Ok(value) = HeaderValue::from_bytes(owner.as_bytes())
    {
        response.headers_mut().insert(OWNER, value);
    }
    response
}
