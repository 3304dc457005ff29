//! Services whose answer depends on the org alone.

use std::{pin::Pin, time::Duration};

use quotagate::{
    proto::{
        admin::v1::{admin_service_server::AdminService, *},
        v1::{
            acquire_response::Outcome,
            quota_service_server::{QuotaService, QuotaServiceServer},
            *,
        },
    },
    tls::Peer,
};
use tokio::net::TcpListener;
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Both services.
#[derive(Clone, Copy, Debug)]
pub struct Fake;

/// The owner that every answer names: nobody listens there.
pub const OWNER: &str = "127.0.0.1:1";

type Answer<T> = Result<Response<T>, Status>;

/// Serves both by gRPC on a free port of this machine, for as long as the
/// test's runtime lives.
pub async fn grpc() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(QuotaServiceServer::new(Fake))
            .add_service(admin_service_server::AdminServiceServer::new(Fake))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    address
}

fn refuse(org: &str) -> Result<(), Status> {
    let info = |reason| ErrorDetails::with_error_info(reason, "quotagate", []);
    match org {
        "malformed" => {
            let mut details = info("BAD_FIELD");
            details.add_bad_request_violation("max_wait", "must be at most 10m");
            Err(Status::with_error_details(Code::InvalidArgument, "max_wait is too long", details))
        }
        "unknown" => Err(Status::with_error_details(Code::NotFound, "no org", info("NO_ORG"))),
        "away" => {
            let mut details = info("NO_OWNER");
            details.set_retry_info(Some(Duration::from_millis(1_500)));
            Err(Status::with_error_details(Code::Unavailable, "nobody can decide", details))
        }
        _ => Ok(()),
    }
}

fn owned<T>(message: T) -> Answer<T> {
    let mut response = Response::new(message);
    response.metadata_mut().insert("quotagate-owner", OWNER.parse().expect("ASCII"));
    Ok(response)
}

fn usage(org: &str) -> OrgUsage {
    let limit = LimitUsage {
        name: "calls".into(),
        kind: LimitKind::Window.into(),
        scope: LimitScope::Org.into(),
        identity: org.into(),
        max: 15_000,
        used_by_caller: 3_000,
        remaining: 12_000,
        window: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
        ..Default::default()
    };
    OrgUsage { org: org.into(), limits: vec![limit], ..Default::default() }
}

fn entry(org: Org) -> Option<OrgEntry> {
    Some(OrgEntry { org: Some(org), etag: "7".into(), ..Default::default() })
}

#[tonic::async_trait]
impl QuotaService for Fake {
    async fn acquire(&self, request: Request<AcquireRequest>) -> Answer<AcquireResponse> {
        let remote = request.extensions().get::<Peer>().map(|peer| peer.remote.ip().to_string());
        let caller = request.metadata().get("quotagate-caller").cloned();
        let request = request.into_inner();
        refuse(&request.org)?;
        let denial = |seconds: Option<i64>| {
            Outcome::Denial(Denial {
                reason: DenialReason::OrgLimit.into(),
                message: "all is used".into(),
                retry_after: seconds
                    .map(|seconds| prost_types::Duration { seconds, nanos: 500_000_000 }),
                ..Default::default()
            })
        };
        let outcome = match request.org.as_str() {
            "full" => denial(Some(12)),
            "full-for-an-unknown-time" => denial(None),
            "slow" => std::future::pending().await,
            _ => Outcome::Permit(Permit {
                permit_id: format!(
                    "{}:{}{}",
                    request.org,
                    request.traffic_class().as_str_name(),
                    // Shows who says to call.
                    caller.map_or_else(String::new, |name| format!("@{name:?}")),
                ),
                calls: request.calls.max(1),
                // Shows that the edge passes on who calls.
                execution_user: remote.unwrap_or_default(),
                ttl: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
                ..Default::default()
            }),
        };
        owned(AcquireResponse { outcome: Some(outcome) })
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Answer<ReleaseResponse> {
        let request = request.into_inner();
        refuse(&request.permit_id)?;
        owned(ReleaseResponse {
            returned_calls: request.unused_calls.unwrap_or(99),
            ..Default::default()
        })
    }

    async fn report(&self, request: Request<ReportRequest>) -> Answer<ReportResponse> {
        let request = request.into_inner();
        let advice = if request.http_status == 503 { Advice::BackOff } else { Advice::Continue };
        owned(ReportResponse {
            already_settled: request.permit_id.is_empty(),
            advice: advice.into(),
            back_off: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            ..Default::default()
        })
    }

    async fn get_demand(&self, request: Request<GetDemandRequest>) -> Answer<GetDemandResponse> {
        let GetDemandRequest { org, workspace, since } = request.into_inner();
        refuse(&org)?;
        // Shows what it was asked for.
        let workspace = workspace.unwrap_or_else(|| "all".into());
        let traffic_class = TrafficClass::Event.into();
        let series = vec![DemandSeries { workspace, traffic_class, ..Default::default() }];
        owned(GetDemandResponse { org, counted_since: since, series, ..Default::default() })
    }

    async fn list_usage(&self, request: Request<ListUsageRequest>) -> Answer<ListUsageResponse> {
        let ListUsageRequest { page_size, page_token, order, search } = request.into_inner();
        // Shows what it was asked for.
        let line = OrgLine { org: search, severity: order, ..Default::default() };
        owned(ListUsageResponse {
            orgs: vec![line],
            total_size: page_size,
            next_page_token: page_token,
            ..Default::default()
        })
    }

    async fn get_usage(&self, request: Request<GetUsageRequest>) -> Answer<GetUsageResponse> {
        let org = request.into_inner().org;
        refuse(&org)?;
        owned(GetUsageResponse { usage: Some(usage(&org)) })
    }

    type WatchUsageStream = Pin<Box<dyn Stream<Item = Result<WatchUsageResponse, Status>> + Send>>;

    async fn watch_usage(
        &self,
        request: Request<WatchUsageRequest>,
    ) -> Answer<Self::WatchUsageStream> {
        let org = request.into_inner().org;
        let message = |snapshot| {
            Ok(WatchUsageResponse { usage: Some(usage(&org)), snapshot, transitions: vec![] })
        };
        let messages = [message(true), message(false)];
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }
}

#[tonic::async_trait]
impl AdminService for Fake {
    async fn list_orgs(&self, request: Request<ListOrgsRequest>) -> Answer<ListOrgsResponse> {
        let request = request.into_inner();
        let (id, next_page_token) = match request.page_token.as_str() {
            "" => (format!("first-of-{}", request.page_size), "second".to_owned()),
            token => (token.to_owned(), String::new()),
        };
        let orgs = entry(Org { id, daily_calls: 15_000, ..Default::default() });
        owned(ListOrgsResponse { orgs: orgs.into_iter().collect(), next_page_token })
    }

    async fn get_org(&self, request: Request<GetOrgRequest>) -> Answer<GetOrgResponse> {
        let id = request.into_inner().org;
        refuse(&id)?;
        owned(GetOrgResponse { entry: entry(Org { id, ..Default::default() }), changes: vec![] })
    }

    async fn put_org(&self, request: Request<PutOrgRequest>) -> Answer<PutOrgResponse> {
        owned(PutOrgResponse { entry: entry(request.into_inner().org.unwrap_or_default()) })
    }

    async fn delete_org(&self, request: Request<DeleteOrgRequest>) -> Answer<DeleteOrgResponse> {
        match request.into_inner().etag.as_str() {
            "" | "7" => owned(DeleteOrgResponse {}),
            _ => Err(Status::aborted("the etag is 7 now")),
        }
    }

    async fn put_workspace(
        &self,
        request: Request<PutWorkspaceRequest>,
    ) -> Answer<PutWorkspaceResponse> {
        let request = request.into_inner();
        let workspaces = request.workspace.into_iter().collect();
        let org = Org { id: request.org, workspaces, ..Default::default() };
        owned(PutWorkspaceResponse { entry: entry(org) })
    }

    async fn delete_workspace(
        &self,
        request: Request<DeleteWorkspaceRequest>,
    ) -> Answer<DeleteWorkspaceResponse> {
        let DeleteWorkspaceRequest { org, workspace, .. } = request.into_inner();
        let id = format!("{org} without {workspace}");
        owned(DeleteWorkspaceResponse { entry: entry(Org { id, ..Default::default() }) })
    }

    async fn put_execution_user(
        &self,
        request: Request<PutExecutionUserRequest>,
    ) -> Answer<PutExecutionUserResponse> {
        let request = request.into_inner();
        let execution_users = vec![request.execution_user];
        let org = Org { id: request.org, execution_users, ..Default::default() };
        owned(PutExecutionUserResponse { entry: entry(org) })
    }

    async fn delete_execution_user(
        &self,
        request: Request<DeleteExecutionUserRequest>,
    ) -> Answer<DeleteExecutionUserResponse> {
        let org = Org { id: request.into_inner().org, ..Default::default() };
        owned(DeleteExecutionUserResponse { entry: entry(org) })
    }

    async fn replay_demand(
        &self,
        request: Request<ReplayDemandRequest>,
    ) -> Answer<ReplayDemandResponse> {
        let org = request.into_inner().org.unwrap_or_default().id;
        refuse(&org)?;
        owned(ReplayDemandResponse { org, ..Default::default() })
    }

    async fn get_cluster(&self, _: Request<GetClusterRequest>) -> Answer<GetClusterResponse> {
        owned(GetClusterResponse { store: "memory".into(), shards: 256, ..Default::default() })
    }

    async fn list_changes(&self, _: Request<ListChangesRequest>) -> Answer<ListChangesResponse> {
        owned(ListChangesResponse::default())
    }

    async fn get_catalogue(&self, _: Request<GetCatalogueRequest>) -> Answer<GetCatalogueResponse> {
        owned(GetCatalogueResponse::default())
    }
}
